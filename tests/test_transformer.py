"""What becomes of a build that dbt could not finish. What dbt builds is tested in tests/dbt."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from analytics import transformer
from analytics.build_plan import BuildPlan
from analytics.config import Settings
from analytics.errors import AnalyticsError
from analytics.replay import Statement, keep_increment, kept_increment
from analytics.transformer import _Dbt, _dbt_of, project_fingerprint, transform
from analytics.warehouse import RELAXED_MEMORY_LIMITS, open_warehouse


def make_result(
    status: str = "success", message: str = "OK", compiled: str = "", file: str = "", kind: str = "model"
) -> Any:
    node = SimpleNamespace(
        resource_type=kind,
        name="int_tool_usage",
        unique_id="u",
        compiled_code=compiled,
        build_path=file,
        depends_on_nodes=[],
    )
    return SimpleNamespace(node=node, status=status, message=message, failures=None)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, settings: Settings, builds: Path) -> list[Any]:
    """What dbt answers, call by call, at last that all is well; an exception is dbt's own end. Calls take its place."""
    answers: list[Any] = []
    done = 0

    def invoke(_self: _Dbt, arguments: Any, memory_limit: str = "") -> Any:
        nonlocal done
        if arguments == ["parse"]:
            return SimpleNamespace(exception=None, result=SimpleNamespace(nodes={}))
        if done == len(answers):
            return SimpleNamespace(exception=None, result=SimpleNamespace(results=[make_result()]))
        answer, answers[done] = answers[done], (list(arguments), memory_limit)
        done += 1
        if isinstance(answer, Exception):
            return SimpleNamespace(exception=answer, result=None)
        return SimpleNamespace(exception=None, result=SimpleNamespace(results=[answer]))

    monkeypatch.setattr(_Dbt, "_invoke", invoke)
    transformer._dbt_of.cache_clear()
    with open_warehouse(settings) as connection:
        connection.execute("create schema raw; create table raw._build_settings as select true as is_full_refresh")
    return answers


def out_of_memory() -> str:
    with duckdb.connect(config={"memory_limit": "10MB"}) as connection:
        with pytest.raises(duckdb.OutOfMemoryException) as caught:
            connection.execute("select list(number) from range(8_000_000) as numbers (number)")
        return f"Runtime Error in model int_tool_usage\n  {caught.value}"


def test_a_model_that_needs_more_memory_than_usual_is_built_with_more(settings, answers):
    """In steps: DuckDB takes all that it may, and one statement of a large history made dbt's process 2 GB."""
    answers += [make_result("error", out_of_memory()), make_result("error", out_of_memory()), make_result()]
    assert transform(settings, BuildPlan(is_full_refresh=True)).model_count == 1
    assert [memory_limit for _, memory_limit in answers] == ["", *RELAXED_MEMORY_LIMITS[:2]]


def test_a_model_that_is_wrong_is_not_built_again(settings, answers):
    answers.append(make_result("error", "Conversion Error: Could not convert string 'a prompt' to INT32"))
    with pytest.raises(AnalyticsError, match="int_tool_usage did not build: Conversion Error") as caught:
        transform(settings, BuildPlan(is_full_refresh=True))
    assert "a prompt" not in str(caught.value)


@pytest.mark.parametrize("engine", ["IO Error: Corrupt database file", "TransactionContext Error: Failed to commit"])
def test_a_file_or_disk_that_fails_dbt_is_told_with_what_to_do(settings, answers, engine):
    answers.append(make_result("error", f"Runtime Error in model int_tool_usage\n  {engine}"))
    with pytest.raises(AnalyticsError, match=f"{engine}. Free the disk; .* delete {settings.warehouse_file}: the next"):
        transform(settings, BuildPlan(is_full_refresh=True))


def test_a_test_that_could_not_be_run_has_found_nothing(settings, answers):
    """It was told as one that failed over 0 rows, with where to see them."""
    answers.append(make_result("error", "Runtime Error in test int_tool_usage", kind="test"))
    with pytest.raises(AnalyticsError, match="int_tool_usage did not run: Runtime Error") as caught:
        transform(settings, BuildPlan(is_full_refresh=True))
    assert caught.value.exit_code == 1


def test_what_an_earlier_version_left_in_dbts_cache_is_passed_over(settings, answers):
    """After an update, dbt took the moved description of a model for a second one. Found by use."""
    answers += [ValueError("two schema.yml entries"), make_result()]
    transform(settings, BuildPlan(is_full_refresh=False))
    assert ["--no-partial-parse" in arguments for arguments, _ in answers] == [False, True]


def test_dbts_own_end_is_told_without_what_it_quotes(settings, answers):
    answers += [ValueError("unexpected 'my secret' in schema.yml")] * 2
    with pytest.raises(AnalyticsError, match=r"dbt stopped: unexpected '\.\.\.' in schema\.yml"):
        transform(settings, BuildPlan(is_full_refresh=False))


@pytest.mark.parametrize("is_full_refresh", [False, True])
def test_what_dbt_ran_for_an_increment_is_kept_for_the_next(settings, answers, tmp_path, is_full_refresh):
    """After a full build, of no dates."""
    file = tmp_path / "int_tool_usage.sql"
    file.write_text("create or replace table t as select 1")
    answers += [make_result()] * is_full_refresh + [make_result(compiled="select 1", file=str(file))]
    transform(settings, BuildPlan(is_full_refresh=is_full_refresh))
    assert ["--full-refresh" in arguments for arguments, _ in answers] == [True] * is_full_refresh + [False]
    kept = kept_increment(_dbt_of(settings).fingerprint)
    assert [statement.sql for statement in kept.statements] == ["create or replace table t as select 1"]


def test_an_increment_that_is_known_is_not_learned_again(settings, answers):
    """Another data folder with the same settings may have learned it, or the set-up."""
    keep_increment(project_fingerprint(settings), [Statement("model", "fct_lines", "select 1")])
    answers += [make_result(), make_result()]
    transform(settings, BuildPlan(is_full_refresh=True))
    assert [isinstance(answer, tuple) for answer in answers] == [True, False]


@pytest.mark.parametrize(("status", "is_full_refresh"), [("warn", False), ("success", True)])
def test_what_need_not_be_the_same_next_time_is_not_kept(settings, answers, tmp_path, status, is_full_refresh):
    file = tmp_path / "int_tool_usage.sql"
    file.write_text("create table t as select 1")
    answers += [make_result(status, compiled="select 1", file=str(file))]
    transform(settings, BuildPlan(is_full_refresh=is_full_refresh))
    assert kept_increment(_dbt_of(settings).fingerprint) is None


def test_an_increment_that_cannot_be_kept_is_built_all_the_same(settings, answers, builds, tmp_path):
    file = tmp_path / "int_tool_usage.sql"
    file.write_text("create or replace table t as select 1")
    builds.touch()
    answers += [make_result(compiled="select 1", file=str(file))]
    assert transform(settings, BuildPlan(is_full_refresh=False)).model_count == 1


@pytest.mark.parametrize("name", ["dbt_project.yml", "models/fct_lines.sql", "seeds/model_prices.csv"])
def test_a_change_of_the_project_is_another_fingerprint(settings, monkeypatch, tmp_path, name):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    (tmp_path / "dbt_project.yml").touch()
    monkeypatch.setattr(transformer, "DBT_DIR", tmp_path)
    before = project_fingerprint(settings)
    file.write_text("changed")
    assert project_fingerprint(settings) != before
