from __future__ import annotations

import re

import duckdb
import pytest

from analytics import cards
from analytics.errors import ConfigError
from tests.builders import TABLES_ABOUT_RUNS

DASHBOARDS = cards.load_dashboards()
CARDS = [(dashboard, card) for dashboard in DASHBOARDS for card in dashboard.cards]
GOLD = re.compile(r"(?:dim|fct|agg|bridge|mart)_")
FILTERED = [(dashboard, card) for dashboard, card in CARDS if not card.unfiltered]
ALL_DAYS = "and activity_date >= date '2000-01-01' and activity_date < date '2100-01-01'"
NO_DAY = "and activity_date < date '2000-01-01'"


def ids(entry):
    return entry.name if isinstance(entry, cards.Card) else entry.slug


def test_there_are_the_six_dashboards():
    assert [dashboard.slug for dashboard in DASHBOARDS] == [
        "developer_productivity",
        "ai_interaction_patterns",
        "project_insights",
        "code_change_metrics",
        "cost_and_usage",
        "data_quality",
    ]


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=ids)
def test_exposure_lists_exactly_the_models_of_its_cards(dashboard):
    used = {model for card in dashboard.cards for model in card.query.models}
    assert set(dashboard.exposed_models) == used


@pytest.mark.parametrize(("dashboard", "card"), CARDS, ids=ids)
def test_card_reads_gold_only(dashboard, card):
    assert card.query.models
    assert all(GOLD.match(model) for model in card.query.models)
    tables = set(re.findall(r"\b(?:from|join)\s+([\w.]+)", card.query.sql))
    outside = {name for name in tables if "." in name and not name.startswith("gold.")}
    assert not outside


@pytest.mark.parametrize(("dashboard", "card"), CARDS, ids=ids)
def test_card_gives_rows_on_the_sample(dashboard, card, published):
    rows = published.execute(cards.card_sql(card)).fetchall()
    assert rows
    assert any(any(value is not None for value in row[len(card.dimensions) :]) for row in rows)


@pytest.mark.parametrize(("dashboard", "card"), FILTERED, ids=ids)
def test_card_can_be_filtered_by_day_and_project(dashboard, card, published):
    columns = set(published.execute(f"select * from ({card.query.sql}) limit 0").fetchdf().columns)
    assert cards.DATE in columns
    # A run of the pipeline belongs to no project.
    assert (cards.PROJECT in columns) == (not TABLES_ABOUT_RUNS.issuperset(card.query.models))
    everything, all_days, no_day = (
        published.execute(cards.card_sql(card, conditions)).fetchall() for conditions in ([], [ALL_DAYS], [NO_DAY])
    )
    assert all_days == everything
    assert no_day != everything


def test_plans_of_equal_names_in_projects_of_equal_names_are_two():
    """They were one bar."""
    query = next(card.query for _, card in CARDS if card.query.name == "plans")
    with duckdb.connect() as connection:
        connection.execute("""
            create schema gold;
            create table gold.dim_projects as
            select * from (values ('1', '/srv/app', 'app'), ('2', '/home/app', 'app'), ('3', '/srv/site', 'site'))
                as rows (project_key, project_path, project_name);
            create table gold.agg_plan_progress as
            select
                project_key, 'login' as plan_name, timestamp '2026-01-01' as last_event_at, 1 as feature_count,
                1 as completed_feature_count, 0 as in_progress_feature_count, 0 as failed_feature_count,
                0 as pending_feature_count, 0 as failure_count, 1 as feature_duration_ms, 1 as timed_feature_count
            from gold.dim_projects;
        """)
        titles = connection.execute(f"select plan_title from ({query.sql}) order by 1").fetchall()
    assert titles == [("/home/app / login",), ("/srv/app / login",), ("site / login",)]


@pytest.mark.parametrize(("dashboard", "card"), CARDS, ids=ids)
def test_columns_are_told_from_the_text_as_the_database_tells_them(dashboard, card, published):
    columns = set(published.execute(f"select * from ({card.query.sql}) limit 0").fetchdf().columns)
    for name in cards.FILTERS:
        assert cards.has_column(card.query, name) == (name in columns), name


def test_a_column_that_a_query_only_joins_by_is_none_of_its_own():
    sql = """
with

projects as (
    select
        project_key,
        project_path
    from {{ ref('dim_projects') }}
),

calls as (
    select
        extract(
            hour
            from calls.occurred_at
        ) as model_name,
        calls.occurred_date as activity_date
    from {{ ref('fct_tool_calls') }} as calls
    inner join projects
        on calls.session_path = projects.project_path
    group by
        model_name,
        is_sidechain
)

select * from calls
"""
    query = cards.parse_query("calls", sql)
    assert [name for name in cards.FILTERS if cards.has_column(query, name)] == ["activity_date", "model_name"]


def test_every_column_that_is_shown_has_a_label_and_no_other():
    assert set(cards.read_labels()) == {name for _, card in CARDS for name in card.columns}


def test_a_column_without_a_label_is_called_by_its_own_words():
    assert cards.label("retired_widget_count") == "Retired widget count"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=ids)
def test_cards_do_not_overlap_on_the_grid(dashboard):
    taken: dict[tuple[int, int], str] = {}
    for card in dashboard.cards:
        for row in range(card.place.row, card.place.row + card.place.height):
            for column in range(card.place.column, card.place.column + card.place.width):
                assert (row, column) not in taken, f"{card.name} stands on {taken[row, column]}"
                taken[row, column] = card.name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("select * from {{ source('raw', 'x') }}", "no other templating"),
        ("{% if true %}select 1{% endif %}", "no other templating"),
    ],
)
def test_parse_query_refuses_other_templating(text, message):
    with pytest.raises(ConfigError, match=message):
        cards.parse_query("x", text)


def test_parse_dashboard_names_the_card_that_is_wrong():
    text = """
exposures:
  - label: x
    description: x
    depends_on: []
    config: {meta: {position: 1, cards: [{name: a, title: a, description: a, query: q, chart: row, unit: usd,
      measures: {m: avg(x)}, place: {column: 0, row: 0, width: 1, height: 1}}]}}
"""
    with pytest.raises(ConfigError, match="slug/a: measure m must be"):
        cards.parse_dashboard("slug", text, {"q": cards.Query("q", "select 1", ())})
