"""The lake: immutable Parquet by day, and the commits that say which of it counts.

    <data>/raw/<dataset>/date=<UTC day>/host=<host id>/<content hash>.parquet
    <data>/raw/_commits/<dataset>/<n>.json              creating it IS the commit
    <data>/dead_letter/<dataset>/<content hash>.jsonl   what was rejected, listed by the commit

A commit names the files it adds and removes, the row counts, and the source positions it consumed,
so there is no second state file that could disagree. A crash between any two steps leaves files that
no commit names; they are swept after a day, and the work is done again. Nothing else in this
package writes below `raw/` or `dead_letter/`.

Delivery is at least once: a record may be read and committed twice (a crash before the commit, a
copied file, two sources). Reading is exactly once, because equal records have equal ids.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from analytics.contracts import PAYLOAD, journal_datasets, load_contract
from analytics.errors import LockHeld
from analytics.files import make_private_folder, open_private, sync, whole_or_not, write_private_file
from analytics.local_key import load_or_create_key

CHECKPOINT_EVERY = 32
ORPHAN_AGE_S = 86_400
COMPACT_AT_FILES = 8

State = dict[str, Any]


def new_run_id() -> str:
    """A name that sorts by time: the UTC instant, to the microsecond so that no two runs share one."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")


def step(name: str) -> None:
    """A named point between two steps of input and output. Does nothing; fault tests replace it."""


@dataclass(frozen=True)
class Part:
    """One committed or committable Parquet file. `path` is relative to `<data>/raw`."""

    path: str
    record_date: date
    row_count: int
    byte_count: int

    @property
    def host_id(self) -> str:
        return self.path.split("/host=", 1)[1].split("/", 1)[0]

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "date": self.record_date.isoformat(),
            "rows": self.row_count,
            "bytes": self.byte_count,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Part:
        return cls(entry["path"], date.fromisoformat(entry["date"]), entry["rows"], entry["bytes"])


@dataclass(frozen=True)
class Rejection:
    """Something that was read and refused: where it stands, why, and how many rows it was."""

    source: str
    file: str
    position: int
    reason: str
    row_count: int = 1
    content: str | None = None

    def as_json(self) -> dict[str, Any]:
        entry = {
            "source": self.source,
            "file": self.file,
            "position": self.position,
            "reason": self.reason,
            "row_count": self.row_count,
        }
        return entry if self.content is None else {**entry, "content": self.content}


@dataclass(frozen=True)
class Commit:
    """One entry of a dataset's log.

    `kind` is `extract`, `compact`, or why files were removed (`quarantine`, `sample`, `prune`); a
    `compact` alone leaves the rows as they were. `state` holds the source positions that changed, by
    key; a null forgets a position.
    """

    number: int
    dataset: str
    source: str
    kind: str
    run_id: str
    host_id: str
    committed_at: str
    adds: tuple[Part, ...]
    removes: tuple[str, ...]
    rows_read: int
    rows_loaded: int
    rows_rejected: int
    dead_letter: str | None
    state: State

    @property
    def changed_dates(self) -> set[date]:
        """The days whose rows this commit changed."""
        if self.kind == "compact":
            return set()
        return {part.record_date for part in self.adds} | {date_of_part(path) for path in self.removes}

    def as_json(self) -> dict[str, Any]:
        return {**self.__dict__, "adds": [part.as_json() for part in self.adds], "removes": list(self.removes)}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Commit:
        adds = tuple(Part.from_json(part) for part in entry["adds"])
        return cls(**{**entry, "adds": adds, "removes": tuple(entry["removes"])})


@dataclass
class Snapshot:
    """The log of one dataset folded up to `number`: the files that count, and each source's positions."""

    number: int = 0
    parts: dict[str, Part] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    rows_rejected: int = 0

    def apply(self, commit: Commit) -> None:
        self.number = commit.number
        self.parts.update({part.path: part for part in commit.adds})
        for path in commit.removes:
            self.parts.pop(path, None)
        state = self.states.setdefault(commit.source, {})
        for key, value in commit.state.items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        self.rows_rejected += commit.rows_rejected

    def as_json(self) -> dict[str, Any]:
        return {**self.__dict__, "parts": [part.as_json() for part in self.parts.values()]}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Snapshot:
        parts = {part["path"]: Part.from_json(part) for part in entry["parts"]}
        return cls(**{**entry, "parts": parts})


class Lake:
    """Reads and writes the lake below one data folder.

    Safe for many readers. Writers of one host take `lock` first; writers of different hosts never
    touch each other's files and meet only at the commit number, where the later one takes the next.
    """

    def __init__(self, data_dir: Path, host_id: str = "") -> None:
        self.data_dir = data_dir
        self.raw_dir = data_dir / "raw"
        self._host_id = host_id

    @cached_property
    def key(self) -> bytes:
        """The folder's own random key, for tags of secrets and the name of the host; 0600."""
        return load_or_create_key(self.data_dir / "local.key")

    @cached_property
    def host_id(self) -> str:
        """The chosen name of this machine, or a salted hash of its host name."""
        return self._host_id or hmac.new(self.key, socket.gethostname().encode(), hashlib.sha256).hexdigest()[:12]

    # ---- writing

    def write_part(self, table: pa.Table, dataset: str, record_date: date) -> Part:
        """Write one immutable file of rows of one day. It counts only once a commit names it.

        The name is the hash of the bytes, so writing the same table twice leaves one file.
        """
        folder = Path(dataset, f"date={record_date.isoformat()}", f"host={self.host_id}")
        make_private_folder(self.raw_dir / folder)
        unfinished = self._unfinished_path(".parquet")
        with whole_or_not(unfinished):
            with open_private(unfinished, "xb") as sink:
                pq.write_table(
                    table,
                    sink,
                    **_parquet_options(table.schema),
                )
                sink.flush()
                os.fsync(sink.fileno())
            return self._adopt_part(unfinished, folder, record_date, table.num_rows)

    def _adopt_part(self, unfinished: Path, folder: Path, record_date: date, row_count: int) -> Part:
        step("part_written")
        path = folder / f"{_hash_file(unfinished)}.parquet"
        byte_count = unfinished.stat().st_size
        unfinished.replace(self.raw_dir / path)
        sync(self.raw_dir / folder)
        step("part_renamed")
        return Part(path.as_posix(), record_date, row_count, byte_count)

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
        dataset: str,
        source: str,
        *,
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
                content = (self._commit_folder(dataset) / _commit_name(number)).read_bytes()
                yield Commit.from_json(orjson.loads(content))

    def snapshot(self, dataset: str) -> Snapshot:
        """The log folded: the files that count and the positions of every source."""
        checkpoints = sorted(self._commit_folder(dataset).glob("*.checkpoint.json"))
        snapshot = Snapshot()
        if checkpoints:
            with contextlib.suppress(FileNotFoundError, orjson.JSONDecodeError):
                snapshot = Snapshot.from_json(orjson.loads(checkpoints[-1].read_bytes()))
        for commit in self.iter_commits(dataset, after=snapshot.number):
            snapshot.apply(commit)
        return snapshot

    def read_state(self, dataset: str, source: str) -> State:
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

    # ---- upkeep

    def compact(self, dataset: str, *, run_id: str, before: date) -> Commit | None:
        """Merge the many small files of past days of this host into one file a day. Rows stay the same.

        Bounded in memory by a row group. The replaced files stay on disk until they are swept, so
        that a reader in the middle of one is not disturbed.
        """
        by_day: dict[date, list[Part]] = {}
        for part in self.snapshot(dataset).parts.values():
            if part.record_date < before and part.host_id == self.host_id:
                by_day.setdefault(part.record_date, []).append(part)
        # A damaged file keeps its day as it is: merged, it would get a name that vouches for it.
        crowded = {
            day: parts
            for day, parts in by_day.items()
            if len(parts) >= COMPACT_AT_FILES and all(self.is_part_intact(part.path) for part in parts)
        }
        if not crowded:
            return None
        merged = [self._merge(dataset, day, parts) for day, parts in sorted(crowded.items())]
        removes = [part.path for parts in crowded.values() for part in parts]
        return self.commit(dataset, "compaction", kind="compact", run_id=run_id, adds=merged, removes=removes)

    def compact_all(self, *, run_id: str, before: date) -> None:
        """Compact every dataset; see `compact`."""
        for dataset in self.datasets():
            self.compact(dataset, run_id=run_id, before=before)

    def _merge(self, dataset: str, day: date, parts: Sequence[Part]) -> Part:
        schema = load_contract(dataset).schema
        unfinished = self._unfinished_path(".parquet")
        row_count = 0
        with (
            whole_or_not(unfinished),
            open_private(unfinished, "xb") as sink,
            pq.ParquetWriter(
                sink,
                schema,
                **_parquet_options(schema),
            ) as writer,
        ):
            for part in sorted(parts, key=lambda entry: entry.path):
                with pq.ParquetFile(self.part_file(part.path)) as file:
                    for group in range(file.num_row_groups):
                        table = conform(file.read_row_group(group), schema)
                        writer.write_table(table)
                        row_count += table.num_rows
        sync(unfinished)
        return self._adopt_part(unfinished, Path(parts[0].path).parent, day, row_count)

    def remove_parts(
        self,
        dataset: str,
        paths: Iterable[str],
        *,
        run_id: str,
        kind: str,
        forget_positions: bool,
        keep_in: Path | None,
    ) -> list[Commit]:
        """Take files out of the lake: damaged ones, the sample's, or days past their retention.

        Args:
            dataset: Whose files.
            paths: Parts, as the snapshot names them.
            run_id: Run that removes them.
            kind: `quarantine`, `sample` or `prune`, as the log will say.
            forget_positions: Have the sources read again what the files held, where it still exists.
            keep_in: Folder that the files move to; None deletes them.
        """
        removed = set(paths)
        if not removed:
            return []
        # Positions go first: after a crash between the two, what is read twice is harmless.
        forgotten = self._positions_behind(dataset, removed) if forget_positions else {}
        commits = [
            self.commit(dataset, source, kind=kind, run_id=run_id, state=dict.fromkeys(sorted(keys)))
            for source, keys in sorted(forgotten.items())
        ]
        commits.append(self.commit(dataset, kind, kind=kind, run_id=run_id, removes=sorted(removed)))
        for path in removed:
            with contextlib.suppress(FileNotFoundError):
                if keep_in is None:
                    self.part_file(path).unlink()
                else:
                    make_private_folder(keep_in)
                    self.part_file(path).replace(keep_in / path.replace("/", "_"))
        return commits

    def _positions_behind(self, dataset: str, removed: AbstractSet[str]) -> dict[str, set[str]]:
        """By source, the keys of the positions that were reached when these files were written, or later.

        A compacted file stands for the files it replaced. A position that took over from such a key,
        because its file was renamed, goes too: it says "read" for the same bytes.
        """
        commits = list(self.iter_commits(dataset))
        meant = set(removed)
        for commit in reversed(commits):
            if commit.kind == "compact" and any(part.path in meant for part in commit.adds):
                days = {part.record_date for part in commit.adds if part.path in meant}
                meant.update(path for path in commit.removes if date_of_part(path) in days)
        found: dict[str, set[str]] = {}
        for commit in commits:
            keys = found.get(commit.source, set())
            took_over = any(value is None and key in keys for key, value in commit.state.items())
            if took_over or any(part.path in meant for part in commit.adds):
                found.setdefault(commit.source, set()).update(commit.state)
        found.pop("compaction", None)
        return found

    def sweep_orphans(self, *, now: float | None = None, is_dry_run: bool = False) -> int:
        """Delete files that no commit names and that are older than a day. Returns how many."""
        limit = (time.time() if now is None else now) - ORPHAN_AGE_S
        committed = {f"raw/{path}" for dataset in self.datasets() for path in self.snapshot(dataset).parts}
        committed |= {
            commit.dead_letter
            for dataset in self.datasets()
            for commit in self.iter_commits(dataset)
            if commit.dead_letter is not None
        }
        patterns = (
            "raw/*/date=*/host=*/*.parquet",
            "raw/_unfinished/*",
            "raw/_unfinished/.*",
            "raw/_commits/*/.*",
            "dead_letter/*/*.jsonl",
            "dead_letter/*/.*",
        )
        candidates = {file for pattern in patterns for file in self.data_dir.glob(pattern)}
        swept = 0
        for file in candidates:
            with contextlib.suppress(FileNotFoundError):
                if file.relative_to(self.data_dir).as_posix() not in committed and file.stat().st_mtime < limit:
                    swept += 1
                    if not is_dry_run:
                        file.unlink()
        return swept

    @contextlib.contextmanager
    def lock(self, *, wait_s: float = 0.0) -> Iterator[None]:
        """Be the one writer of this data folder. The kernel frees it when the process ends, however it ends.

        Raises LockHeld, with the holder's process id, when it is not free within `wait_s` seconds.
        """
        make_private_folder(self.data_dir)
        path = self.data_dir / "run.lock"
        with open_private(path, "a+") as file:
            deadline = time.monotonic() + wait_s
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= deadline:
                        file.seek(0)
                        holder = file.read(40).strip() or "another process"
                        raise LockHeld(
                            f"lock: {holder} is running the pipeline in {self.data_dir}. Wait for it, or stop it."
                        ) from error
                    time.sleep(0.1)
            file.seek(0)
            file.truncate()
            file.write(f"process {os.getpid()}")
            file.flush()
            yield


def date_of_part(path: str) -> date:
    """The day a part belongs to, from its path."""
    return date.fromisoformat(path.split("/date=", 1)[1][:10])


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the schema's columns: missing ones null, unknown ones dropped, types cast."""
    columns = [
        table[name].cast(kind) if name in table.column_names else pa.nulls(table.num_rows, kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return pa.table(columns, schema=schema)


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _commit_name(number: int) -> str:
    return f"{number:010d}.json"


def _parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """How parts are encoded: content small, columns fast, no dictionary where nothing repeats."""
    unique = {PAYLOAD, "record_id", "source_record_id", "line_uuid", "message_id", "request_id", "prompt_text"}
    return {
        "compression": {name: "zstd" if name == PAYLOAD else "lz4" for name in schema.names},
        "compression_level": {PAYLOAD: 1},
        "use_dictionary": [
            entry.name for entry in schema if pa.types.is_string(entry.type) and entry.name not in unique
        ],
        "write_statistics": ["record_date", "occurred_at"],
        "store_schema": False,
    }
