"""The hourly flow: extract (a task per source), load, transform, validate, publish.

It calls the same stages as `analytics run`, under the same lock, in one process. What a retry can help
is retried (a source that does not answer, a target that cannot be written, a disk that refuses, a warehouse that
another program has open); a wrong setting and a failed check are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run, task_run

from analytics.config import load_settings
from analytics.errors import AnalyticsError, LockHeld, PublishError, SourceUnavailable, describe_bug, reason_of
from analytics.pipeline import Observer, PipelineRun, RunOptions, RunResult, open_run
from flows.notification import STAGE_OF_RUN, notify_failure

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State, TaskRun

RETRYABLE = (SourceUnavailable, PublishError, LockHeld, OSError)
RETRY_DELAYS_S = [5, 30, 120]
EXTRACT_TIMEOUT_S = 3_600
STAGE_TIMEOUT_S = 3_600
# A run started by hand is soon over; a longer one leaves this hour to the next run, which catches up.
LOCK_WAIT_S = 60.0


def can_retry_help(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Whether the same call may succeed later: a source or target out of reach, yes; a setting or a check, no."""
    return isinstance(_error_in(state), RETRYABLE)


def _task_run_name() -> str:
    source = task_run.parameters.get("source")
    return f"extract {source}" if source else str(task_run.task_name)


_STAGE: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "timeout_seconds": STAGE_TIMEOUT_S,
    "task_run_name": _task_run_name,
    "log_prints": False,
}
_RETRIED: dict[str, Any] = {
    **_STAGE,
    "retries": len(RETRY_DELAYS_S),
    "retry_delay_seconds": RETRY_DELAYS_S,
    "retry_jitter_factor": 0.3,
    "retry_condition_fn": can_retry_help,
}


@task(name="extract", **{**_RETRIED, "timeout_seconds": EXTRACT_TIMEOUT_S})
def extract_source(run: PipelineRun, source: str) -> int:
    """Read what is new in one source. Returns its rows."""
    with _stage("extract"):
        extraction = run.extract([source])
        if source in extraction.failures:
            raise SourceUnavailable(extraction.failures[source])
        rows = extraction.rows_loaded
        get_run_logger().info("source=%s rows=%d", source, rows)
        return rows


@task(name="load", **_RETRIED)
def load(run: PipelineRun) -> bool:
    """Load what is new. Returns whether there is anything to build."""
    with _stage("load"):
        result = run.load()
        if result is not None:
            get_run_logger().info(
                "rows=%d days=%d elapsed_ms=%d", result.row_count, result.date_count, result.elapsed_ms
            )
        return result is not None


@task(name="transform", **_RETRIED)
def transform(run: PipelineRun) -> None:
    """Build and test the models."""
    with _stage("transform"):
        result = run.transform()
        get_run_logger().info(
            "models=%d tests=%d elapsed_ms=%d", result.model_count, result.test_count, result.elapsed_ms
        )


@task(name="validate", **_STAGE)
def validate(run: PipelineRun) -> None:
    """Audit what was built."""
    with _stage("validate"):
        result = run.validate()
        get_run_logger().info(
            "checks=%d warnings=%d elapsed_ms=%d", result.check_count, len(result.warnings), result.elapsed_ms
        )


@task(name="publish", **_RETRIED)
def publish(run: PipelineRun) -> None:
    """Hand gold to every target."""
    with _stage("publish"):
        result = run.publish()
        get_run_logger().info("targets=%d failed=%d", len(result.targets), len(result.failures))


@contextmanager
def _stage(name: str) -> Iterator[None]:
    """Note the stage for the notification. No engine's message gets out: Prefect logs what is raised."""
    STAGE_OF_RUN[str(flow_run.id)] = name
    try:
        yield
    except AnalyticsError as error:
        raise error from None
    except OSError as error:
        if error.errno is None:  # an engine's, not the system's
            raise AnalyticsError(describe_bug(error)) from None
        raise OSError(error.errno, reason_of(error), error.filename) from None
    except Exception as error:  # noqa: BLE001 - a bug is told by its kind, docs/decisions/0008
        raise AnalyticsError(describe_bug(error)) from None


def _flow_run_name() -> str:
    parameters = flow_run.parameters
    what = "full refresh" if parameters.get("full_refresh") else "increment"
    return f"{what} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"


def to_instant(day: date | datetime | None) -> datetime | None:
    """A parameter as an aware instant: a day begins at midnight UTC."""
    if day is None:
        return None
    instant = day if isinstance(day, datetime) else datetime(day.year, day.month, day.day, tzinfo=UTC)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


@flow(
    name="analytics_pipeline",
    flow_run_name=_flow_run_name,
    timeout_seconds=4 * 3_600,
    validate_parameters=True,
    persist_result=False,
    on_failure=[notify_failure],
    on_crashed=[notify_failure],
    on_cancellation=[notify_failure],
)
def analytics_pipeline(
    full_refresh: bool = False,  # noqa: FBT001, FBT002 - a parameter of the flow, given by name
    sources: list[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> dict[str, Any]:
    """Extract, load, transform, validate and publish what is new.

    Args:
        full_refresh: Rebuild every model from the lake.
        sources: Only these sources; all enabled ones by default.
        since: Only records from this instant on (inclusive).
        until: Only records before this instant (exclusive).
    """
    options = RunOptions(
        select=tuple(sources or ()),
        since=to_instant(since),
        until=to_instant(until),
        is_full_refresh=full_refresh,
        is_audit_forced=True,
        trigger="flow",
    )
    STAGE_OF_RUN[str(flow_run.id)] = "start"
    settings = load_settings()
    # The lock is this process's, and so are the tasks: they run here, one after the other.
    with open_run(settings, options, Observer(), lock_wait_s=LOCK_WAIT_S) as run:
        try:
            run_stages(run)
        finally:
            _write_artifacts(run.result)
    result = run.result
    if result.failures:
        # Everything else was published; the run still fails, so that somebody looks.
        STAGE_OF_RUN[str(flow_run.id)] = "extract" if result.extraction.failures else "publish"
        reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(result.failures.items()))
        raise SourceUnavailable(reasons) if result.extraction.failures else PublishError(reasons)
    STAGE_OF_RUN.pop(str(flow_run.id), None)
    return {"run_id": result.run_id, "rows": result.extraction.rows_loaded, "published": result.publish is not None}


def run_stages(run: PipelineRun) -> None:
    """The stages in their order; those after load only when there is something for them to do."""
    states = [extract_source(run, source, return_state=True) for source in run.source_names]
    for state in states:
        # One source that stays away does not stop the others; anything else does.
        state_error = _error_in(state)
        if state_error is not None and not isinstance(state_error, SourceUnavailable):
            raise state_error
    if load(run):
        transform(run)
        validate(run)
    if run.is_publish_due:
        publish(run)


def _error_in(state: State[Any]) -> BaseException | None:
    if state.is_completed():
        return None
    try:
        state.result()
    except BaseException as error:  # noqa: BLE001 - a state gives its error by raising it
        return error
    return None


def _write_artifacts(result: RunResult) -> None:
    """What a person wants to see first on the run's page. A server that refuses them changes nothing."""
    rows = [
        {"stage": "extract", "what": entry.source, "rows": entry.rows_loaded, "note": f"{entry.rows_rejected} rejected"}
        for entry in result.extraction.results
    ]
    if result.load:
        rows.append(
            {"stage": "load", "what": "raw", "rows": result.load.row_count, "note": f"{result.load.date_count} days"}
        )
    if result.transform:
        note = f"{result.transform.test_count} tests"
        rows.append(
            {"stage": "transform", "what": f"{result.transform.model_count} models", "rows": None, "note": note}
        )
    if result.validate:
        note = f"{len(result.validate.failed)} failed, {len(result.validate.warnings)} warn"
        rows.append({"stage": "validate", "what": f"{result.validate.check_count} checks", "rows": None, "note": note})
    if result.publish:
        rows += [
            {"stage": "publish", "what": entry.target, "rows": None, "note": entry.summary}
            for entry in result.publish.targets
        ]
    try:
        create_table_artifact(key="stages", table=rows, description=f"Run {result.run_id}")
        if result.validate and result.validate.checks:
            checks = [
                {"check": check.qualified_name, "severity": check.severity, "rows": check.unexpected_count}
                for check in result.validate.checks
                if not check.is_success
            ]
            create_table_artifact(key="checks-not-as-expected", table=checks, description=f"Run {result.run_id}")
            if result.validate.report_file:
                _link("audit-report", result.validate.report_file, "Audit report")
        for entry in result.publish.targets if result.publish else ():
            if entry.target == "report" and entry.location:
                _link("report", Path(entry.location), "Dashboards")
    except Exception as error:  # noqa: BLE001 - an ornament must not fail a run
        get_run_logger().warning("artifacts not written: %s", type(error).__name__)


def _link(key: str, file: Path, text: str) -> None:
    create_link_artifact(key=key, link=file.resolve().as_uri(), link_text=text)


if __name__ == "__main__":
    try:
        analytics_pipeline()
    except AnalyticsError as error:
        raise SystemExit(error.exit_code) from error
