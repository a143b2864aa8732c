"""What keeps the lake small and sound: merging small files, removing files, sweeping what no commit names."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.contracts import load_contract
from analytics.files import make_private_folder
from analytics.lake import Commit, Lake, Part, step
from analytics.lake.log import date_of_part

ORPHAN_AGE_S = 86_400
COMPACT_AT_FILES = 8


def compact(lake: Lake, dataset: str, *, run_id: str, before: date) -> Commit | None:
    """Merge the many small files of past days of this host into one file a day. Rows stay the same.

    Bounded in memory by a row group. The replaced files stay on disk for a day from now, until they are swept, so
    that a reader in the middle of one is not disturbed.
    """
    by_day: dict[date, list[Part]] = {}
    for part in lake.snapshot(dataset).parts.values():
        if part.record_date < before and part.host_id == lake.host_id:
            by_day.setdefault(part.record_date, []).append(part)
    # A damaged file keeps its day as it is: merged, it would get a name that vouches for it.
    crowded = {
        day: parts
        for day, parts in by_day.items()
        if len(parts) >= COMPACT_AT_FILES and all(lake.is_part_intact(part.path) for part in parts)
    }
    if not crowded:
        return None
    schema = load_contract(dataset).schema
    merged = [
        lake.write_merged_part(_iter_tables(lake, parts, schema), schema, dataset, day)
        for day, parts in sorted(crowded.items())
    ]
    removes = [part.path for parts in crowded.values() for part in parts]
    commit = lake.commit(
        source="compaction", dataset=dataset, kind="compact", run_id=run_id, adds=merged, removes=removes
    )
    for path in removes:
        with contextlib.suppress(FileNotFoundError):
            os.utime(lake.part_file(path))
    return commit


def compact_all(lake: Lake, *, run_id: str, before: date) -> list[Commit]:
    """Compact every dataset; see `compact`."""
    commits = [compact(lake, dataset, run_id=run_id, before=before) for dataset in lake.datasets()]
    return [commit for commit in commits if commit is not None]


def _iter_tables(lake: Lake, parts: Sequence[Part], schema: pa.Schema) -> Iterator[pa.Table]:
    for part in sorted(parts, key=lambda entry: entry.path):
        with pq.ParquetFile(lake.part_file(part.path)) as file:
            for group in range(file.num_row_groups):
                yield _conform(file.read_row_group(group), schema)


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the schema's columns: missing ones null, unknown ones dropped, types cast."""
    columns = [
        table[name].cast(kind) if name in table.column_names else pa.nulls(table.num_rows, kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    return pa.table(columns, schema=schema)


def remove_parts(
    lake: Lake,
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
        lake: Where they are.
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
    forgotten = _positions_behind(lake, dataset, removed) if forget_positions else {}
    commits = [
        lake.commit(source=source, dataset=dataset, kind=kind, run_id=run_id, state=dict.fromkeys(sorted(keys)))
        for source, keys in sorted(forgotten.items())
    ]
    commits.append(lake.commit(source=kind, dataset=dataset, kind=kind, run_id=run_id, removes=sorted(removed)))
    step("removal_committed")
    for path in removed:
        with contextlib.suppress(FileNotFoundError):
            if keep_in is None:
                lake.part_file(path).unlink()
            else:
                make_private_folder(keep_in)
                lake.part_file(path).replace(keep_in / _name_kept(path))
    return commits


def _name_kept(path: str) -> str:
    return path.replace("/", "_")


def quarantined_parts(lake: Lake) -> list[Part]:
    """The damaged parts that lie in quarantine, as the log knew them while they counted."""
    kept = {file.name for file in lake.quarantine_dir.glob("*.parquet")}
    return [
        part
        for dataset in (lake.datasets() if kept else ())
        for commit in lake.iter_commits(dataset)
        for part in commit.adds
        if _name_kept(part.path) in kept
    ]


def _positions_behind(lake: Lake, dataset: str, removed: AbstractSet[str]) -> dict[str, set[str]]:
    """By source, the keys of the positions that were reached when these files were written, or later.

    A compacted file stands for the files it replaced. A position that took over from such a key,
    because its file was renamed, goes too: it says "read" for the same bytes.
    """
    commits = list(lake.iter_commits(dataset))
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


def sweep_orphans(
    lake: Lake, *, now: float | None = None, before: Mapping[str, date] | None = None, is_dry_run: bool = False
) -> int:
    """Delete files that count no more and that are older than a day. Returns how many.

    What a commit has replaced or removed of the days before a dataset's date goes at any age: it holds what is to be
    gone for good. Other young files may be somebody's who is about to commit them.
    """
    limit = (time.time() if now is None else now) - ORPHAN_AGE_S
    committed = {f"raw/{path}" for dataset in lake.datasets() for path in lake.snapshot(dataset).parts}
    patterns = (
        "raw/*/date=*/host=*/*.parquet",
        "raw/_unfinished/*",
        "raw/_unfinished/.*",
        "raw/_commits/*/.*",
        "dead_letter/*/*.jsonl",
        "dead_letter/*/.*",
    )
    files = {file.relative_to(lake.data_dir).as_posix(): file for name in patterns for file in lake.data_dir.glob(name)}
    candidates = {name: file for name, file in files.items() if name not in committed}
    replaced: set[str] = set()
    if before or any(name.startswith("dead_letter/") for name in candidates):
        for commit in (commit for dataset in lake.datasets() for commit in lake.iter_commits(dataset)):
            if commit.dead_letter is not None:
                candidates.pop(commit.dead_letter, None)
            if before and (first := before.get(commit.dataset)):
                replaced.update(f"raw/{path}" for path in commit.removes if date_of_part(path) < first)
    swept = 0
    for name, file in candidates.items():
        with contextlib.suppress(FileNotFoundError):
            if name in replaced or file.stat().st_mtime < limit:
                swept += 1
                if not is_dry_run:
                    file.unlink()
    return swept


def sweep_failed_run(lake: Lake, run_id: str) -> int:
    """Delete what a run wrote and no commit names, once its extraction has failed. Returns how many files.

    The next run writes the same again under other names, for which a full disk has no room. Young files of others stay:
    a listener's wait for the lock.
    """
    committed = {lake.part_file(path) for dataset in lake.datasets() for path in lake.snapshot(dataset).parts}
    written = lake.raw_dir.glob("*/date=*/host=*/*.parquet")
    left = [file for file in written if file not in committed and _run_of_part(file) == run_id]
    for file in left:
        file.unlink(missing_ok=True)
    return len(left)


def _run_of_part(file: Path) -> str | None:
    """The run that wrote a part's first row; None where that cannot be read."""
    try:
        with pq.ParquetFile(file) as part:
            run_ids = part.read_row_group(0, ["_run_id"])["_run_id"]
    except (OSError, pa.ArrowException):
        return None
    return run_ids[0].as_py() if len(run_ids) else None


def is_sweep_due(lake: Lake) -> bool:
    """Whether no run has swept this data folder on this UTC day: looking through a large lake takes its time."""
    try:
        swept_at = _sweep_mark(lake).stat().st_mtime
    except FileNotFoundError:
        return True
    return datetime.fromtimestamp(swept_at, UTC).date() != datetime.now(UTC).date()


def sweep_for_today(lake: Lake) -> None:
    """`sweep_orphans`, and remember the day."""
    sweep_orphans(lake)
    mark = _sweep_mark(lake)
    make_private_folder(mark.parent)
    mark.touch(mode=0o600)


def _sweep_mark(lake: Lake) -> Path:
    return lake.data_dir / "cache" / "swept"
