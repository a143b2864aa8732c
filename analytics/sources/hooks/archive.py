"""Hook events that were kept as files: imported ones, and the queue's own archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from analytics.errors import reason_of
from analytics.files import list_files
from analytics.lake import Rejection
from analytics.records import Refusal
from analytics.records.lines import iter_lines, open_lines
from analytics.sources import ExtractContext, Tally
from analytics.sources.hooks.parse import EventParser, HookEvent, check_time, flatten_event, parse_file, parse_file_name
from analytics.sources.hooks.queue import REASON_SUFFIX
from analytics.sources.hooks.rows import DATASET, NAME, add_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

IMPORT_COMMIT_BYTES = 256 << 20


def import_folder(context: ExtractContext, folder: Path, tally: Tally) -> None:
    """Bring every .json and .jsonl file below a folder into the lake."""
    files = list_files(folder, tally.file_problems)
    named = [path for path in files if ".json" in path.name and not path.name.endswith(REASON_SUFFIX)]
    import_files(context, named, tally, root=folder)


def import_files(context: ExtractContext, paths: Iterable[Path], tally: Tally, *, root: Path) -> None:
    """Bring files into the lake, in commits of a bounded size. They are named as they lie below `root`."""
    batch = _Batch(context)
    for path in paths:
        try:
            batch.read(path, context.written_name(str(path.relative_to(root))))
        except OSError as error:
            tally.file_problems[reason_of(error)] += 1
            continue
        tally.unit_count += 1
        if batch.byte_count >= IMPORT_COMMIT_BYTES:
            batch.commit(tally)
            batch = _Batch(context)
    batch.commit(tally)


class _Batch:
    """Files whose events become one commit."""

    def __init__(self, context: ExtractContext) -> None:
        self._context = context
        self._writer = context.writer(flatten_event, source=NAME, dataset=DATASET)
        self._rejections: list[Rejection] = []
        self.byte_count = 0

    def read(self, path: Path, name: str) -> None:
        status = path.stat()
        parser = EventParser(parse_file_name(path.name), check_time(status.st_mtime_ns), is_archive=True)
        events = (
            event
            for event in _iter_archive(self._context, path, status.st_size, parser)
            if self._context.is_in_window(None if event.at_ns is None else event.at_ns // 1_000)
        )
        day = self._context.file_date(status.st_mtime_ns)
        add_events(self._writer, events, parser.refusals, name=name, day=day)
        self._rejections += [self._context.reject(refusal, source=NAME, file=name) for refusal in parser.refusals]
        self.byte_count += status.st_size

    def commit(self, tally: Tally) -> None:
        tally.commit(
            self._context,
            source=NAME,
            dataset=DATASET,
            adds=self._writer.flush(),
            rows_read=self._writer.row_count + len(self._rejections),
            rejections=self._rejections,
        )


def _iter_archive(context: ExtractContext, path: Path, size: int, parser: EventParser) -> Iterator[HookEvent]:
    """The events of a file: JSON lines one at a time, any other form whole, up to the size of a line."""
    limit = context.settings.max_line_mb << 20
    if path.name.endswith(".jsonl"):
        with open_lines(path) as opened:
            yield from parser.parse_lines(_iter_lines(opened, limit, parser))
        return
    if size > limit:
        parser.refusals.append(Refusal(0, f"larger than {limit >> 20} MB"))
        return
    events, refusals = parse_file(path.read_bytes(), file_name=path.name, mtime_ns=parser.mtime_ns)
    parser.refusals.extend(refusals)
    yield from events


def _iter_lines(opened: BinaryIO, limit: int, parser: EventParser) -> Iterator[tuple[int, bytes]]:
    for position, _, content, _ in iter_lines(opened, 0, limit):
        if content is None:
            parser.refusals.append(Refusal(position, f"longer than {limit >> 20} MB"))
        else:
            yield position, content
