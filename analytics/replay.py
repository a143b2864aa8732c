"""The SQL of the last increment that dbt built, run again without dbt.

Importing dbt and reading its project takes longer than an increment's SQL, which is the same from run to
run: the dates it replaces stand in `raw._rebuild_dates` (dbt/macros/scope.sql). So the first increment
after a change of the project goes through dbt and is kept, statement by statement, and those after it
run what was kept, in one connection. dbt stays the judge: whatever does not succeed here is left to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from analytics.config import Settings
from analytics.files import make_private_folder, write_private_file
from analytics.warehouse import open_warehouse


@dataclass(frozen=True)
class Statement:
    """What dbt ran for one model, or the query by which it counted the failures of one test."""

    kind: str
    name: str
    sql: str


@dataclass(frozen=True)
class Increment:
    """The statements of one increment in their order, for one state of the dbt project and the settings."""

    fingerprint: str
    statements: tuple[Statement, ...]

    def count(self, kind: str) -> int:
        return sum(statement.kind == kind for statement in self.statements)


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
        return Increment(fingerprint, tuple(Statement(**entry) for entry in kept["statements"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def replay(settings: Settings, increment: Increment) -> bool:
    """Build and test as dbt would, over the dates that the loader planned.

    False when a statement or a test fails. Each model is a transaction of its own and replaces the
    same dates again when dbt repeats it, so nothing is lost by having tried.
    """
    import duckdb

    with open_warehouse(settings) as connection:
        for statement in increment.statements:
            connection.begin()
            try:
                outcome = connection.execute(statement.sql).fetchone()
            except duckdb.Error:
                connection.rollback()
                return False
            connection.commit()
            if statement.kind == "test" and (outcome is None or outcome[0] != 0):
                return False
    return True


def _file(settings: Settings) -> Path:
    return settings.data_dir / "cache" / "increment.json"
