"""The stages in their order. dbt and the audit are stood in for: tests/test_cli.py runs them for real."""

from __future__ import annotations

import dataclasses
import os
import time
from datetime import UTC, date, datetime

import pytest

from analytics import cli, pipeline, publisher, sample
from analytics.capture import installer
from analytics.errors import ChecksFailed, LockHeld, PublishError
from analytics.extractor import import_archive
from analytics.journal import RunOutcome, read_last_outcome
from analytics.lake import Lake, new_run_id, upkeep
from analytics.lake.upkeep import COMPACT_AT_FILES
from analytics.prune import prune
from analytics.replay import Statement, keep_increment
from analytics.targets import Target, TargetResult, snapshot
from analytics.transformer import TransformResult
from analytics.validator import ValidateResult
from analytics.warehouse import open_warehouse
from tests.builders import (
    WorkerInProcess,
    committed_rows,
    encode,
    make_check,
    make_gold,
    make_prompt,
    run_extract,
    run_load,
    write_transcript,
)

LINES = "select record_id, prompt_text, record_date from raw.conversations"


@pytest.fixture(autouse=True)
def fake_build(monkeypatch, tmp_path, builds):
    """Gold is one table made of raw; the audit passes; the snapshot is the one target; the sample is two lines."""
    transcripts = tmp_path / "sample" / "projects" / "-p"
    transcripts.mkdir(parents=True)
    (tmp_path / "sample" / "hooks").mkdir()
    (transcripts / "s.jsonl").write_bytes(encode(make_prompt("sample one"), make_prompt("sample two")))

    def transform(settings, plan, *, is_thorough):
        make_gold(settings, fct_lines=LINES)
        return TransformResult(1, 0, plan.is_full_refresh, 1)

    monkeypatch.setattr(pipeline, "transform", transform)
    monkeypatch.setattr(pipeline, "begin_audit", lambda *_: 1)
    monkeypatch.setattr(pipeline, "audit", lambda *_args, **_named: ValidateResult())
    monkeypatch.setattr(pipeline, "Worker", WorkerInProcess)
    monkeypatch.setattr(pipeline, "project_fingerprint", lambda _settings: "f")
    monkeypatch.setattr(sample, "SAMPLE_DIR", tmp_path / "sample")
    monkeypatch.setattr(publisher, "iter_targets", lambda: iter([snapshot.TARGET]))


def prompts(settings) -> list[str]:
    with snapshot.open_current(settings) as connection:
        return [text for (text,) in connection.execute("select prompt_text from fct_lines order by 1").fetchall()]


def without_transcripts(settings):
    return dataclasses.replace(settings, transcript_dirs=(), host_id="")


def test_a_run_takes_lines_to_readers(settings):
    write_transcript(settings, make_prompt("a"), b"bad")
    result = pipeline.run(settings)
    assert prompts(settings) == ["a"]
    assert (result.extraction.rows_loaded, result.failures, result.as_json()["result"]) == (1, {}, "ok")


def test_a_stage_lasts_as_long_as_the_run_waited_for_it(settings, monkeypatch):
    """A full build told 19 s, and a person waited 33: the processes of dbt and of the audit came up untold."""
    settings = dataclasses.replace(settings, validate="always")
    monkeypatch.setattr(pipeline, "audit", lambda *_, **__: ValidateResult(elapsed_ms=-1))
    monkeypatch.setattr(pipeline, "transform", lambda *_, **__: TransformResult(1, 0, True, elapsed_ms=-1))
    make_gold(settings, fct_lines="select 1 as n")
    write_transcript(settings, make_prompt("a"))
    result = pipeline.run(settings)
    recorded = {row["stage"]: row["elapsed_ms"] for row in committed_rows(settings, "pipeline_runs")}
    told = {name: getattr(result, name).elapsed_ms for name in ("load", "transform", "validate")}
    assert told == {name: recorded[name] for name in told}


def test_what_a_run_publishes_tells_of_its_stages_up_to_then(settings, monkeypatch):
    """A newcomer's first page had five empty cards, and with nothing new they stayed so."""

    def transform(settings, plan, **_):
        make_gold(settings, fct_lines=LINES)
        with open_warehouse(settings) as connection:
            connection.execute("create or replace view gold.fct_pipeline_runs as select * from raw.pipeline_runs")
            connection.execute("create or replace view gold.fct_check_results as select * from raw.check_results")
        return TransformResult(1, 0, plan.is_full_refresh, 1)

    def told_of(run_id):
        with snapshot.open_current(settings) as connection:
            sql = "select stage from fct_pipeline_runs where _run_id = ? order by stage_number"
            checks = connection.execute("select check_name from fct_check_results where _run_id = ?", [run_id])
            return [name for (name,) in checks.fetchall()], [
                stage for (stage,) in connection.execute(sql, [run_id]).fetchall()
            ]

    monkeypatch.setattr(pipeline, "transform", transform)
    monkeypatch.setattr(pipeline, "audit", lambda *_args, **_named: ValidateResult(checks=(make_check(),)))
    stages = ["extract", "load", "transform", "validate"]
    write_transcript(settings, make_prompt("a"))
    first = pipeline.run(settings).run_id
    assert told_of(first) == (["sessions_add_up"], stages)
    write_transcript(settings, make_prompt("a"), make_prompt("b"))
    second = pipeline.run(settings).run_id
    assert told_of(first) == (["sessions_add_up"], [*stages, "publish"])
    assert told_of(second)[1] == stages
    told = [(row["_run_id"], row["stage"]) for row in committed_rows(settings, "pipeline_runs")]
    assert sorted(told) == sorted((run_id, stage) for run_id in (first, second) for stage in [*stages, "publish"])


def test_a_run_with_nothing_new_builds_and_publishes_nothing(settings):
    write_transcript(settings, make_prompt("a"))
    pipeline.run(settings)
    version = snapshot.current_version(settings)
    result = pipeline.run(settings)
    assert (result.load, result.transform, result.publish) == (None, None, None)
    assert snapshot.current_version(settings) == version


def test_a_failure_is_told_until_a_run_succeeds_though_nothing_is_new(settings):
    lake = Lake(settings.data_dir)
    write_transcript(settings, make_prompt("a"))
    pipeline.run(settings)
    failed = pipeline.run(dataclasses.replace(settings, transcript_dirs=(settings.data_dir / "gone",)))
    assert read_last_outcome(lake) == RunOutcome(failed.run_id, {"extract": "SourceUnavailable"})
    mended = pipeline.run(settings)
    assert mended.load is None
    pipeline.run(settings)
    assert read_last_outcome(lake) == RunOutcome(mended.run_id, {})


def test_a_deleted_warehouse_or_publication_is_made_again(settings):
    import shutil

    write_transcript(settings, make_prompt("a"))
    pipeline.run(settings)
    settings.warehouse_file.unlink()
    assert pipeline.run(settings).publish is not None
    shutil.rmtree(settings.published_dir)
    assert pipeline.run(settings).publish is not None
    assert prompts(settings) == ["a"]
    (settings.published_dir / "current" / "fct_lines.parquet").unlink()
    assert pipeline.run(settings).publish is not None
    assert prompts(settings) == ["a"]


def test_what_a_run_writes_is_private_whoever_calls_it(settings, monkeypatch):
    """From Python, and so in a work pool, the warehouse's log had everybody's rights."""
    seen = {}

    def build(settings, *_, **__):
        with open_warehouse(settings) as connection:
            connection.execute("create table notes as select 'a prompt' as note")
            seen.update({path.name: path.stat().st_mode & 0o077 for path in settings.data_dir.rglob("*")})
        make_gold(settings, fct_lines=LINES)
        return TransformResult(1, 0, is_full_refresh=False, elapsed_ms=1)

    monkeypatch.setattr(pipeline, "transform", build)
    write_transcript(settings, make_prompt("a"))
    previous = os.umask(0o022)
    try:
        pipeline.run(settings)
        assert os.umask(0o022) == 0o022, "the caller's own is as it was"
    finally:
        os.umask(previous)
    assert "warehouse.duckdb.wal" in seen
    assert [name for name, rights in seen.items() if rights] == []


def test_a_held_lock_stops_the_run_before_it_reads(settings):
    write_transcript(settings, make_prompt("a"))
    with Lake(settings.data_dir).lock(), pytest.raises(LockHeld):
        pipeline.run(settings)
    assert Lake(settings.data_dir).datasets() == []


def test_a_failed_audit_leaves_readers_the_last_version_and_is_tried_again(settings, monkeypatch):
    settings = dataclasses.replace(settings, validate="always")
    write_transcript(settings, make_prompt("a"))
    pipeline.run(settings)
    write_transcript(settings, make_prompt("a"), make_prompt("b"))

    def object_to_it(*_args, **_named):
        raise ChecksFailed("validate: 1 failed")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "audit", object_to_it)
        for _ in range(2):
            with pytest.raises(ChecksFailed):
                pipeline.run(settings)
            assert prompts(settings) == ["a"]
            folders = [path for path in settings.published_dir.iterdir() if path.is_dir() and not path.is_symlink()]
            assert len(folders) == 1, "what was written meanwhile is gone"
    assert pipeline.run(settings).extraction.rows_loaded == 0
    assert prompts(settings) == ["a", "b"]


def test_an_audit_that_cannot_run_leaves_nothing_of_what_was_written_meanwhile(settings, monkeypatch):
    """Only what the audit itself objected to was taken away."""

    def refuse(*_args, **_named):
        raise OSError(28, "No space left on device")

    write_transcript(settings, make_prompt("a"))
    monkeypatch.setattr(pipeline, "audit", refuse)
    with pytest.raises(OSError, match="No space"):
        pipeline.run(settings)
    assert list(settings.published_dir.iterdir()) == []


def test_a_failed_publish_is_tried_again_by_the_next_run(settings, monkeypatch):
    write_transcript(settings, make_prompt("a"))

    def refuse(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "_flip", refuse)
        with pytest.raises(PublishError):
            pipeline.run(settings)
    assert snapshot.current_version(settings) is None
    pipeline.run(settings)
    assert prompts(settings) == ["a"]


def test_a_source_that_fails_is_told_and_what_was_read_before_stays(settings):
    write_transcript(settings, make_prompt("a"))
    pipeline.run(settings)
    gone = dataclasses.replace(settings, transcript_dirs=(settings.data_dir / "gone",))
    assert list(pipeline.run(gone).failures) == ["transcripts"]
    assert prompts(settings) == ["a"]


def test_damage_in_the_lake_is_set_aside_by_one_run_and_mended_by_the_next(settings):
    write_transcript(settings, make_prompt("a"), make_prompt("b", at="2026-01-03T00:00:00Z"))
    pipeline.run(settings)
    damaged = next((settings.data_dir / "raw" / "conversations").rglob("date=2026-01-02/*/*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-30])
    settings.warehouse_file.unlink()
    assert len(pipeline.run(settings).load.damaged) == 1
    assert prompts(settings) == ["b"]
    pipeline.run(settings)
    assert prompts(settings) == ["a", "b"]


def test_past_days_are_compacted_and_nothing_is_rebuilt_for_it(settings):
    """The next run built and published everything again, because the log had moved on. Found by this test."""
    for number in range(9):
        write_transcript(settings, make_prompt(f"p{number}"), name=f"p/{number}.jsonl")
        run_extract(settings)
    pipeline.run(settings)
    lake = Lake(settings.data_dir)
    assert len(lake.snapshot("conversations").parts) < 9
    assert pipeline.run(settings).publish is None
    assert len(prompts(settings)) == 9


def test_what_compaction_replaced_is_swept_a_day_later_once_a_day(settings, monkeypatch):
    """Only `analytics prune` swept: every past day lay on the disk twice, for ever."""
    for number in range(COMPACT_AT_FILES):
        write_transcript(settings, make_prompt(f"p{number}"), name=f"p/{number}.jsonl")
        run_extract(settings)
    lake = Lake(settings.data_dir)
    for file in lake.raw_dir.glob("conversations/*/*/*"):
        os.utime(file, (1e9, 1e9))

    def run_after(days):
        later = time.time() + days * 86_400
        with monkeypatch.context() as patch:
            patch.setattr(upkeep.time, "time", lambda: later)
            pipeline.run(settings)
        with open_warehouse(settings) as connection:
            payloads = connection.execute("select payload from raw.conversations_payloads").fetchall()
        assert len(payloads) == COMPACT_AT_FILES, "also when nothing was new to load"
        return len(list(lake.raw_dir.glob("conversations/*/*/*")))

    assert run_after(days=0) == COMPACT_AT_FILES + 1, "a reader may be in the middle of one"
    assert run_after(days=2) == COMPACT_AT_FILES + 1, "this day is done"
    os.utime(settings.data_dir / "cache" / "swept", (1e9, 1e9))
    assert run_after(days=2) == 1
    assert len(prompts(settings)) == COMPACT_AT_FILES


def test_a_line_that_grows_without_an_end_is_no_reason_to_build(settings):
    """A position alone was taken for news: a whole build for no row."""
    path = write_transcript(settings, make_prompt("a"))
    pipeline.run(settings)
    for half in (b'{"half', b'": 1'):
        with path.open("ab") as file:
            file.write(half)
        assert pipeline.run(settings).publish is None
    with path.open("ab") as file:
        file.write(b"}\n")
    assert pipeline.run(settings).publish is not None


def test_what_runs_wrote_about_themselves_is_no_reason_to_build_even_if_loaded_by_hand(settings):
    write_transcript(settings, make_prompt("a"))
    pipeline.run(settings)
    run_load(settings, "by_hand")
    assert pipeline.run(settings).publish is None


# ---- a target that fails


@pytest.fixture
def target(monkeypatch):
    """A second target. It fails with what `errors` holds, one after the other, and then works; `runs` tried it."""

    class Flaky:
        def __init__(self):
            self.errors, self.runs = [], []

        def publish(self, settings, run_id):
            self.runs.append(run_id)
            if self.errors:
                raise self.errors.pop(0)
            return TargetResult("alerts", "done")

    flaky = Flaky()
    second = Target("alerts", lambda _: True, flaky.publish)
    monkeypatch.setattr(publisher, "iter_targets", lambda: iter([snapshot.TARGET, second]))
    return flaky


def test_a_target_that_failed_is_tried_again_by_itself_though_nothing_is_new(settings, target):
    """It waited for the next line, while its message said that the next run tries again."""
    write_transcript(settings, make_prompt("a"))
    target.errors = [PublishError("alerts: down"), PublishError("alerts: still down")]
    assert pipeline.run(settings).failures == {"alerts": "alerts: down"}
    version = snapshot.current_version(settings)
    again = pipeline.run(settings)
    assert (again.load, again.failures) == (None, {"alerts": "alerts: still down"})
    last = pipeline.run(settings)
    assert (last.load, last.failures) == (None, {})
    assert [result.target for result in last.publish.targets] == ["alerts"]
    assert pipeline.run(settings).publish is None
    assert len(target.runs) == 3
    assert snapshot.current_version(settings) == version, "readers keep what they see"


def test_a_publish_that_was_killed_between_two_targets_is_finished_by_the_next_run(settings, target):
    """The snapshot was complete, so the report stayed as it was until something arrived."""
    write_transcript(settings, make_prompt("a"))
    target.errors = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(settings)
    result = pipeline.run(settings)
    assert (result.load, len(target.runs)) == (None, 2)
    assert pipeline.run(settings).publish is None


def test_a_bug_in_a_target_fails_alone_and_quotes_nothing(settings, target):
    """It stopped the run, and the targets after it."""
    write_transcript(settings, make_prompt("a"))
    target.errors = [ValueError("a row of the user's")]
    bugs = []
    result = pipeline.run(settings, observer=pipeline.Observer(on_bug=bugs.append))
    assert [entry.target for entry in result.publish.targets] == ["snapshot"]
    assert result.failures["alerts"].startswith("ValueError in test_pipeline.py")
    assert "user's" not in result.failures["alerts"]
    assert [str(bug) for bug in bugs] == ["a row of the user's"]
    assert pipeline.run(settings).failures == {}


def test_a_second_try_ends_as_it_went_and_says_that_nothing_was_new(settings, target, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(settings.home_dir))
    monkeypatch.setenv("ANALYTICS_HOST_ID", settings.host_id)
    write_transcript(settings, make_prompt("a"))
    target.errors = [PublishError("alerts: down"), PublishError("alerts: still down")]
    pipeline.run(settings)
    command = ["run", "--data-dir", str(settings.data_dir), "--transcript-dirs", str(settings.transcript_dirs[0])]
    for code, verdict, told in ((1, "failed", "failed     alerts: still down\n"), (0, "ok", "")):
        assert cli.main(command) == code
        shown = capsys.readouterr()
        assert shown.err == told
        assert shown.out.splitlines()[-1].startswith(verdict)
        assert "nothing new, nothing rebuilt" in shown.out.splitlines()[-1]


# ---- the sample


def test_the_sample_stands_in_where_there_is_nothing(settings):
    result = pipeline.run(without_transcripts(settings))
    assert result.is_sample
    assert prompts(settings) == ["sample one", "sample two"]
    assert not pipeline.run(without_transcripts(settings)).extraction.rows_loaded


@pytest.mark.parametrize("place", [".claude/projects", ".config/claude/projects/-home-dev-app"])
def test_folders_that_hold_nothing_are_no_reason_to_leave_the_sample_out(settings, place):
    """An empty `~/.claude/projects`, or hooks that did not fire yet, published empty dashboards."""
    (settings.home_dir / place).mkdir(parents=True)
    capture = installer.install(settings.home_dir / ".claude" / "settings.json", data_dir=settings.data_dir)
    assert capture.is_changed
    result = pipeline.run(without_transcripts(settings))
    assert result.is_sample
    assert [entry.source for entry in result.extraction.results] == ["transcripts", "hooks"], "the sample's, once"
    assert prompts(settings) == ["sample one", "sample two"]


def test_a_first_event_of_a_hook_is_data_of_ones_own(settings):
    incoming = settings.data_dir / "queue" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / "a.json").write_text('{"session_id": "s1", "hook_event_name": "Stop"}')
    for loaded in (1, 0):
        result = pipeline.run(without_transcripts(settings))
        assert (result.is_sample, result.extraction.rows_loaded) == (False, loaded)
    assert prompts(settings) == []


def test_an_event_that_comes_while_the_sample_is_read_waits_for_a_run_of_ones_own(settings):
    """Taken from the queue by the sample's host, it would leave the lake with the sample."""
    waiting = settings.data_dir / "queue" / "incoming" / "a.json"
    with pipeline.open_run(without_transcripts(settings)) as run:
        waiting.parent.mkdir(parents=True)
        waiting.write_text('{"session_id": "s1", "hook_event_name": "Stop"}')
        run.extract()
    assert waiting.exists()
    assert pipeline.run(without_transcripts(settings)).extraction.rows_loaded == 1


def test_a_folder_that_is_named_is_read_even_if_it_is_empty(settings):
    result = pipeline.run(settings)
    assert not result.is_sample
    assert [entry.nothing_found for entry in result.extraction.results] == [(str(settings.transcript_dirs[0]),)]
    write_transcript(settings, make_prompt("mine"))
    assert [entry.nothing_found for entry in pipeline.run(settings).extraction.results] == [()]


def test_a_run_that_died_between_two_archives_of_the_sample_is_finished_by_the_next(settings, monkeypatch):
    """Whether one was read was asked for both, so that the other never came."""
    hooks, plans = (sample.SAMPLE_DIR / name for name in ("hooks", "plans"))
    plans.mkdir()
    (hooks / "events.jsonl").write_text('{"session_id": "s1", "hook_event_name": "Stop"}\n')
    (plans / "plan-events.jsonl").write_text('{"event_type": "plan_created", "plan_name": "login"}\n')

    def die(*arguments, select, **named):
        if select == ("plans",):
            raise KeyboardInterrupt
        return import_archive(*arguments, select=select, **named)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "import_archive", die)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(without_transcripts(settings))
    read = [[entry.source for entry in pipeline.run(without_transcripts(settings)).extraction.results] for _ in "12"]
    assert read == [["transcripts", "plans"], ["transcripts"]]
    assert len(committed_rows(settings, "hook_events")) == len(committed_rows(settings, "plan_events")) == 1


def test_the_sample_leaves_with_the_first_real_line(settings):
    pipeline.run(without_transcripts(settings))
    write_transcript(settings, make_prompt("mine"))
    result = pipeline.run(settings)
    assert not result.is_sample
    assert result.removed_sample_rows == 2
    assert prompts(settings) == ["mine"]
    assert pipeline.run(without_transcripts(settings)).is_sample is False


def test_the_sample_does_not_come_back_once_everything_is_pruned(settings):
    write_transcript(settings, make_prompt("mine"))
    pipeline.run(settings)
    prune(settings, before=date(2026, 1, 3))
    assert not pipeline.run(without_transcripts(settings)).is_sample
    assert prompts(settings) == []


def test_the_sample_leaves_even_if_the_run_that_brought_the_first_line_died(settings, monkeypatch):
    """It stayed among the user's numbers until other lines came. Found by fault injection."""
    pipeline.run(without_transcripts(settings))
    write_transcript(settings, make_prompt("mine"))

    def die(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sample, "remove_sample", die)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(settings)
    pipeline.run(settings)
    assert prompts(settings) == ["mine"]


def test_run_ids_sort_by_time_and_name_versions():
    first, second = new_run_id(), new_run_id()
    assert first < second
    assert snapshot._RUN_ID.fullmatch(first)
    assert first.startswith(datetime.now(UTC).strftime("%Y"))


def test_an_increment_is_built_without_dbt_where_that_succeeds(settings, monkeypatch):
    lines = "create or replace table gold.fct_lines as " + LINES
    write_transcript(settings, make_prompt("a"))
    pipeline.run(settings)
    monkeypatch.setattr(pipeline, "transform", lambda *_, **__: pytest.fail("dbt was asked"))
    keep_increment("f", [Statement("model", "fct_lines", lines)])
    write_transcript(settings, make_prompt("b"), name="-home-dev-app/s2.jsonl")
    result = pipeline.run(settings)
    assert result.transform.is_replayed
    assert prompts(settings) == ["a", "b"]


def test_an_increment_that_fails_without_dbt_is_dbts(settings):
    write_transcript(settings, make_prompt("a"))
    pipeline.run(settings)
    keep_increment("f", [Statement("model", "fct_lines", "select * from gone")])
    write_transcript(settings, make_prompt("b"), name="-home-dev-app/s2.jsonl")
    result = pipeline.run(settings)
    assert not result.transform.is_replayed
    assert prompts(settings) == ["a", "b"]
