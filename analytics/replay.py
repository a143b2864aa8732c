"""The SQL of the last increment that dbt built, run again without dbt.

Importing dbt and reading its project takes longer than an increment's SQL, which is the same from run to
run: the dates it replaces stand in `raw._rebuild_dates` (dbt/macros/scope.sql). So what dbt runs for an
increment, at first one of no dates after a full build, is kept, statement by statement, and those that
follow run what was kept, two statements at a time. dbt stays the judge: whatever does not succeed here is left to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from analytics.config import Settings
from analytics.files import make_private_folder, write_private_file
from analytics.warehouse import open_warehouse

if TYPE_CHECKING:
    import duckdb

THREADS = 2  # most statements are too small to fill more than one core


@dataclass(frozen=True)
class Statement:
    """What dbt ran for one model, or the query by which it counted the failures of one test.

    `needs` names those that have to be done before.
    """

    kind: str
    name: str
    sql: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Increment:
    """The statements of one increment, for one state of the dbt project and the settings."""

    fingerprint: str
    statements: tuple[Statement, ...]

    def count(self, kind: str) -> int:
        return sum(statement.kind == kind for statement in self.statements)

    def order(self) -> TopologicalSorter[Statement]:
        """The statements, each after those that it needs. KeyError where one of these is none of them."""
        by_name = {statement.name: statement for statement in self.statements}
        return TopologicalSorter({entry: [by_name[name] for name in entry.needs] for entry in self.statements})


def keep_increment(settings: Settings, fingerprint: str, statements: Sequence[Statement]) -> None:
    """Keep what dbt just built, for the runs after this one."""
    file = _file(settings)
    make_private_folder(file.parent)
    kept = {"fingerprint": fingerprint, "statements": [asdict(statement) for statement in statements]}
    write_private_file(file, orjson.dumps(kept))


def kept_increment(settings: Settings, fingerprint: str) -> Increment | None:
    """What was kept for that fingerprint; None where nothing is, or nothing readable."""
    try:
        kept = orjson.loads(_file(settings).read_bytes())
        if kept["fingerprint"] != fingerprint:
            return None
        statements = tuple(Statement(**{**entry, "needs": tuple(entry["needs"])}) for entry in kept["statements"])
        increment = Increment(fingerprint, statements)
        increment.order().prepare()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return increment


def replay(settings: Settings, increment: Increment) -> bool:
    """Build and test as dbt would, over the dates that the loader planned.

    False when a statement or a test fails. Each model is a transaction of its own and replaces the
    same dates again when dbt repeats it, so nothing is lost by having tried.
    """
    order = increment.order()
    order.prepare()
    running: dict[Future[bool], Statement] = {}
    with open_warehouse(settings) as connection, ThreadPoolExecutor(THREADS) as pool:
        while order.is_active():
            for statement in order.get_ready():
                running[pool.submit(_run, connection, statement)] = statement
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                if not future.result():
                    pool.shutdown(cancel_futures=True)
                    return False
                order.done(running.pop(future))
    return True


def _run(connection: duckdb.DuckDBPyConnection, statement: Statement) -> bool:
    """Whether one statement succeeded, and a test found nothing."""
    import duckdb

    with connection.cursor() as cursor:
        cursor.execute("set timezone = 'UTC'")
        cursor.begin()
        try:
            outcome = cursor.execute(statement.sql).fetchone()
            cursor.commit()
        except duckdb.Error:
            return False
    return statement.kind != "test" or (outcome is not None and outcome[0] == 0)


def _file(settings: Settings) -> Path:
    return settings.data_dir / "cache" / "increment.json"
