"""Stage 3, transform: dbt, called in process, over what the loader planned."""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import chdir, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import analytics
from analytics import telemetry
from analytics.build_plan import BuildPlan
from analytics.config import DBT_DIR, Settings
from analytics.errors import AnalyticsError, ChecksFailed
from analytics.overrides import OVERRIDES
from analytics.replay import Increment, Statement, keep_increment, kept_increment, replay
from analytics.result import Result
from analytics.warehouse import RELAXED_MEMORY_LIMITS, mending, open_warehouse
from analytics.workers import set_environment

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest

_FINGERPRINTED = (".sql", ".yml", ".csv", ".md")
# What DuckDB says of its file, the disk or itself, and not of the SQL.
_OF_THE_FILE = re.compile(r"\b(IO|TransactionContext|FATAL|INTERNAL) Error\b")


@dataclass(frozen=True)
class TransformResult(Result):
    """What dbt did. A failed model or test raises instead."""

    model_count: int
    test_count: int
    is_full_refresh: bool
    elapsed_ms: int
    warnings: tuple[str, ...] = ()
    is_replayed: bool = False


def project_fingerprint(settings: Settings) -> str:
    """A hash of all that decides what the marts hold besides the data: models, settings, own rows of seeds, version."""
    digest = hashlib.sha256(analytics.__version__.encode())
    digest.update(f"{settings.timezone}|{settings.conversation_gap_minutes}".encode())
    for override in OVERRIDES:
        if (file := override.file(settings)) is not None:
            digest.update(override.seed.encode() + (file.read_bytes() if file.is_file() else b"missing"))
    files = [DBT_DIR / "dbt_project.yml"]
    for folder in ("models", "macros", "seeds", "tests"):
        files += sorted(file for file in (DBT_DIR / folder).rglob("*") if file.suffix in _FINGERPRINTED)
    for file in files:
        digest.update(file.relative_to(DBT_DIR).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def transform(settings: Settings, plan: BuildPlan, *, is_thorough: bool = True) -> TransformResult:
    """Build and test the models that the plan touches.

    An increment leaves out the seeds and the views: they are as the last full build left them, and
    a view shows new rows by itself; unless it `is_thorough`, their tests too. Raises ChecksFailed when a
    test objects, AnalyticsError when a model does not build; neither message holds data.
    """
    started = time.monotonic()
    outcomes = build(settings, is_full_refresh=plan.is_full_refresh, is_thorough=is_thorough)
    for outcome in outcomes:
        if outcome.status == "error":
            done = "run" if outcome.kind == "test" else "build"
            advice = f". {mending(settings.warehouse_file)}" if _OF_THE_FILE.search(outcome.message) else ""
            raise AnalyticsError(f"transform: {outcome.name} did not {done}: {outcome.message}{advice}")
    failed = [outcome for outcome in outcomes if outcome.status == "fail"]
    if failed:
        names = ", ".join(f"{outcome.name} ({outcome.failures} rows)" for outcome in failed[:5])
        raise ChecksFailed(
            f"transform: {len(failed)} tests failed: {names}. Nothing is published; their rows, in "
            "schema dbt_test__audit of the warehouse: cd dbt && ../.venv/bin/dbt test --store-failures"
        )
    if plan.is_full_refresh and kept_increment(_dbt_of(settings).fingerprint) is None:
        _learn_increment(settings)
    return TransformResult(
        model_count=sum(outcome.kind == "model" for outcome in outcomes),
        test_count=sum(outcome.kind == "test" for outcome in outcomes),
        is_full_refresh=plan.is_full_refresh,
        elapsed_ms=round((time.monotonic() - started) * 1000),
        warnings=tuple(outcome.name for outcome in outcomes if outcome.status == "warn"),
    )


def build(settings: Settings, *, is_full_refresh: bool, is_thorough: bool = True) -> list[_Outcome]:
    """Have dbt build, with more memory where the usual is too little, and keep what it ran for a thorough increment."""
    excluded = ["--exclude", "resource_type:unit_test"]
    if is_full_refresh:
        arguments = ["--full-refresh", *excluded]
    elif is_thorough:
        tables = ["config.materialized:table", "config.materialized:incremental"]
        arguments = ["--select", *tables, "test_type:data", *excluded]
    else:
        arguments = [*excluded, "resource_type:seed", "config.materialized:view"]
    dbt = _dbt_of(settings)
    outcomes = dbt.build(arguments)
    for limit in RELAXED_MEMORY_LIMITS:
        if not any(outcome.is_out_of_memory for outcome in outcomes):
            break
        # Not every operator of DuckDB can spill: a history many times the usual gets the memory that it needs.
        outcomes = dbt.build(arguments, memory_limit=limit)
    if not is_full_refresh and is_thorough and all(outcome.is_repeatable for outcome in outcomes):
        statements = [outcome.statement for outcome in outcomes if outcome.statement]
        # What is built stays built where the folder of things kept cannot be written.
        with suppress(OSError, AnalyticsError):
            keep_increment(dbt.fingerprint, statements)
    return outcomes


def _learn_increment(settings: Settings) -> None:
    """Build no dates, for what dbt runs then: the first increment after a full build need not wait for dbt.

    Whether that goes well is of no concern to the full build.
    """
    with suppress(OSError, AnalyticsError):
        with open_warehouse(settings) as connection:
            connection.execute("update raw._build_settings set is_full_refresh = false")
        build(settings, is_full_refresh=False)


def transform_again(
    settings: Settings, plan: BuildPlan, increment: Increment, *, is_thorough: bool
) -> TransformResult | None:
    """`transform` without dbt, by an increment that it built before; None when that does not succeed."""
    started = time.monotonic()
    statements = increment.statements if is_thorough else increment.quick_statements
    if not replay(settings, statements, row_count=plan.row_count):
        return None
    return TransformResult(
        model_count=sum(statement.kind == "model" for statement in statements),
        test_count=sum(statement.kind == "test" for statement in statements),
        is_full_refresh=False,
        elapsed_ms=round((time.monotonic() - started) * 1000),
        is_replayed=True,
    )


def preload(settings: Settings) -> None:
    """Import dbt and read the project ahead of `transform` in the same process: two seconds of work."""
    _dbt_of(settings).parse()


@dataclass(frozen=True)
class _Outcome:
    kind: str
    name: str
    status: str
    message: str
    failures: int
    is_out_of_memory: bool
    statement: Statement | None

    @property
    def is_repeatable(self) -> bool:
        """Whether it went well, and what was run for it is known: exposures, which dbt lists too, run nothing."""
        return (self.status in ("success", "pass") and self.statement is not None) or self.status == "no-op"


@lru_cache(maxsize=1)
def _dbt_of(settings: Settings) -> _Dbt:
    return _Dbt(settings)


class _Dbt:
    """This project's dbt for one warehouse. Neither importing nor parsing it touches the warehouse."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._manifest: Manifest | None = None
        self.fingerprint = ""

    def parse(self) -> None:
        """Read the project's files, so that the next build need not."""
        # Of what the files were before they are read: a change in between is another fingerprint to the next run.
        self.fingerprint = project_fingerprint(self._settings)
        self._manifest = self._invoke(["parse"]).result

    def build(self, arguments: Sequence[str], *, memory_limit: str = "") -> list[_Outcome]:
        """Run `dbt build`, by default under the memory limit of the profile.

        Raises AnalyticsError when dbt itself stops; failed nodes are outcomes.
        """
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager

        if self._manifest is None:
            self.parse()
        # In a folder of its own: another dbt, of another data folder or by hand, would write over what it ran.
        with tempfile.TemporaryDirectory() as folder:
            target = ["--target-path", folder]
            try:
                outcome = self._invoke(["build", *arguments, *target], memory_limit)
                if outcome.exception is not None:
                    self._manifest = None
                    # What an earlier version of the project left in dbt's cache of parsed files may not fit this one.
                    outcome = self._invoke(["build", *arguments, *target, "--no-partial-parse"], memory_limit)
            finally:
                # dbt-duckdb keeps its connection, and a second one in this process would be refused.
                DuckDBConnectionManager.close_all_connections()
            results = getattr(outcome.result, "results", [])
            statements = statements_of(results, self._manifest) if self._manifest else {}
        if outcome.exception is not None:
            reason = _without_data(str(outcome.exception))
            raise AnalyticsError(f"transform: dbt stopped: {reason}") from outcome.exception
        return [
            _Outcome(
                kind=str(result.node.resource_type),
                name=result.node.name,
                status=str(result.status),
                message=_without_data(result.message or ""),
                failures=result.failures or 0,
                is_out_of_memory="out of memory" in (result.message or "").lower(),
                statement=statements.get(result.node.unique_id),
            )
            for result in results
        ]

    def _invoke(self, arguments: Sequence[str], memory_limit: str = "") -> dbtRunnerResult:
        from dbt.cli.main import dbtRunner

        logs = self._settings.data_dir.resolve() / "logs"
        common = [
            *("--project-dir", str(DBT_DIR), "--profiles-dir", str(DBT_DIR)),
            *("--log-level", "none", "--log-level-file", "none", "--log-path", str(logs)),
            *("--quiet", "--no-write-json", "--no-use-colors", "--threads", "1", "--no-send-anonymous-usage-stats"),
        ]
        # Named without its folder: dbt would read all of its project anew for every other path.
        variables = {**telemetry.OFF, "ANALYTICS_WAREHOUSE_FILE": self._settings.warehouse_file.name}
        if memory_limit:
            variables["DBT_DUCKDB_MEMORY_LIMIT"] = memory_limit
        with set_environment(**variables), chdir(self._settings.data_dir):
            return dbtRunner(manifest=self._manifest).invoke([*arguments, *common])


def statements_of(results: Iterable[Any], manifest: Manifest) -> dict[str, Statement]:
    """What dbt ran for each node, by its unique id, from the files that it writes beside its other results."""
    nodes = {result.node.unique_id: result.node for result in results}
    statements: dict[str, Statement] = {}
    for unique_id, node in nodes.items():
        if not getattr(node, "compiled_code", None) or not node.build_path:
            continue
        with suppress(OSError):
            sql = (DBT_DIR / node.build_path).read_text(encoding="utf-8")
            needs = dict.fromkeys(nodes[parent].name for parent in _iter_needs(unique_id, nodes, manifest))
            statements[unique_id] = Statement(
                str(node.resource_type),
                node.name,
                sql,
                tuple(needs),
                is_quick=node.resource_type != "test" or all(parent in nodes for parent in node.depends_on_nodes),
            )
    return statements


def _iter_needs(unique_id: str, ran: Container[str], manifest: Manifest) -> Iterator[str]:
    """The nodes that ran and that a node reads, be it through others that did not, such as views."""
    node = manifest.nodes.get(unique_id)
    for parent in node.depends_on_nodes if node else ():
        if parent in ran:
            yield parent
        else:
            yield from _iter_needs(parent, ran, manifest)


def _without_data(message: str) -> str:
    """An engine's message without what it quotes, which may be a user's text.

    From the first quote to the last: a value may hold quotes of its own.
    """
    return re.sub(r"['\"].*['\"]", "'...'", " ".join(message.split()))[:400]
