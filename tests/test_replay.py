"""An increment run again without dbt. That it builds what dbt would: tests/dbt/test_incremental.py."""

from __future__ import annotations

import threading

import duckdb
import pytest

from analytics import replay as replay_module
from analytics import warehouse
from analytics.files import keep_file
from analytics.replay import (
    Statement,
    begin_warehouse,
    forget_builds,
    has_beginning,
    keep_empty_warehouse,
    keep_increment,
    kept_increment,
    replay,
)
from analytics.warehouse import open_warehouse

ADD = Statement("model", "fct_lines", "insert into lines select max(number) + 1 from lines; analyze")
PASS = Statement("test", "has_lines", "select count(*) - 2 as failures from lines", needs=("fct_lines",))
FAIL = Statement("test", "has_few_lines", "select count(*) as failures from lines where number > 1", ("fct_lines",))
BROKEN = Statement("model", "fct_gone", "delete from lines; insert into gone select 1")


@pytest.fixture(autouse=True)
def lines(settings, builds):
    with open_warehouse(settings) as connection:
        connection.execute("create table lines as select 1 as number")


def numbers(settings) -> list[int]:
    with open_warehouse(settings) as connection:
        return [number for (number,) in connection.execute("select number from lines order by 1").fetchall()]


def test_what_was_kept_builds_again(settings):
    keep_increment("f", [PASS, ADD])
    increment = kept_increment("f")
    assert replay(settings, increment.statements)
    assert numbers(settings) == [1, 2]


def test_a_failing_test_is_left_to_dbt(settings):
    assert not replay(settings, (ADD, FAIL))


def test_a_model_that_fails_changes_nothing_and_is_left_to_dbt(settings):
    assert not replay(settings, (BROKEN,))
    assert numbers(settings) == [1]


def test_a_model_that_needs_more_memory_than_usual_is_built_with_more(settings, monkeypatch):
    """It was left to dbt, which then built everything with all the memory there may be."""
    monkeypatch.setattr(warehouse, "MEMORY_LIMIT", "32MB")
    large = "insert into lines select len(list(number)) from range(8_000_000) as numbers (number)"
    with open_warehouse(settings) as connection, pytest.raises(duckdb.OutOfMemoryException):
        connection.execute(large)
    assert replay(settings, (Statement("model", "fct_lines", large),))
    assert numbers(settings) == [1, 8_000_000]


@pytest.mark.parametrize(("row_count", "is_together", "patience_s"), [(1, True, 30.0), (2, False, 0.1)])
def test_statements_over_many_rows_have_the_memory_bound_to_themselves(
    settings, monkeypatch, row_count, is_together, patience_s
):
    monkeypatch.setattr(replay_module, "CONCURRENT_ROW_LIMIT", 1)
    both, met = threading.Barrier(2), []

    def meet(*_):
        try:
            both.wait(patience_s)
            met.append(True)
        except threading.BrokenBarrierError:
            both.reset()
            met.append(False)

    monkeypatch.setattr(replay_module, "_execute", meet)
    statements = [Statement("model", name, "select 1") for name in ("fct_lines", "fct_calls")]
    assert replay(settings, statements, row_count=row_count)
    assert met == [is_together] * 2


def test_another_state_of_the_project_has_nothing_kept():
    assert kept_increment("f") is None
    keep_increment("f", [ADD])
    assert kept_increment("another") is None


def test_statements_without_those_that_they_need_count_as_none():
    keep_increment("f", [PASS])
    assert kept_increment("f") is None


@pytest.mark.parametrize("content", [b"", b"1", b"{}", b'{"statements": [1]}', b'{"statements": [{}]}'])
def test_a_file_that_is_no_increment_counts_as_none(content):
    keep_file(replay_module._statements_file("f"), content)
    assert kept_increment("f") is None


def test_an_increment_of_which_statements_are_gone_counts_as_none():
    keep_increment("f", [ADD, PASS])
    file = replay_module._statements_file("f")
    file.write_bytes(file.read_bytes().replace(b"insert into lines", b"select * from lines"))
    assert kept_increment("f") is None


def test_of_the_increments_the_newest_stay_and_the_one_of_set_up(settings, monkeypatch):
    monkeypatch.setattr(replay_module, "KEPT_INCREMENTS", 2)
    keep_empty_warehouse("a", settings.warehouse_file)
    for fingerprint in ("a", "b", "c", "d"):
        keep_increment(fingerprint, [ADD])
    assert [fingerprint for fingerprint in ("a", "b", "c", "d") if kept_increment(fingerprint)] == ["a", "c", "d"]


def test_a_folder_without_a_warehouse_begins_with_the_one_that_is_kept(settings):
    keep_empty_warehouse("f", settings.warehouse_file)
    settings.warehouse_file.unlink()
    settings.warehouse_file.with_suffix(".duckdb.wal").write_bytes(b"of the one that was deleted")
    assert has_beginning(settings, "f")
    begin_warehouse(settings, "f")
    assert numbers(settings) == [1]


def test_a_folders_own_warehouse_stays(settings):
    keep_empty_warehouse("f", settings.warehouse_file)
    assert replay(settings, [ADD])
    begin_warehouse(settings, "f")
    assert numbers(settings) == [1, 2]


@pytest.mark.parametrize("fingerprint", ["f", "another"])
def test_a_folder_without_a_warehouse_begins_with_none_where_none_is_kept(settings, fingerprint):
    keep_empty_warehouse("f", settings.warehouse_file)
    settings.warehouse_file.unlink()
    if fingerprint == "f":
        forget_builds()
    assert not has_beginning(settings, fingerprint)
    begin_warehouse(settings, fingerprint)
    assert not settings.warehouse_file.exists()


def damage(file) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 0xFF]))


def forbid(file) -> None:
    """As a folder of another user's is: nothing in it can be opened."""
    file.rename(file.with_name("elsewhere"))
    file.mkdir()


@pytest.mark.parametrize("spoil", [damage, forbid])
def test_a_folder_begins_with_none_where_the_one_that_is_kept_is_not_whole(settings, builds, spoil):
    keep_empty_warehouse("f", settings.warehouse_file)
    settings.warehouse_file.unlink()
    (kept,) = builds.iterdir()
    spoil(kept)
    begin_warehouse(settings, "f")
    assert not settings.warehouse_file.exists()


def test_an_increment_leaves_out_the_tests_of_views_unless_it_is_thorough(settings):
    of_view = Statement("test", "costs_add_up", "select 0", ("fct_lines",), is_quick=False)
    keep_increment("f", [ADD, PASS, of_view])
    kept = kept_increment("f")
    assert kept.statements == (ADD, PASS, of_view)
    assert kept.quick_statements == (ADD, PASS)
