"""What every stage and verb returns: facts that are printed as a line, and with `--json` as they are."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Result:
    """Base of the results, which are frozen dataclasses of counts, names and places, never of content."""

    def as_json(self) -> dict[str, Any]:
        """The same facts as the printed summary."""
        return dataclasses.asdict(self)
