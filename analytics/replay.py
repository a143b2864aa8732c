"""What dbt built before, built again without dbt: the SQL of an increment, and a warehouse without rows to begin with.

Importing dbt and reading its project takes longer than an increment's SQL, which is the same from run to
run: the dates it replaces stand in `raw._rebuild_dates` (dbt/macros/scope.sql). So what dbt runs for an
increment, at first one of no dates, is kept, statement by statement, for all data folders with the same
settings, and those that follow run what was kept, two statements at a time. On a warehouse that dbt built over
nothing, the first build is an increment like any other. dbt stays the judge: whatever does not succeed here
is left to it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from analytics.config import PREPARED_DIR, Settings
from analytics.files import keep_file, make_private_folder, read_kept_file, write_private_file
from analytics.warehouse import cursor_of, open_warehouse, transaction, with_enough_memory

if TYPE_CHECKING:
    import duckdb

BUILDS_DIR = PREPARED_DIR / "builds"
KEPT_INCREMENTS = 8  # a quarter of a megabyte each
THREADS = 2  # most statements are too small to fill more than one core
# Over more rows each fills all cores, and two would share the memory bound: 38 s instead of 62 s over two million.
CONCURRENT_ROW_LIMIT = 500_000


@dataclass(frozen=True)
class Statement:
    """What dbt ran for one model, or the query by which it counted the failures of one test.

    `needs` names those that have to be done before. All are part of a quick increment but the tests of what an
    increment does not build, such as views.
    """

    kind: str
    name: str
    sql: str
    needs: tuple[str, ...] = ()
    is_quick: bool = True


@dataclass(frozen=True)
class Increment:
    """The statements of one increment, for one state of the dbt project and the settings."""

    statements: tuple[Statement, ...]

    @property
    def quick_statements(self) -> tuple[Statement, ...]:
        """Every model, and the tests of what they build."""
        return tuple(entry for entry in self.statements if entry.is_quick)


def forget_builds() -> None:
    """Keep nothing of what was built before."""
    shutil.rmtree(BUILDS_DIR, ignore_errors=True)


def keep_increment(fingerprint: str, statements: Sequence[Statement]) -> None:
    """Keep what dbt just built, for the runs after this one."""
    kept = {"statements": [asdict(statement) for statement in statements]}
    keep_file(_statements_file(fingerprint), orjson.dumps(kept))
    by_age = sorted(BUILDS_DIR.glob("increment-*"), key=lambda file: file.stat().st_mtime_ns)
    for old in by_age[:-KEPT_INCREMENTS]:
        is_of_set_up = old.with_name(old.name.replace("increment", "warehouse")).exists()
        if not is_of_set_up:
            old.unlink(missing_ok=True)


def kept_increment(fingerprint: str) -> Increment | None:
    """What was kept for that fingerprint; None where nothing is, or nothing readable."""
    content = read_kept_file(_statements_file(fingerprint))
    if content is None:
        return None
    try:
        kept = orjson.loads(content)["statements"]
        statements = tuple(Statement(**{**entry, "needs": tuple(entry["needs"])}) for entry in kept)
        _in_order(statements).prepare()
    except (ValueError, KeyError, TypeError):
        return None
    return Increment(statements)


def keep_empty_warehouse(fingerprint: str, warehouse: Path) -> None:
    """Keep a warehouse that dbt built over nothing, for data folders that have none yet."""
    keep_file(_warehouse_file(fingerprint), warehouse.read_bytes())


def has_beginning(settings: Settings, fingerprint: str) -> bool:
    """Whether the next build can be an increment: the folder has a warehouse, or one without rows is kept."""
    return settings.warehouse_file.exists() or _warehouse_file(fingerprint).exists()


def begin_warehouse(settings: Settings, fingerprint: str) -> None:
    """Where the folder has no warehouse, begin with the one without rows, if that is kept and whole."""
    file = settings.warehouse_file
    if file.exists():
        return
    empty = read_kept_file(_warehouse_file(fingerprint))
    if empty is not None:
        make_private_folder(file.parent)
        file.with_suffix(".duckdb.wal").unlink(missing_ok=True)  # of one that was deleted
        write_private_file(file, empty)


def replay(settings: Settings, statements: Sequence[Statement], *, row_count: int = 0) -> bool:
    """Build and test as dbt would, over the dates that the loader planned, of so many rows.

    False when a statement or a test fails. Each model is a transaction of its own and replaces the
    same dates again when dbt repeats it, so nothing is lost by having tried.
    """
    order = _in_order(statements)
    order.prepare()
    running: dict[Future[bool], Statement] = {}
    threads = THREADS if row_count <= CONCURRENT_ROW_LIMIT else 1
    with open_warehouse(settings) as connection, ThreadPoolExecutor(threads) as pool:
        while order.is_active():
            for statement in order.get_ready():
                running[pool.submit(_run, connection, statement)] = statement
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                if not future.result():
                    pool.shutdown(cancel_futures=True)
                    return False
                order.done(running.pop(future))
    return True


def _in_order(statements: Sequence[Statement]) -> TopologicalSorter[Statement]:
    """The statements, each after those that it needs. KeyError where one of these is none of them."""
    by_name = {statement.name: statement for statement in statements}
    return TopologicalSorter({entry: [by_name[name] for name in entry.needs] for entry in statements})


def _run(connection: duckdb.DuckDBPyConnection, statement: Statement) -> bool:
    """Whether one statement succeeded, and a test found nothing."""
    import duckdb

    with cursor_of(connection) as cursor:
        try:
            outcome = with_enough_memory(cursor, partial(_execute, cursor, statement.sql))
        except duckdb.Error:
            return False
    return statement.kind != "test" or [row[0] for row in outcome] == [0]


def _execute(cursor: duckdb.DuckDBPyConnection, sql: str) -> list[tuple[Any, ...]]:
    """What the SQL gives, as a transaction of its own."""
    with transaction(cursor):
        return cursor.execute(sql).fetchall()


def _statements_file(fingerprint: str) -> Path:
    return BUILDS_DIR / f"increment-{_key(fingerprint)}"


def _warehouse_file(fingerprint: str) -> Path:
    return BUILDS_DIR / f"warehouse-{_key(fingerprint)}"


@lru_cache(maxsize=8)
def _key(fingerprint: str) -> str:
    """The fingerprint with what else made the kept files: this package, which writes schema `raw`, and the engines."""
    digest = hashlib.sha256(fingerprint.encode())
    for file in sorted(Path(__file__).parent.rglob("*")):
        if file.suffix in (".py", ".sql"):
            digest.update(file.read_bytes())
    for engine in ("duckdb", "dbt-core", "dbt-duckdb"):
        digest.update(importlib.metadata.version(engine).encode())
    return digest.hexdigest()[:32]
