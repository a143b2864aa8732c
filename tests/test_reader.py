from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analytics.errors import ConfigError, PublishError
from analytics.reader import EXPORTED_FORMS, published_tables, read_query, render, write_table
from analytics.targets import snapshot
from analytics.warehouse import sql_identifier
from tests.builders import make_gold

FORMULAS = ["=cmd|'/c calc'!A0", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "\uff1d1+1"]


@pytest.fixture
def published(settings):
    make_gold(settings, fct_x="select 1 as n, 'a' as name", dim_y="select 2 as n")
    snapshot.publish(settings, "20260101T000000000000Z")
    return settings


def rendered(sql: str, form: str, published) -> str:
    return render(read_query(published, sql), form)


def test_tables_are_listed(published):
    assert published_tables(published) == ["dim_y", "fct_x", "published_snapshot"]


def test_a_query_needs_no_schema(published):
    assert read_query(published, "select n from fct_x").to_pylist() == [{"n": 1}]
    assert read_query(published, "select n from gold.fct_x").to_pylist() == [{"n": 1}]


@pytest.mark.parametrize(
    "sql", ["selekt 1", "select nope from fct_x", "select * from nope", "", "create table t (a int)"]
)
def test_sql_that_gives_nothing_is_an_error_that_says_so(published, sql):
    with pytest.raises(ConfigError, match=r"^query: "):
        read_query(published, sql)


def test_columns_of_one_name_keep_their_own_values(published):
    """A join of two tables that both have a cost showed the second one twice."""
    sql = "select 1 as n, 2 as n, 3 as n_1, 4 as n"
    table = read_query(published, sql)
    assert table.to_pylist() == [{"n": 1, "n_1": 2, "n_1_1": 3, "n_2": 4}]
    assert render(table, "csv") == "n,n_1,n_1_1,n_2\n1,2,3,4\n"


@pytest.mark.parametrize("question", ["select 1", "pivot fct_x on n using count(*)"])
def test_a_query_writes_no_file(published, tmp_path, question):
    """It was written, and then refused for giving no rows."""
    with pytest.raises(ConfigError, match=r"^query: "):
        read_query(published, f"copy ({question}) to '{tmp_path}/written.csv'")
    assert not (tmp_path / "written.csv").exists()


@pytest.mark.parametrize("sql", ["select 1; select 2", "", "-- nothing", "select 1; copy (select 1) to 'x.csv'"])
def test_a_query_is_one_question(published, sql):
    """Of several statements only the last was shown."""
    with pytest.raises(ConfigError, match="one statement"):
        read_query(published, sql)


@pytest.mark.parametrize(
    ("sql", "row_count"),
    [("pivot fct_x on n using count(*)", 1), ("set threads = 1; from fct_x", 1), ("summarize fct_x", 2)],
)
def test_a_question_may_be_more_than_a_select(published, sql, row_count):
    assert read_query(published, sql).num_rows == row_count


def test_a_small_amount_is_written_in_full_for_a_spreadsheet():
    table = pa.table({"cost": pa.array([Decimal("0E-9"), Decimal("1E-9")], pa.decimal128(18, 9))})
    assert render(table, "csv") == "cost\n0.000000000\n0.000000001\n"


def test_a_query_before_the_first_publish_says_what_to_do(settings):
    with pytest.raises(PublishError, match="analytics run"):
        read_query(settings, "select 1")


@pytest.mark.parametrize("text", FORMULAS)
def test_csv_never_starts_a_cell_with_a_formula(text):
    table = pa.table({"a": [text, "b=c", None], "n": [-1, 2, 3]})
    rows = list(csv.reader(io.StringIO(render(table, "csv"), newline="")))
    assert rows == [["a", "n"], [f"'{text}", "-1"], ["b=c", "2"], ["", "3"]]


def test_csv_has_no_formula_for_a_heading():
    assert render(pa.table({"=1+1": [1]}), "csv").startswith("'=1+1\n")


def test_parquet_keeps_a_formula_as_it_is(published, tmp_path):
    file = tmp_path / "out.parquet"
    table = read_query(published, "select '=1+1' as a")
    write_table(table, file, "parquet")
    assert pq.read_table(file).to_pylist() == [{"a": "=1+1"}]


@pytest.mark.parametrize("form", EXPORTED_FORMS)
def test_a_file_that_cannot_be_written_is_named(tmp_path, form):
    with pytest.raises(ConfigError, match="cannot be written"):
        write_table(pa.table({"a": [1]}), tmp_path / "none" / "out", form)


def test_json_is_json_whatever_the_values(published):
    sql = """
        select 'nan'::double as a, 'inf'::float as b, 12.50::decimal(18, 2) as c, timestamp '2026-01-02 03:04:05' as d,
            sum(1::bigint) as e, 'é\u2028"' as f, null as g, [1, 2] as h, {'k': 1} as i
    """
    (row,) = json.loads(rendered(sql, "json", published), parse_constant=pytest.fail)
    assert row == {
        "a": None, "b": None, "c": 12.5, "d": "2026-01-02 03:04:05", "e": 1, "f": 'é\u2028"', "g": None, "h": [1, 2],
        "i": {"k": 1},
    }  # fmt: skip


def test_a_table_is_aligned_and_shows_one_line_a_row(published):
    values = "('a', 1), ('two\nlines', 1234567), ('漢字', null), (repeat('x', 99), 2)"
    sql = f"select * from (values {values}) as rows(name, n)"
    lines = rendered(sql, "table", published).splitlines()
    assert len(lines) == 6
    assert lines[0].split() == ["name", "n"]
    assert "two lines" in lines[3]
    assert lines[3].endswith("1,234,567")
    assert "…" in lines[5]


def test_an_empty_result_has_its_header(published):
    assert rendered("select n from fct_x where false", "table", published).startswith("n\n")
    assert rendered("select n from fct_x where false", "json", published) == "[]\n"
    assert rendered("select n from fct_x where false", "csv", published) == "n\n"


def test_sql_identifier_quotes_any_name(published):
    assert read_query(published, f"select 1 as {sql_identifier(chr(34) + '; drop table x')}").column_names == [
        '"; drop table x'
    ]
