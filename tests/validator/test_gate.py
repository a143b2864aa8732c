"""What the audit lets through, when it is made, and what a failed one leaves behind."""

from __future__ import annotations

import errno
import re
import stat
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from analytics import cli, pipeline, publisher, validator
from analytics.checks import suites
from analytics.checks.suites import CheckResult
from analytics.config import Settings
from analytics.errors import AnalyticsError, ChecksFailed
from analytics.lake import Lake
from analytics.pipeline import RunResult, run
from analytics.publisher import PublishResult, publish
from analytics.replay import keep_increment
from analytics.targets import snapshot
from analytics.transformer import TransformResult, project_fingerprint
from analytics.validator import PROJECT, AuditFailed, suite_files
from analytics.warehouse import open_warehouse
from tests.builders import WorkerInProcess, make_answer, make_check, make_prompt, make_settings, write_transcript

Audit = Callable[..., Iterator[CheckResult]]


@pytest.fixture
def audits(monkeypatch: pytest.MonkeyPatch) -> list[CheckResult]:
    """No dbt, nothing written by targets, and audits that find what this list holds. Counted in `calls`."""
    checks = [make_check()]
    monkeypatch.setattr(pipeline, "Worker", WorkerInProcess)
    monkeypatch.setattr(
        pipeline, "transform", lambda *_, **__: TransformResult(0, 0, is_full_refresh=False, elapsed_ms=0)
    )
    monkeypatch.setattr(pipeline, "publish", publish_only_the_build)
    monkeypatch.setattr(publisher, "iter_targets", lambda: iter([snapshot.TARGET]))
    monkeypatch.setattr(validator, "run_suites", lambda *_, **__: iter(checks))
    monkeypatch.setattr(validator, "write_docs", lambda *_: None)
    return checks


def publish_only_the_build(settings: Settings, *, run_id: str, **_: Any) -> PublishResult:
    """What the next run asks of a published version: which build it shows."""
    make_some_gold(settings)
    return publish(settings, run_id=run_id)


def make_some_gold(settings: Settings) -> None:
    with open_warehouse(settings) as connection:
        connection.execute("create schema if not exists gold")
        connection.execute("create or replace table gold.nothing as select 1 as one")


@pytest.fixture(autouse=True)
def _silver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validator, "_write_scope", lambda *_, **__: 1)


def run_with(settings: Settings, **fields: Any) -> RunResult:
    return run(make_settings(settings.data_dir.parent, **fields))


def records(settings: Settings, dataset: str = "pipeline_runs") -> int:
    return sum(part.row_count for part in Lake(settings.data_dir, "test").snapshot(dataset).parts.values())


def test_failed_audit_keeps_readers_on_what_they_had(settings: Settings, audits: list[CheckResult]) -> None:
    write_transcript(settings, make_prompt(), make_answer())
    first = run(settings)
    audits[:] = [make_check(is_success=False)]
    write_transcript(settings, make_prompt(), make_answer(), make_answer("m2", "2026-01-02T10:05:00.000Z"))
    with pytest.raises(AuditFailed, match=r"sessions_add_up \(7 rows\): Rebuild from the lake"):
        run_with(settings, validate="always")
    current = snapshot.current_version(settings)
    assert current is not None
    assert current.name == first.run_id


def test_next_good_run_publishes_even_if_nothing_arrived(settings: Settings, audits: list[CheckResult]) -> None:
    write_transcript(settings, make_prompt(), make_answer())
    audits[:] = [make_check(is_success=False)]
    for _ in range(2):
        with pytest.raises(AuditFailed):
            run(settings)
    audits[:] = [make_check()]
    assert run(settings).publish is not None
    assert run(settings).publish is None, "and then there is nothing new"


def test_a_disk_that_refuses_the_audit_is_named(
    settings: Settings, audits: list[CheckResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Great Expectations writes through files that name themselves in no error."""
    refuse_the_suites(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    write_transcript(settings, make_prompt())
    with pytest.raises(AnalyticsError, match=rf"{settings.data_dir}/validation cannot be written \(No space left"):
        run(settings)


def test_a_warehouse_that_the_audit_cannot_open_is_named(
    settings: Settings, audits: list[CheckResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Great Expectations' own error is one of the system's, of no number: it was taken for a disk that refuses."""
    refuse_the_suites(monkeypatch, ConnectionError("Attempt to connect to datasource failed"))
    write_transcript(settings, make_prompt())
    with pytest.raises(AnalyticsError, match=f"validate: {settings.warehouse_file} cannot be opened"):
        run(settings)


def refuse_the_docs(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(validator, "write_docs", refuse)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(28, "No space left on device"), r"validation: No space left"),
        (TypeError("x"), r"TypeError in .*: a bug"),
    ],
)
def test_missing_data_docs_keep_nothing_from_readers_and_are_told(
    settings: Settings, audits: list[CheckResult], monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    refuse_the_docs(monkeypatch, error)
    monkeypatch.setattr(pipeline, "publish", publisher.publish)
    write_transcript(settings, make_prompt())
    make_some_gold(settings)
    result = run(settings)
    assert snapshot.current_version(settings) is not None
    assert re.search(why, result.failures["data docs"])
    assert result.as_json()["result"] == "failed"


def test_verdict_counts_where_the_data_docs_cannot_be_written(
    settings: Settings, by_hand: Callable[..., int], audits: list[CheckResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed audit was forgotten: `analytics publish` published what it had judged."""
    assert by_hand("run") == 0
    refuse_the_docs(monkeypatch, OSError(28, "No space left on device"))
    assert by_hand("validate") == 1
    assert by_hand("publish") == 0
    audits[:] = [make_check(is_success=False)]
    assert by_hand("validate") == 3
    assert by_hand("publish") == 3


def refuse_the_suites(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(validator, "run_suites", refuse)


def test_warnings_publish_and_are_told(settings: Settings, audits: list[CheckResult]) -> None:
    write_transcript(settings, make_prompt())
    audits[:] = [make_check(is_success=False, severity="warning")]
    result = run(settings)
    assert result.publish is not None
    assert result.validate is not None
    assert result.validate.warnings == ("gold_marts.sessions_add_up",)


def test_small_increment_rests_on_the_dbt_tests(settings: Settings, audits: list[CheckResult]) -> None:
    write_transcript(settings, make_prompt(), make_answer())
    assert run(settings).validate.check_count == 1  # type: ignore[union-attr]
    write_transcript(settings, make_prompt(), make_answer(), make_answer("m2", "2026-01-02T10:05:00.000Z"))
    result = run(settings)
    assert result.validate is not None
    assert result.validate.skipped
    assert result.publish is not None


@pytest.mark.parametrize("reason", ["rows", "age", "clock", "always"])
def test_increment_is_audited_when_it_is_due(
    settings: Settings, audits: list[CheckResult], monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    write_transcript(settings, make_prompt(), make_answer())
    run(settings)
    if reason == "rows":
        monkeypatch.setattr(validator, "AUDIT_ROW_LIMIT", 0)
    if reason == "age":
        monkeypatch.setattr(validator, "AUDIT_AGE", timedelta(0))
    if reason == "clock":
        set_audits_ahead(settings)
    write_transcript(settings, make_prompt(), make_answer(), make_answer("m2", "2026-01-02T10:05:00.000Z"))
    result = run_with(settings, validate="always" if reason == "always" else "auto")
    assert result.validate is not None
    assert not result.validate.skipped


@pytest.mark.parametrize(("policy", "second"), [("auto", False), ("always", True), ("never", True)])
def test_every_test_of_dbt_runs_where_an_audit_is_due_or_never_made(
    settings: Settings,
    audits: list[CheckResult],
    builds: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
    second: bool,
) -> None:
    asked = []

    def build(*_: Any, is_thorough: bool) -> TransformResult:
        asked.append(is_thorough)
        return TransformResult(0, 0, is_full_refresh=False, elapsed_ms=0)

    monkeypatch.setattr(pipeline, "transform", build)
    monkeypatch.setattr(pipeline, "transform_again", build)
    keep_increment(project_fingerprint(settings), [])
    write_transcript(settings, make_prompt(), make_answer())
    run_with(settings, validate=policy)
    write_transcript(settings, make_prompt(), make_answer(), make_answer("m2", "2026-01-02T10:05:00.000Z"))
    run_with(settings, validate=policy)
    assert asked == [True, second]


def test_policy_never_leaves_audits_out(settings: Settings, audits: list[CheckResult]) -> None:
    audits[:] = [make_check(is_success=False)]
    write_transcript(settings, make_prompt())
    result = run_with(settings, validate="never")
    assert result.publish is not None


def test_run_leaves_one_record_a_stage_and_none_when_nothing_is_new(
    settings: Settings, audits: list[CheckResult]
) -> None:
    write_transcript(settings, make_prompt())
    run(settings)
    assert (records(settings), records(settings, "check_results")) == (5, 1)
    run(settings)
    assert records(settings) == 5


def test_failed_run_leaves_its_record(settings: Settings, audits: list[CheckResult]) -> None:
    write_transcript(settings, make_prompt())
    audits[:] = [make_check(is_success=False)]
    with pytest.raises(AuditFailed):
        run(settings)
    assert records(settings) == 4


# ---- publishing by hand


@pytest.fixture
def by_hand(settings: Settings, audits: list[CheckResult], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a verb on the world of the test, in which there is one line and some gold. Returns the exit code."""
    monkeypatch.setenv("HOME", str(settings.home_dir))
    write_transcript(settings, make_prompt())
    flags = ["--data-dir", str(settings.data_dir), "--transcript-dirs", str(settings.transcript_dirs[0]), "--quiet"]
    make_some_gold(settings)
    return lambda *words: cli.main([*words, *flags])


def add_a_line(settings: Settings) -> None:
    write_transcript(settings, make_prompt(), make_answer())


def refuse_the_build(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def refuse(*_: Any, **__: Any) -> TransformResult:
        raise error

    monkeypatch.setattr(pipeline, "transform", refuse)


def test_publish_by_hand_shows_what_was_built_and_audited_by_hand(
    settings: Settings, by_hand: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("extract", "load", "transform"):
        assert by_hand(verb) == 0
    assert by_hand("publish") == 3, "a first build is to be audited"
    assert "analytics validate" in capsys.readouterr().err
    assert by_hand("validate") == 0
    assert by_hand("publish") == 0
    assert snapshot.current_version(settings)


@pytest.mark.parametrize("policy", ["auto", "never"])
def test_publish_by_hand_needs_no_audit_where_the_policy_wants_none(
    settings: Settings, by_hand: Callable[..., int], monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    monkeypatch.setenv("ANALYTICS_VALIDATE", policy)
    assert by_hand("run") == 0
    add_a_line(settings)
    for verb in ("extract", "load", "transform", "publish"):
        assert by_hand(verb) == 0


def test_publish_by_hand_wants_an_audit_of_many_rows_that_were_loaded_by_hand(
    settings: Settings, by_hand: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert by_hand("run") == 0
    monkeypatch.setattr(validator, "AUDIT_ROW_LIMIT", 0)
    add_a_line(settings)
    for verb in ("extract", "load", "transform"):
        assert by_hand(verb) == 0
    assert by_hand("publish") == 3


def test_run_audits_many_rows_that_were_loaded_by_hand(
    settings: Settings, by_hand: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only rows that the run itself loaded were counted."""
    assert by_hand("run") == 0
    monkeypatch.setattr(validator, "AUDIT_ROW_LIMIT", 0)
    add_a_line(settings)
    for verb in ("extract", "load"):
        assert by_hand(verb) == 0
    result = run(settings)
    assert result.validate is not None
    assert not result.validate.skipped


def test_what_a_run_left_to_the_dbt_tests_may_be_published_again_at_any_time(
    settings: Settings, by_hand: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert by_hand("run") == 0
    add_a_line(settings)
    assert by_hand("run") == 0
    monkeypatch.setattr(validator, "AUDIT_AGE", timedelta(0))
    assert by_hand("publish") == 0


def set_audits_ahead(settings: Settings) -> None:
    """As if the clock had gone back by a day since the audits there are."""
    with open_warehouse(settings) as connection:
        connection.execute("update audit.audits set audited_at = audited_at + interval 1 day")


def test_the_last_audit_is_the_one_made_last_whatever_the_clock_says(
    settings: Settings, by_hand: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert by_hand("run") == 0
    with monkeypatch.context() as broken:
        broken.setattr(validator, "run_suites", lambda *_, **__: [make_check(is_success=False)])
        assert by_hand("validate") == 3
    set_audits_ahead(settings)
    assert by_hand("validate") == 0
    assert by_hand("publish") == 0


@pytest.mark.parametrize("error", [ChecksFailed("transform: 1 tests failed"), KeyboardInterrupt()])
def test_publish_by_hand_refuses_what_its_tests_refused_or_did_not_see(
    settings: Settings, by_hand: Callable[..., int], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Only the last audit was asked, which had passed before that build."""
    assert by_hand("run") == 0
    seen = snapshot.current_version(settings)
    add_a_line(settings)
    with monkeypatch.context() as broken:
        refuse_the_build(broken, error)
        assert by_hand("run") != 0
    assert by_hand("publish") == 3
    assert by_hand("validate") == 0
    assert by_hand("publish") == 3, "an audit is no judge of a build's own tests"
    assert snapshot.current_version(settings) == seen
    assert by_hand("transform") == 0
    assert by_hand("publish") == 0


def test_build_after_one_that_its_tests_refused_is_audited(
    settings: Settings, audits: list[CheckResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test that only runs where an audit follows may have been the one that objected."""
    write_transcript(settings, make_prompt())
    run(settings)
    add_a_line(settings)
    with monkeypatch.context() as broken:
        refuse_the_build(broken, ChecksFailed("transform: 1 tests failed"))
        with pytest.raises(ChecksFailed):
            run(settings)
    result = run(settings)
    assert result.validate is not None
    assert not result.validate.skipped


def test_working_copy_of_the_suites_is_private(tmp_path: Path) -> None:
    """The one file that was copied kept the rights that it has in the repository."""
    folder = tmp_path / "validation"
    suites._copy_project(suite_files(), folder, PROJECT)
    shared = [path for path in [folder, *folder.rglob("*")] if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert shared == []


def test_command_ends_with_3_and_shows_no_rows(
    settings: Settings, audits: list[CheckResult], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(settings.home_dir))
    write_transcript(settings, make_prompt("xylophone-marker"))
    audits[:] = [make_check(is_success=False)]
    folder = str(settings.transcript_dirs[0])
    code = cli.main(["run", "--data-dir", str(settings.data_dir), "--transcript-dirs", folder])
    shown = capsys.readouterr()
    assert code == 3
    assert "gold_marts.sessions_add_up (7 rows)" in shown.err
    assert "1 failed" in shown.out
    assert "xylophone-marker" not in shown.out + shown.err
    assert cli.main(["publish", "--data-dir", str(settings.data_dir)]) == 3
