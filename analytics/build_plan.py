"""What the loader leaves for the transformation to do. Apart from both, so that dbt's process need not hold Arrow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class BuildPlan:
    """What the next transformation has to rebuild: everything, some days, or nothing.

    `row_count` is how many rows of `raw` an increment reads.
    """

    is_full_refresh: bool
    rebuild_dates: tuple[date, ...] = ()
    read_dates: tuple[date, ...] = ()
    is_new_day: bool = False
    row_count: int = 0

    @property
    def is_empty(self) -> bool:
        return not (self.is_full_refresh or self.rebuild_dates or self.is_new_day)
