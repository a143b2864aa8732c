"""From the events of a file to rows and dead letters, the same for the queue and for archives."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, cast

from analytics.records import EPOCH_DATE
from analytics.sources import ExtractContext
from analytics.sources.hooks.parse import OWN_NAME, FileName, HookEvent, HookPlace
from analytics.sources.hooks.queue import shown_name

if TYPE_CHECKING:
    from analytics.records.writer import Place, RecordWriter

NAME = "hooks"
DATASET = "hook_events"

NANOSECONDS_A_DAY = 86_400_000_000_000


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


def day_of(mtime_ns: int, _days: dict[int, date] = {}) -> date:  # noqa: B006 - a cache
    """The UTC day of a file's time."""
    number = mtime_ns // NANOSECONDS_A_DAY
    if number not in _days:
        _days[number] = date.fromordinal(EPOCH_DATE.toordinal() + number)
    return _days[number]


def safe_name(context: ExtractContext, name: str) -> str:
    """A file name as it may be written. Ours hold nothing but a clock and chance."""
    if OWN_NAME.fullmatch(name):
        return name
    return context.redactor.redact_path(shown_name(name))
