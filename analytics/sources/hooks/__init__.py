"""Source `hooks`: what the capture command put into the queue, and archives of hook events."""

from __future__ import annotations

from collections import Counter, deque
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from analytics.errors import AnalyticsError, ContractViolation
from analytics.files import file_key
from analytics.lake import Part, Rejection, State
from analytics.sample import SAMPLE_HOST
from analytics.sources import ExtractContext, ExtractResult, Source, Tally
from analytics.sources.hooks.archive import import_files, import_folder
from analytics.sources.hooks.parse import HookPlace, check_time, flatten_event, parse_file
from analytics.sources.hooks.queue import Claim, HookQueue, PassingFailure, QueuedFile, iter_batches
from analytics.sources.hooks.rows import DATASET, NAME, add_events, safe_name
from analytics.workers import open_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

    from analytics.config import Settings
    from analytics.records.writer import RecordWriter

PARALLEL_FILES = 30_000


_Result = TypeVar("_Result")


def queue_of(settings: Settings) -> HookQueue:
    """The queue below the data folder, under the settings in force."""
    return HookQueue(
        settings.data_dir / "queue",
        retry_limit=settings.hook_retry_limit,
        max_bytes=settings.max_hook_mb << 20,
        keeps_archive=settings.hook_files == "archive",
    )


def is_enabled(settings: Settings) -> bool:
    """Whether anything was ever captured here.

    A run of the sample leaves the queue alone: what it took would leave the lake with the sample.
    """
    return settings.host_id != SAMPLE_HOST and queue_of(settings).was_used


def extract(context: ExtractContext) -> ExtractResult:
    """Bring everything that waits in the queue into the lake, in the order of capture.

    A batch of files is claimed, read, committed together with the claim's id, and only then archived
    or deleted. A claim that a dead run left is finished if the lake knows its id, else read again:
    nothing is lost and nothing counted twice, wherever the run died. A window or a full backfill
    reads the archived files again as well; the queue itself has no history.
    """
    queue = queue_of(context.settings)
    tally = Tally()
    committed = context.lake.read_state(source=NAME, dataset=DATASET)
    known = set(committed)
    for claim in chain(queue.take_back(), queue.take_back()):  # again for what the first time has split
        if (entry := committed.get(claim.id)) is not None:
            _finish(context, queue, claim, entry["failures"])
        elif not claim.files:
            queue.finish(claim, {})
        elif queue.is_to_be_split(claim):
            queue.split(claim)
        else:
            reading = _guard(queue, claim, partial(_read_claim, context, queue, claim))
            _consume(context, queue, claim, reading, known, tally)
    waiting = queue.list_incoming()
    done = 0
    with closing(_read_batches(context, queue, waiting)) as readings:
        for claim, reading in readings:
            _consume(context, queue, claim, reading, known, tally)
            done += reading.file_count
            if context.on_progress:
                context.on_progress(done, len(waiting))
    if (context.is_full_backfill or context.has_window) and queue.archive.is_dir():
        import_folder(context, queue.archive, tally)
    queue.sweep()
    return tally.result(source=NAME, dataset=DATASET)


def import_events(context: ExtractContext, path: Path) -> ExtractResult:
    """Bring an archive of hook events into the lake: a file, or every .json and .jsonl file below a folder.

    The files are left as they are. Importing twice adds nothing to what readers see: the ids are the same.
    """
    tally = Tally()
    if path.is_dir():
        import_folder(context, path, tally)
    else:
        import_files(context, [path], tally, root=path.parent)
    return tally.result(source=NAME, dataset=DATASET)


def prune(settings: Settings, before: date, is_dry_run: bool) -> dict[str, int]:  # noqa: FBT001 - as every source's
    """Delete what the queue keeps of firings before a day: archived and failed files."""
    return {"hook_files": queue_of(settings).prune(before, is_dry_run=is_dry_run)}


SOURCE = Source(
    name=NAME, dataset=DATASET, is_enabled=is_enabled, extract=extract, import_archive=import_events, prune=prune
)


# ---------------------------------------------------------------- the queue


@dataclass
class _Reading:
    """What reading one claim brought: parts on disk, not committed yet. `failures` are reasons by `file_key`."""

    parts: list[Part] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    problems: Counter[str] = field(default_factory=Counter)
    rows_read: int = 0
    file_count: int = 0


def _read_batches(
    context: ExtractContext, queue: HookQueue, waiting: list[QueuedFile]
) -> Generator[tuple[Claim, _Reading], None, None]:
    """Claim and read what waits, batch after batch: here, or on every core when there is much of it.

    The claims and their locks stay with this process; results come in the order of capture.
    """
    batches = iter_batches(waiting)
    if len(waiting) < PARALLEL_FILES or context.settings.workers == 1:
        for claim in _iter_claims(queue, batches):
            yield claim, _guard(queue, claim, partial(_read_claim, context, queue, claim))
        return
    worker_context = context.for_worker()
    running: deque[tuple[Claim, Future[_Reading]]] = deque()
    try:
        with open_pool(NAME, context.settings.workers) as pool:
            for claim in _iter_claims(queue, batches):
                running.append((claim, pool.submit(_read_claim, worker_context, queue, claim)))
                if len(running) > context.settings.workers:
                    yield _next_reading(queue, running)
            while running:
                yield _next_reading(queue, running)
    finally:
        for claim, _ in running:
            queue.abandon(claim, counts_attempt=False)


def _iter_claims(queue: HookQueue, batches: Iterable[list[QueuedFile]]) -> Iterator[Claim]:
    """The batches as claims, without those of which another run has taken every file."""
    for batch in batches:
        claim = queue.claim(batch)
        if claim.files:
            yield claim
        else:
            queue.finish(claim, {})


def _next_reading(queue: HookQueue, running: deque[tuple[Claim, Future[_Reading]]]) -> tuple[Claim, _Reading]:
    claim, future = running.popleft()
    return claim, _guard(queue, claim, future.result)


def _guard(queue: HookQueue, claim: Claim, work: Callable[[], _Result]) -> _Result:
    """Do a piece of work on a claim; should it fail, leave the claim to the next run."""
    try:
        return work()
    except BaseException as error:
        is_elsewhere = isinstance(error, (OSError, AnalyticsError, KeyboardInterrupt))
        queue.abandon(claim, counts_attempt=isinstance(error, ContractViolation) or not is_elsewhere)
        raise


def _read_claim(context: ExtractContext, queue: HookQueue, claim: Claim) -> _Reading:
    """Read the files of a claim into parts. May run in a worker; what it returns counts once committed."""
    queue.begin(claim)
    writer = context.writer(flatten_event, source=NAME, dataset=DATASET)
    result = _Reading(file_count=len(claim.files))
    for queued in claim.files:
        try:
            queue.check_retry_limit(claim)
            content = queue.read(claim, queued)
        except ContractViolation as violation:
            _fail_file(context, result, queued, str(violation))
        except PassingFailure as failure:
            if queue.retry_later(claim, queued):
                result.problems[f"{failure}; they are tried again"] += 1
            else:
                _fail_file(context, result, queued, f"cannot be read: {failure}")
        else:
            taken_before = writer.row_count
            rejections = _read_file(context, queued, content, writer)
            result.rejections += rejections
            if rejections and writer.row_count == taken_before:
                result.failures[file_key(queued.name)] = rejections[0].reason
    result.rows_read = writer.row_count + len(result.rejections)
    result.parts = writer.flush()
    return result


def _fail_file(context: ExtractContext, result: _Reading, queued: QueuedFile, reason: str) -> None:
    result.failures[file_key(queued.name)] = reason
    result.rejections.append(Rejection(NAME, safe_name(context, queued.name), 0, reason))


def _consume(
    context: ExtractContext, queue: HookQueue, claim: Claim, reading: _Reading, known: set[str], tally: Tally
) -> None:
    """Commit what a claim brought, and only then let go of its files. `known` are claims the lake remembers."""
    forgotten = _forgotten(queue, known)
    _guard(
        queue,
        claim,
        lambda: tally.commit(
            context,
            source=NAME,
            dataset=DATASET,
            adds=reading.parts,
            rows_read=reading.rows_read,
            rejections=reading.rejections,
            state={claim.id: {"failures": reading.failures}, **forgotten},
        ),
    )
    known.difference_update(forgotten)
    known.add(claim.id)
    tally.unit_count += reading.file_count - reading.problems.total()
    tally.waiting_count += reading.problems.total()
    tally.file_problems.update(reading.problems)
    _finish(context, queue, claim, reading.failures)


def _finish(context: ExtractContext, queue: HookQueue, claim: Claim, failures: dict[str, str]) -> None:
    redact = None if context.settings.content == "full" else context.redactor.redact_bytes
    _guard(queue, claim, partial(queue.finish, claim, failures, redact=redact))


def _forgotten(queue: HookQueue, known: set[str]) -> State:
    """Claims of earlier commits whose folders are gone: nothing is left to be done about them."""
    return {key: None for key in known if not (queue.processing / key).is_dir()}


def _read_file(
    context: ExtractContext, queued: QueuedFile, content: bytes, writer: RecordWriter[HookPlace]
) -> list[Rejection]:
    """Hand the events of one file to the writer. Returns what was refused."""
    name = safe_name(context, queued.name)
    events, refusals = parse_file(content, file_name=queued.name, mtime_ns=check_time(queued.mtime_ns))
    add_events(writer, events, refusals, name=name, day=context.file_date(queued.mtime_ns))
    return [context.reject(refusal, source=NAME, file=name) for refusal in refusals]
