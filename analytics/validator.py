"""Stage 4, validate: Great Expectations at the two edges of dbt, before anything is published.

The suites are `great_expectations/expectations/*.json`, found by being there. A suite names the query
whose rows it checks (`meta.query`); the queries read `audit.scope`, the days built since the last audit
that passed, so that an audit costs what changed. Every check is pushed down to DuckDB and comes back as
a count: no row leaves the warehouse, and neither the report nor the log holds content.

Only this module writes schema `audit` of the warehouse.
"""

from __future__ import annotations

import html
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson

from analytics.config import PROJECT_DIR, Settings
from analytics.errors import ChecksFailed
from analytics.files import make_private_folder, shown_path, write_private_file
from analytics.lake import Lake
from analytics.loader import BuildPlan
from analytics.result import Result
from analytics.warehouse import open_warehouse

if TYPE_CHECKING:
    import duckdb

PROJECT = PROJECT_DIR / "great_expectations"
MEMORY_LIMIT = "200MB"
# `auto` leaves small increments to the dbt tests: importing Great Expectations alone takes seconds.
AUDIT_ROW_LIMIT = 10_000
AUDIT_AGE = timedelta(hours=1)
TRAILING_COMMITS = 200
_NAMESPACE = uuid.UUID("8f4c2a52-6f8e-4c55-9a7d-3f3a0f6a1d10")

Severity = Literal["severe", "warning"]


@dataclass(frozen=True)
class CheckResult(Result):
    """One expectation of one audit. `unexpected_count` counts rows (or groups), where there is something to count."""

    suite: str
    name: str
    expectation_type: str
    column: str | None
    severity: Severity
    is_success: bool
    unexpected_count: int | None
    checked_count: int | None
    error_type: str | None
    description: str
    advice: str

    @property
    def qualified_name(self) -> str:
        return f"{self.suite}.{self.name}"


@dataclass(frozen=True)
class ValidateResult(Result):
    """One audit. `skipped` says why none was made; `failed` and `warnings` name checks, never rows."""

    suite_count: int = 0
    check_count: int = 0
    failed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    date_count: int = 0
    elapsed_ms: int = 0
    report: str = ""
    report_file: Path | None = None
    skipped: str = ""
    checks: tuple[CheckResult, ...] = field(default=(), repr=False)


class AuditFailed(ChecksFailed):
    """A severe check objected. `result` holds every check of the audit."""

    def __init__(self, message: str, result: ValidateResult) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[type[AuditFailed], tuple[str, ValidateResult]]:
        return AuditFailed, (str(self), self.result)


def suite_files(project: Path = PROJECT) -> list[Path]:
    """The suites there are, by name."""
    return sorted((project / "expectations").glob("*.json"))


# ---- what to audit


def note_build(connection: duckdb.DuckDBPyConnection, plan: BuildPlan, *, row_count: int) -> None:
    """Remember what a build is about to change, until an audit has passed over it."""
    _create_tables(connection)
    now = _now()
    if plan.is_full_refresh:
        connection.execute("insert into audit.pending values (null, ?, ?)", [row_count, now])
    elif plan.rebuild_dates:
        connection.execute("insert into audit.pending select unnest(?::date[]), 0, ?", [list(plan.rebuild_dates), now])
        connection.execute("insert into audit.pending values (?, ?, ?)", [plan.rebuild_dates[-1], row_count, now])


def reason_to_skip(settings: Settings, connection: duckdb.DuckDBPyConnection) -> str:
    """Why `ANALYTICS_VALIDATE` lets this build pass on its dbt tests alone; empty when it is to be audited."""
    if settings.validate == "never":
        return "ANALYTICS_VALIDATE=never"
    if settings.validate == "always":
        return ""
    _create_tables(connection)
    last = connection.execute(
        "select audited_at, has_passed from audit.audits order by audited_at desc limit 1"
    ).fetchone()
    if last is None or not last[1] or _now() - last[0] >= AUDIT_AGE:
        return ""
    row = connection.execute(
        "select coalesce(sum(row_count), 0), count(*) - count(record_date) from audit.pending"
    ).fetchone()
    rows, full_builds = row or (0, 0)
    if full_builds or rows > AUDIT_ROW_LIMIT:
        return ""
    return f"{rows:,} new {'row' if rows == 1 else 'rows'} since {last[0]:%H:%M} UTC"


def _create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("create schema if not exists audit")
    connection.execute(
        "create table if not exists audit.pending (record_date date, row_count bigint, built_at timestamp)"
    )
    connection.execute(
        "create table if not exists audit.audits (run_id varchar, audited_at timestamp, has_passed boolean)"
    )


def _write_scope(connection: duckdb.DuckDBPyConnection, lake: Lake, *, is_everything: bool) -> int:
    """Fill audit.scope and audit.batches. Returns how many days are in scope."""
    _create_tables(connection)
    row = connection.execute("select count(*), count(*) - count(record_date) from audit.pending").fetchone()
    pending, full_builds = row or (0, 0)
    if is_everything or full_builds or not pending:
        days = """
            select record_date from raw.conversations union select record_date from raw.hook_events
            union select occurred_date from silver.int_messages_enriched
            union select occurred_date from silver.int_api_responses_deduplicated
            union select occurred_date from silver.int_tool_usage
        """
    else:
        days = "select distinct record_date from audit.pending"
    connection.execute(f"create or replace table audit.scope as select record_date from ({days}) order by 1")
    _write_batches(connection, lake)
    count = connection.execute("select count(*) from audit.scope").fetchone()
    return int(count[0]) if count else 0


def _write_batches(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """The last commits of the extractions, as a table."""
    last = connection.execute("select max(audited_at) from audit.audits where has_passed").fetchone()
    audited_until = last[0] if last and last[0] else datetime(1970, 1, 1)  # noqa: DTZ001 - naive UTC, as in the warehouse
    now = _now()
    connection.execute(
        """
        create or replace table audit.batches (
            dataset varchar, source varchar, commit_number bigint, committed_at timestamp, audited_at timestamp,
            rows_read bigint, rows_loaded bigint, rows_rejected bigint, is_new boolean
        )
        """
    )
    batches = []
    for dataset in lake.input_datasets():
        for commit in lake.iter_commits(dataset, after=lake.last_number(dataset) - TRAILING_COMMITS):
            if commit.kind != "extract":
                continue
            committed_at = datetime.fromisoformat(commit.committed_at).astimezone(UTC).replace(tzinfo=None)
            batches.append(
                [
                    *(dataset, commit.source, commit.number, committed_at, now),
                    *(commit.rows_read, commit.rows_loaded, commit.rows_rejected, committed_at > audited_until),
                ]
            )
    if batches:
        connection.executemany("insert into audit.batches values (?, ?, ?, ?, ?, ?, ?, ?, ?)", batches)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


# ---- the audit


def validate(
    settings: Settings,
    lake: Lake,
    *,
    run_id: str,
    is_forced: bool = False,
    is_everything: bool = False,
    suites: Sequence[str] = (),
    project: Path = PROJECT,
) -> ValidateResult:
    """Audit what was built since the last audit that passed, as `ANALYTICS_VALIDATE` asks for it.

    Args:
        settings: Where the warehouse is, and the policy.
        lake: Whose commits are audited.
        run_id: Run that audits.
        is_forced: Audit whatever the policy says.
        is_everything: Audit every day, not only those that changed.
        suites: Only these suites; such an audit counts as none and writes no data docs.
        project: The folder of suites.

    Raises:
        AuditFailed: a severe check objected. The message says which, how many rows and where to look.
    """
    started = time.monotonic()
    with open_warehouse(settings) as connection:
        skipped = "" if is_forced else reason_to_skip(settings, connection)
        if skipped:
            return ValidateResult(skipped=skipped, elapsed_ms=round((time.monotonic() - started) * 1000))
        date_count = _write_scope(connection, lake, is_everything=is_everything)
    files = [file for file in suite_files(project) if not suites or file.stem in suites]
    folder = settings.data_dir / "validation"
    checks = tuple(_run_suites(settings, files, folder, project, has_docs=not suites))
    report = _write_report(folder, checks, run_id)
    failed = [check for check in checks if not check.is_success and check.severity == "severe"]
    if not suites:
        with open_warehouse(settings) as connection:
            connection.execute("insert into audit.audits values (?, ?, ?)", [run_id, _now(), not failed])
            if not failed:
                connection.execute("delete from audit.pending")
    result = ValidateResult(
        suite_count=len(files),
        check_count=len(checks),
        failed=tuple(check.qualified_name for check in failed),
        warnings=tuple(c.qualified_name for c in checks if not c.is_success and c.severity == "warning"),
        date_count=date_count,
        elapsed_ms=round((time.monotonic() - started) * 1000),
        report=shown_path(report),
        report_file=report,
        checks=checks,
    )
    if failed:
        raise AuditFailed(_explain(failed, result.report), result)
    return result


def require_passed_audit(settings: Settings) -> None:
    """Raise ChecksFailed when the last audit failed: gold may not be published as it is."""
    with open_warehouse(settings) as connection:
        _create_tables(connection)
        last = connection.execute("select has_passed from audit.audits order by audited_at desc limit 1").fetchone()
    if last is not None and not last[0]:
        raise ChecksFailed(
            "publish: the last audit failed, so readers keep what they have. See the report of "
            "`analytics validate`; after mending, `analytics run` builds, audits and publishes."
        )


def _explain(failed: Sequence[CheckResult], report: str) -> str:
    named = "; ".join(f"{check.qualified_name} ({_count_of(check)}): {check.advice}" for check in failed[:3])
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    return f"validate: {len(failed)} checks failed: {named}{more} Nothing is published. Report: {report}"


def _count_of(check: CheckResult) -> str:
    if check.error_type:
        return f"could not run: {check.error_type}"
    if check.unexpected_count is None:
        return "not as expected"
    return f"{check.unexpected_count:,} rows" if check.unexpected_count != 1 else "1 row"


def _run_suites(
    settings: Settings, files: Sequence[Path], folder: Path, project: Path, *, has_docs: bool
) -> Iterator[CheckResult]:
    """Run the suites as one checkpoint in a working copy of the project."""
    from analytics.checks.dialect import SCHEME, close_all, register
    from analytics.checks.gx import load_gx, quiet

    gx = load_gx()
    register()
    with quiet():
        names = _copy_project(files, folder, project)
        context = gx.get_context(mode="file", context_root_dir=str(folder))
        warehouse = context.data_sources.add_sql(
            name="warehouse",
            connection_string=f"{SCHEME}:///{settings.warehouse_file}",
            kwargs={"connect_args": {"config": {"memory_limit": MEMORY_LIMIT, "threads": 2}}},
        )
        definitions = []
        for name, query in names.items():
            batch = warehouse.add_query_asset(name=name, query=query).add_batch_definition_whole_table("scope")
            definitions.append(
                context.validation_definitions.add(
                    gx.ValidationDefinition(name=name, data=batch, suite=context.suites.get(name))
                )
            )
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(
                name="audit",
                validation_definitions=definitions,
                # Counts only: with a list of unexpected values, content would enter the report.
                result_format={"result_format": "BASIC", "partial_unexpected_count": 0},
            )
        )
        try:
            outcome = checkpoint.run()
            if has_docs:
                context.build_data_docs()
        finally:
            close_all()
    advice = {name: orjson.loads((folder / "expectations" / f"{name}.json").read_bytes()) for name in names}
    for result in outcome.run_results.values():
        yield from _read_checks(result, advice[result.suite_name])


def _copy_project(files: Sequence[Path], folder: Path, project: Path) -> dict[str, str]:
    """A fresh working copy; identities that the files leave out follow from the names. Returns suite: query."""
    shutil.rmtree(folder, ignore_errors=True)
    make_private_folder(folder / "expectations")
    shutil.copy(project / "great_expectations.yml", folder / "great_expectations.yml")
    queries = {}
    for file in files:
        suite = orjson.loads(file.read_bytes())
        suite.setdefault("id", str(uuid.uuid5(_NAMESPACE, file.stem)))
        for entry in suite["expectations"]:
            entry.setdefault("id", str(uuid.uuid5(_NAMESPACE, f"{file.stem}.{entry['meta']['name']}")))
        write_private_file(folder / "expectations" / file.name, orjson.dumps(suite))
        queries[file.stem] = suite["meta"]["query"]
    return queries


def _read_checks(result: Any, suite: dict[str, Any]) -> Iterator[CheckResult]:
    """The results of one suite, in the order of its file."""
    outcomes = {outcome.expectation_config.id: outcome for outcome in result.results}
    for entry in suite["expectations"]:
        outcome = outcomes[entry["id"]]
        facts = outcome.result or {}
        count = facts.get("unexpected_count")
        if entry["type"] == "unexpected_rows_expectation":
            count = facts.get("observed_value")
        yield CheckResult(
            suite=suite["name"],
            name=entry["meta"]["name"],
            expectation_type=entry["type"],
            column=entry["kwargs"].get("column"),
            severity="severe" if entry["severity"] == "critical" else "warning",
            is_success=bool(outcome.success),
            unexpected_count=None if count is None else int(count),
            checked_count=facts.get("element_count"),
            error_type=_error_of(outcome.exception_info),
            description=entry["description"],
            advice=entry["notes"],
        )


def _error_of(exception_info: Any) -> str | None:
    """The class of what stopped a check; its message may quote values and stays out."""
    if not exception_info:
        return None
    entries = [exception_info] if "raised_exception" in exception_info else list(exception_info.values())
    for entry in entries:
        if isinstance(entry, dict) and entry.get("raised_exception"):
            kind = str(entry.get("exception_message") or "").partition(":")[0]
            return kind if re.fullmatch(r"[A-Za-z ]{1,60}(Error|Exception)", kind) else "EngineError"
    return None


# ---- the report


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1a1a1a}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.4rem .6rem;text-align:left;
vertical-align:top}.failed{background:#fde8e8}.warns{background:#fff4d6}code{font-size:13px}
@media(prefers-color-scheme:dark){body{background:#161616;color:#e6e6e6}td,th{border-color:#3a3a3a}
.failed{background:#4a1f1f}.warns{background:#463a17}a{color:#8ab4f8}}
"""


def _write_report(folder: Path, checks: Sequence[CheckResult], run_id: str) -> Path:
    """One page that needs no network, beside the data docs, and the data docs' pages likewise."""
    rows = []
    for check in checks:
        verdict = "passed" if check.is_success else "failed" if check.severity == "severe" else "warns"
        counted = "" if check.is_success and not check.unexpected_count else _count_of(check)
        cells = (verdict, check.suite, check.name, check.severity, counted, check.description)
        advice = "" if check.is_success else f"<br><b>What to do:</b> {html.escape(check.advice)}"
        text = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells[:-1])
        rows.append(f'<tr class="{verdict}">{text}<td>{html.escape(cells[-1])}{advice}</td></tr>')
    failed = sum(not check.is_success for check in checks)
    page = (
        f"<!doctype html><meta charset=utf-8><title>Audit {html.escape(run_id)}</title><style>{_STYLE}</style>"
        f"<h1>Audit of run {html.escape(run_id)}</h1><p>{len(checks)} checks, {failed} not as expected. "
        '<a href="uncommitted/data_docs/local_site/index.html">Data docs of Great Expectations</a></p>'
        "<table><tr><th>Result<th>Suite<th>Check<th>Severity<th>Found<th>Meaning</tr>" + "".join(rows) + "</table>"
    )
    make_private_folder(folder)
    path = folder / "report.html"
    write_private_file(path, page.encode())
    return path
