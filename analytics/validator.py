"""Stage 4, validate: Great Expectations at the two edges of dbt, before anything is published.

The suites are `great_expectations/expectations/*.json`, found by being there. A suite names the query
whose rows it checks (`meta.query`); the queries read `audit.scope`, the days built since the last audit
that passed, so that an audit costs what changed. Every check is pushed down to DuckDB and comes back as
a count: no row leaves the warehouse, and neither the report nor the log holds content.

Only this module writes schema `audit` of the warehouse.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from analytics.build_plan import BuildPlan
from analytics.checks.report import write_report
from analytics.checks.suites import CheckResult, run_suites, write_docs
from analytics.config import PROJECT_DIR, Settings
from analytics.errors import AnalyticsError, ChecksFailed, describe_bug, reason_of
from analytics.files import explain_refusal, shown_path
from analytics.lake import Commit, Lake
from analytics.result import Result
from analytics.warehouse import fetch_row, open_warehouse

if TYPE_CHECKING:
    import duckdb

PROJECT = PROJECT_DIR / "great_expectations"
# `auto` leaves small increments to the dbt tests: importing Great Expectations alone takes seconds.
AUDIT_ROW_LIMIT = 10_000
AUDIT_AGE = timedelta(hours=1)
TRAILING_COMMITS = 200


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


def note_build(connection: duckdb.DuckDBPyConnection, plan: BuildPlan, *, run_id: str, row_count: int) -> None:
    """Remember what a build is about to change, until an audit has passed over it, and withhold it from readers.

    `row_count` counts the rows that are new since the build that was noted before.
    """
    withhold_build(connection, run_id)
    now = _now()
    if plan.is_full_refresh:
        connection.execute("insert into audit.pending values (null, ?, ?)", [row_count, now])
    elif plan.rebuild_dates:
        connection.execute("insert into audit.pending select unnest(?::date[]), 0, ?", [list(plan.rebuild_dates), now])
        connection.execute("insert into audit.pending values (?, ?, ?)", [plan.rebuild_dates[-1], row_count, now])


def withhold_build(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Keep what is about to be built from readers, until it is tested and audited or built anew."""
    _create_tables(connection)
    connection.execute("insert into audit.withheld values (?, false)", [run_id])


def note_tests(settings: Settings, connection: duckdb.DuckDBPyConnection) -> None:
    """Remember that what is built passed its dbt tests: it may be published once audited, if it is to be."""
    connection.execute("update audit.withheld set is_tested = true")
    if reason_to_skip(settings, connection):
        release_builds(connection)


def release_builds(connection: duckdb.DuckDBPyConnection) -> None:
    """What is built may be published."""
    connection.execute("delete from audit.withheld")


def reason_to_skip(settings: Settings, connection: duckdb.DuckDBPyConnection) -> str:
    """Why `ANALYTICS_VALIDATE` lets this build pass on its dbt tests alone; empty when it is to be audited."""
    if settings.validate == "never":
        return "ANALYTICS_VALIDATE=never"
    if settings.validate == "always":
        return ""
    _create_tables(connection)
    last = _last_audit(connection)
    if last is None or not last[1] or not timedelta(0) <= _now() - last[0] < AUDIT_AGE:
        return ""
    [(rows, full_builds)] = connection.execute(
        "select coalesce(sum(row_count), 0), count(*) - count(record_date) from audit.pending"
    ).fetchall()
    if full_builds or rows > AUDIT_ROW_LIMIT:
        return ""
    [(untested,)] = connection.execute("select count(*) from audit.withheld where not is_tested").fetchall()
    if untested > 1:
        # One before this failed, perhaps by a test that is only asked where an audit is due.
        return ""
    return f"{rows:,} new {'row' if rows == 1 else 'rows'} since {last[0]:%H:%M} UTC"


def _last_audit(connection: duckdb.DuckDBPyConnection) -> tuple[datetime, bool] | None:
    """When it was made, and whether it passed. By the order of writing: the clock may have gone back since."""
    return fetch_row(connection, "select audited_at, has_passed from audit.audits order by rowid desc limit 1")


def _create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("create schema if not exists audit")
    connection.execute(
        "create table if not exists audit.pending (record_date date, row_count bigint, built_at timestamp)"
    )
    connection.execute(
        "create table if not exists audit.audits (run_id varchar, audited_at timestamp, has_passed boolean)"
    )
    connection.execute("create table if not exists audit.withheld (run_id varchar, is_tested boolean)")


def _write_scope(connection: duckdb.DuckDBPyConnection, lake: Lake, *, is_everything: bool) -> int:
    """Fill audit.scope and audit.batches. Returns how many days are in scope."""
    if not connection.execute("from duckdb_tables() where schema_name = 'silver' limit 1").fetchall():
        raise AnalyticsError("validate: nothing is built yet. Run `analytics transform` first.")
    _create_tables(connection)
    [(pending, full_builds)] = connection.execute(
        "select count(*), count(*) - count(record_date) from audit.pending"
    ).fetchall()
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
    [(day_count,)] = connection.execute("select count(*) from audit.scope").fetchall()
    return int(day_count)


def _write_batches(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """The last commits of the extractions, as a table."""
    [(last,)] = connection.execute("select max(audited_at) from audit.audits where has_passed").fetchall()
    audited_until = last or datetime(1970, 1, 1)  # noqa: DTZ001 - naive UTC, as in the warehouse
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
            dismissed = commit.rows_rejected if _is_dismissed(lake, commit) else 0
            read, rejected = commit.rows_read - dismissed, commit.rows_rejected - dismissed
            batches.append(
                [
                    *(dataset, commit.source, commit.number, committed_at, now),
                    *(read, commit.rows_loaded, rejected, committed_at > audited_until),
                ]
            )
    if batches:
        connection.executemany("insert into audit.batches values (?, ?, ?, ?, ?, ?, ?, ?, ?)", batches)


def _is_dismissed(lake: Lake, commit: Commit) -> bool:
    """Whether somebody deleted what this machine rejected. A file imported by mistake is never read again, rightly."""
    return (
        commit.dead_letter is not None
        and commit.host_id == lake.host_id
        and not (lake.data_dir / commit.dead_letter).exists()
    )


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


# ---- the audit


def validate(
    settings: Settings,
    lake: Lake,
    *,
    run_id: str,
    is_everything: bool = False,
    suites: Sequence[str] = (),
    project: Path = PROJECT,
) -> ValidateResult:
    """Audit what was built since the last audit that passed.

    Args:
        settings: Where the warehouse is.
        lake: Whose commits are audited.
        run_id: Run that audits.
        is_everything: Audit every day, not only those that changed.
        suites: Only these suites; such an audit counts as none and leaves no data docs.
        project: The folder of suites.

    Raises:
        AuditFailed: a severe check objected.
        AnalyticsError: the data docs could not be written; the audit counts all the same.
    """
    date_count = begin_audit(settings, lake, is_everything=is_everything)
    result = audit(settings, run_id=run_id, date_count=date_count, suites=suites, project=project)
    problem = ""
    if not suites:
        record_audit(settings, result, run_id=run_id)
        problem = document_audit(settings)
    require_success(result)
    if problem:
        raise AnalyticsError(f"validate: data docs {problem}")
    return result


def begin_audit(settings: Settings, lake: Lake, *, is_everything: bool = False) -> int:
    """Say what to audit: what was built since the last audit that passed, or everything. Returns the days in scope.

    Raises AnalyticsError before the first build.
    """
    with open_warehouse(settings) as connection:
        return _write_scope(connection, lake, is_everything=is_everything)


def audit(
    settings: Settings, *, run_id: str, date_count: int, suites: Sequence[str] = (), project: Path = PROJECT
) -> ValidateResult:
    """Judge what `begin_audit` put in scope, and write the report. Only reads the warehouse, beside other readers."""
    started = time.monotonic()
    files = [file for file in suite_files(project) if not suites or file.stem in suites]
    folder = _folder(settings)
    with explain_refusal(folder):
        try:
            checks = tuple(run_suites(settings, files, folder=folder, project=project))
        except ConnectionError as error:  # as Great Expectations calls it, though there is no network
            raise AnalyticsError(
                f"validate: {settings.warehouse_file} cannot be opened. Close what else has it open, and run again."
            ) from error
        report = write_report(folder, checks, run_id)
    failed = [check for check in checks if not check.is_success and check.severity == "severe"]
    return ValidateResult(
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


def document_audit(settings: Settings) -> str:
    """Write the data docs, pages that Great Expectations makes of the last audit and nobody need wait for.

    Returns why they could not be written, which says nothing against the data; empty where they were.
    """
    folder = _folder(settings)
    try:
        write_docs(folder)
    except Exception as error:  # noqa: BLE001 - a bug in what only adorns an audit is no reason to fail
        return tell_missing_docs(f"{folder}: {reason_of(error)}" if isinstance(error, OSError) else describe_bug(error))
    return ""


def tell_missing_docs(why: str) -> str:
    """What to say of data docs, after their name."""
    return f"not written ({why}). Nothing else is missing: `analytics validate` writes them again"


def _folder(settings: Settings) -> Path:
    return settings.data_dir / "validation"


def record_audit(settings: Settings, result: ValidateResult, *, run_id: str) -> None:
    """Remember that an audit was made and, if it passed, that nothing waits for one any more.

    What has not passed its tests stays withheld: an audit asks other things.
    """
    with open_warehouse(settings) as connection:
        connection.execute("insert into audit.audits values (?, ?, ?)", [run_id, _now(), not result.failed])
        if not result.failed:
            connection.execute("delete from audit.pending")
            connection.execute("delete from audit.withheld where is_tested")


def require_success(result: ValidateResult) -> ValidateResult:
    """The result, unless a severe check objected: then AuditFailed says which, how many rows and where to look."""
    if result.failed:
        raise AuditFailed(_explain(result), result)
    return result


def require_release(settings: Settings) -> None:
    """Raise ChecksFailed where gold may not be published as it is: what judges it objected, or was not asked."""
    with open_warehouse(settings) as connection:
        _create_tables(connection)
        last = _last_audit(connection)
        [(build_count, is_tested)] = connection.execute(
            "select count(*), bool_and(is_tested) from audit.withheld"
        ).fetchall()
    if last is not None and not last[1]:
        raise ChecksFailed(
            "publish: the last audit failed, so readers keep what they have. See the report of "
            "`analytics validate`; after mending, `analytics run` builds, audits and publishes."
        )
    if build_count and not is_tested:
        raise ChecksFailed(
            "publish: the last build did not pass its tests, or did not get to its end, so readers keep what they "
            "have. After mending, `analytics run` builds, audits and publishes."
        )
    if build_count:
        raise ChecksFailed(
            "publish: what was built is still to be audited, so readers keep what they have. "
            "Run `analytics validate`, then: analytics publish"
        )


def _explain(result: ValidateResult) -> str:
    failed = [check for check in result.checks if check.qualified_name in result.failed]
    named = "; ".join(f"{check.qualified_name} ({check.found}): {check.advice}" for check in failed[:3])
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    return f"validate: {len(failed)} checks failed: {named}{more} Nothing is published. Report: {result.report}"
