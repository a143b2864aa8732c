"""The warehouse file: private to the pipeline, one writer at a time, and disposable."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from analytics.config import Settings
from analytics.errors import AnalyticsError, LockHeld
from analytics.files import make_private_folder

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")

# Measured over 1 GB of transcripts: 200 MB are too little, 300 MB are no faster.
MEMORY_LIMIT = "240MB"
# For a history that needs more, since not every operator can spill: what ran out of memory is done again with the next.
# In steps, for DuckDB takes what it may: one statement of a first build of 6 GB needs 400 MB, and given 4 GB took 2 GB.
RELAXED_MEMORY_LIMITS = ("480MB", "960MB", "2GB", "4GB")
# A quarter of DuckDB's own: two threads then fill row groups of their own, and whole ones are not written twice when
# they meet; and a day is found among fewer rows. Measured over 310,000 rows: 2.3 s instead of 3.1 s by one thread.
# Of what is published, too, where each thread of each writer holds one: an increment over a million messages had to
# write them again with more memory, 706 MB instead of 562 MB.
ROW_GROUP_SIZE = 30_720
# A quarter of DuckDB's own, too. A row group in the making holds a block and more for each column, however little is in
# it, and ours have up to 122: with large ones two threads went beyond the memory bound, and to load those rows they
# wrote 0.9 GB to disk and read half of it back. Without that it takes 1.5 s instead of 2.1 s.
BLOCK_BYTES = 64 << 10
# The one compression that costs more than it saves: trying it on each column of ids takes a ninth of a load and a tenth
# of a build over 1 GB of transcripts, for a warehouse of 115 MB, which is 165 MB without. `config` does not take this
# setting, and DuckDB 2, which has one method in place of this and dictionaries, takes it for nothing.
CHEAP_COMPRESSION_SQL = "set global disabled_compression_methods = 'fsst'"
# An extension is part of DuckDB here or not used: none is fetched from the net. A file that others of this process may
# have open by DuckDB's defaults is opened so, too (one process may not open it under two), and asked for constants.
OFFLINE: dict[str, str | bool | int | float | list[str]] = {"autoinstall_known_extensions": False}
CATALOG = "warehouse"  # as dbt names it, after the file
# A killed run's process lets go of the file within moments, and people look into it for moments.
LOCK_WAIT_S = 5.0
# By another process; by another connection of this one, which may be about to close.
_IN_USE = ("could not set lock", "unique file handle conflict")


@contextlib.contextmanager
def open_warehouse(settings: Settings, *, is_read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the warehouse, within this project's memory bound, in UTC: a writing one, or one of many readers.

    Raises LockHeld when another program has the file open for longer than `LOCK_WAIT_S` seconds.
    """
    import duckdb

    make_private_folder(settings.data_dir)
    path = settings.warehouse_file.resolve()
    try:
        connection = _connect(path, is_read_only=is_read_only)
    except duckdb.Error as error:
        if is_read_only:
            raise _broken(path) from error
        # Half a file after a full disk, or another version's: it is disposable, the lake is the truth.
        for leftover in (path, path.with_suffix(".duckdb.wal")):
            leftover.unlink(missing_ok=True)
        try:
            connection = _connect(path)
        except duckdb.Error as again:
            raise _broken(path) from again
    try:
        with connection:
            connection.execute("set timezone = 'UTC'")
            path.chmod(0o600)
            yield connection
    except duckdb.OutOfMemoryException as error:
        raise too_little_memory() from error
    except (
        duckdb.IOException,
        duckdb.TransactionException,  # what a commit raises that the disk refused
        duckdb.FatalException,
        duckdb.InternalException,
    ) as error:
        raise _broken(path) from error


def with_enough_memory(connection: duckdb.DuckDBPyConnection, action: Callable[[], T]) -> T:
    """What the action returns. Where the memory bound is too little for it, it is done again with more and more."""
    import duckdb

    for limit in RELAXED_MEMORY_LIMITS:
        try:
            return action()
        except duckdb.OutOfMemoryException:
            # Refused where another thread took more than this already: then there is as much.
            with contextlib.suppress(duckdb.OutOfMemoryException):
                connection.execute(f"set memory_limit = '{limit}'")
    return action()


def cursor_of(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Another connection to the same warehouse, for another thread."""
    cursor = connection.cursor()
    cursor.execute(f"use {CATALOG}")
    cursor.execute("set timezone = 'UTC'")
    return cursor


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All that is done within, or nothing of it."""
    import duckdb

    connection.begin()
    try:
        yield
        connection.commit()
    except BaseException:
        with contextlib.suppress(duckdb.Error):  # after a commit that failed there is nothing to roll back
            connection.rollback()
        raise


def fetch_row(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] | None = None
) -> tuple[Any, ...] | None:
    """The first row of a short result, None where it has none.

    All of it is taken, as everywhere in this package: DuckDB 2 refuses the next statement of a connection
    while a result is taken in part.
    """
    rows: list[tuple[Any, ...]] = connection.execute(sql, parameters).fetchall()
    return rows[0] if rows else None


def sql_literal(value: object) -> str:
    """A text, or a path, as SQL writes it."""
    return "'" + str(value).replace("'", "''") + "'"


def sql_identifier(name: str) -> str:
    """The name of a table or a column, as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def _connect(path: Path, *, is_read_only: bool = False) -> duckdb.DuckDBPyConnection:
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        **OFFLINE,
        "memory_limit": MEMORY_LIMIT,
        "default_block_size": str(BLOCK_BYTES),  # of a new file
        "enable_external_file_cache": False,  # a part is read once
        "preserve_insertion_order": False,
        "temp_directory": f"{path}.tmp",
    }
    # Only ATTACH takes a row group size, and it holds for what is written through it. The name makes all connections
    # of this process to one file share it.
    connection = duckdb.connect(f":memory:{path}", config=config)
    try:
        connection.execute(CHEAP_COMPRESSION_SQL)
        _attach(connection, path, "read_only" if is_read_only else f"row_group_size {ROW_GROUP_SIZE}")
        connection.execute(f"use {CATALOG}")
    except BaseException:
        connection.close()
        raise
    return connection


def _attach(connection: duckdb.DuckDBPyConnection, path: Path, option: str) -> None:
    import duckdb

    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            connection.execute(f"attach if not exists {sql_literal(path)} as {CATALOG} ({option})")
        except duckdb.Error as error:
            if not any(sign in str(error).lower() for sign in _IN_USE):
                raise
            if time.monotonic() >= deadline:
                raise LockHeld(f"warehouse: another program has {path} open. Close it, then run again.") from error
            time.sleep(0.05)
        else:
            return


def mending(path: Path) -> str:
    """What to do about a warehouse that DuckDB cannot read or write."""
    return f"Free the disk; if that does not help, delete {path}: the next run rebuilds it."


def too_little_memory() -> AnalyticsError:
    """What to do where DuckDB has no memory left, and no room on disk for what it might put there meanwhile."""
    return AnalyticsError("memory: DuckDB has not enough, nor room on disk instead. Free either, and run again.")


def _broken(path: Path) -> AnalyticsError:
    """Without DuckDB's own message, which may hold data."""
    return AnalyticsError(f"warehouse: it cannot be read or written. {mending(path)}")
