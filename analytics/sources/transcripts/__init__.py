"""Source `transcripts`: the JSONL files that Claude Code writes below its projects folder."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import closing
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from analytics.config import Settings
from analytics.errors import ContractViolation, SourceUnavailable, reason_of
from analytics.files import is_folder
from analytics.lake import Part, Rejection, State
from analytics.records import MICROSECONDS_A_DAY, Refusal, Row, parse_instant, parse_object
from analytics.records.conversations import flatten_agent_meta, flatten_line
from analytics.records.lines import open_lines
from analytics.records.spelling import spell
from analytics.records.writer import Place, RecordWriter, split_evenly
from analytics.sources import ExtractContext, ExtractResult, Source, Tally
from analytics.sources.transcripts.discovery import (
    META_SUFFIX,
    Task,
    TranscriptFile,
    find_files,
    has_files,
    plan_tasks,
    transcript_roots,
)
from analytics.sources.transcripts.reader import FileReader
from analytics.workers import open_pool

NAME = "transcripts"
DATASET = "conversations"

UNIT_BYTES = 16 << 20
COMMIT_BYTES = 256 << 20
INLINE_BYTES = 4 << 20
HEAD_BYTES = 16 << 10
_TIMESTAMP = re.compile(rb'"timestamp":\s*"([0-9T:.Z+-]{1,40})"')


@dataclass
class UnitResult:
    """What reading some files brought: parts on disk, not committed yet, and the positions reached."""

    parts: list[Part] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    state: State = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    rows_read: int = 0
    byte_count: int = 0
    waiting_count: int = 0

    def merge(self, other: UnitResult) -> None:
        """Add another unit's result to this one."""
        for entry in fields(self):
            mine, theirs = getattr(self, entry.name), getattr(other, entry.name)
            setattr(self, entry.name, mine | theirs if isinstance(mine, dict) else mine + theirs)


def is_enabled(settings: Settings) -> bool:
    """Whether folders are named, or there is a transcript in Claude Code's own."""
    return bool(settings.transcript_dirs) or has_files(transcript_roots(settings))


def extract(context: ExtractContext) -> ExtractResult:
    """Read what is new in every transcript into the lake, and commit it with the positions reached.

    Commits after about every `COMMIT_BYTES` of input, so that an interrupted backfill goes on where
    it was. A configured folder that is missing is told; raises SourceUnavailable when there is no other.
    """
    tally = Tally()
    settings = context.settings
    roots = transcript_roots(settings)
    if roots and not any(is_folder(root, otherwise=True) for root in roots):
        raise SourceUnavailable(
            f"transcripts: {context.written_name(str(roots[0]))} is missing. "
            "Set ANALYTICS_TRANSCRIPT_DIRS or run with --select another source."
        )
    problems: list[str] = []
    files = find_files(roots, problems)
    state = context.lake.read_state(source=NAME, dataset=DATASET)
    is_from_start = context.is_full_backfill or context.has_window
    tasks = plan_tasks(files, state, is_from_start=is_from_start)
    tally.problems += [context.written_name(problem) for problem in problems]
    named = roots if settings.transcript_dirs else ()
    tally.nothing_found = [context.written_name(str(root)) for root in named if not has_files([root])]
    tally.unit_count = len(tasks)
    pending = UnitResult()

    def commit() -> None:
        nonlocal pending
        tally.commit(
            context,
            source=NAME,
            dataset=DATASET,
            adds=pending.parts,
            rows_read=pending.rows_read,
            rejections=pending.rejections,
            state={} if context.has_window else {**pending.state, **_renamed(pending.state, tasks, files)},
        )
        tally.waiting_count += pending.waiting_count
        tally.problems += pending.problems
        pending = UnitResult()

    byte_count = sum(task.byte_count for task in tasks)
    done_bytes = 0
    if tasks and context.on_progress:
        context.on_progress(0, byte_count)
    with closing(_run_units(context, tasks, byte_count)) as units:  # so that no worker writes on after a failure
        for unit in units:
            pending.merge(unit)
            context.lake.make_durable(unit.parts)
            done_bytes += unit.byte_count
            if context.on_progress:
                context.on_progress(done_bytes, byte_count)
            if pending.byte_count >= COMMIT_BYTES:
                commit()
    commit()
    return tally.result(source=NAME, dataset=DATASET)


SOURCE = Source(name=NAME, dataset=DATASET, is_enabled=is_enabled, extract=extract)


def _renamed(reached: State, tasks: Iterable[Task], files: Iterable[TranscriptFile]) -> State:
    """Positions under names that are gone because the file now has another one: to be forgotten."""
    present = {file.key for file in files}
    former = {task.former_key for task in tasks if task.former_key and task.file.key in reached}
    return dict.fromkeys(former - present)


def _plan_units(tasks: list[Task]) -> list[list[Task]]:
    """The tasks in units of about the same size, the largest first so that all workers end together.

    Files that began on the same day share a unit, unless these are more than a unit: each day that a unit
    writes is a file.
    """
    if sum(task.byte_count for task in tasks) <= UNIT_BYTES:
        return [tasks] if tasks else []
    begun = sorted(((_first_instant(task), task) for task in tasks), key=itemgetter(0))
    by_day = groupby(begun, lambda entry: entry[0] // MICROSECONDS_A_DAY)
    pieces = [piece for _, day in by_day for piece in _split([[task] for _, task in day])]
    return sorted(_split(pieces), key=_byte_count, reverse=True)


def _split(pieces: list[list[Task]]) -> list[list[Task]]:
    """Pieces of work joined, in their order, to some of about the size of a unit."""
    cuts = split_evenly([_byte_count(piece) for piece in pieces], UNIT_BYTES)
    return [[task for index in cut for task in pieces[index]] for cut in cuts]


def _byte_count(tasks: Iterable[Task]) -> int:
    return sum(task.byte_count for task in tasks)


def _run_units(context: ExtractContext, tasks: list[Task], byte_count: int) -> Generator[UnitResult, None, None]:
    """Read the tasks in units, here when there is little to do, else on every core."""
    if byte_count <= INLINE_BYTES or context.settings.workers == 1:
        for unit in _plan_units(tasks):
            yield read_unit(context, unit)
        return
    worker_context = context.for_worker()
    with open_pool(NAME, context.settings.workers) as pool:
        for _ in range(context.settings.workers):
            pool.submit(_warm_up, worker_context)  # which takes as long as to look into all files for the plan
        waiting = iter(_plan_units(tasks))
        running = {
            pool.submit(read_unit, worker_context, unit) for unit in islice(waiting, context.settings.workers * 2)
        }
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                running |= {pool.submit(read_unit, worker_context, unit) for unit in islice(waiting, 1)}
                yield future.result()


def _warm_up(context: ExtractContext) -> None:
    """Have a worker import what it needs, and compile the rules."""
    context.redactor.find_spans(b"")


def _first_instant(task: Task) -> int:
    """The first instant near where reading starts; the file's time where there is none."""
    try:
        with task.file.path.open("rb") as opened:
            opened.seek(task.offset)
            head = opened.read(HEAD_BYTES)
    except OSError:
        return 0
    match = _TIMESTAMP.search(head)
    instant = parse_instant(match[1].decode()) if match else None
    return task.file.mtime_ns // 1_000 if instant is None else instant


def read_unit(context: ExtractContext, tasks: list[Task]) -> UnitResult:
    """Read some files into parts. Runs in a worker; what it returns counts once it is committed."""
    result = UnitResult()
    writer = context.writer(
        partial(_flatten, keep_text=context.settings.content != "metadata"), source=NAME, dataset=DATASET
    )
    for task in tasks:
        name = context.written_name(task.file.name)
        try:
            with open_lines(task.file.path) as opened:
                _read_file(context, task, opened, name, writer, result)
        except OSError as error:
            result.problems.append(f"{name}: {reason_of(error)}")
        result.byte_count += task.byte_count
    result.rows_read = writer.row_count + sum(rejection.row_count for rejection in result.rejections)
    result.parts = writer.flush()
    return result


def _flatten(record: dict[str, Any], place: Place, *, keep_text: bool) -> Row:
    if place.file.endswith(META_SUFFIX):
        return flatten_agent_meta(record, file=place.file)
    return flatten_line(record, keep_text=keep_text, file=place.file)


def _read_file(
    context: ExtractContext, task: Task, opened: Any, name: str, writer: RecordWriter[Place], result: UnitResult
) -> None:
    if task.file.is_meta:
        _read_meta(context, task, opened, name, writer, result)
        return
    reader = FileReader(task, opened, context.settings.max_line_mb << 20, context.file_date(task.file.mtime_ns))
    refusals, has_window = reader.refusals, context.has_window
    for record, position, day in reader:
        if has_window and not context.is_in_window(parse_instant(record.get("timestamp"))):
            continue
        try:
            writer.add(record, Place(name, position, day))
        except ContractViolation as violation:
            refusals.append(Refusal(position, str(violation), spell(record)))
    result.rejections += [context.reject(refusal, source=NAME, file=name) for refusal in refusals]
    if reader.foreign_reason is not None and reader.foreign_count:
        result.rejections.append(Rejection(NAME, name, task.offset, reader.foreign_reason, reader.foreign_count))
    result.waiting_count += reader.is_waiting
    result.state[task.file.key] = _position(
        task, name, reader.offset, reader.edges(), reader.last_at, reader.foreign_reason
    )


def _read_meta(
    context: ExtractContext, task: Task, opened: Any, name: str, writer: RecordWriter[Place], result: UnitResult
) -> None:
    """A subagent's meta file: one JSON object, rewritten whole. It has no instant, so its own day files it."""
    content = opened.read(context.settings.max_line_mb << 20)
    day = context.file_date(task.file.mtime_ns)
    try:
        record = parse_object(content)
        writer.add(record, Place(name, 0, day), identity={"file": task.file.name, "meta": record})
    except ContractViolation as violation:
        result.rejections.append(context.reject(Refusal(0, str(violation), content), source=NAME, file=name))
    result.state[task.file.key] = _position(task, name, 0, "", None, None)


def _position(
    task: Task, name: str, offset: int, edges: str, last_at: int | None, foreign_reason: str | None
) -> dict[str, Any]:
    position = {
        "name": name,
        "identity": task.file.identity,
        "size": task.file.size,
        "mtime_ns": task.file.mtime_ns,
        "offset": offset,
        "edges": edges,
        "last_at": last_at,
    }
    return position if foreign_reason is None else {**position, "refused": foreign_reason}
