"""What the loader leaves for the transformation to do. Apart from both, so that dbt's process need not hold Arrow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class BuildPlan:
    """What the next transformation has to rebuild: everything, or some days.

    `row_count` is how many rows of `raw` an increment reads.
    """

    is_full_refresh: bool
    rebuild_dates: tuple[date, ...] = ()
    read_dates: tuple[date, ...] = ()
    row_count: int = 0
