"""From the events of a file to rows and dead letters, the same for the queue and for archives."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, cast

from analytics.records import instant_date
from analytics.sources import ExtractContext
from analytics.sources.hooks.parse import OWN_NAME, FileName, HookEvent, HookPlace

if TYPE_CHECKING:
    from analytics.records.writer import Place, RecordWriter

NAME = "hooks"
DATASET = "hook_events"


def add_event(writer: RecordWriter, event: HookEvent, *, name: str, named: FileName, day: date) -> None:
    """Hand an event to the writer. Raises ContractViolation for one that is none."""
    place = HookPlace(
        name,
        event.position,
        day,
        occurred_us=None if event.at_ns is None else event.at_ns // 1_000,
        captured_us=event.captured_us,
        time_source=event.time_source,
        file_event=named.event_name,
        file_session=named.session_id,
    )
    writer.add(event.record, cast("Place", place), identity=event.identity)


def day_of_file(context: ExtractContext, mtime_ns: int | None) -> date:
    """The day that files an event without a time: the file's, or the run's where the file has none."""
    return context.extracted_at.date() if mtime_ns is None else instant_date(mtime_ns // 1_000)


def safe_name(context: ExtractContext, name: str) -> str:
    """A file name as it may be written. Ours hold nothing but a clock and chance."""
    if OWN_NAME.fullmatch(name):
        return name
    return context.written_name(name)
