"""The pages that people ask from say what is there, and their questions have answers."""

from __future__ import annotations

import re

import pytest

from analytics.config import PROJECT_DIR
from analytics.dictionary import DICTIONARY_FILE, ForeignKey, build_page, parse_table, read_tables
from analytics.lake import Lake
from analytics.reader import render
from analytics.warehouse import open_warehouse

QUESTIONS = re.findall(
    r"### ([^\n]+)\n[^`]*```sql\n(.*?)```", (PROJECT_DIR / "docs" / "ask-it.md").read_text(encoding="utf-8"), re.DOTALL
)
README = (PROJECT_DIR / "README.md").read_text(encoding="utf-8")
# A question, its SQL, and the rows of its answer.
README_QUESTIONS = re.findall(r"^-- ([^\n]+\?)\n([^;]+;)\n((?:--   [^\n]+\n)*)", README, re.MULTILINE)
# What the demo has none of: a day beyond the budget.
MAY_BE_EMPTY = re.compile(r"budget alert")


def test_there_are_enough_questions() -> None:
    assert len(QUESTIONS) >= 25


@pytest.mark.parametrize(("question", "sql"), QUESTIONS, ids=[question for question, _ in QUESTIONS])
def test_a_question_has_an_answer(published, question, sql) -> None:
    rows = published.execute(sql).fetchall()
    assert rows or MAY_BE_EMPTY.search(question)


def test_there_are_six_questions_in_the_readme() -> None:
    assert len(README_QUESTIONS) == 6


@pytest.mark.parametrize(("question", "sql", "answer"), README_QUESTIONS, ids=[entry[0] for entry in README_QUESTIONS])
def test_a_question_of_the_readme_has_the_answer_that_stands_there(published, question, sql, answer) -> None:
    _, _, *rows = render(published.sql(sql).to_arrow_table(), "table").splitlines()
    assert answer == "".join(f"--   {row}\n" for row in rows)


def test_the_flow_in_the_readme_has_the_counts_of_the_sample(published, sample_settings) -> None:
    """What was read is what was rejected, loaded, or there twice; the counts of rows come from the demo's own."""
    lake = Lake(sample_settings.data_dir)
    commits = [commit for dataset in lake.input_datasets() for commit in lake.iter_commits(dataset)]
    read = {source: sum(c.rows_read for c in commits if c.source == source) for source in {c.source for c in commits}}
    rejected = sum(commit.rows_rejected for commit in commits)
    kept = sum(commit.rows_loaded for commit in commits)
    tables = ("fct_messages", "fct_api_requests", "fct_tool_calls")
    messages, requests, calls = (published.execute(f"select count(*) from {name}").fetchall()[0][0] for name in tables)
    flow = README.partition("## How it flows")[2].partition("- **extract**")[0]
    for shown in (
        rf"transcripts +{read['transcripts']:,} ─",
        rf"hook events +{read['hooks']:,} ─",
        rf"plan events +{read['plans']:,} ─",
        rf"rejected {rejected:,} ─",
        rf"data/raw {kept:,} ─",
        rf"sample's {kept + rejected:,} records {rejected:,} is rejected",
        rf"{messages:,}\smessages, {requests:,} API requests and {calls:,} tool calls",
    ):
        assert re.search(shown, flow), shown
    loaded = int(re.search(r"raw ([\d,]+) ─▶ stg_", flow)[1].replace(",", ""))
    repeated = int(re.search(r"and (\d+) repeat another", flow)[1])
    with open_warehouse(sample_settings, is_read_only=True) as connection:
        raw = [
            connection.execute(f"select count(*) from raw.{name}").fetchall()[0][0] for name in lake.input_datasets()
        ]
    assert (loaded, repeated) == (sum(raw), kept - sum(raw))
    assert f"The {loaded:,} that are left" in flow


def test_every_table_stands_in_the_readme_with_its_key() -> None:
    shown = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", README.partition("## The warehouse")[2], re.MULTILINE)
    keys = {table.name: table.grain for table in read_tables() if table.kind != "alert"}
    assert {name: tuple(re.findall(r"\w+", key)) for name, key in shown} == keys


# A run's own: how long it took and when, where its data lies, how dbt built it.
OF_THE_RUN = re.compile(
    r" +[0-9.]+ s\b|\S+Z\b|\S+(?=/(?:dead_letter|published)/)|[0-9]+ models|   (?:everything|as dbt .*)"
)


def facts_of(story: str) -> list[str]:
    return [" ".join(OF_THE_RUN.sub(" ", line).split()) for line in story.strip().splitlines()]


def test_the_readme_shows_what_a_run_over_the_sample_says(told) -> None:
    (shown,) = re.findall(r"```text\n(extract .+?)```", README, re.DOTALL)
    assert facts_of(shown) == facts_of(told)


def test_the_dictionary_is_what_is_generated() -> None:
    assert DICTIONARY_FILE.read_text(encoding="utf-8") == build_page(read_tables()), "run: make docs"


def test_the_dictionary_says_what_is_published(published) -> None:
    told = {table.name: [column.name for column in table.columns] for table in read_tables()}
    for name, columns in told.items():
        described = published.execute(f"describe {name}").fetchall()
        assert [row[0] for row in described] == columns, name


def test_a_shared_description_is_filled_in() -> None:
    column = {"name": "a_key", "data_type": "varchar", "description": '{{ doc("a_key") }}'}
    keys = {"a_key": {"to": "ref('dim_a')", "field": "key"}}
    contract = {"gold_contract": {"arguments": {"grain": ["a_key"], "foreign_keys": keys}}}
    model = {"name": "fct_x", "description": "One row per x.", "columns": [column], "data_tests": [contract]}
    table = parse_table(model, {"a_key": "The a."})
    assert (table.columns[0].meaning, table.foreign_keys, table.kind) == (
        "The a.",
        (ForeignKey("a_key", "dim_a", "key"),),
        "fct",
    )
