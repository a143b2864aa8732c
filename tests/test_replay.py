"""An increment run again without dbt. That it builds what dbt would: tests/dbt/test_incremental.py."""

from __future__ import annotations

import pytest

from analytics.replay import Increment, Statement, keep_increment, kept_increment, replay
from analytics.warehouse import open_warehouse

ADD = Statement("model", "fct_lines", "insert into lines select max(number) + 1 from lines; analyze")
PASS = Statement("test", "has_lines", "select count(*) - 2 as failures from lines", needs=("fct_lines",))
FAIL = Statement("test", "has_few_lines", "select count(*) as failures from lines where number > 1", ("fct_lines",))
BROKEN = Statement("model", "fct_gone", "delete from lines; insert into gone select 1")


@pytest.fixture(autouse=True)
def lines(settings):
    with open_warehouse(settings) as connection:
        connection.execute("create table lines as select 1 as number")


def numbers(settings) -> list[int]:
    with open_warehouse(settings) as connection:
        return [number for (number,) in connection.execute("select number from lines order by 1").fetchall()]


def test_what_was_kept_builds_again(settings):
    keep_increment(settings, "f", [PASS, ADD])
    increment = kept_increment(settings, "f")
    assert replay(settings, increment)
    assert numbers(settings) == [1, 2]
    assert (increment.count("model"), increment.count("test")) == (1, 1)


def test_a_failing_test_is_left_to_dbt(settings):
    assert not replay(settings, Increment("f", (ADD, FAIL)))


def test_a_model_that_fails_changes_nothing_and_is_left_to_dbt(settings):
    assert not replay(settings, Increment("f", (BROKEN,)))
    assert numbers(settings) == [1]


def test_another_state_of_the_project_has_nothing_kept(settings):
    assert kept_increment(settings, "f") is None
    keep_increment(settings, "f", [ADD])
    assert kept_increment(settings, "another") is None


def test_statements_without_those_that_they_need_count_as_none(settings):
    keep_increment(settings, "f", [PASS])
    assert kept_increment(settings, "f") is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"fingerprint": "f"}', b'{"fingerprint": "f", "statements": [{}]}'])
def test_a_file_that_is_no_increment_counts_as_none(settings, content):
    keep_increment(settings, "f", [ADD])
    (settings.data_dir / "cache" / "increment.json").write_bytes(content)
    assert kept_increment(settings, "f") is None
