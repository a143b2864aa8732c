"""Source `plans`: what happened to the plans of the projects that transcripts name.

A plan's `manifest.jsonl` is rewritten in place, so its history is what runs saw of it: the state of
each manifest is kept with the commit, and the next run turns the difference into events. Projects are
those published last (the first run knows none) and those below `ANALYTICS_PLAN_DIRS`, where alone one is
found whose path was redacted before it was published. A project may also keep an archive of events,
`plan-events.jsonl`.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.errors import ContractViolation, reason_of
from analytics.files import is_folder, list_files, only_files, shown_name
from analytics.lake import Rejection, State
from analytics.records import EPOCH, Refusal, canonical_json, parse_instant, plausible_instant, record_id
from analytics.records.spelling import spell
from analytics.sources import ExtractContext, ExtractResult, Source, Tally, refile
from analytics.sources.plans.archive import (
    ArchiveParser,
    PlanEvent,
    PlanEventPlace,
    flatten_event,
    identity_of,
    is_array,
)
from analytics.sources.plans.manifest import ACTIVE, COMPLETE, PlanPlace, diff_plan, hide_ids, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from analytics.config import Settings
    from analytics.records.writer import RecordWriter

    PlanEventWriter = RecordWriter[PlanEventPlace]

NAME = "plans"
DATASET = "plan_events"

MANIFEST = "manifest.jsonl"
ARCHIVE = "plan-events.jsonl"
_OWN_ARCHIVES = (ARCHIVE, f"dev/{ARCHIVE}", f".claude/{ARCHIVE}")
MAX_BYTES = 64 << 20
# A manifest that does not parse is taken for half-written this long after it changed.
SETTLE_S = 60
_WALK_DEPTH = 6
_SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__", "venv", "site-packages", "target", "vendor"})


@dataclass
class _Found:
    """The files of all projects: of each plan the manifest that counts, and the archives with their project."""

    manifests: list[tuple[PlanPlace, Path]] = field(default_factory=list)
    archives: list[tuple[Path, Path]] = field(default_factory=list)


@dataclass
class _Reading:
    """What was read and is not committed yet."""

    state: State = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


def is_enabled(settings: Settings) -> bool:
    """Whether there is anything to read, or a folder was named to read from."""
    if settings.plan_dirs:
        return True
    found = find_files(settings)
    return bool(found.manifests or found.archives)


def extract(context: ExtractContext) -> ExtractResult:
    """Turn what changed in manifests since the last run, and what archives have gained, into events.

    Events and states are one commit. A full backfill reads archives again, a window nothing else: what
    manifests said in the past is not to be had a second time.
    """
    reading = _Reading()
    writer = context.writer(flatten_event, source=NAME, dataset=DATASET)
    filed = context.lake.read_state(source=NAME, dataset=DATASET)
    mended = {key: hide_ids(position) for key, position in filed.items() if _is_path(key) and "features" in position}
    known, moved = refile(filed | mended, _is_path, context.lake.host_id)
    if not context.has_window:
        reading.state.update(moved)
    found = find_files(context.settings)
    if not found.manifests and not found.archives:
        reading.tally.nothing_found = [context.written_name(str(folder)) for folder in context.settings.plan_dirs]
    for place, path in () if context.has_window else found.manifests:
        _read_manifest(context, writer, reading, place, path, known)
    for project, path in found.archives:
        is_again = context.is_full_backfill or context.has_window
        _read_archive(context, writer, reading, path, project=project, known={} if is_again else known)
    return _commit(context, writer, reading)


def import_events(context: ExtractContext, path: Path) -> ExtractResult:
    """Bring archives of plan events into the lake: a file, or every .jsonl file below a folder but manifests."""
    reading = _Reading()
    writer = context.writer(flatten_event, source=NAME, dataset=DATASET)
    files = [path]
    if path.is_dir():
        found = list_files(path, reading.tally.file_problems)
        files = [file for file in found if file.suffix == ".jsonl" and file.name != MANIFEST]
    for file in files:
        _read_archive(context, writer, reading, file, project=None, known={})
    reading.state.clear()
    return _commit(context, writer, reading)


SOURCE = Source(name=NAME, dataset=DATASET, is_enabled=is_enabled, extract=extract, import_archive=import_events)


def _commit(context: ExtractContext, writer: PlanEventWriter, reading: _Reading) -> ExtractResult:
    reading.tally.commit(
        context,
        source=NAME,
        dataset=DATASET,
        adds=writer.flush(),
        rows_read=writer.row_count + len(reading.rejections),
        rejections=reading.rejections,
        state=reading.state,
    )
    return reading.tally.result(source=NAME, dataset=DATASET)


# ---------------------------------------------------------------- where


def find_files(settings: Settings) -> _Found:
    """The manifests and archives of every known project, each once, whatever names lead to it.

    What lies in a project is the project's, although a folder with an archive would be a project by itself.
    """
    found = _Found()
    seen: set[str] = set()
    for project in _iter_projects(settings):
        real = os.path.realpath(project)
        if real in seen:
            continue
        seen.add(real)
        _find_in_project(project, found, seen)
    return found


def _iter_projects(settings: Settings) -> Iterator[Path]:
    for name in _published_projects(settings):
        if Path(name).is_absolute() and is_folder(Path(name) / "dev"):
            yield Path(name)
    for folder in settings.plan_dirs:
        yield from _walk(folder.absolute())


def _published_projects(settings: Settings) -> list[str]:
    """The projects that transcripts named by the last publish; none before the first."""
    try:
        file = pq.ParquetFile(settings.published_dir / "current" / "dim_projects.parquet")
        table = file.read(["project_path"])  # pq.read_table would import pandas, which takes longer than all the rest
    except (OSError, pa.ArrowException):
        return []
    return sorted(name for name in table["project_path"].to_pylist() if name)


def _walk(folder: Path) -> Iterator[Path]:
    """Every folder that holds plans or an archive, those above first, without links and the folders of tools."""
    base = len(folder.parts)
    for root, folders, _ in os.walk(folder):
        path = Path(root)
        has_plans = any(is_folder(path / "dev" / state) for state in (ACTIVE, COMPLETE))
        if has_plans or only_files(path / archive for archive in _OWN_ARCHIVES):
            yield path
        depth = len(path.parts) - base
        folders[:] = sorted(
            name
            for name in folders
            if depth < _WALK_DEPTH and not name.startswith(".") and name not in _SKIPPED_FOLDERS
        )


def _find_in_project(project: Path, found: _Found, seen: set[str]) -> None:
    manifests: dict[str, tuple[PlanPlace, Path]] = {}
    # A plan that is in both folders was taken up again under its name: the active one is its present.
    for stage in (COMPLETE, ACTIVE):
        for path in _glob(project, f"dev/{stage}/*/{MANIFEST}"):
            name = path.parent.name
            manifests[name] = (PlanPlace(shown_name(project.as_posix()), shown_name(name), stage), path)
    found.manifests += [manifests[name] for name in sorted(manifests)]
    patterns = (*_OWN_ARCHIVES, f"dev/{ACTIVE}/*/{ARCHIVE}", f"dev/{COMPLETE}/*/{ARCHIVE}")
    for path in [path for pattern in patterns for path in _glob(project, pattern)]:
        if (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            found.archives.append((project, path))


def _glob(project: Path, pattern: str) -> list[Path]:
    try:
        return only_files(project.glob(pattern))
    except OSError:
        return []


# ---------------------------------------------------------------- manifests


def _read_manifest(
    context: ExtractContext, writer: PlanEventWriter, reading: _Reading, place: PlanPlace, path: Path, positions: State
) -> None:
    read = _read_whole(reading, path)
    if read is None:
        return
    content, mtime_ns = read
    key, digest = _plan_key(context, path), _digest(content)
    known = positions.get(key)
    if known is not None and known["digest"] == digest and known["stage"] == place.stage:
        return
    manifest = parse_manifest(content)
    age_s = abs(context.extracted_at.timestamp() - mtime_ns / 1e9)
    if (manifest.refusals or not manifest.features) and age_s < SETTLE_S:
        reading.tally.waiting_count += 1
        return
    instant = plausible_instant(mtime_ns // 1_000)
    timestamp = None if instant is None else (EPOCH + timedelta(microseconds=instant)).isoformat()
    events, state = diff_plan(known, place, manifest, timestamp)
    file = context.written_name(f"{place.path}/{MANIFEST}")
    for event in events:
        _add(context, writer, reading, event, file=file, project=place.project, mtime_ns=mtime_ns)
    _reject(context, reading, file, manifest.refusals)
    reading.state[key] = {**state, "digest": digest}
    reading.tally.unit_count += 1


def _add(
    context: ExtractContext,
    writer: PlanEventWriter,
    reading: _Reading,
    event: dict[str, Any],
    *,
    file: str,
    project: str,
    mtime_ns: int,
) -> None:
    number, sequence = event.pop("number"), event.pop("sequence")
    identity = identity_of(event, project=project, number=number)
    record = {"id": record_id(canonical_json(identity)), "session_id": None, **event}
    place = PlanEventPlace(
        file,
        None,
        context.file_date(mtime_ns),
        source_record_id=None,
        detected_by="manifest",
        project=context.written_name(project),
        number=number,
        sequence=sequence,
    )
    try:
        writer.add(record, place, identity=identity)
    except ContractViolation as violation:
        _reject(context, reading, file, [Refusal(0, str(violation), spell(record))])


def _reject(context: ExtractContext, reading: _Reading, file: str, refusals: Iterable[Refusal]) -> None:
    reading.rejections += [context.reject(refusal, source=NAME, file=file) for refusal in refusals]


# ---------------------------------------------------------------- archives


def _read_archive(
    context: ExtractContext,
    writer: PlanEventWriter,
    reading: _Reading,
    path: Path,
    *,
    project: Path | None,
    known: State,
) -> None:
    """The events of an archive that were not read before. Events are numbered from the start of the file."""
    key = context.position_key(str(path))
    read = _read_whole(reading, path)
    if read is None:
        return
    content, mtime_ns = read
    is_whole = is_array(content)
    if not is_whole:
        whole = content.rfind(b"\n") + 1
        if project is not None and whole < len(content):
            reading.tally.waiting_count += 1  # a line being written
            content = content[:whole]
    done = 0
    if key in known and _digest(content[: known[key]["size"]]) == known[key]["digest"]:
        done = known[key]["size"]
        if done == len(content):
            return
    parser = ArchiveParser(None if project is None else shown_name(project.as_posix()))
    file = context.written_name(path.name if project is None else path.relative_to(project).as_posix())
    for event in parser.parse(content):
        is_new = event.position >= done or is_whole
        if is_new and context.is_in_window(parse_instant(event.record.get("timestamp"))):
            _add_archived(context, writer, reading, event, file=file, mtime_ns=mtime_ns)
    _reject(context, reading, file, (refusal for refusal in parser.refusals if refusal.position >= done))
    if not context.has_window:
        reading.state[key] = {"size": len(content), "digest": _digest(content)}
    reading.tally.unit_count += 1


def _add_archived(
    context: ExtractContext, writer: PlanEventWriter, reading: _Reading, event: PlanEvent, *, file: str, mtime_ns: int
) -> None:
    place = PlanEventPlace(
        file,
        event.position,
        context.file_date(mtime_ns),
        source_record_id=context.written_id(event.record.get("id")),
        detected_by="archive",
        project=None if event.project is None else context.written_name(event.project),
        number=event.number,
        sequence=event.sequence,
    )
    try:
        identity = identity_of(event.record, project=event.project, number=event.number)
        writer.add(event.record, place, identity=identity)
    except ContractViolation as violation:
        _reject(context, reading, file, [Refusal(event.position, str(violation), spell(event.record))])


def _is_path(key: str) -> bool:
    return "/" in key


def _plan_key(context: ExtractContext, manifest: Path) -> str:
    """What a plan is filed under, whether it is active or complete."""
    plan = manifest.parent
    return context.position_key(f"{plan.parents[2].as_posix()}/dev/*/{plan.name}")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _read_whole(reading: _Reading, path: Path) -> tuple[bytes, int] | None:
    """A file's bytes and its modification time; None, with a problem noted, where it cannot be read."""
    try:
        with path.open("rb") as opened:
            status = os.fstat(opened.fileno())
            if status.st_size > MAX_BYTES:
                reading.tally.file_problems[f"larger than {MAX_BYTES >> 20} MB"] += 1
                return None
            return opened.read(MAX_BYTES), status.st_mtime_ns
    except OSError as error:
        reading.tally.file_problems[reason_of(error)] += 1
        return None
