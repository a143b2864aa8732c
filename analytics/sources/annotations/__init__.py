"""Source `annotations`: what a person said with `analytics rate`, `tag` and `note`.

The verbs put one small file each into `<data>/annotations/`, so that they never wait for a run; the
next run commits what is there and only then deletes it. A run that dies in between leaves files that
are read again to the same ids. A file with something that was rejected stays beside them as `.rejected`:
the dead letter says why, and does not repeat what a person wrote.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from analytics.contracts.annotations import EVENT_TYPES
from analytics.errors import ContractViolation, reason_of
from analytics.files import make_private_folder, only_files, write_private_file
from analytics.lake import Lake, Rejection, step
from analytics.limits import RATINGS, TAG_LIMIT
from analytics.records import Refusal, Row, parse_count, parse_instant, parse_lines, split_lines
from analytics.records.writer import Place
from analytics.redactor import Redactor
from analytics.sample import SAMPLE_HOST, has_own_data
from analytics.sources import ExtractContext, ExtractResult, Source, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analytics.config import Settings
    from analytics.records.writer import RecordWriter

NAME = "annotations"
DATASET = "annotations"
FOLDER = "annotations"

NOT_AN_ANNOTATION = "no annotation"
REJECTED_SUFFIX = ".rejected"
_MAX_BYTES = 1 << 20


def is_enabled(settings: Settings) -> bool:
    """Whether annotations wait, and there are sessions of one's own, or the sample's, that they may be about.

    Annotations alone are no data of one's own: they must not take the place of the sample.
    """
    if not _find_files(settings.data_dir / FOLDER):
        return False
    return settings.host_id == SAMPLE_HOST or has_own_data(Lake(settings.data_dir, settings.host_id))


def extract(context: ExtractContext) -> ExtractResult:
    """Commit the annotations that wait, then delete their files, or put them aside."""
    return _read(context, _find_files(context.settings.data_dir / FOLDER), is_consumed=True)


def import_events(context: ExtractContext, path: Path) -> ExtractResult:
    """Bring annotations that were kept elsewhere into the lake: a file, or every .json and .jsonl file of a folder."""
    return _read(context, _find_files(path) if path.is_dir() else [path], is_consumed=False)


SOURCE = Source(name=NAME, dataset=DATASET, is_enabled=is_enabled, extract=extract, import_archive=import_events)


def write_events(settings: Settings, lake: Lake, events: Iterable[Row]) -> Path:
    """Put annotations down for the next run, under the content policy, and return their file.

    Whole and durable, or not at all; needs no lock.
    """
    at = datetime.now(UTC).isoformat()
    redactor = None if settings.content == "full" else Redactor.load(settings.secret_rules_file, lake.key)
    lines = []
    for event in events:
        record = {"id": uuid.uuid4().hex, "timestamp": at, **event}
        if isinstance(note := record.get("note"), str):
            record["note_char_count"] = len(note)
            if settings.content == "metadata":
                del record["note"]
        line = orjson.dumps(record)
        lines.append(line if redactor is None else redactor.redact_json(line))
    folder = settings.data_dir / FOLDER
    make_private_folder(folder)
    path = folder / f"{time.time_ns()}-{uuid.uuid4().hex[:16]}.jsonl"
    write_private_file(path, b"\n".join(lines) + b"\n")
    return path


def flatten_event(record: Row, place: Place) -> Row:  # noqa: ARG001 - what a writer calls
    """The typed columns of an annotation, absent ones left out."""
    note, count = record.get("note"), parse_count(record.get("note_char_count"))
    row = {
        "event_type": record["event_type"],
        "session_id": record["session_id"],
        "occurred_at": parse_instant(record.get("timestamp")),
        "rating": record.get("rating") if record["event_type"] == "rated" else None,
        "tag_name": record.get("tag") if record["event_type"].startswith("tag_") else None,
        "note_char_count": len(note) if count is None and isinstance(note, str) else count,
    }
    return {name: value for name, value in row.items() if value is not None}


def check_event(record: Any) -> None:
    """Raises ContractViolation for what is no annotation."""
    if not isinstance(record, dict) or record.get("event_type") not in EVENT_TYPES:
        raise ContractViolation(NOT_AN_ANNOTATION)
    session = record.get("session_id")
    if not isinstance(session, str) or not session:
        raise ContractViolation("no session id")
    if parse_instant(record.get("timestamp")) is None:
        raise ContractViolation("no time")
    rating, tag = record.get("rating"), record.get("tag")
    if record["event_type"] == "rated" and (isinstance(rating, bool) or rating not in RATINGS):
        raise ContractViolation("no rating from 1 to 5")
    if record["event_type"].startswith("tag_") and (not isinstance(tag, str) or not 0 < len(tag) <= TAG_LIMIT):
        raise ContractViolation("no tag")


def _find_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return only_files(
        path for path in folder.iterdir() if path.suffix in (".json", ".jsonl") and not path.name.startswith(".")
    )


def _read(context: ExtractContext, files: list[Path], *, is_consumed: bool) -> ExtractResult:
    tally = Tally()
    writer = context.writer(flatten_event, source=NAME, dataset=DATASET)
    rejections: list[Rejection] = []
    read: list[Path] = []
    refused_files: set[Path] = set()
    for path in files:
        try:
            if path.stat().st_size > _MAX_BYTES and is_consumed:
                tally.file_problems[f"larger than {_MAX_BYTES >> 20} MB"] += 1
                continue
            before = len(rejections)
            _read_file(context, writer, path, rejections)
            if len(rejections) > before:
                refused_files.add(path)
        except OSError as error:
            tally.file_problems[reason_of(error)] += 1
            continue
        read.append(path)
    tally.unit_count = len(read)
    tally.commit(
        context,
        source=NAME,
        dataset=DATASET,
        adds=writer.flush(),
        rows_read=writer.row_count + len(rejections),
        rejections=rejections,
    )
    if is_consumed:
        for path in read:
            step("annotation_deleted")
            if path in refused_files:
                _put_aside(path)
            else:
                path.unlink(missing_ok=True)
    return tally.result(source=NAME, dataset=DATASET)


def _put_aside(path: Path) -> None:
    target = path.with_name(path.name + REJECTED_SUFFIX)
    if target.exists():
        target = path.with_name(f"{path.stem}-{uuid.uuid4().hex}{path.suffix}{REJECTED_SUFFIX}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(target)


def _read_file(context: ExtractContext, writer: RecordWriter[Place], path: Path, rejections: list[Rejection]) -> None:
    day = context.extracted_at.date()  # which files none: each has an instant
    name = context.written_name(path.name)
    refusals: list[Refusal] = []
    for position, record in parse_lines(split_lines(path.read_bytes()), refusals):
        try:
            check_event(record)
            kept = record
            if context.settings.content == "metadata":
                kept = {key: value for key, value in record.items() if key != "note"}
            writer.add(kept, Place(name, position, day, source_record_id=context.written_id(record.get("id"))))
        except ContractViolation as violation:
            refusals.append(Refusal(position, str(violation)))
    # A person wrote it: a note in a dead letter would escape the content policy.
    rejections += [Rejection(NAME, name, refusal.position, refusal.reason) for refusal in refusals]
