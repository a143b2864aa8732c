"""Every expectation of every suite is shown a batch that it must object to, and one that it must not."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest

from analytics.checks.suites import CheckResult
from analytics.config import Settings
from analytics.lake import Commit, Lake
from analytics.pipeline import RunOptions, open_run
from analytics.validator import PROJECT, AuditFailed, ValidateResult, suite_files, validate
from tests.builders import encode, make_answer, make_prompt, make_settings, write_transcript

CHECKS = [
    (file.stem, entry["meta"]["name"])
    for file in suite_files()
    for entry in orjson.loads(file.read_bytes())["expectations"]
]
NOW = datetime.now(UTC)
MARKER = "xylophone-marker"


def commit(
    number: int, *, hours_ago: float = 0.0, read: int = 10, loaded: int | None = None, rejected: int = 0
) -> Commit:
    """An entry of the log. By default everything read was loaded."""
    return Commit(
        number=number,
        dataset="conversations",
        source="transcripts",
        kind="extract",
        run_id="run",
        host_id="test",
        committed_at=(NOW - timedelta(hours=hours_ago)).isoformat(),
        adds=(),
        removes=(),
        rows_read=read,
        rows_loaded=read - rejected if loaded is None else loaded,
        rows_rejected=rejected,
        dead_letter=None,
        state={},
    )


class FakeLake(Lake):
    """A lake that is nothing but its log."""

    def __init__(self, commits: list[Commit]) -> None:
        self._commits = commits

    def datasets(self) -> list[str]:
        return ["conversations"]

    def last_number(self, dataset: str) -> int:
        return len(self._commits)

    def iter_commits(self, dataset: str, *, after: int = 0) -> Iterator[Commit]:
        yield from self._commits


HEALTHY_LAKE = [commit(number, hours_ago=48 - number) for number in range(1, 31)]

# What a lake's log looks like when something is wrong; `audited_hours_ago` is when the last audit passed.
LAKE_FAULTS: dict[str, list[Commit]] = {
    "rows_read_are_loaded_or_rejected": [*HEALTHY_LAKE, commit(31, read=10, loaded=9)],
    "few_rows_are_rejected": [*HEALTHY_LAKE, commit(31, read=200, rejected=20)],
    "most_rows_are_accepted": [*HEALTHY_LAKE, commit(31, read=200, rejected=150)],
    "volume_is_like_before": [*HEALTHY_LAKE, commit(31, read=200_000)],
    "no_source_fell_silent": [commit(number, hours_ago=24 * 30 - number) for number in range(1, 31)],
}

LINES = "update raw.conversations set"
SECOND = r"select rowid from \2 order by rowid limit 1 offset 1"
COPY = "insert into raw.{0} select * from raw.{0} limit 1"
HOOKS = """
insert into raw.hook_events by name
select 'hook-' || number as record_id, 'hooks' as source, record_date,
    record_date + interval 12 hour as occurred_at, record_date + interval 13 hour as _extracted_at, 'run' as _run_id,
    'PreToolUse' as event_name, 'claude-code' as producer
from range(40) as numbers (number), (select max(record_date) as record_date from raw.conversations) as days;
"""
# The last seconds of the history are where session `s1` ends; a message a year later lies beyond it.
SQL_FAULTS: dict[str, dict[str, str]] = {
    "bronze_conversations": {
        "columns_are_there": "create or replace view bronze.stg_conversations as "
        "select * exclude (cwd) from ({staging})",
        "record_id_is_present": f"{LINES} record_id = null where rowid = second",
        "source_is_present": f"{LINES} source = null where rowid = second",
        "record_date_is_present": f"{LINES} record_date = null where rowid = second",
        "run_id_is_present": f"{LINES} _run_id = null where rowid = second",
        "extracted_at_is_present": f"{LINES} _extracted_at = null where rowid = second",
        "lines_have_a_type": f"{LINES} line_type = null where rowid < 5",
        "record_id_is_a_hash": f"{LINES} record_id = 'short' where rowid = second",
        "records_are_unique": COPY.format("conversations"),
        "days_hold_their_own_records": f"{LINES} occurred_at = occurred_at + interval 1 day where rowid = second",
        "line_types_are_known": f"{LINES} line_type = 'novelty' where rowid < 20",
        "messages_have_an_instant": f"{LINES} occurred_at = null where rowid < 20",
        "instants_are_plausible": f"{LINES} occurred_at = timestamp '2001-01-01' where rowid = second",
        "most_instants_are_plausible": f"{LINES} occurred_at = timestamp '2001-01-01' where rowid < 60",
        "tokens_are_not_negative": f"{LINES} output_tokens = -1 where rowid = second",
        "usage_has_an_output": f"{LINES} app_version = '9', output_tokens = null where rowid in "
        "(select rowid from raw.conversations where has_usage order by rowid limit 5)",
    },
    "bronze_hook_events": {
        "record_id_is_present": f"{HOOKS} update raw.hook_events set record_id = null where record_id = 'hook-1'",
        "record_date_is_present": f"{HOOKS} update raw.hook_events set record_date = null where record_id = 'hook-1'",
        "firings_are_unique": HOOKS + COPY.format("hook_events"),
        "days_hold_their_own_firings": f"{HOOKS} update raw.hook_events set occurred_at = occurred_at - interval 1 day",
        "events_are_known": f"{HOOKS} update raw.hook_events set event_name = 'Novelty'",
        "firings_have_a_time": f"{HOOKS} update raw.hook_events set occurred_at = null",
        "firings_are_plausible": f"{HOOKS} update raw.hook_events set occurred_at = timestamp '2001-01-01'",
    },
    "silver_messages": {
        "messages_are_unique": "insert into {messages} select * from {messages} limit 1",
        "roles_are_known": "update {messages} set role = 'bystander' where rowid = second",
        "instants_are_timestamps": "alter table {messages} alter occurred_at type timestamptz",
        "days_agree_with_instants": "update {messages} "
        "set occurred_at = occurred_at + interval 1 day where rowid = second",
        "messages_lie_within_their_session": "update {messages} "
        "set occurred_at = occurred_at + interval 1 year where rowid = second",
        "text_is_counted": "update {messages} set text_char_count = 0",
    },
    "silver_tool_usage": {
        "calls_are_unique": "insert into {calls} select * from {calls} limit 1",
        "calls_have_their_id": "update {calls} set tool_use_id = null where rowid = second",
        "outcomes_are_known": "update {calls} set outcome = 'miracle' where rowid = second",
        "answers_follow_calls": "update {calls} set answered_at = occurred_at - interval 1 hour where rowid = second",
        "durations_are_plausible": "update {calls} set duration_ms = -5 where rowid = second",
        "most_calls_are_answered": "update {calls} set outcome = 'unanswered'",
        "calls_have_their_message": "update {calls} set message_key = 'nobody' where rowid = second",
    },
    "silver_api_responses": {
        "responses_are_unique": "insert into {responses} select * from {responses} limit 1",
        "token_classes_make_the_total": "update {responses} set total_tokens = total_tokens + 1 where rowid = second",
        "totals_are_plausible": "update {responses} set total_tokens = 6000000 where rowid = second",
        "costs_are_not_negative": "update {responses} set estimated_cost_nusd = -1 where rowid = second",
        "costs_add_up": "update {responses} set estimated_cost_nusd = estimated_cost_nusd + 1 where rowid = second",
        "most_responses_are_priced": "update {responses} set cost_status = 'unpriced'",
        "most_usage_is_final": "update {responses} set usage_quality = 'placeholder'",
    },
    "gold_marts": {
        "requests_are_those_of_silver": "update gold.fct_api_requests "
        "set total_tokens = total_tokens + 1 where rowid = second",
        "tool_calls_are_those_of_silver": "delete from gold.fct_tool_calls where rowid = second",
        "messages_are_those_of_silver": "delete from gold.fct_messages where rowid = second",
        "days_with_messages_reach_gold": "delete from {messages}; delete from gold.fct_messages",
        "sessions_add_up": "update gold.dim_sessions set total_tokens = total_tokens + 1",
        "sessions_end_after_they_start": "update gold.dim_sessions set ended_at = started_at - interval 1 hour",
        "daily_summary_adds_up": "insert into gold.fct_api_requests "
        "select * replace (date '1999-01-01' as occurred_date_local) from gold.fct_api_requests limit 1",
        "line_counts_are_plausible": "update gold.fct_file_operations set added_line_count = -1",
        "requests_cost_less_than_a_hundred_dollars": "update gold.fct_api_requests "
        "set estimated_cost_usd = 101 where rowid = second",
        "gold_holds_no_text": "alter table gold.dim_projects add column prompt_text varchar",
    },
}
TABLES = {
    "messages": "silver.int_messages_enriched",
    "calls": "silver.int_tool_usage",
    "responses": "silver.int_api_responses_deduplicated",
}


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, as_after_set_up: Callable[[], AbstractContextManager[object]]
) -> Settings:
    """A data folder that a run has built and published: 80 prompts, answers, calls and results.

    Two requests of a second day only a proxy told of, one without a price; another day holds nothing but
    copies, since a resume that rewrote their instants went no further. With any of these on a day its audit
    failed for good. A prompt without an instant has only a day, which its session need not reach.
    """
    folder = tmp_path_factory.mktemp("built")
    settings = make_settings(folder, validate="never", api_requests_dir=folder)
    told = {"type": "api_request", "timestamp": "2026-01-03T12:00:00Z", "input_tokens": 10, "output_tokens": 20}
    (folder / "proxy.jsonl").write_bytes(encode({**told, "model": "claude-sonnet-4-6"}, {**told, "model": "glm"}))
    lines = []
    for number in range(80):
        minute = f"2026-01-{2 + number // 40:02}T10:{number % 40:02}"
        call = {
            "type": "tool_use",
            "id": f"t{number}",
            "name": "Write",
            "input": {"file_path": "/a.py", "content": "x\n"},
        }
        result = {"type": "tool_result", "tool_use_id": f"t{number}", "content": "ok"}
        lines += [
            make_prompt(f"{MARKER} {number}", f"{minute}:00.000Z"),
            make_answer(f"m{number}", f"{minute}:10.000Z", [call]),
            {
                **make_prompt("", f"{minute}:20.000Z"),
                "uuid": f"r{number}",
                "message": {"role": "user", "content": [result]},
            },
        ]
    write_transcript(settings, {**make_prompt("undated"), "timestamp": None}, *lines)
    copies = [{**line, "sessionId": "s2", "timestamp": "2026-01-04T09:00:00.000Z"} for line in lines[:30]]
    write_transcript(settings, *copies, name="-home-dev-app/s2.jsonl")
    with as_after_set_up(), open_run(settings, RunOptions()) as pipeline_run:
        pipeline_run.extract()
        pipeline_run.load()
        pipeline_run.transform()
        pipeline_run.validate()
    return settings


@pytest.fixture
def copied(built: Settings, tmp_path: Path) -> Settings:
    """In a folder whose name would be another in an address, and in Great Expectations' configuration."""
    folder = tmp_path / "100%20 of $data"
    shutil.copytree(built.data_dir, folder)
    return dataclasses.replace(built, data_dir=folder)


def plant(settings: Settings, sql: str) -> None:
    with duckdb.connect(str(settings.warehouse_file)) as connection:
        rows = connection.execute("select sql from duckdb_views() where view_name = 'stg_conversations'").fetchall()
        staging = rows[0][0].split(" AS ", 1)[1].rstrip(";") if rows else ""
        # A fault can be planted in rows only, so what is a view of gold becomes a table of the same rows.
        for (name,) in connection.execute("select view_name from duckdb_views() where schema_name = 'gold'").fetchall():
            if f"gold.{name} " in f"{sql} ":
                connection.execute(f"create table gold.planted as select * from gold.{name}")
                connection.execute(f"drop view gold.{name}; alter table gold.planted rename to {name}")
        sql = sql.replace("{staging}", staging).format(**TABLES)
        # Which row that is, not even the engine promises: each of its threads may begin with a number of its own.
        sql = re.sub(r"(update|delete from) (\S+) (.*)= second", rf"\1 \2 \3= ({SECOND})", sql)
        connection.execute(sql)


def remember_audit(settings: Settings) -> None:
    """The last audit passed an hour before now, so that only the newest commit is new."""
    with duckdb.connect(str(settings.warehouse_file)) as connection:
        passed_at = (NOW - timedelta(hours=1)).replace(tzinfo=None)
        connection.execute("insert into audit.audits values ('before', ?, true)", [passed_at])


def audit(settings: Settings, suite: str, lake: Lake, project: Path = PROJECT) -> ValidateResult:
    try:
        return validate(settings, lake, run_id="test", is_everything=True, suites=[suite], project=project)
    except AuditFailed as error:
        return error.result


def make_project(folder: Path, suite: dict[str, Any]) -> Path:
    """A project of this suite alone."""
    (folder / "expectations").mkdir(parents=True)
    (folder / "expectations" / f"{suite['name']}.json").write_bytes(orjson.dumps(suite))
    shutil.copy(PROJECT / "great_expectations.yml", folder)
    return folder


def ask(settings: Settings, suite: str, name: str, lake: Lake, project: Path) -> CheckResult:
    """What one expectation says; its neighbours, which have their own faults, are left out."""
    (file,) = [file for file in suite_files() if file.stem == suite]
    content = orjson.loads(file.read_bytes())
    content["expectations"] = [entry for entry in content["expectations"] if entry["meta"]["name"] == name]
    (check,) = audit(settings, suite, lake, make_project(project, content)).checks
    return check


def test_every_expectation_has_a_planted_fault() -> None:
    planted = {(suite, name) for suite, faults in SQL_FAULTS.items() for name in faults}
    planted |= {("lake_batches", name) for name in LAKE_FAULTS}
    assert planted == set(CHECKS)


def test_every_expectation_says_what_it_means_and_what_to_do() -> None:
    for file in suite_files():
        for entry in orjson.loads(file.read_bytes())["expectations"]:
            assert entry["severity"] in ("critical", "warning"), entry["meta"]
            assert len(entry["description"]) > 20, entry["meta"]
            assert len(entry["notes"]) > 40, entry["meta"]


def test_nothing_objects_to_good_data(copied: Settings) -> None:
    result = validate(copied, FakeLake(HEALTHY_LAKE), run_id="test", is_everything=True)
    assert (result.failed, result.warnings) == ((), ())
    assert result.check_count == len(CHECKS)
    assert result.report_file is not None
    pages = {page.stem for page in (result.report_file.parent / "uncommitted" / "data_docs").rglob("warehouse-*.html")}
    assert pages == {f"warehouse-{file.stem}" for file in suite_files()}
    written = [file for file in (copied.data_dir / "validation").rglob("*") if file.is_file()]
    assert len(written) > len(suite_files())
    assert not [file for file in written if MARKER.encode() in file.read_bytes()], "reports hold no content"


@pytest.mark.parametrize(("suite", "name"), CHECKS, ids=[f"{suite}.{name}" for suite, name in CHECKS])
def test_expectation_objects_to_its_fault(copied: Settings, tmp_path: Path, suite: str, name: str) -> None:
    lake = FakeLake(HEALTHY_LAKE)
    if suite == "lake_batches":
        remember_audit(copied)
        lake = FakeLake(LAKE_FAULTS[name])
    else:
        plant(copied, SQL_FAULTS[suite][name])
    check = ask(copied, suite, name, lake, tmp_path / "project")
    assert check.name == name
    assert not check.is_success
    assert check.error_type is None, "a check that cannot run proves nothing"
    assert check.unexpected_count is None or check.unexpected_count > 0


def test_what_was_read_by_mistake_counts_no_more_once_its_dead_letter_is_deleted(copied: Settings) -> None:
    """One import of a wrong file withheld gold for good: nothing that was read later outnumbered its lines."""
    remember_audit(copied)
    letter = copied.data_dir / "dead_letter" / "by_mistake.jsonl"
    letter.parent.mkdir(exist_ok=True)
    letter.touch()
    mistake = dataclasses.replace(commit(31, read=200, rejected=200), dead_letter=f"dead_letter/{letter.name}")

    def failed_of(host_id: str) -> tuple[str, ...]:
        lake = FakeLake([*HEALTHY_LAKE, mistake])
        lake.data_dir, lake._host_id = copied.data_dir, host_id
        return audit(copied, "lake_batches", lake).failed

    failed = ("lake_batches.most_rows_are_accepted",)
    assert failed_of(mistake.host_id) == failed
    letter.unlink()
    assert failed_of(mistake.host_id) == ()
    assert failed_of("another") == failed, "dead letters lie on the machine that read"


def test_check_that_cannot_run_leaves_no_message_of_the_engine_behind(copied: Settings, tmp_path: Path) -> None:
    """The engine's message quoted the value, and stood in the results and pages of Great Expectations."""
    plant(copied, f"create table audit.notes as select '{MARKER}' as note")
    check = {
        "type": "unexpected_rows_expectation",
        "kwargs": {"unexpected_rows_query": "select cast(note as integer) as number from {batch}"},
        "meta": {"name": "notes_are_numbers"},
        "description": "Each note is a number.",
        "notes": "Look at the notes.",
        "severity": "critical",
    }
    suite = {"name": "notes", "meta": {"query": "select * from audit.notes"}, "notes": "", "expectations": [check]}
    project = make_project(tmp_path / "project", suite)
    with pytest.raises(AuditFailed, match="notes_are_numbers") as failure:
        validate(copied, FakeLake([]), run_id="test", is_everything=True, project=project)
    (result,) = failure.value.result.checks
    assert result.error_type
    written = [file for file in (copied.data_dir / "validation").rglob("*") if file.is_file()]
    assert [file for file in written if file.suffix == ".html" and b"raised an exception" in file.read_bytes()]
    assert not [file for file in written if MARKER.encode() in file.read_bytes()]
