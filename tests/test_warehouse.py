"""Opening the warehouse: who shares it, who waits, and what is written how."""

from __future__ import annotations

import duckdb
import pytest

from analytics import warehouse
from analytics.checks.dialect import ChecksDialect, close_all
from analytics.errors import LockHeld
from analytics.warehouse import RELAXED_MEMORY_LIMITS, ROW_GROUP_SIZE, cursor_of, open_warehouse, with_enough_memory
from tests.builders import make_settings


@pytest.fixture(autouse=True)
def numbers(settings):
    with open_warehouse(settings) as connection:
        connection.execute("create table numbers as select 1 as number")


def count(settings) -> int:
    with open_warehouse(settings) as connection:
        return connection.execute("select count(*) from numbers").fetchall()[0][0]


def test_no_connection_fetches_extensions(settings):
    asked = "select current_setting('autoinstall_known_extensions')"
    with open_warehouse(settings) as connection:
        assert connection.execute(asked).fetchall() == [(False,)]
    connection = ChecksDialect().connect(":memory:")
    assert connection.cursor()._duckdb.execute(asked).fetchall() == [(False,)]
    close_all()


def test_row_groups_are_small_whichever_connection_writes(settings):
    """Those of a file that was there before once had the engine's size, which costs an increment a fifth."""
    with open_warehouse(settings) as connection, cursor_of(connection) as cursor:
        cursor.execute(f"insert into numbers select number from range({3 * ROW_GROUP_SIZE}) as r (number)")
    with open_warehouse(settings) as connection:
        [(groups,)] = connection.execute(
            "select count(distinct row_group_id) from pragma_storage_info('numbers')"
        ).fetchall()
    assert groups >= 3


@pytest.mark.skipif(duckdb.__version__ >= "2", reason="DuckDB 2 has one method in place of FSST and dictionaries")
def test_no_compression_is_tried_that_costs_more_than_it_saves(settings):
    """Long texts that share their beginnings are what DuckDB would choose FSST for, whichever connection writes."""
    rows = f"select 'session/of/a/long/name/' || md5(cast(n as varchar)) as path from range({ROW_GROUP_SIZE}) as r (n)"
    chosen = "select distinct compression from pragma_storage_info('{}') where segment_type = 'VARCHAR'"
    with duckdb.connect() as plain:
        plain.execute(f"attach '{settings.data_dir}/plain.duckdb' as plain; create table plain.paths as {rows}")
        plain.execute("checkpoint plain")
        assert plain.execute(chosen.format("plain.paths")).fetchall() == [("FSST",)]
    with open_warehouse(settings) as connection, cursor_of(connection) as cursor:
        cursor.execute(f"create table paths as {rows}")
    with open_warehouse(settings) as connection:
        assert "FSST" not in {method for (method,) in connection.execute(chosen.format("paths")).fetchall()}


def test_memory_that_another_thread_has_taken_already_is_enough():
    """DuckDB refuses a bound below what is in use, and one writer's second try was taken for a full disk."""
    asked = []

    class InUse:
        def execute(self, sql: str) -> None:
            asked.append(sql)
            raise duckdb.OutOfMemoryException("Failed to change memory limit")

    def need_more_than_usual() -> str:
        if not asked:
            raise duckdb.OutOfMemoryException("could not allocate block")
        return "done"

    assert with_enough_memory(InUse(), need_more_than_usual) == "done"
    assert asked == [f"set memory_limit = '{RELAXED_MEMORY_LIMITS[0]}'"]


def test_connections_of_one_process_share_the_file_by_any_of_its_names(settings, tmp_path):
    (tmp_path / "elsewhere").symlink_to(settings.data_dir)
    alias = make_settings(tmp_path, data_dir=tmp_path / "elsewhere")
    with open_warehouse(settings) as connection:
        connection.execute("insert into numbers select 2")
        assert count(alias) == 2


def test_a_file_that_this_process_has_open_otherwise_is_left_alone(settings, monkeypatch):
    """It was taken for a broken one, and deleted."""
    monkeypatch.setattr(warehouse, "LOCK_WAIT_S", 0.1)
    with duckdb.connect(str(settings.warehouse_file)), pytest.raises(LockHeld):
        count(settings)
    assert count(settings) == 1


def test_nothing_is_left_beside_the_file(settings):
    assert count(settings) == 1
    assert [file.name for file in settings.data_dir.iterdir()] == [settings.warehouse_file.name]


def test_many_columns_are_loaded_without_a_detour_over_the_disk(settings):
    """Blocks of the engine's size, which are mostly empty then, went beyond the memory bound for every row group."""
    columns = ", ".join(f"null::varchar as column_{index}" for index in range(120))
    with open_warehouse(settings) as connection:
        connection.execute("set max_temp_directory_size = '0 KB'")
        connection.execute(f"create table wide as select number, {columns} from range(300_000) as r (number)")
        assert connection.execute("select count(*) from wide").fetchall() == [(300_000,)]
