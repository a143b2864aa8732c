"""The flow against a real Prefect server on loopback and real stages below one folder."""

from __future__ import annotations

import errno
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.exceptions import ParameterTypeError

from analytics import pipeline
from analytics.config import Settings
from analytics.errors import AnalyticsError, ChecksFailed, LockHeld, PublishError, SourceUnavailable
from analytics.lake import Lake
from analytics.pipeline import PipelineRun
from analytics.publisher import PublishResult
from analytics.reader import read_query
from analytics.targets.report import REPORT
from analytics.transformer import TransformResult
from analytics.validator import AuditFailed, ValidateResult
from analytics.workers import Worker
from flows import main_pipeline
from flows.backfill import analytics_backfill, iter_windows
from flows.main_pipeline import analytics_pipeline
from flows.notification import STAGE_OF_RUN, post_failure
from tests.builders import WorkerInProcess, answering, committed_rows, make_answer, make_prompt, write_transcript

MARKER = "xylophone-marker"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting, and no Great Expectations: tests/validator has it."""
    monkeypatch.setattr(main_pipeline, "LOCK_WAIT_S", 0.0)
    for task in (main_pipeline.extract_source, main_pipeline.load, main_pipeline.transform, main_pipeline.publish):
        monkeypatch.setattr(task, "retry_delay_seconds", 0)
    kinds = {"validate": WorkerInProcess, "transform": Worker}
    monkeypatch.setattr(pipeline, "Worker", lambda name, warm_up: kinds[name](name, warm_up))
    monkeypatch.setattr(pipeline, "begin_audit", lambda *_: 1)
    monkeypatch.setattr(pipeline, "audit", lambda *_, **__: ValidateResult())


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No dbt and nothing published. Returns the runs that would have been."""
    published: list[str] = []

    def publish(*_: Any, run_id: str, **__: Any) -> PublishResult:
        published.append(run_id)
        return PublishResult((), {})

    monkeypatch.setattr(pipeline, "Worker", WorkerInProcess)
    monkeypatch.setattr(
        pipeline, "transform", lambda *_, **__: TransformResult(0, 0, is_full_refresh=True, elapsed_ms=0)
    )
    monkeypatch.setattr(pipeline, "publish", publish)
    return published


def count_requests(settings: Settings) -> int:
    return int(
        read_query(settings, "select count(*) as request_count from fct_api_requests")["request_count"][0].as_py()
    )


def break_source(monkeypatch: pytest.MonkeyPatch, times: int, error: Exception | None = None) -> list[int]:
    """Let the transcripts fail so often, by this error if one is given, then work. The list counts the calls."""
    calls: list[int] = []
    real = pipeline.extract

    def extract(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) <= times:
            if error:
                raise error
            return pipeline.Extraction((), {"transcripts": "transcripts: not there"})
        return real(*arguments, **options)

    monkeypatch.setattr(pipeline, "extract", extract)
    return calls


@pytest.mark.usefixtures("set_up")
def test_flow_publishes_what_is_new_and_nothing_twice(world: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's page links to the report by its whole path: a relative one took its first folder for a host."""
    write_transcript(world, make_prompt(), make_answer())
    links: list[str] = []
    monkeypatch.setattr(main_pipeline, "create_link_artifact", lambda *, link, **_: links.append(link))
    first = analytics_pipeline()
    again = analytics_pipeline()
    assert links == [(world.published_dir / REPORT).resolve().as_uri()]
    assert (first["rows"], first["published"]) == (2, True)
    assert (again["rows"], again["published"]) == (0, False)
    assert count_requests(world) == 1


def test_flow_tries_a_failing_source_again(world: Settings, light: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write_transcript(world, make_prompt(), make_answer())
    calls = break_source(monkeypatch, times=2)
    assert analytics_pipeline()["published"]
    assert len(calls) == 3


def test_flow_tries_again_what_the_disk_refused(
    world: Settings, light: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told as a bug, and so not tried again."""
    write_transcript(world, make_prompt(), make_answer())
    calls = break_source(monkeypatch, times=2, error=OSError(errno.EIO, "Input/output error"))
    assert analytics_pipeline()["published"]
    assert len(calls) == 3


@pytest.mark.parametrize("stage", ["load", "transform"])
def test_flow_waits_for_who_looks_into_the_warehouse(
    world: Settings, light: list[str], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """LockHeld was called worth another try, and the stages that raise it had none."""
    real = getattr(PipelineRun, stage)
    calls: list[int] = []

    def refuse(*_: Any, **__: Any) -> Any:
        raise LockHeld("warehouse: another program has it open.")

    def try_stage(run: PipelineRun) -> Any:
        calls.append(1)
        with monkeypatch.context() as held:
            if len(calls) < 3:
                held.setattr(pipeline, "open_warehouse" if stage == "load" else "transform", refuse)
            return real(run)

    monkeypatch.setattr(PipelineRun, stage, try_stage)
    write_transcript(world, make_prompt(), make_answer())
    assert analytics_pipeline()["published"]
    assert len(calls) == 3
    recorded = [(row["result"], row["error_type"]) for row in committed_rows(world, "pipeline_runs")]
    assert set(recorded) == {("ok", None)}


@pytest.mark.parametrize(
    ("error", "told", "tries"),
    [
        (OSError(errno.EACCES, MARKER, "/a/file"), r"Permission denied: '/a/file'", 4),
        (OSError(f"an engine's: {MARKER}"), r"OSError in test_flow.py, line \d+: a bug", 1),
    ],
)
def test_what_the_system_says_of_a_refusal_is_told_and_what_an_engine_adds_is_not(
    world: Settings,
    light: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: OSError,
    told: str,
    tries: int,
) -> None:
    write_transcript(world, make_prompt(), make_answer())
    calls = break_source(monkeypatch, times=99, error=error)
    with pytest.raises((OSError, AnalyticsError), match=told):
        analytics_pipeline()
    assert len(calls) == tries
    assert MARKER not in caplog.text


def test_flow_publishes_the_rest_and_fails_when_a_source_stays_away(
    world: Settings, light: list[str], monkeypatch: pytest.MonkeyPatch, webhook: list[dict[str, Any]]
) -> None:
    write_transcript(world, make_prompt(), make_answer())
    with Lake(world.data_dir, world.host_id).lock():
        pipeline.extract(world, Lake(world.data_dir, world.host_id), run_id="before")
    break_source(monkeypatch, times=99)
    with pytest.raises(SourceUnavailable):
        analytics_pipeline()
    assert len(light) == 1
    assert [(message["error"], message["stage"]) for message in webhook] == [("SourceUnavailable", "extract")]


def test_flow_tries_a_failed_target_again_though_nothing_is_new(
    world: Settings, light: list[str], monkeypatch: pytest.MonkeyPatch, webhook: list[dict[str, Any]]
) -> None:
    """It waited until something arrived, and the flow was green meanwhile."""
    owed = [frozenset({"alerts"}), frozenset({"alerts"}), frozenset[str]()]
    monkeypatch.setattr(pipeline, "owed_targets", lambda _: owed.pop(0))
    write_transcript(world, make_prompt(), make_answer())
    analytics_pipeline()
    monkeypatch.setattr(pipeline, "is_published", lambda *_: True)
    assert analytics_pipeline()["published"]
    failed = PublishResult((), {"alerts": "alerts: down"})
    with monkeypatch.context() as down:
        down.setattr(pipeline, "publish", lambda *_, **__: failed)
        with pytest.raises(PublishError, match="alerts: down"):
            analytics_pipeline()
    assert not analytics_pipeline()["published"]
    assert [(message["error"], message["stage"]) for message in webhook] == [("PublishError", "publish")]
    assert len(light) == 2


def test_webhook_that_answers_no_http_changes_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    with answering(b"220 mail ready\r\n") as url:
        post_failure(url, {"flow": "analytics_pipeline", "run": "r", "stage": "load", "error": "x"})
    assert "webhook not reached: BadStatusLine" in caplog.text


def test_flow_leaves_when_another_run_has_the_lock(world: Settings, webhook: list[dict[str, Any]]) -> None:
    write_transcript(world, make_prompt())
    with Lake(world.data_dir, world.host_id).lock(), pytest.raises(LockHeld):
        analytics_pipeline()
    assert [(message["error"], message["stage"]) for message in webhook] == [("LockHeld", "start")]


def test_failed_audit_is_told_without_content_and_not_tried_again(
    world: Settings,
    light: list[str],
    monkeypatch: pytest.MonkeyPatch,
    webhook: list[dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    write_transcript(world, make_prompt(f"fix {MARKER}"), make_answer())
    audits: list[int] = []

    def fail(*_: Any, **__: Any) -> ValidateResult:
        audits.append(1)
        raise AuditFailed("validate: 1 checks failed", ValidateResult(check_count=1, failed=("gold.check",)))

    monkeypatch.setattr(pipeline, "audit", fail)
    with pytest.raises(ChecksFailed):
        analytics_pipeline()
    assert len(audits) == 1
    assert not light
    (message,) = webhook
    run = message.pop("run")
    assert message.pop("text") == f"Claude Code analytics: {run} failed in stage validate: AuditFailed"
    assert message == {"flow": "analytics_pipeline", "stage": "validate", "error": "AuditFailed"}
    assert MARKER not in caplog.text

    monkeypatch.setattr(pipeline, "audit", lambda *_, **__: ValidateResult())
    assert analytics_pipeline()["published"], "the next good run publishes, though nothing arrived"


def test_flow_always_audits(world: Settings, light: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand, the second run would pass on its dbt tests alone."""
    audits: list[str] = []
    monkeypatch.setattr(pipeline, "reason_to_skip", lambda *_: "not due")
    monkeypatch.setattr(pipeline, "audit", lambda *_, run_id, **__: audits.append(run_id) or ValidateResult())
    write_transcript(world, make_prompt())
    analytics_pipeline()
    assert len(audits) == 1


def test_sources_without_a_name_there_is_are_refused(world: Settings) -> None:
    write_transcript(world, make_prompt())
    with pytest.raises(Exception, match="no such source"):
        analytics_pipeline(sources=["nowhere"])


def test_prefect_yaml_says_the_same() -> None:
    described = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text(encoding="utf-8"))
    hourly = next(entry for entry in described["deployments"] if entry["name"] == "hourly")
    assert hourly["schedules"][0]["cron"] == "5 * * * *"
    assert hourly["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    for entry in described["deployments"]:
        module, _, name = entry["entrypoint"].partition(":")
        assert f"def {name}(" in (Path(__file__).parents[2] / module).read_text(encoding="utf-8")


def test_backfill_windows_cover_the_range_once() -> None:
    windows = list(iter_windows(date(2026, 1, 1), date(2026, 3, 15)))
    assert windows == [
        (date(2026, 1, 1), date(2026, 2, 1)),
        (date(2026, 2, 1), date(2026, 3, 4)),
        (date(2026, 3, 4), date(2026, 3, 15)),
    ]


def test_failed_backfill_is_told_once_by_who_knows_the_stage(
    world: Settings, light: list[str], monkeypatch: pytest.MonkeyPatch, webhook: list[dict[str, Any]]
) -> None:
    """Told by both flows, and by the second one without a stage."""
    write_transcript(world, make_prompt())
    break_source(monkeypatch, times=99)
    with pytest.raises(SourceUnavailable):
        analytics_backfill(since=date(2026, 1, 1), until=date(2026, 1, 3))
    assert [(message["flow"], message["stage"], message["error"]) for message in webhook] == [
        ("analytics_pipeline", "extract", "SourceUnavailable")
    ]
    assert not STAGE_OF_RUN


def test_backfill_that_ends_abruptly_is_told_once(
    world: Settings, monkeypatch: pytest.MonkeyPatch, webhook: list[dict[str, Any]]
) -> None:
    def end(*_: Any, **__: Any) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(main_pipeline, "open_run", end)
    with pytest.raises(SystemExit):
        analytics_backfill(since=date(2026, 1, 1), until=date(2026, 1, 3))
    assert [(message["flow"], message["stage"], message["error"]) for message in webhook] == [
        ("analytics_pipeline", "start", "SystemExit")
    ]


@pytest.mark.parametrize(
    ("wrong", "stage", "error"),
    [({"until": date(2026, 1, 1)}, "start", "ValueError"), ({"sources": 7}, "unknown", "ParameterTypeError")],
)
def test_backfill_that_never_began_is_told_once(
    world: Settings, webhook: list[dict[str, Any]], wrong: dict[str, Any], stage: str, error: str
) -> None:
    with pytest.raises((ValueError, ParameterTypeError)):
        analytics_backfill(**{"since": date(2026, 1, 1), "until": date(2026, 1, 3), **wrong})
    assert [(message["flow"], message["stage"], message["error"]) for message in webhook] == [
        ("analytics_backfill", stage, error)
    ]


def test_backfill_that_succeeds_tells_nobody(world: Settings, light: list[str], webhook: list[dict[str, Any]]) -> None:
    write_transcript(world, make_prompt(), make_answer())
    assert len(analytics_backfill(since=date(2026, 1, 1), until=date(2026, 2, 2))) == 2
    assert not webhook
    assert not STAGE_OF_RUN
