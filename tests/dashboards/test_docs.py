"""The pages that people ask from say what is there, and their questions have answers."""

from __future__ import annotations

import re

import pytest

from analytics.config import PROJECT_DIR
from analytics.dictionary import DICTIONARY_FILE, ForeignKey, build_page, parse_table, read_tables

QUESTIONS = re.findall(
    r"### (.+?)\n```sql\n(.*?)```", (PROJECT_DIR / "docs" / "ask-it.md").read_text(encoding="utf-8"), re.DOTALL
)
README_QUESTIONS = re.findall(
    r"^-- ([^\n]+\?)\n(.+?;)$", (PROJECT_DIR / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
# What the demo has none of: a day beyond the budget.
MAY_BE_EMPTY = re.compile(r"budget alert")


def test_there_are_enough_questions() -> None:
    assert len(QUESTIONS) >= 25


@pytest.mark.parametrize(("question", "sql"), QUESTIONS, ids=[question for question, _ in QUESTIONS])
def test_a_question_has_an_answer(published, question, sql) -> None:
    rows = published.execute(sql).fetchall()
    assert rows or MAY_BE_EMPTY.search(question)


def test_the_questions_of_the_readme_can_be_asked(published) -> None:
    assert len(README_QUESTIONS) >= 5
    for question, sql in README_QUESTIONS:
        assert published.execute(sql).description, question


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
