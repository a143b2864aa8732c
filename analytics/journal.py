"""What a run writes about itself: its stages and its checks, as two datasets of the lake.

They are records like any other, loaded and modelled with the others; but they never ask for a build.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa

import analytics
from analytics.checks.suites import CheckResult
from analytics.contracts import Contract, load_contract
from analytics.contracts.pipeline_runs import STAGES
from analytics.lake import Lake, State
from analytics.workers import peak_memory_bytes, reset_peak_memory

SOURCE = "pipeline"
RUNS = "pipeline_runs"
LAST_RUN = "last_run"  # the one position of this source


@dataclass
class StageRecord:
    """One stage of one run. The stage fills in what it counted."""

    stage: str
    started_at: datetime
    result: str = "ok"
    error_type: str | None = None
    row_count: int | None = None
    rejected_count: int | None = None
    unit_count: int | None = None
    failed_count: int = 0
    warning_count: int = 0
    elapsed_ms: int = 0
    peak_memory_bytes: int | None = None

    @property
    def has_failed(self) -> bool:
        return self.result == "failed"


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended: by stage that failed, the class of its failure. None where all went well."""

    run_id: str
    failures: dict[str, str | None]


@contextmanager
def record_stage(records: list[StageRecord], stage: str) -> Iterator[StageRecord]:
    """Time a stage and note how it ended. Entered again (a source each, another try), it adds up to one record."""
    record = next((entry for entry in records if entry.stage == stage), None)
    if record is None:
        record = StageRecord(stage, _now())
        records.append(record)
    record.result, record.error_type = "ok", None
    started = time.monotonic()
    reset_peak_memory()
    try:
        yield record
    except BaseException as error:
        record.result, record.error_type = "failed", type(error).__name__
        raise
    finally:
        record.elapsed_ms += round((time.monotonic() - started) * 1000)
        record.peak_memory_bytes = max(record.peak_memory_bytes or 0, peak_memory_bytes())


def write_records(
    lake: Lake,
    *,
    run_id: str,
    trigger: str,
    is_full_refresh: bool,
    stages: Sequence[StageRecord],
    checks: Sequence[CheckResult] = (),
) -> None:
    """Commit what a run did. Called under the lake's lock; twice with the same is once."""
    now = _now()
    versions = {
        "analytics_version": analytics.__version__,
        "python_version": platform.python_version(),
        "duckdb_version": _version("duckdb"),
        "dbt_version": _version("dbt-core"),
    }
    runs = [
        {
            **stage.__dict__,
            **versions,
            "occurred_at": stage.started_at,
            "source_record_id": stage.stage,
            "stage_number": STAGES.index(stage.stage) + 1,
            "trigger_name": trigger,
            "is_full_refresh": is_full_refresh,
        }
        for stage in stages
    ]
    audited_at = next((stage.started_at for stage in stages if stage.stage == "validate"), now)
    results = [
        {
            **check.__dict__,
            "occurred_at": audited_at,
            "source_record_id": check.qualified_name,
            "suite_name": check.suite,
            "check_name": check.name,
            "column_name": check.column,
        }
        for check in checks
    ]
    outcome = {LAST_RUN: asdict(_outcome(lake, run_id, stages))}
    for dataset, rows, state in ((RUNS, runs, outcome), ("check_results", results, None)):
        if rows:
            _commit_rows(lake, load_contract(dataset), rows, run_id=run_id, now=now, state=state)


def read_last_outcome(lake: Lake) -> RunOutcome | None:
    """How the last run ended that wrote about itself; one that was killed did not. None before the first."""
    state = lake.read_state(source=SOURCE, dataset=RUNS).get(LAST_RUN)
    return RunOutcome(**state) if state else None


def _outcome(lake: Lake, run_id: str, stages: Sequence[StageRecord]) -> RunOutcome:
    """How a run stands, of which these stages are all or those that were not told of before."""
    before = read_last_outcome(lake)
    failures = before.failures if before and before.run_id == run_id else {}
    return RunOutcome(run_id, {**failures, **{entry.stage: entry.error_type for entry in stages if entry.has_failed}})


def _commit_rows(
    lake: Lake, contract: Contract, rows: list[dict[str, Any]], *, run_id: str, now: datetime, state: State | None
) -> None:
    by_day: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        common = {
            "source": SOURCE,
            "record_id": _record_id(run_id, row["source_record_id"]),
            "record_date": row["occurred_at"].date(),
            "_extracted_at": now,
            "_run_id": run_id,
        }
        complete = {name: {**row, **common}.get(name) for name in contract.schema.names}
        by_day.setdefault(common["record_date"], []).append(complete)
    parts = [
        lake.write_part(pa.Table.from_pylist(entries, schema=contract.schema), contract.dataset, day)
        for day, entries in sorted(by_day.items())
    ]
    lake.commit(source=SOURCE, dataset=contract.dataset, run_id=run_id, adds=parts, rows_read=len(rows), state=state)


def _record_id(run_id: str, name: str) -> str:
    return hashlib.sha256(orjson.dumps([run_id, name])).hexdigest()[:32]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
