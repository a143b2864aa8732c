"""A date range again, by hand: the days of the range are read from the sources and built anew, a month at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from flows.main_pipeline import analytics_pipeline, to_instant
from flows.notification import STAGE_OF_RUN, notify_failure

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.flows import Flow

DAYS_AT_ONCE = 31
_WITHIN = "analytics_pipeline"


def iter_windows(since: date, until: date, days: int = DAYS_AT_ONCE) -> Iterator[tuple[date, date]]:
    """Half-open windows that cover since (inclusive) to until (exclusive), in order."""
    start = since
    while start < until:
        end = min(start + timedelta(days=days), until)
        yield start, end
        start = end


def notify_own_failure(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Once and no more: the run of the pipeline within a backfill tells of itself, and knows its stage."""
    if STAGE_OF_RUN.get(str(flow_run.id)) == _WITHIN:
        del STAGE_OF_RUN[str(flow_run.id)]
    else:  # a range that is none, a parameter, or a process that was killed: then the worker calls this
        notify_failure(flow, flow_run, state)


@flow(
    name="analytics_backfill",
    flow_run_name="backfill {since} to {until}",
    persist_result=False,
    on_failure=[notify_own_failure],
    on_crashed=[notify_own_failure],
)
def analytics_backfill(since: date, until: date, sources: list[str] | None = None) -> list[dict[str, Any]]:
    """Extract and publish a date range again. Stopped in the middle, it may be started again: twice is once.

    Args:
        since: First day (inclusive).
        until: Day after the last one (exclusive).
        sources: Only these sources; all enabled ones by default.
    """
    run_id = str(flow_run.id)
    STAGE_OF_RUN[run_id] = "start"
    if until <= since:
        raise ValueError(f"until ({until}) must be after since ({since})")
    STAGE_OF_RUN[run_id] = _WITHIN
    results = []
    for start, end in iter_windows(since, until):
        get_run_logger().info("since=%s until=%s", start, end)
        results.append(analytics_pipeline(sources=sources, since=to_instant(start), until=to_instant(end)))
    del STAGE_OF_RUN[run_id]
    return results
