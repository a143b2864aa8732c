"""Where records come from: one package per source, found by being here.

A source package holds `SOURCE`, a `Source`. It finds what is new, hands parsed records to a
`RecordWriter`, and commits the parts together with the positions it consumed. Sources know the
contracts, the records and the lake, and never each other.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from analytics.config import Settings
from analytics.contracts import load_contract
from analytics.files import file_key, shown_name
from analytics.lake import Lake, Part, Rejection, State
from analytics.records import EPOCH, Refusal, Row, instant_date, parse_word, plausible_instant
from analytics.records.writer import P, RecordWriter
from analytics.redactor import Redactor
from analytics.result import Result

Progress = Callable[[int, int], None]
REJECTED_CONTENT_LIMIT = 1 << 20


@lru_cache(maxsize=8)  # a worker gets a new context with each unit of work, and rules take long to compile
def _load_redactor(rules_file: Path | None, key: bytes) -> Redactor:
    return Redactor.load(rules_file, key)


@dataclass(frozen=True)
class ExtractContext:
    """What an extraction is given: where to write, which run it is, and which part of history it is asked for.

    `since` (inclusive) and `until` (exclusive) are aware UTC instants; with either, or with
    `is_full_backfill`, records are read again whatever was consumed before. A window leaves the
    consumed positions as they are; a full backfill sets them anew.
    """

    settings: Settings
    lake: Lake
    run_id: str
    extracted_at: datetime
    since: datetime | None = None
    until: datetime | None = None
    is_full_backfill: bool = False
    on_progress: Progress | None = None

    def for_worker(self) -> ExtractContext:
        """This context for another process: without what was cached here and with nobody to tell of progress."""
        return replace(self, lake=Lake(self.lake.data_dir, self.lake.host_id), on_progress=None)

    @property
    def has_window(self) -> bool:
        return self.since is not None or self.until is not None

    @cached_property
    def _window_us(self) -> tuple[float, float]:
        since, until = ((at - EPOCH) // timedelta(microseconds=1) if at else None for at in (self.since, self.until))
        return -math.inf if since is None else since, math.inf if until is None else until

    def is_in_window(self, occurred_us: int | None) -> bool:
        """Whether a record of this instant is asked for. One without an instant is in no window."""
        if not self.has_window:
            return True
        first, behind = self._window_us
        return occurred_us is not None and first <= occurred_us < behind

    @cached_property
    def redactor(self) -> Redactor:
        return _load_redactor(self.settings.secret_rules_file, self.lake.key)

    def written_name(self, name: str) -> str:
        """The name of a file or its path as it may be written, in a row, a message or a dead letter."""
        return self.redactor.redact_path(shown_name(name))

    def file_date(self, mtime_ns: int) -> date:
        """The day that files a record without an instant: its file's, or the run's where the file has none."""
        instant = plausible_instant(mtime_ns // 1_000)
        return self.extracted_at.date() if instant is None else instant_date(instant)

    def position_key(self, name: str) -> str:
        """What the position in a file is filed under: another host's file of this name is another file."""
        return f"{self.lake.host_id}:{file_key(name)}"

    def written_id(self, own_id: object) -> str | None:
        """A record's own id as it may be written; None for what is none, or too long for one."""
        word = parse_word(own_id)
        return None if word is None else self.redactor.redact_text(word)

    def reject(self, refusal: Refusal, *, source: str, file: str) -> Rejection:
        """A dead letter under the content policy: redacted, cut at 1 MB, without content under `metadata`."""
        position, reason, content = refusal
        policy = self.settings.content
        if policy == "metadata" or not content:
            return Rejection(source, file, position, reason)
        kept = content if policy == "full" else self.redactor.redact_bytes(content)
        text = kept[:REJECTED_CONTENT_LIMIT].decode("utf-8", "backslashreplace")
        return Rejection(source, file, position, reason, content=text)

    def writer(self, flatten: Callable[[Any, P], Row], *, source: str, dataset: str) -> RecordWriter[P]:
        """A writer into one dataset under this run's content policy."""
        return RecordWriter(
            self.lake,
            load_contract(dataset),
            source=source,
            run_id=self.run_id,
            extracted_at=self.extracted_at,
            redactor=self.redactor,
            content=self.settings.content,
            flatten=flatten,
        )


@dataclass(frozen=True)
class ExtractResult(Result):
    """What one source brought in. Rows read = rows loaded + rows rejected, always.

    `unit_count` counts what the source reads in pieces (files, windows). `dead_letters` are paths
    below the data folder. `problems` name what could not be read at all, without content.
    `nothing_found` are places that a setting names and that hold nothing to read, neither new nor old.
    """

    source: str
    dataset: str
    rows_read: int = 0
    rows_loaded: int = 0
    rows_rejected: int = 0
    unit_count: int = 0
    waiting_count: int = 0
    elapsed_ms: int = 0
    dead_letters: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    rejected_by_reason: dict[str, int] = field(default_factory=dict)
    nothing_found: tuple[str, ...] = ()


@dataclass
class Tally:
    """What an extraction brought so far, over all its commits.

    `problems` say what could not be read; where the file is not worth naming, `file_problems` counts reasons.
    """

    rows_read: int = 0
    rows_loaded: int = 0
    unit_count: int = 0
    waiting_count: int = 0
    rejections: Counter[str] = field(default_factory=Counter)
    dead_letters: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    file_problems: Counter[str] = field(default_factory=Counter)
    nothing_found: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def commit(
        self,
        context: ExtractContext,
        *,
        source: str,
        dataset: str,
        adds: Sequence[Part],
        rows_read: int,
        rejections: Sequence[Rejection],
        state: State | None = None,
    ) -> None:
        """Make parts count and positions durable, in one step, and count what that brought.

        With nothing to record, nothing is committed.
        """
        if not (adds or rejections or state):
            return
        commit = context.lake.commit(
            source=source,
            dataset=dataset,
            run_id=context.run_id,
            adds=adds,
            rows_read=rows_read,
            rejections=rejections,
            state=state,
        )
        self.rows_read += commit.rows_read
        self.rows_loaded += commit.rows_loaded
        for rejection in rejections:
            self.rejections[rejection.reason] += rejection.row_count
        if commit.dead_letter:
            self.dead_letters.append(commit.dead_letter)

    def result(self, *, source: str, dataset: str) -> ExtractResult:
        """All of it, at the end of the extraction that began when this was made."""
        return ExtractResult(
            source=source,
            dataset=dataset,
            rows_read=self.rows_read,
            rows_loaded=self.rows_loaded,
            rows_rejected=self.rejections.total(),
            unit_count=self.unit_count,
            waiting_count=self.waiting_count,
            elapsed_ms=round((time.monotonic() - self.started) * 1000),
            dead_letters=tuple(self.dead_letters),
            problems=(*self.problems, *(f"{count} files: {why}" for why, count in sorted(self.file_problems.items()))),
            rejected_by_reason=dict(self.rejections),
            nothing_found=tuple(self.nothing_found),
        )


@dataclass(frozen=True)
class Source:
    """One source: its name in summaries and rows, the dataset it feeds, and how it is read.

    `is_enabled` is whether a setting names a place to read, or there is something to read where the source
    looks by itself. Where no source is, the sample stands in, so an empty folder of Claude Code's is nothing.
    `import_archive` reads events that were kept elsewhere, from a file or a folder that is there, once. `prune` deletes
    what the source itself keeps of the days before a date, or with True only counts it, by kind.
    """

    name: str
    dataset: str
    is_enabled: Callable[[Settings], bool]
    extract: Callable[[ExtractContext], ExtractResult]
    import_archive: Callable[[ExtractContext, Path], ExtractResult] | None = None
    prune: Callable[[Settings, date, bool], dict[str, int]] | None = None


def refile(state: State, is_name: Callable[[str], bool], host_id: str) -> tuple[State, State]:
    """Positions under the keys of `position_key`, and what a commit says of those that were filed otherwise.

    Earlier versions filed some under names and all without the host: this host takes them for its own.
    """
    keys = {
        key: f"{host_id}:{file_key(key) if is_name(key) else key}" for key in state if is_name(key) or ":" not in key
    }
    moved = {key: state[old] for old, key in keys.items() if key not in state}
    kept = {key: position for key, position in state.items() if key not in keys}
    return kept | moved, moved | dict.fromkeys(keys)


def iter_sources() -> Iterator[Source]:
    """Every source that has a package here, by name."""
    for name in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        source: Source = importlib.import_module(f"{__name__}.{name}").SOURCE
        yield source
