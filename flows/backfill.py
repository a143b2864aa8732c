"""A date range again, by hand: the days of the range are read from the sources and built anew, a month at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from prefect import flow, get_run_logger

from flows.main_pipeline import analytics_pipeline, to_instant
from flows.notification import notify_failure

DAYS_AT_ONCE = 31


def iter_windows(since: date, until: date, days: int = DAYS_AT_ONCE) -> Iterator[tuple[date, date]]:
    """Half-open windows that cover since (inclusive) to until (exclusive), in order."""
    start = since
    while start < until:
        end = min(start + timedelta(days=days), until)
        yield start, end
        start = end


@flow(
    name="analytics_backfill",
    flow_run_name="backfill {since} to {until}",
    persist_result=False,
    on_failure=[notify_failure],
    on_crashed=[notify_failure],
)
def analytics_backfill(since: date, until: date, sources: list[str] | None = None) -> list[dict[str, Any]]:
    """Extract and publish a date range again. Stopped in the middle, it may be started again: twice is once.

    Args:
        since: First day (inclusive).
        until: Day after the last one (exclusive).
        sources: Only these sources; all enabled ones by default.
    """
    if until <= since:
        raise ValueError(f"until ({until}) must be after since ({since})")
    results = []
    for start, end in iter_windows(since, until):
        get_run_logger().info("since=%s until=%s", start, end)
        results.append(analytics_pipeline(sources=sources, since=to_instant(start), until=to_instant(end)))
    return results
