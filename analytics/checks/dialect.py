"""A SQLAlchemy dialect for DuckDB whose cursors keep their own rows.

Great Expectations closes the connection before it fetches (its issue 11579). Under `duckdb-engine` a
cursor *is* the connection, so every metric comes back empty. Here a cursor takes its rows when it
executes. Checks are pushed down, so results are short; a longer one is cut and says so when read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
from duckdb_engine import ConnectionWrapper, CursorWrapper, Dialect
from sqlalchemy.dialects import registry

from analytics.warehouse import OFFLINE

NAME = "duckdb.checks"
SCHEME = "duckdb+checks"
# Great Expectations itself reads at most 200 rows of a result; it asks for whole tables only to learn their columns.
ROW_LIMIT = 1_000

_opened: list[duckdb.DuckDBPyConnection] = []


class KeepingCursor(CursorWrapper):  # type: ignore[misc]
    """A cursor that holds the first rows of its result, whatever becomes of the connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, wrapper: ConnectionWrapper) -> None:
        super().__init__(connection, wrapper)
        self._duckdb = connection
        self._rows: list[tuple[Any, ...]] = []
        self._is_cut = False
        self.description: Sequence[Any] | None = None
        self.rowcount = -1

    def execute(self, statement: str, parameters: Any = None, context: Any = None) -> None:
        try:
            super().execute(statement, parameters, context)
            self.description = self._duckdb.description
            rows = self._duckdb.fetchmany(ROW_LIMIT + 1) if self.description else []
        except duckdb.Error as error:
            # Great Expectations writes messages into its results and pages; an engine's quotes the value it fell over.
            raise type(error)("what DuckDB says is left out: it may quote data") from None
        self._is_cut = len(rows) > ROW_LIMIT
        self._rows = rows[:ROW_LIMIT]

    def fetchone(self) -> tuple[Any, ...] | None:
        rows = self.fetchmany(1)
        return rows[0] if rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.fetchmany(len(self._rows) + 1)

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        wanted = 1 if size is None else size
        if wanted > len(self._rows) and self._is_cut:
            raise duckdb.InvalidInputException(f"a check asked for more than {ROW_LIMIT} rows; let it count instead")
        taken, self._rows = self._rows[:wanted], self._rows[wanted:]
        return taken


class KeepingConnection(ConnectionWrapper):  # type: ignore[misc]
    """A connection that hands out keeping cursors."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        super().__init__(connection)
        self._duckdb = connection

    def cursor(self) -> KeepingCursor:
        return KeepingCursor(self._duckdb, self)


class ChecksDialect(Dialect):  # type: ignore[misc]
    """`duckdb+checks:///<file>`."""

    driver = "checks"
    supports_statement_cache = False

    def connect(self, *arguments: Any, **options: Any) -> KeepingConnection:
        options.pop("url_config", None)
        options["config"] = {**options.get("config", {}), **OFFLINE}
        connection = duckdb.connect(*arguments, **options)
        _opened.append(connection)
        return KeepingConnection(connection)


def register() -> None:
    """Make the scheme known to SQLAlchemy. Harmless when repeated."""
    registry.register(NAME, __name__, "ChecksDialect")


def close_all() -> None:
    """Close what engines keep open in their pools: one process may not open a file under two configurations."""
    while _opened:
        _opened.pop().close()
