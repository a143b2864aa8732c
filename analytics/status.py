"""What there is, how fresh it is, and what could not be priced or read: facts, never content.

Reads commits, file sizes and the published version only. It takes no lock and opens no warehouse, so
it answers while the pipeline runs, before the first run, and in well under a second.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analytics.capture.status import read_folder_status
from analytics.config import Settings
from analytics.errors import PublishError
from analytics.lake import Lake, Part
from analytics.lake.upkeep import quarantined_parts
from analytics.targets.snapshot import current_version, gold_tables, open_current, published_versions

if TYPE_CHECKING:
    import duckdb

Facts = dict[str, Any]
SHOWN_RUNS = 5
RUN_COLUMNS = ["_run_id", "stage_number", "stage", "result", "elapsed_ms"]


def read_status(settings: Settings) -> dict[str, Facts]:
    """Facts by section and name. A section that has nothing to tell yet is left out, `published` never is."""
    sections = {
        "runs": _run_facts(settings),
        "lake": _lake_facts(settings),
        "queue": _queue_facts(settings),
        "disk": _disk_facts(settings),
    }
    return {name: facts for name, facts in {**_read_published(settings), **sections}.items() if facts}


def _read_published(settings: Settings) -> dict[str, Facts]:
    if current_version(settings) is None:
        return {"published": {"run_id": "nothing yet, run `analytics run`"}}
    try:
        with open_current(settings) as connection:
            return _published_facts(settings, connection)
    except PublishError as error:
        return {"published": {"run_id": str(error)}}


def _published_facts(settings: Settings, connection: duckdb.DuckDBPyConnection) -> dict[str, Facts]:
    run_id, published_at = _rows(connection, "select run_id, published_at from published_snapshot")[0]
    facts: dict[str, Facts] = {
        "published": {
            "run_id": run_id,
            "published_at": _shown_at(published_at),
            "table_count": len(gold_tables(connection)),
            "version_count": len(published_versions(settings.published_dir)),
        }
    }
    # What a clock that is ahead wrote is newer than all the others and tells nothing of them.
    newest = _rows(
        connection,
        "select max(occurred_at) from fct_messages where occurred_at <= (select published_at from published_snapshot)",
    )
    if newest and newest[0][0] is not None:
        age = datetime.now(UTC) - newest[0][0].replace(tzinfo=UTC)
        facts["freshness"] = {
            "newest_message_at": _shown_at(newest[0][0]),
            "lag_hours": round(age.total_seconds() / 3600, 1),
        }
    quality = _rows(
        connection,
        "select usage_quality, count(*), sum(count(*)) over () from fct_api_requests group by 1 order by 2 desc, 1",
    )
    if quality:
        facts["usage"] = {"request_count": int(quality[0][2])}
        facts["usage"] |= {f"{name}_ratio": round(count / int(total), 4) for name, count, total in quality}
        if uncounted := count_uncounted(connection):
            facts["usage"]["uncounted_requests"] = uncounted
    unpriced = read_unpriced_models(connection)
    if unpriced:
        facts["unpriced"] = {
            f"{model} {unit}": value
            for model, request_count, token_count in unpriced
            for unit, value in (("requests", request_count), ("tokens", token_count))
        }
    return facts


def read_unpriced_models(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, int, int]]:
    """(model, requests, tokens) of the models that no price is known for, the largest first."""
    return _rows(
        connection,
        """
        select
            coalesce(dim_models.model_name, 'unknown'),
            count(*),
            cast(coalesce(sum(fct_api_requests.total_tokens), 0) as bigint)
        from fct_api_requests
        left join dim_models on fct_api_requests.model_key = dim_models.model_key
        where fct_api_requests.cost_status = 'unpriced' and input_tokens + output_tokens > 0
        group by 1
        order by 2 desc, 1
        """,
    )


def count_uncounted(connection: duckdb.DuckDBPyConnection) -> int:
    """Requests without a cost because nobody knows their tokens: no price would help."""
    rows = _rows(
        connection,
        "select count(*) from fct_api_requests where cost_status = 'unpriced' and input_tokens + output_tokens = 0",
    )
    return int(rows[0][0]) if rows else 0


def _rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Any]:
    """The rows of a query; none where the published version has no such table, as an older one may."""
    import duckdb

    try:
        return connection.execute(sql).fetchall()
    except duckdb.CatalogException:
        return []


def _lake_facts(settings: Settings) -> Facts:
    lake = Lake(settings.data_dir, settings.host_id)
    facts: Facts = {}
    for dataset in lake.datasets():
        snapshot = lake.snapshot(dataset)
        facts[f"{dataset}_rows"] = sum(part.row_count for part in snapshot.parts.values())
        facts[f"{dataset}_rejected"] = snapshot.rows_rejected
        facts[f"{dataset}_files"] = len(snapshot.parts)
        facts[f"{dataset}_bytes"] = sum(part.byte_count for part in snapshot.parts.values())
        for commit in lake.iter_commits(dataset, after=snapshot.number - 1):
            committed_at = datetime.fromisoformat(commit.committed_at)
            facts[f"{dataset}_last_commit"] = f"{commit.number} ({commit.kind}, {_shown_at(committed_at)})"
    if quarantined := quarantined_parts(lake):
        facts["quarantined_files"] = len(quarantined)
        facts["quarantined_rows"] = sum(part.row_count for part in quarantined)
    return facts


def _run_facts(settings: Settings) -> Facts:
    """The last runs that did something, newest first: what became of each stage, and how long it took."""
    facts: Facts = {}
    for run_id, stages in sorted(_read_last_runs(settings).items(), reverse=True)[:SHOWN_RUNS]:
        stages.sort(key=lambda stage: stage["stage_number"])
        seconds = sum(stage["elapsed_ms"] for stage in stages) / 1000
        failed = ", ".join(stage["stage"] for stage in stages if stage["result"] == "failed")
        facts[run_id] = f"{f'failed in {failed}' if failed else 'ok'}, {seconds:.1f} s"
    return facts


def _read_last_runs(settings: Settings) -> dict[str, list[Facts]]:
    """By run, the stages of at least those that are shown. A file may hold many runs, or a part of one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    lake = Lake(settings.data_dir, settings.host_id)
    runs: dict[str, list[Facts]] = {}
    parts = sorted(lake.snapshot("pipeline_runs").parts.values(), key=_day_of, reverse=True)
    for _, parts_of_day in groupby(parts, key=_day_of):
        if len(runs) > SHOWN_RUNS:  # the first of these may have begun the day before
            break
        for part in parts_of_day:
            # A prune may have deleted it a moment ago; what is damaged is the next run's to tell.
            with contextlib.suppress(FileNotFoundError, pa.ArrowInvalid):
                table = pq.ParquetFile(lake.part_file(part.path)).read(RUN_COLUMNS)
                for stage in table.to_pylist():
                    runs.setdefault(stage["_run_id"], []).append(stage)
    return runs


def _day_of(part: Part) -> date:
    return part.record_date


def _queue_facts(settings: Settings) -> Facts:
    queue, now = settings.data_dir / "queue", datetime.now(UTC)
    folders = {"waiting": "incoming", "claimed": "processing", "failed": "failed", "archived": "archive"}
    return {
        f"{name}_files": read_folder_status(queue / folder, now=now)[0].file_count
        for name, folder in folders.items()
        if (queue / folder).is_dir()
    }


def _disk_facts(settings: Settings) -> Facts:
    if not settings.data_dir.is_dir():
        return {}
    facts: Facts = {}
    for name in ("published", "dead_letter", "quarantine"):
        if (settings.data_dir / name).is_dir():
            facts[f"{name}_bytes"] = sum(map(_size_of, _iter_files(settings.data_dir / name)))
    if settings.warehouse_file.exists():
        facts["warehouse_bytes"] = _size_of(settings.warehouse_file)
    return {**facts, "free_bytes": shutil.disk_usage(settings.data_dir).free}


def _size_of(file: os.DirEntry[str] | Path) -> int:
    """A file's size; 0 once it is gone."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _iter_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Regular files below a folder, as far as they are still there."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _iter_files(Path(entry.path))
                elif entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                    yield entry
    except FileNotFoundError:
        return


def _shown_at(moment: datetime) -> str:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
