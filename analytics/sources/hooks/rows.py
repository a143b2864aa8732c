"""From the events of a file to rows and dead letters, the same for the queue and for archives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics.errors import ContractViolation
from analytics.records import Refusal
from analytics.records.spelling import spell
from analytics.sources.hooks.parse import OWN_NAME, HookPlace, parse_file_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from analytics.records.writer import RecordWriter
    from analytics.sources import ExtractContext
    from analytics.sources.hooks.parse import HookEvent

NAME = "hooks"
DATASET = "hook_events"


def add_events(
    writer: RecordWriter[HookPlace],
    events: Iterable[HookEvent],
    refusals: list[Refusal],
    *,
    name: str,
    day: date,
) -> None:
    """Hand the events of a file to the writer; `refusals` gets those it does not take."""
    named = parse_file_name(name)
    for event in events:
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
        try:
            writer.add(event.record, place, identity=event.identity)
        except ContractViolation as violation:
            refusals.append(Refusal(event.position, str(violation), spell(event.record)))


def safe_name(context: ExtractContext, name: str) -> str:
    """A file name as it may be written. Ours hold nothing but a clock and chance."""
    if OWN_NAME.fullmatch(name):
        return name
    return context.written_name(name)
