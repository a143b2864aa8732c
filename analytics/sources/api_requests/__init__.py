"""Source `api_requests`: requests to the API as a cost proxy or OpenTelemetry saw them.

From a folder of JSON lines (`ANALYTICS_API_REQUESTS_DIR`), of which only what is new is read, and from
a live stream (`ANALYTICS_API_REQUESTS_URL`), which is listened to for a bounded time each run. What a
stream sends while nobody listens is lost to it, unless the proxy sends it again; an archive loses nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from analytics.errors import ContractViolation, reason_of
from analytics.files import is_folder, list_files
from analytics.lake import Rejection, State
from analytics.records import BLANKS, BOM, Refusal, parse_json
from analytics.records.lines import iter_lines, open_lines, read_edges
from analytics.records.spelling import spell
from analytics.records.writer import Place
from analytics.sources import ExtractContext, ExtractResult, Source, Tally, refile
from analytics.sources.api_requests.parse import NO_EVENT, flatten_event, identity_of, iter_events
from analytics.sources.api_requests.stream import EventStream

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from analytics.config import Settings
    from analytics.records.writer import RecordWriter

NAME = "api_requests"
DATASET = "api_requests"

COMMIT_BYTES = 128 << 20
STREAM_COMMIT_EVENTS = 500
STREAM_COMMIT_S = 60.0
STREAM_MESSAGE_BYTES = 16 << 20
STREAM_KEY = "stream"
_ENDINGS = (".json", ".jsonl", ".ndjson")
_ROTATED = re.compile(r"(?P<name>.+[.](?:jsonl|ndjson))[.](?P<number>[0-9]{1,3})", re.DOTALL)
_HEAD_BYTES = 4_096
_REMEMBERED_EVENTS = 200_000


def is_enabled(settings: Settings) -> bool:
    """Whether a folder or a stream is named."""
    return settings.api_requests_dir is not None or bool(settings.api_requests_url)


def extract(
    context: ExtractContext,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> ExtractResult:
    """Read what the folder has gained, then listen to the stream for its bounded time.

    A file's new lines and the offset reached are one commit; a line that is still being written waits.
    A stream that cannot be reached is a problem and no failure: the proxy may be off. A window or a
    full backfill reads the folder again; a stream has no history.
    """
    batch = _Batch(context)
    folder = context.settings.api_requests_dir
    if folder is not None:
        if is_folder(folder, otherwise=True):
            known, moved = refile(context.lake.read_state(source=NAME, dataset=DATASET), _is_name, context.lake.host_id)
            if not context.has_window:
                batch.state.update(moved)
            if context.is_full_backfill or context.has_window:
                known = {}
            archives = _find_archives(batch, folder)
            batch.tally.nothing_found = [] if archives else [context.written_name(str(folder))]
            for path in archives:
                _read_new(batch, path, folder, known)
        else:
            batch.tally.problems.append(f"{context.written_name(str(folder))} is missing")
    batch.commit()
    if context.settings.api_requests_url and not context.has_window:
        _read_stream(batch, clock, sleep)
    return batch.tally.result(source=NAME, dataset=DATASET)


def import_events(context: ExtractContext, path: Path) -> ExtractResult:
    """Bring an archive of request events into the lake: a file, or those below a folder that end in `_ENDINGS`."""
    batch = _Batch(context)
    root = path if path.is_dir() else path.parent
    for file in _find_archives(batch, path) if path.is_dir() else [path]:
        _read_new(batch, file, root, {}, is_final=True)
        batch.state.clear()
    batch.commit()
    return batch.tally.result(source=NAME, dataset=DATASET)


SOURCE = Source(name=NAME, dataset=DATASET, is_enabled=is_enabled, extract=extract, import_archive=import_events)


@dataclass
class _Batch:
    """Collects events and positions until a commit, and tells what all commits brought."""

    context: ExtractContext
    tally: Tally = field(default_factory=Tally)
    pending_bytes: int = 0
    state: State = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._writer: RecordWriter[Place] = self.context.writer(flatten_event, source=NAME, dataset=DATASET)
        # A snapshot of recent activity repeats the one before it, event by event.
        self._seen: set[bytes] = set()

    def add_value(self, content: bytes, place: Place, *, is_strict: bool) -> None:
        """Take in the events of one JSON value. Without any it is refused if `is_strict`, else passed over."""
        try:
            value = parse_json(content)
        except ContractViolation as violation:
            self.reject(place, str(violation), content)
            return
        is_empty = True
        for event in iter_events(value):
            is_empty = False
            self._add(event, place)
        if is_empty and is_strict:
            self.reject(place, NO_EVENT, content)
        self.pending_bytes += len(content)

    def _add(self, event: dict[str, Any], place: Place) -> None:
        identity = identity_of(event)
        mark = hashlib.sha256(repr(sorted(identity.items())).encode("utf-8", "replace")).digest()[:16]
        if mark in self._seen or not self.context.is_in_window(identity.get("occurred_at")):
            return
        try:
            self._writer.add(event, place, identity=identity)
        except ContractViolation as violation:
            self.reject(place, str(violation), spell(event))
            return
        if len(self._seen) >= _REMEMBERED_EVENTS:
            self._seen.clear()
        self._seen.add(mark)

    def reject(self, place: Place, reason: str, content: bytes) -> None:
        self.rejections.append(
            self.context.reject(Refusal(place.position or 0, reason, content), source=NAME, file=place.file)
        )

    @property
    def row_count(self) -> int:
        """Events and rejections since the last commit."""
        return self._writer.row_count + len(self.rejections)

    def commit(self) -> None:
        """Make what was collected and the positions behind it durable, in one step."""
        self.tally.commit(
            self.context,
            source=NAME,
            dataset=DATASET,
            adds=self._writer.flush(),
            rows_read=self.row_count,
            rejections=self.rejections,
            state=self.state,
        )
        self._writer = self.context.writer(flatten_event, source=NAME, dataset=DATASET)
        self.state, self.rejections, self.pending_bytes = {}, [], 0


# ---------------------------------------------------------------- archives


def _is_name(key: str) -> bool:
    return key.endswith(_ENDINGS)


def _find_archives(batch: _Batch, folder: Path) -> list[Path]:
    files = list_files(folder, batch.tally.file_problems)
    return [path for path in files if path.suffix in _ENDINGS or _ROTATED.fullmatch(path.name)]


def _names_before(name: str) -> list[str]:
    """What a rotated file may have been called when a run last read it, the likeliest first."""
    match = _ROTATED.fullmatch(name)
    if match is None:
        return []
    return [*(f"{match['name']}.{number}" for number in range(int(match["number"]) - 1, 0, -1)), match["name"]]


def _read_new(batch: _Batch, path: Path, root: Path, known: State, *, is_final: bool = False) -> None:
    """What was not read of a file before. One that is another than it was is read from its start.

    `is_final`: nobody writes to it any more, so that its last line is whole without a newline.
    """
    name = path.relative_to(root).as_posix()
    key, file = batch.context.position_key(name), batch.context.written_name(name)
    try:
        with open_lines(path) as opened:
            status = os.fstat(opened.fileno())
            day = batch.context.file_date(status.st_mtime_ns)
            keys = [key, *map(batch.context.position_key, _names_before(name))]
            candidates = (known[known_key] for known_key in keys if known_key in known)
            reached = next((entry for entry in candidates if _is_same(opened, entry, status.st_size)), None)
            start = 0 if reached is None else reached["offset"]
            is_refiled = reached is not known.get(key)
            if start == status.st_size and not is_refiled:
                return
            if path.name.endswith(".json"):
                end = _read_document(batch, opened, file=file, day=day)
            else:
                end = _read_lines(batch, opened, start, file=file, day=day, is_final=is_final)
            if (end > start or is_refiled) and not batch.context.has_window:
                batch.state[key] = {"offset": end, "head": _head(opened, end)}
            batch.tally.unit_count += 1
    except OSError as error:
        batch.tally.problems.append(f"{file}: {reason_of(error)}")
        return
    if batch.pending_bytes >= COMMIT_BYTES:
        batch.commit()


def _read_document(batch: _Batch, opened: BinaryIO, *, file: str, day: date) -> int:
    """Read a file that is one JSON value. Returns its end."""
    limit = batch.context.settings.max_line_mb << 20
    place = Place(file, 0, day)
    opened.seek(0)
    content = opened.read(limit + 1)
    if len(content) > limit:
        batch.reject(place, f"larger than {limit >> 20} MB", b"")
    elif content.strip():
        batch.add_value(content.removeprefix(BOM).strip(), place, is_strict=True)
    return opened.seek(0, os.SEEK_END)


def _read_lines(batch: _Batch, opened: BinaryIO, start: int, *, file: str, day: date, is_final: bool) -> int:
    """Read lines from an offset on. Returns the offset after the last whole one."""
    limit = batch.context.settings.max_line_mb << 20
    offset = start
    for position, end, content, is_terminated in iter_lines(opened, start, limit):
        if not is_terminated and not is_final:
            batch.tally.waiting_count += 1
            break
        offset = end
        place = Place(file, position, day)
        if content is None:
            batch.reject(place, f"longer than {limit >> 20} MB", b"")
        elif stripped := content.removeprefix(BOM).strip(BLANKS):
            batch.add_value(stripped, place, is_strict=True)
    return offset


def _is_same(opened: BinaryIO, known: State, size: int) -> bool:
    """Whether a file still begins as it did when its lines were read."""
    return bool(size >= known["offset"] and _head(opened, known["offset"]) == known["head"])


def _head(opened: BinaryIO, offset: int) -> str:
    """A hash of a file's beginning and of what stands before an offset."""
    return hashlib.sha256(b"|".join(read_edges(opened, offset, _HEAD_BYTES))).hexdigest()[:32]


# ---------------------------------------------------------------- the live stream


def _read_stream(batch: _Batch, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
    """Listen for the time that is set, and commit now and then, so that a kill loses little."""
    context = batch.context
    key = f"{context.lake.host_id}:{STREAM_KEY}"
    known = refile(context.lake.read_state(source=NAME, dataset=DATASET), _is_name, context.lake.host_id)[0].get(key)
    stream = EventStream(
        context.settings.api_requests_url,
        float(context.settings.api_requests_seconds),
        STREAM_MESSAGE_BYTES,
        last_id=known["last_id"] if known else None,
        clock=clock,
        sleep=sleep,
    )
    day = context.extracted_at.date()
    committed_at = clock()
    for number, message in zip(count(), stream.read(), strict=False):
        batch.add_value(message.data, Place(STREAM_KEY, number, day), is_strict=False)
        if message.last_id is not None:
            batch.state[key] = {"last_id": message.last_id}
        if batch.row_count >= STREAM_COMMIT_EVENTS or clock() - committed_at >= STREAM_COMMIT_S:
            batch.commit()
            committed_at = clock()
    batch.commit()
    batch.tally.unit_count += 1 if stream.connection_count else 0
    if stream.oversized_count:
        batch.tally.problems.append(f"{stream.oversized_count} messages of the stream: too large")
    if stream.problem is not None:
        batch.tally.problems.append(f"the stream: {stream.problem}")
