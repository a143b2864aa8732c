"""The lake: immutable Parquet by day, and the commits that say which of it counts.

    <data>/raw/<dataset>/date=<UTC day>/host=<host id>/<content hash>.parquet
    <data>/raw/_commits/<dataset>/<n>.json              creating it IS the commit
    <data>/dead_letter/<dataset>/<content hash>.jsonl   what was rejected, listed by the commit

A commit names the files it adds and removes, the row counts, and the source positions it consumed,
so there is no second state file that could disagree. The disk holds the files before they are named.
A crash between any two steps leaves files that no commit names; they are swept after a day, and the
work is done again. Nothing else in this package writes below `raw/` or `dead_letter/`. `log` holds
what a commit says, `upkeep` what keeps the lake small.

Delivery is at least once: a record may be read and committed twice (a crash before the commit, a
copied file, two sources). Reading is exactly once, because equal records have equal ids.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import socket
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from analytics.contracts import PAYLOAD, journal_datasets
from analytics.errors import AnalyticsError
from analytics.files import (
    explain_refusal,
    make_private_folder,
    open_private,
    sync,
    whole_or_not,
    write_private_file,
)
from analytics.lake.lock import hold_lock
from analytics.lake.log import LOG_FORMAT, Commit, Part, Rejection, Snapshot, State
from analytics.local_key import KEY_NAME, load_or_create_key

__all__ = ["Commit", "Lake", "Part", "Rejection", "Snapshot", "State", "new_run_id", "step"]

CHECKPOINT_EVERY = 32


def new_run_id() -> str:
    """A name that sorts by time: the UTC instant, to the microsecond so that no two runs share one."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")


def step(name: str) -> None:
    """A named point between two steps of input and output. Does nothing; fault tests replace it."""


class Lake:
    """Reads and writes the lake below one data folder.

    Safe for many readers. Writers of one host take `lock` first; writers of different hosts never
    touch each other's files and meet only at the commit number, where the later one takes the next.
    """

    def __init__(self, data_dir: Path, host_id: str = "") -> None:
        self.data_dir = data_dir
        self.raw_dir = data_dir / "raw"
        self.quarantine_dir = data_dir / "quarantine"
        self._host_id = host_id
        self._durable: set[str] = set()  # parts that the disk holds and no commit names yet

    @cached_property
    def key(self) -> bytes:
        """The folder's own random key, for tags of secrets and the name of the host; 0600."""
        return load_or_create_key(self.data_dir / KEY_NAME)

    @cached_property
    def host_id(self) -> str:
        """The chosen name of this machine, or a salted hash of its host name."""
        return self._host_id or hmac.new(self.key, socket.gethostname().encode(), hashlib.sha256).hexdigest()[:12]

    # ---- writing

    def write_part(self, table: pa.Table, dataset: str, record_date: date) -> Part:
        """Write one immutable file of rows of one day. It counts only once a commit names it.

        The name is the hash of the bytes, so writing the same table twice leaves one file.
        """
        # In memory first: hundreds of small writes, and reading the file again to hash it, cost more than the room.
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, table.schema, **_encoding(table.schema)) as writer:
            writer.write_table(table)
        content = sink.getvalue()
        unfinished = self._unfinished_path(".parquet")
        with whole_or_not(unfinished):
            with open_private(unfinished, "xb") as file:
                file.write(content)
            digest = hashlib.sha256(content).hexdigest()[:32]
            return self._name_part(unfinished, digest, table.num_rows, dataset, record_date)

    def write_merged_part(self, tables: Iterable[pa.Table], schema: pa.Schema, dataset: str, record_date: date) -> Part:
        """The same of many tables, one in memory at a time."""
        unfinished = self._unfinished_path(".parquet")
        row_count = 0
        with whole_or_not(unfinished):
            with open_private(unfinished, "xb") as sink, pq.ParquetWriter(sink, schema, **_encoding(schema)) as writer:
                for table in tables:
                    writer.write_table(table)
                    row_count += table.num_rows
            return self._name_part(unfinished, _hash_file(unfinished), row_count, dataset, record_date)

    def _name_part(self, unfinished: Path, digest: str, row_count: int, dataset: str, record_date: date) -> Part:
        step("part_written")
        folder = Path(dataset, f"date={record_date.isoformat()}", f"host={self.host_id}")
        make_private_folder(self.raw_dir / folder)
        byte_count = unfinished.stat().st_size
        path = folder / f"{digest}.parquet"
        unfinished.replace(self.raw_dir / path)
        step("part_renamed")
        return Part(path.as_posix(), record_date, row_count, byte_count)

    def make_durable(self, parts: Iterable[Part]) -> None:
        """Have the disk hold parts and their names.

        `commit` does so for what it adds. Done earlier, while workers read on, nobody waits for the disk.
        """
        for path in {part.path for part in parts} - self._durable:
            file = self.raw_dir / path
            with explain_refusal(file.parent):
                sync(file)
                sync(file.parent)
            self._durable.add(path)

    def _unfinished_path(self, suffix: str) -> Path:
        folder = self.raw_dir / "_unfinished"
        make_private_folder(folder)
        return folder / f"{uuid.uuid4().hex}{suffix}"

    def write_dead_letter(self, dataset: str, rejections: Sequence[Rejection]) -> str | None:
        """Keep what was refused, one JSON object a line. Returns its path below the data folder, or None."""
        if not rejections:
            return None
        content = b"".join(orjson.dumps(entry.as_json()) + b"\n" for entry in rejections)
        folder = self.data_dir / "dead_letter" / dataset
        make_private_folder(folder)
        path = folder / f"{hashlib.sha256(content).hexdigest()[:32]}.jsonl"
        write_private_file(path, content)
        return path.relative_to(self.data_dir).as_posix()

    def commit(
        self,
        *,
        source: str,
        dataset: str,
        run_id: str,
        kind: str = "extract",
        adds: Iterable[Part] = (),
        removes: Iterable[str] = (),
        rows_read: int = 0,
        rejections: Sequence[Rejection] = (),
        state: State | None = None,
    ) -> Commit:
        """Make the parts count and the source positions durable, in one atomic step.

        Raises ValueError when rows read are not rows loaded plus rows rejected: that is a bug in a
        source, and nothing is committed.
        """
        parts = tuple(adds)
        rows_loaded = sum(part.row_count for part in parts)
        rows_rejected = sum(entry.row_count for entry in rejections)
        if kind == "extract" and rows_read != rows_loaded + rows_rejected:
            raise ValueError(f"{source}: {rows_read} rows read, {rows_loaded} loaded, {rows_rejected} rejected")
        self.make_durable(parts)
        self._durable.difference_update(part.path for part in parts)
        step("parts_durable")
        dead_letter = self.write_dead_letter(dataset, rejections)
        step("dead_letter_written")
        folder = self._commit_folder(dataset)
        make_private_folder(folder)
        number = self.last_number(dataset)
        while True:
            number += 1
            commit = Commit(
                number=number,
                dataset=dataset,
                source=source,
                kind=kind,
                run_id=run_id,
                host_id=self.host_id,
                committed_at=datetime.now(UTC).isoformat(),
                adds=parts,
                removes=tuple(removes),
                rows_read=rows_read,
                rows_loaded=rows_loaded,
                rows_rejected=rows_rejected,
                dead_letter=dead_letter,
                state=state or {},
            )
            unfinished = self._unfinished_path(".json")
            try:
                write_private_file(unfinished, orjson.dumps(commit.as_json()))
                step("commit_written")
                os.link(unfinished, folder / _commit_name(number))
            except FileExistsError:
                continue
            finally:
                unfinished.unlink(missing_ok=True)
            sync(folder)
            step("committed")
            if number % CHECKPOINT_EVERY == 0:
                self._write_checkpoint(dataset)
            return commit

    def _write_checkpoint(self, dataset: str) -> None:
        """Fold the log into one file so that reading it stays fast. It repeats the log and may be deleted."""
        snapshot = self.snapshot(dataset)
        path = self._commit_folder(dataset) / f"{snapshot.number:010d}.checkpoint.json"
        write_private_file(path, orjson.dumps(snapshot.as_json()))
        for older in self._commit_folder(dataset).glob("*.checkpoint.json"):
            if older.name < path.name:
                older.unlink(missing_ok=True)

    # ---- reading

    def datasets(self) -> list[str]:
        """Datasets that have at least one commit."""
        folder = self.raw_dir / "_commits"
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []

    def input_datasets(self) -> list[str]:
        """Datasets with a commit, but those that runs write about themselves."""
        journals = journal_datasets()
        return [dataset for dataset in self.datasets() if dataset not in journals]

    def hosts(self) -> set[str]:
        """The hosts whose input the lake holds."""
        return {part.host_id for dataset in self.input_datasets() for part in self.snapshot(dataset).parts.values()}

    def iter_commits(self, dataset: str, *, after: int = 0) -> Iterator[Commit]:
        """The log in order, from the commit after the given number."""
        for number in self._numbers(dataset):
            if number > after:
                yield self._read_commit(dataset, number)

    def _read_commit(self, dataset: str, number: int) -> Commit:
        """One entry of the log. Raises AnalyticsError where it cannot be read: what it says is said nowhere else."""
        path = self._commit_folder(dataset) / _commit_name(number)
        content = path.read_bytes()
        try:
            entry = orjson.loads(content)
            if entry.get("log_format", LOG_FORMAT) > LOG_FORMAT:
                raise AnalyticsError(f"lake: {path} is of a later version of this program. Update this one.")
            return Commit.from_json(entry)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AnalyticsError(
                f"lake: {path} is damaged. Put it back from a copy of the data folder. Without one, move it away and "
                "run: what it named is read again, as far as its sources still exist."
            ) from error

    def commit_digest(self, dataset: str, number: int) -> str | None:
        """A hash that tells a commit from the one of its number in another log. None where there is no such commit."""
        try:
            content = (self._commit_folder(dataset) / _commit_name(number)).read_bytes()
        except FileNotFoundError:
            return None
        return hashlib.sha256(content).hexdigest()

    def snapshot(self, dataset: str) -> Snapshot:
        """The log folded: the files that count and the positions of every source."""
        checkpoints = sorted(self._commit_folder(dataset).glob("*.checkpoint.json"))
        snapshot = Snapshot()
        if checkpoints:
            with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
                snapshot = Snapshot.from_json(orjson.loads(checkpoints[-1].read_bytes()))
        for commit in self.iter_commits(dataset, after=snapshot.number):
            snapshot.apply(commit)
        return snapshot

    def read_state(self, *, source: str, dataset: str) -> State:
        """The positions that a source has durably consumed, by its own keys."""
        return self.snapshot(dataset).states.get(source, {})

    def part_file(self, path: str) -> Path:
        """Where a part's relative path lies."""
        return self.raw_dir / path

    def is_part_intact(self, path: str) -> bool:
        """Whether a part's bytes are still those it was named after.

        A file that cannot be read now (rights, a failing disk) raises OSError: it may be whole.
        """
        try:
            return _hash_file(self.part_file(path)) == Path(path).stem
        except FileNotFoundError:
            return False

    def _commit_folder(self, dataset: str) -> Path:
        return self.raw_dir / "_commits" / dataset

    def _numbers(self, dataset: str) -> list[int]:
        try:
            names = os.listdir(self._commit_folder(dataset))
        except FileNotFoundError:
            return []
        return sorted(int(name[:10]) for name in names if name.endswith(".json") and name[:-5].isdigit())

    def last_number(self, dataset: str) -> int:
        """The number of the newest commit; 0 before the first."""
        return max(self._numbers(dataset), default=0)

    def lock(self, *, wait_s: float = 0.0) -> AbstractContextManager[None]:
        """Be the one writer of this data folder. Raises LockHeld when it is not free within `wait_s` seconds."""
        return hold_lock(self.data_dir, wait_s=wait_s)


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _commit_name(number: int) -> str:
    return f"{number:010d}.json"


def _encoding(schema: pa.Schema) -> dict[str, Any]:
    """How parts are encoded: content small, columns fast, no dictionary where nothing repeats."""
    unique = {PAYLOAD, "record_id", "source_record_id", "line_uuid", "message_id", "request_id", "prompt_text"}
    return {
        "compression": {
            path: "zstd" if path == PAYLOAD else "lz4"
            for field in schema
            for path in _column_paths(field.name, field.type)
        },
        "compression_level": {PAYLOAD: 1},
        "use_dictionary": [
            entry.name for entry in schema if pa.types.is_string(entry.type) and entry.name not in unique
        ],
        "write_statistics": ["record_date", "occurred_at"],
        "store_schema": False,
    }


def _column_paths(path: str, kind: pa.DataType) -> Iterator[str]:
    """Parquet's own columns, which are the leaves of an Arrow column: `blocks.list.element.tool_name`."""
    if pa.types.is_list(kind):
        yield from _column_paths(f"{path}.list.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _column_paths(f"{path}.{field.name}", field.type)
    else:
        yield path
