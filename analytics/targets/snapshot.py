"""Target `snapshot`: gold as Parquet behind one symbolic link, and a DuckDB file of views over it.

    <data>/published/<run>/<table>.parquet    one version, whole before anyone can see it
    <data>/published/<run>/_complete          the run that built it, once its publish got to its end; a version has it
    <data>/published/current -> <run>         the flip: one rename
    <data>/published/marts.duckdb             views over current/ and what they mean, replaced only when that changes

Readers open files that never change, so the pipeline and any number of readers do not block each
other. The views find the files beside the database file that was opened, wherever it is mounted.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from analytics import dictionary
from analytics.config import Settings
from analytics.errors import AnalyticsError, PublishError, reason_of
from analytics.files import make_private_folder, shown_path, sync, write_private_file
from analytics.lake import step
from analytics.targets import Target, TargetResult
from analytics.warehouse import (
    OFFLINE,
    ROW_GROUP_SIZE,
    cursor_of,
    fetch_row,
    open_warehouse,
    sql_literal,
    too_little_memory,
    transaction,
    with_enough_memory,
)

if TYPE_CHECKING:
    import duckdb

CURRENT = "current"
MARTS = "marts.duckdb"
SNAPSHOT_TABLE = dictionary.SNAPSHOT.name
# Views over what runs tell of themselves, to which a run adds until it publishes.
ABOUT_RUNS = ("fct_check_results", "fct_pipeline_runs")
WRITTEN, COMPLETE = "_written", "_complete"
WRITERS = 2
_RUN_ID = re.compile(r"[0-9]{8}T[0-9]{6,12}Z")
# Written so that DuckDB 1.4 and later, Metabase's driver among them, can open the file.
STORAGE_VERSION = "v1.2.0"


def stage(settings: Settings, run_id: str) -> None:
    """Write a run's version while the checks still judge it: whole, and for nobody to see until that run publishes.

    Gold has to stay as it is until then. What fails here is tried again, and told, by `publish`.
    It takes one core, for the checks have one to do and the run waits for both, until `hurry` is called.
    """
    import duckdb

    try:
        with open_warehouse(settings, is_read_only=True) as connection:
            connection.execute("set threads = 1")
            _write_version(connection, settings.published_dir / run_id, run_id, writers=1, without=ABOUT_RUNS)
    except (OSError, duckdb.Error, AnalyticsError):
        discard(settings, run_id)


def hurry(settings: Settings) -> None:
    """Have what is being staged take every core: nothing else is left to do."""
    with contextlib.suppress(AnalyticsError), open_warehouse(settings, is_read_only=True) as connection:
        connection.execute("reset threads")


def discard(settings: Settings, run_id: str) -> None:
    """Take away what a run staged, unless readers see it."""
    version = settings.published_dir / run_id
    if current_version(settings) != version.resolve():
        shutil.rmtree(version, ignore_errors=True)


def publish(settings: Settings, run_id: str) -> TargetResult:
    """Write every gold table and view, unless the run staged them, then make them visible in one step.

    Raises PublishError when the disk refuses; readers then keep what they had.
    """
    import duckdb

    started = time.monotonic()
    version = settings.published_dir / run_id
    try:
        with open_warehouse(settings) as connection:
            row_count = _write_version(connection, version, run_id)
            build = _build_run(connection)
            columns = _describe(connection)
        _flip(settings.published_dir, run_id)
        step("version_flipped")
        _replace_marts(settings.published_dir, columns)
        step("marts_replaced")
        write_private_file(version / COMPLETE, build.encode())
        (version / WRITTEN).unlink()
        for old in old_versions(settings.published_dir, settings.keep_versions):
            shutil.rmtree(old, ignore_errors=True)
    except (OSError, duckdb.Error, AnalyticsError) as error:
        discard(settings, run_id)
        if isinstance(error, AnalyticsError):
            raise
        reason, advice = "DuckDB could not write", "Free the disk"
        if isinstance(error, OSError):
            reason, advice = reason_of(error), "Mend that"
        raise PublishError(
            f"publish: {settings.published_dir} cannot be written ({reason}). {advice}, then: analytics publish"
        ) from error
    table_count = len({table for table, _, _ in columns})
    return TargetResult(
        target="snapshot",
        summary=f"{table_count} tables",
        location=shown_path(settings.published_dir / MARTS),
        elapsed_ms=round((time.monotonic() - started) * 1000),
        facts={"table_count": table_count, "row_count": row_count},
    )


TARGET = Target(name="snapshot", is_enabled=lambda _: True, publish=publish)


def gold_tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of the tables and views of schema gold, of the warehouse or of what is published."""
    rows = connection.execute(
        "select table_name from information_schema.tables where table_schema = 'gold' order by table_name"
    ).fetchall()
    return [name for (name,) in rows]


def _build_run(connection: duckdb.DuckDBPyConnection) -> str:
    """The run that built gold; empty where a person's own dbt did."""
    row = fetch_row(connection, "select run_id from raw._builds")
    return str(row[0]) if row else ""


def current_version(settings: Settings) -> Path | None:
    """The folder of the version that readers see now, resolved; None before the first publish."""
    link = settings.published_dir / CURRENT
    return link.resolve() if link.exists() else None


@contextlib.contextmanager
def open_current(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory connection with the published tables as views in schema gold, all of one version.

    Raises PublishError before the first publish, and where a file turns out to be damaged; AnalyticsError where
    memory is too little for a question.
    """
    import duckdb

    version = current_version(settings)
    if version is None:
        raise PublishError(f"nothing is published in {settings.published_dir} yet. Run `analytics run` first.")
    try:
        with duckdb.connect(config=OFFLINE) as connection:
            connection.execute("set timezone = 'UTC'")
            connection.execute("create schema gold")
            for file in sorted(version.glob("*.parquet")):
                connection.execute(f"create view gold.{file.stem} as select * from read_parquet({sql_literal(file)})")
            connection.execute("set search_path = 'gold,main'")
            yield connection
    except (duckdb.BinderException, duckdb.CatalogException):
        raise  # the question is wrong
    except duckdb.OutOfMemoryException as error:
        raise too_little_memory() from error
    except duckdb.Error as error:  # of many kinds: the reader of Parquet has no one for damage
        raise PublishError(f"a file in {version} is damaged. Write it again: analytics publish") from error


def _write_version(
    connection: duckdb.DuckDBPyConnection,
    version: Path,
    run_id: str,
    *,
    writers: int = WRITERS,
    without: Container[str] = (),
) -> int:
    """Write all tables that are not there yet and, last, how many rows. Returns that.

    A few at a time: most are too small to fill more than one core.
    """
    tables = gold_tables(connection)
    if not tables:
        raise PublishError("publish: there is no gold yet. Run `analytics transform` first.")
    make_private_folder(version)
    now = datetime.now(UTC).replace(tzinfo=None)
    queries = {SNAPSHOT_TABLE: f"select '{run_id}' as run_id, timestamp '{now}' as published_at"}
    queries |= {name: f"select * from gold.{name}" for name in tables if name not in without}
    files = {name: version / f"{name}.parquet" for name in queries}
    written = version / WRITTEN
    is_begun = written.exists()
    row_count = int(written.read_text(encoding="ascii")) if is_begun else 0
    missing = [name for name in queries if not (is_begun and files[name].exists())]
    with ThreadPoolExecutor(writers) as pool:
        row_count += sum(pool.map(lambda name: _write_table(connection, queries[name], files[name]), missing))
        list(pool.map(sync, [*(files[name] for name in missing), version]))
    write_private_file(written, str(row_count).encode())
    step("version_written")
    return row_count


def _write_table(connection: duckdb.DuckDBPyConnection, query: str, file: Path) -> int:
    import duckdb

    options = f"format parquet, compression zstd, compression_level 1, row_group_size {ROW_GROUP_SIZE}"
    copy = f"copy ({query}) to {sql_literal(file)} ({options})"
    try:
        with cursor_of(connection) as cursor:
            [(row_count,)] = with_enough_memory(cursor, lambda: cursor.execute(copy).fetchall())
    except duckdb.Error as error:
        raise PublishError(f"publish: {file} cannot be written. Free the disk, then: analytics publish") from error
    file.chmod(0o600)
    return int(row_count)


def _describe(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str]]:
    """(table, column, type) of everything published, in order: what decides whether the views change."""
    rows = connection.execute(
        """
        select table_name, column_name, data_type from information_schema.columns
        where table_schema = 'gold' order by table_name, ordinal_position
        """
    ).fetchall()
    return [*rows, *((SNAPSHOT_TABLE, column.name, column.data_type.upper()) for column in dictionary.SNAPSHOT.columns)]


def _replace_marts(published: Path, columns: Sequence[tuple[str, str, str]]) -> None:
    """Write marts.duckdb anew if its views, or what is said of them, would differ from what they are."""
    import duckdb

    marts = published / MARTS
    wanted = [*columns, ("", "folder", str(published)), ("", "comments", dictionary.descriptions_digest())]
    if _read_shape(marts) == wanted:
        return
    unfinished = published / f".{MARTS}.unfinished"
    unfinished.unlink(missing_ok=True)
    with duckdb.connect(config=OFFLINE) as connection:
        connection.execute(f"attach {sql_literal(unfinished)} as marts (storage_version '{STORAGE_VERSION}')")
        connection.execute("use marts")
        with transaction(connection):  # one: a hundred are slower than all that is in them
            connection.execute("create schema gold")
            tables, names, types = map(list, zip(*wanted, strict=True))
            connection.execute(
                """
                create table main._shape as
                select unnest(range(len($names))) as position, unnest($tables) as table_name, unnest($names) as name,
                    unnest($types) as type
                """,
                {"tables": tables, "names": names, "types": types},
            )
            for name in dict.fromkeys(table for table, _, _ in columns):
                connection.execute(f"create view gold.{name} as {_view_sql(published, name)}")
            connection.execute("; ".join(_iter_comments(columns)))
    unfinished.chmod(0o600)
    sync(unfinished)
    unfinished.replace(marts)
    sync(published)


def _iter_comments(columns: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """The statements that say of the views and their columns what the data dictionary does."""
    there = {(table, name) for table, name, _ in columns}
    for table in (*dictionary.read_tables(), dictionary.SNAPSHOT):
        said = [column for column in table.columns if (table.name, column.name) in there]
        if said:
            yield f"comment on view gold.{table.name} is {sql_literal(table.meaning)}"
        for column in said:
            yield f"comment on column gold.{table.name}.{column.name} is {sql_literal(column.meaning)}"


def _read_shape(marts: Path) -> list[tuple[str, str, str]]:
    """What the views of an existing file were made for; nothing for a missing or unreadable file."""
    import duckdb

    if not marts.exists():
        return []
    try:
        with duckdb.connect(str(marts), read_only=True) as connection:
            return connection.execute("select table_name, name, type from main._shape order by position").fetchall()
    except duckdb.Error:
        return []


def _view_sql(published: Path, name: str) -> str:
    """A view over one file beside the opened database.

    DuckDB names its spill folder after the database file it opened; that is how a view, which must
    name a path, finds the folder it is mounted in. Attached under another database, it falls back to
    the folder it was written in.
    """
    beside = f"replace(current_setting('temp_directory'), '{MARTS}.tmp', '{CURRENT}/{name}.parquet')"
    at_home = sql_literal(published / CURRENT / f"{name}.parquet")
    return (
        f"select * from read_parquet(case when current_setting('temp_directory') like '%/{MARTS}.tmp' "
        f"then {beside} else {at_home} end)"
    )


def _flip(published: Path, run_id: str) -> None:
    """Point `current` at a version: one rename, so that a reader finds the old one or the new one."""
    unfinished, current = published / f".{CURRENT}.unfinished", published / CURRENT
    unfinished.unlink(missing_ok=True)
    unfinished.symlink_to(run_id, target_is_directory=True)
    if current.is_dir() and not current.is_symlink():  # as a copy has it that followed links
        shutil.rmtree(current)
    unfinished.replace(current)
    sync(published)


def is_published(settings: Settings, build: str) -> bool:
    """Whether readers see what that run built, and the publish got to its end."""
    version = current_version(settings)
    try:
        is_seen = version is not None and (version / COMPLETE).read_text(encoding="utf-8") == build
    except OSError:
        return False
    return is_seen and not find_missing(settings)


def find_missing(settings: Settings) -> list[str]:
    """What readers are promised, and somebody took away: tables, or the file of views, also where it is damaged."""
    promised = {table for table, _, _ in _read_shape(settings.published_dir / MARTS) if table}
    if not promised:
        return [MARTS]
    return sorted(name for name in promised if not (settings.published_dir / CURRENT / f"{name}.parquet").exists())


def published_versions(published: Path) -> list[Path]:
    """The versions that readers see or saw, oldest first; not what a run writes now, or was killed while it wrote."""
    current = _current_name(published)
    return [version for version in _run_folders(published) if version.name == current or (version / COMPLETE).exists()]


def old_versions(published: Path, keep: int) -> list[Path]:
    """All but the newest versions, and what killed runs left: for the holder of the lock, as no other run writes then.

    Never the current one, which is not the newest after a clock went back.
    """
    versions = published_versions(published)
    kept = {*versions[-keep:], published / _current_name(published)}
    return [version for version in _run_folders(published) if version not in kept]


def _current_name(published: Path) -> str:
    return (published / CURRENT).resolve().name


def _run_folders(published: Path) -> list[Path]:
    """Every folder of a run, by name, and so by time."""
    if not published.is_dir():
        return []
    return sorted(entry for entry in published.iterdir() if _RUN_ID.fullmatch(entry.name) and not entry.is_symlink())
