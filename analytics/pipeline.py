"""The stages in their order, for the command line and for anyone without an orchestrator."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any

from analytics import sample
from analytics.build_plan import BuildPlan
from analytics.checks.gx import load_gx
from analytics.config import Settings
from analytics.errors import AnalyticsError
from analytics.extractor import Extraction, extract, import_archive, needs_sample, select_sources
from analytics.files import private_umask
from analytics.interruption import is_interrupted
from analytics.journal import StageRecord, read_last_outcome, record_stage, write_records
from analytics.lake import Lake, new_run_id
from analytics.lake.upkeep import compact_all, is_sweep_due, sweep_for_today
from analytics.loader import DuckDBLoader, LoadResult
from analytics.publisher import PublishResult, owed_targets, prepare, publish
from analytics.replay import Increment, begin_warehouse, has_beginning, kept_increment
from analytics.result import Result
from analytics.sources import ExtractResult, Progress
from analytics.targets import FIRST, TargetResult
from analytics.targets.snapshot import discard, hurry, is_published, stage
from analytics.transformer import TransformResult, preload, project_fingerprint, transform, transform_again
from analytics.validator import (
    AuditFailed,
    ValidateResult,
    audit,
    begin_audit,
    document_audit,
    note_build,
    note_tests,
    reason_to_skip,
    record_audit,
    release_builds,
    require_success,
    tell_missing_docs,
)
from analytics.warehouse import open_warehouse, transaction
from analytics.workers import Worker

DOCS_PATIENCE_S = 30.0  # they take a third of a second


@dataclass(frozen=True)
class Observer:
    """What a run tells while it goes on. Every part may be left out."""

    on_progress: Progress | None = None
    on_extract: Callable[[ExtractResult], None] | None = None
    on_load: Callable[[LoadResult], None] | None = None
    on_transform: Callable[[TransformResult], None] | None = None
    on_validate: Callable[[ValidateResult], None] | None = None
    on_publish: Callable[[TargetResult], None] | None = None
    on_bug: Callable[[Exception], None] | None = None


@dataclass(frozen=True)
class RunResult(Result):
    """A whole run. `load` and the stages after it are None where nothing was new.

    `publish` then is what an earlier run owed to its targets, if it did.
    """

    run_id: str
    extraction: Extraction
    load: LoadResult | None = None
    transform: TransformResult | None = None
    validate: ValidateResult | None = None
    publish: PublishResult | None = None
    is_sample: bool = False
    elapsed_ms: int = 0
    removed_sample_rows: int = 0

    @property
    def failures(self) -> dict[str, str]:
        return {**self.extraction.failures, **(self.publish.failures if self.publish else {})}

    def as_json(self) -> dict[str, Any]:
        result = super().as_json()
        if result["validate"]:
            del result["validate"]["checks"]
        return {**result, "failures": self.failures, "result": "failed" if self.failures else "ok"}


@dataclass(frozen=True)
class RunOptions:
    """What a run is asked for; the flags of `analytics run` and the parameters of the flow."""

    select: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    is_full_backfill: bool = False
    is_full_refresh: bool = False
    is_audit_forced: bool = False
    trigger: str = "command"


class PipelineRun:
    """One run under the folder's lock: its stages, to be called in their order.

    `extract` may be called source by source, and `publish` again after a PublishError; the others once.
    The command line and the flow call the same methods. `load` returns None when nothing is new;
    then at most `publish` is left to do, as `is_publish_due` tells. A failing audit raises before anything is
    called clean or published, so the next run builds, audits and publishes the same days again, even if
    nothing arrives.
    """

    def __init__(self, settings: Settings, options: RunOptions, observer: Observer) -> None:
        self._settings = settings
        self._options = options
        self._observer = observer
        self._started = time.monotonic()
        self._dbt = Worker("transform", partial(preload, settings))
        self._auditor = Worker("validate", load_gx)
        self._reason_to_skip_audit = ""
        # While neither dbt nor the audit needs it: an open warehouse is a warm one.
        self._held_warehouse = contextlib.ExitStack()
        # Of one thread: what need not be waited for, in its order.
        self._background = ThreadPoolExecutor(1)
        self._documented: Future[str] | None = None
        self._stages: list[StageRecord] = []
        self._told_count = 0
        self._plan = BuildPlan(is_full_refresh=False)
        # The targets that an earlier run failed to write; None while all are to be written.
        self._owed: frozenset[str] | None = None
        lake = Lake(settings.data_dir, settings.host_id)
        is_sample = needs_sample(settings, lake)
        self._source_settings = sample.stand_in(settings) if is_sample else settings
        self._lake = Lake(settings.data_dir, self._source_settings.host_id)
        self._fingerprint = project_fingerprint(settings)
        self.result = RunResult(new_run_id(), Extraction((), {}), is_sample=is_sample)
        if not settings.warehouse_file.exists() and settings.validate != "never":
            # A first build is always audited, and until there is something to extract a core is idle.
            self._auditor.start()

    @cached_property
    def _increment(self) -> Increment | None:
        """What dbt built before, while this run can do without it. Read once there is something to build."""
        return kept_increment(self._fingerprint)

    @property
    def source_names(self) -> list[str]:
        """The sources that this run reads, by name."""
        return [source.name for source in select_sources(self._source_settings, self._options.select)]

    def extract(self, names: Sequence[str] = ()) -> Extraction:
        """Read what is new in the named sources, or in all that this run reads.

        A source that fails is in `failures` of what is returned and of the run, until a later call succeeds.
        """
        with record_stage(self._stages, "extract") as record:
            extraction = extract(
                self._source_settings,
                self._lake,
                run_id=self.result.run_id,
                select=names or self._options.select,
                since=self._options.since,
                until=self._options.until,
                is_full_backfill=self._options.is_full_backfill,
                on_progress=self._on_progress,
                on_result=self._observer.on_extract,
            )
            extraction = self._with_sample_archives(extraction)
            so_far = self.result.extraction
            done = {result.source for result in extraction.results}
            failures = {name: why for name, why in so_far.failures.items() if name not in done} | extraction.failures
            merged = Extraction((*so_far.results, *extraction.results), failures)
            self.result = dataclasses.replace(self.result, extraction=merged)
            record.row_count = merged.rows_loaded
            record.rejected_count = sum(result.rows_rejected for result in merged.results)
            record.unit_count = len(merged.results) + len(failures)
            record.failed_count = len(failures)
            record.result = "failed" if failures else "ok"
            record.error_type = "SourceUnavailable" if failures else None
        return extraction

    def _on_progress(self, done: int, total: int) -> None:
        """New data will have to be built. If that is dbt's work, start to load it beside the extraction."""
        if (
            self._options.is_full_refresh
            or self._increment is None
            or not has_beginning(self._settings, self._fingerprint)
        ):
            self._dbt.start()
        if self._observer.on_progress:
            self._observer.on_progress(done, total)

    def _with_sample_archives(self, extraction: Extraction) -> Extraction:
        """The sample's transcripts come with hook events of their tool calls and with plans, each read once."""
        results = list(extraction.results)
        for folder in sample.archive_folders() if self.result.is_sample else ():
            (source,) = select_sources(self._source_settings, (folder.name,))
            if self._lake.last_number(source.dataset):
                continue
            archive = import_archive(
                self._source_settings, self._lake, folder, run_id=self.result.run_id, select=(source.name,)
            )
            if self._observer.on_extract:
                self._observer.on_extract(archive.results[0])
            results += archive.results
        return Extraction(tuple(results), extraction.failures)

    def load(self) -> LoadResult | None:
        """Load what is new and plan the build; None when everything is built and published already."""
        run_id = self.result.run_id
        # Asked of the lake, not of this run: the run that brought the first real rows may have died here.
        self.result = dataclasses.replace(self.result, removed_sample_rows=sample.remove_sample(self._lake, run_id))
        begin_warehouse(self._settings, self._fingerprint)
        with record_stage(self._stages, "load") as record, open_warehouse(self._settings) as connection:
            loader = DuckDBLoader(self._settings, self._lake, connection)
            build = loader.current_build(self._fingerprint)
            if build is not None and is_published(self._settings, build) and not self._options.is_full_refresh:
                self._owed = owed_targets(self._settings)
                return None
            load = loader.load(run_id=run_id)
            self._plan = loader.plan_build(
                run_id=run_id, fingerprint=self._fingerprint, is_full_refresh=self._options.is_full_refresh
            )
            if self._plan.is_full_refresh:
                self._increment = None
                self._dbt.start()
            with transaction(connection):
                note_build(connection, self._plan, run_id=run_id, row_count=loader.take_new_row_count())
            if not self._options.is_audit_forced:
                self._reason_to_skip_audit = reason_to_skip(self._settings, connection)
            if not self._reason_to_skip_audit:
                self._auditor.start()
            elif self._increment is not None:
                self._held_warehouse.enter_context(open_warehouse(self._settings))
            record.row_count, record.unit_count = load.row_count, load.date_count
        load = dataclasses.replace(load, elapsed_ms=record.elapsed_ms)
        self.result = dataclasses.replace(self.result, load=load)
        if self._observer.on_load:
            self._observer.on_load(load)
        return load

    def transform(self) -> TransformResult:
        """Build and test the models that the plan touches, without dbt where it built the same before."""
        self._background.submit(prepare, self._settings)
        # Where no audit follows, what dbt tests is all there is; where a small one need not, most of that can wait too.
        is_thorough = not self._reason_to_skip_audit or self._settings.validate == "never"
        with record_stage(self._stages, "transform") as record, self._dbt as worker:
            transformed = None
            if self._increment is not None:
                transformed = transform_again(self._settings, self._plan, self._increment, is_thorough=is_thorough)
            if transformed is None:
                self._held_warehouse.close()
                is_thorough |= self._increment is None
                transformed = worker.call(transform, self._settings, self._plan, is_thorough=is_thorough)
                record.peak_memory_bytes = worker.peak_memory_bytes
            record.unit_count = transformed.model_count
            record.warning_count = len(transformed.warnings)
        transformed = dataclasses.replace(transformed, elapsed_ms=record.elapsed_ms)
        self.result = dataclasses.replace(self.result, transform=transformed)
        if self._observer.on_transform:
            self._observer.on_transform(transformed)
        return transformed

    def validate(self) -> ValidateResult:
        """Audit what was built and, only when the audit passes, call the changed days clean."""
        result = ValidateResult()
        try:
            with record_stage(self._stages, "validate") as record:
                try:
                    result = self._audit(record)
                except AuditFailed as error:
                    result = error.result
                    raise
                finally:
                    record.unit_count, record.warning_count = result.check_count, len(result.warnings)
                    record.failed_count = len(result.failed)
                    record.result = "skipped" if result.skipped else record.result
        finally:
            result = dataclasses.replace(result, elapsed_ms=record.elapsed_ms)
            self.result = dataclasses.replace(self.result, validate=result)
            if self._observer.on_validate and (result.check_count or result.skipped):
                self._observer.on_validate(result)
        self._finish_build()
        return result

    def _finish_build(self) -> None:
        """Call the changed days clean, and have gold tell of this run what is known before it publishes."""
        self._write_records()
        with open_warehouse(self._settings) as connection:
            loader = DuckDBLoader(self._settings, self._lake, connection)
            loader.load_journals(run_id=self.result.run_id)
            loader.finish_build(run_id=self.result.run_id, fingerprint=self._fingerprint)
            release_builds(connection)

    def _write_records(self) -> None:
        """Commit the stages that no record tells of yet, and what an audit among them found."""
        untold = self._stages[self._told_count :]
        is_audited = any(stage.stage == "validate" for stage in untold)
        write_records(
            self._lake,
            run_id=self.result.run_id,
            trigger=self._options.trigger,
            is_full_refresh=self._plan.is_full_refresh,
            stages=untold,
            checks=self.result.validate.checks if is_audited and self.result.validate else (),
        )
        self._told_count = len(self._stages)

    def _audit(self, record: StageRecord) -> ValidateResult:
        """Have the suites judge in their own process, and meanwhile write what is published if they agree."""
        if self._reason_to_skip_audit:
            return ValidateResult(skipped=self._reason_to_skip_audit)
        run_id = self.result.run_id
        date_count = begin_audit(self._settings, self._lake)
        staged = self._background.submit(stage, self._settings, run_id)
        try:
            result = self._auditor.call(audit, self._settings, run_id=run_id, date_count=date_count)
            record.peak_memory_bytes = self._auditor.peak_memory_bytes
        finally:
            if not staged.done():
                hurry(self._settings)
            staged.result()  # one that reads the warehouse keeps those that write from it
        record_audit(self._settings, result, run_id=run_id)
        self._documented = self._background.submit(self._auditor.call, document_audit, self._settings)
        if result.failed:
            self._wait_for_docs()
        return require_success(result)

    @property
    def is_publish_due(self) -> bool:
        """Whether something was built, or, where nothing was new, a target is owed what was built before."""
        return self._owed is None or bool(self._owed)

    def publish(self) -> PublishResult:
        """Hand gold to every target, or to those that are owed it. May be called again after a PublishError."""
        with record_stage(self._stages, "publish") as record:
            published = publish(
                self._settings,
                run_id=self.result.run_id,
                only=self._owed,
                on_result=self._on_published,
                on_bug=self._observer.on_bug,
            )
            if problem := self._wait_for_docs():
                published = dataclasses.replace(published, failures={**published.failures, "data docs": problem})
            record.unit_count = len(published.targets) + len(published.failures)
            record.failed_count = len(published.failures)
            record.row_count = next(
                (int(t.facts["row_count"]) for t in published.targets if "row_count" in t.facts), None
            )
            record.result = "failed" if published.failures else "ok"
            record.error_type = "PublishError" if published.failures else None
        self.result = dataclasses.replace(self.result, publish=published)
        return published

    def _wait_for_docs(self) -> str:
        """Why the data docs of the audit, which are written beside all this, are missing; empty where they are not."""
        if self._documented is None:
            return ""
        try:
            return self._documented.result(DOCS_PATIENCE_S)
        except TimeoutError:
            return tell_missing_docs(f"within {DOCS_PATIENCE_S:.0f} s")
        except AnalyticsError:
            return tell_missing_docs("their process was killed, perhaps for its memory")

    def _on_published(self, result: TargetResult) -> None:
        """Only the snapshot reads the warehouse, which DuckDB tidies while the other targets are written."""
        if result.target == FIRST:
            self._background.submit(self._held_warehouse.close)
        if self._observer.on_publish:
            self._observer.on_publish(result)

    def let_go(self) -> None:
        """Let go of the warehouse and end the processes of dbt and of the audit, also in the middle of their work.

        What was written ahead and came to no reader goes too.
        """
        self._auditor.close()  # before what waits for it
        self._background.shutdown()
        discard(self._settings, self.result.run_id)
        self._held_warehouse.close()
        self._dbt.close()

    def close(self) -> None:
        """Write the rest of the run's own record, unless it found nothing to do, and tidy the lake.

        After a run that failed it is written all the same: what failed no longer does.
        """
        elapsed_ms = round((time.monotonic() - self._started) * 1000)
        self.result = dataclasses.replace(self.result, elapsed_ms=elapsed_ms)
        if (
            self.result.load is not None
            or self.result.publish is not None
            or any(stage.has_failed for stage in self._stages)
            or ((last := read_last_outcome(self._lake)) and last.failures)
        ):
            self._write_records()
        self._tidy_lake()

    def _tidy_lake(self) -> None:
        """Merge small files of past days and, once a day, sweep what does not count, after nobody is to read it."""
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        is_compacted = bool(compact_all(self._lake, run_id=self.result.run_id, before=yesterday))
        is_due = is_sweep_due(self._lake)
        if (is_compacted or is_due) and self._settings.warehouse_file.exists():
            with open_warehouse(self._settings) as connection:
                DuckDBLoader(self._settings, self._lake, connection).show_payloads()
        if is_due:
            sweep_for_today(self._lake)


@contextlib.contextmanager
def open_run(
    settings: Settings,
    options: RunOptions | None = None,
    observer: Observer | None = None,
    *,
    lock_wait_s: float = 0.0,
) -> Iterator[PipelineRun]:
    """A run under the folder's lock, closed at the end, however it ends.

    Raises LockHeld when another run has the lock for longer than `lock_wait_s` seconds.
    """
    with private_umask(), Lake(settings.data_dir, settings.host_id).lock(wait_s=lock_wait_s):
        pipeline_run = PipelineRun(settings, options or RunOptions(), observer or Observer())
        try:
            yield pipeline_run
        except Exception:
            # The record of a failed run is worth less than its reason: a full disk may refuse it. After Ctrl-C, which
            # DuckDB tells as an error, there is no time for it.
            if not is_interrupted():
                with contextlib.suppress(OSError, AnalyticsError):
                    pipeline_run.close()
            raise
        finally:
            pipeline_run.let_go()
        pipeline_run.close()


def run(settings: Settings, options: RunOptions | None = None, observer: Observer | None = None) -> RunResult:
    """Extract, load, transform, validate and publish what is new; rebuild and publish nothing when nothing is.

    Takes the folder's lock; raises LockHeld when another run has it. A source or a target that fails
    is in `failures`, the rest goes on, and the next run tries it again, also when nothing is new; a failing
    check raises ChecksFailed before publishing.
    """
    with open_run(settings, options, observer) as pipeline_run:
        pipeline_run.extract()
        if pipeline_run.load() is not None:
            pipeline_run.transform()
            pipeline_run.validate()
        if pipeline_run.is_publish_due:
            pipeline_run.publish()
    return pipeline_run.result


def plan_and_transform(settings: Settings, lake: Lake, *, run_id: str, is_full_refresh: bool) -> TransformResult:
    """Build and test by hand what is loaded. Only a run that is audited calls days clean: it builds them again."""
    with open_warehouse(settings) as connection:
        loader = DuckDBLoader(settings, lake, connection)
        if not loader.has_loaded:
            raise AnalyticsError("transform: the lake is not loaded yet. Run `analytics load` first.")
        plan = loader.plan_build(
            run_id=run_id, fingerprint=project_fingerprint(settings), is_full_refresh=is_full_refresh
        )
        with transaction(connection):
            note_build(connection, plan, run_id=run_id, row_count=loader.take_new_row_count())
    result = transform(settings, plan)
    with open_warehouse(settings) as connection:
        note_tests(settings, connection)
    return result
