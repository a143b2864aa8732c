"""From the events of a file to rows and dead letters, the same for the queue and for archives."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, cast

from analytics.lake import Commit, Rejection
from analytics.records import EPOCH_DATE
from analytics.sources import ExtractContext, ExtractResult
from analytics.sources.hooks.parse import OWN_NAME, FileName, HookEvent, HookPlace
from analytics.sources.hooks.queue import shown_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analytics.records.writer import Place, RecordWriter

NAME = "hooks"
DATASET = "hook_events"

REJECTED_CONTENT_LIMIT = 1 << 20
NANOSECONDS_A_DAY = 86_400_000_000_000


@dataclass
class Total:
    """What an extraction brought so far."""

    rows_read: int = 0
    rows_loaded: int = 0
    unit_count: int = 0
    waiting_count: int = 0
    rejections: Counter[str] = field(default_factory=Counter)
    dead_letters: list[str] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)

    def add(self, commit: Commit, rejections: Iterable[Rejection]) -> None:
        """Count what a commit brought, and why it refused what it did."""
        self.rows_read += commit.rows_read
        self.rows_loaded += commit.rows_loaded
        self.rejections.update(rejection.reason for rejection in rejections)
        if commit.dead_letter:
            self.dead_letters.append(commit.dead_letter)

    def result(self, started: float) -> ExtractResult:
        """What an extraction that began at `started` tells."""
        return ExtractResult(
            source=NAME,
            dataset=DATASET,
            rows_read=self.rows_read,
            rows_loaded=self.rows_loaded,
            rows_rejected=self.rejections.total(),
            unit_count=self.unit_count,
            waiting_count=self.waiting_count,
            elapsed_ms=round((time.monotonic() - started) * 1000),
            dead_letters=tuple(self.dead_letters),
            problems=tuple(f"{count} files: {reason}" for reason, count in sorted(self.problems.items())),
            rejected_by_reason=dict(self.rejections),
        )


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
    return context.redactor.redact_text(shown_name(name))


def build_rejection(context: ExtractContext, file: str, position: int, reason: str, content: bytes) -> Rejection:
    """A dead letter under the content policy: redacted, cut at 1 MB, without content under `metadata`."""
    policy = context.settings.content
    if policy == "metadata" or not content:
        return Rejection(NAME, file, position, reason)
    kept = content if policy == "full" else context.redactor.redact_bytes(content)
    return Rejection(
        NAME, file, position, reason, content=kept[:REJECTED_CONTENT_LIMIT].decode("utf-8", "backslashreplace")
    )
