"""The stages in their order, for the command line and for anyone without an orchestrator."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from analytics.config import PROJECT_DIR, Settings
from analytics.extractor import Extraction, extract
from analytics.lake import Lake
from analytics.loader import BuildPlan, DuckDBLoader, LoadResult, open_warehouse
from analytics.publisher import PublishResult, publish
from analytics.sources import ExtractResult, Progress
from analytics.targets import TargetResult
from analytics.targets.snapshot import is_published
from analytics.transformer import TransformResult, preload, project_fingerprint, transform

SAMPLE_DIR = PROJECT_DIR / "data" / "sample"
SAMPLE_HOST = "sample"


@dataclass(frozen=True)
class Observer:
    """What a run tells while it goes on. Every part may be left out."""

    on_progress: Progress | None = None
    on_extract: Callable[[ExtractResult], None] | None = None
    on_load: Callable[[LoadResult], None] | None = None
    on_transform: Callable[[TransformResult], None] | None = None
    on_publish: Callable[[TargetResult], None] | None = None


@dataclass(frozen=True)
class RunResult:
    """A whole run. `load`, `transform` and `publish` are None where nothing was new."""

    run_id: str
    extraction: Extraction
    load: LoadResult | None = None
    transform: TransformResult | None = None
    publish: PublishResult | None = None
    is_sample: bool = False
    elapsed_ms: int = 0
    removed_sample_rows: int = field(default=0)

    @property
    def failures(self) -> dict[str, str]:
        return {**self.extraction.failures, **(self.publish.failures if self.publish else {})}

    def as_json(self) -> dict[str, Any]:
        """The same facts as the printed summary, for `--json`."""
        result = dataclasses.asdict(self)
        return {**result, "failures": self.failures, "result": "failed" if self.failures else "ok"}


def new_run_id() -> str:
    """A name that sorts by time: the UTC instant, to the microsecond so that no two runs share one."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")


def with_sample_if_empty(settings: Settings, lake: Lake) -> tuple[Settings, bool]:
    """The settings as they are, or pointed at the sample when this machine has no data of its own.

    The sample goes into the lake under a host name of its own, and leaves it in the first run that
    finds real data.
    """
    from analytics.sources import iter_sources

    has_own_data = any(part_host != SAMPLE_HOST for part_host in _hosts(lake))
    if has_own_data or any(source.is_enabled(settings) for source in iter_sources()):
        return settings, False
    return dataclasses.replace(settings, transcript_dirs=(SAMPLE_DIR / "projects",), host_id=SAMPLE_HOST), True


def _hosts(lake: Lake) -> set[str]:
    return {_host_of(path) for dataset in lake.datasets() for path in lake.snapshot(dataset).parts}


def _host_of(path: str) -> str:
    return path.split("/host=", 1)[1].split("/", 1)[0]


def remove_sample(lake: Lake, run_id: str) -> int:
    """Take the sample out of a lake that has real data now. Returns how many rows went."""
    removed = 0
    for dataset in lake.datasets():
        parts = [part for path, part in lake.snapshot(dataset).parts.items() if _host_of(path) == SAMPLE_HOST]
        removed += sum(part.row_count for part in parts)
        lake.remove_parts(
            dataset,
            [part.path for part in parts],
            run_id=run_id,
            kind="sample",
            forget_positions=True,
            keep_in=None,
        )
    return removed


def run(
    settings: Settings,
    *,
    select: Sequence[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    is_full_backfill: bool = False,
    is_full_refresh: bool = False,
    observer: Observer | None = None,
) -> RunResult:
    """Extract, load, transform and publish what is new; rebuild and publish nothing when nothing is.

    Takes the folder's lock; raises LockHeld when another run has it. A source or a target that fails
    is in `failures`, and the rest goes on; a failing check raises ChecksFailed before publishing.
    """
    watcher = observer or Observer()
    started = time.monotonic()
    run_id = new_run_id()
    warm_up = _WarmUp(watcher.on_progress)
    lake = Lake(settings.data_dir, settings.host_id)
    with lake.lock():
        effective, is_sample = with_sample_if_empty(settings, lake)
        if is_sample:
            lake = Lake(settings.data_dir, effective.host_id)
        extraction = extract(
            effective,
            lake,
            run_id=run_id,
            select=select,
            since=since,
            until=until,
            is_full_backfill=is_full_backfill,
            on_progress=warm_up.on_progress,
            on_result=watcher.on_extract,
        )
        # Asked of the lake, not of this run: the run that brought the first real rows may have died here.
        hosts = _hosts(lake)
        removed = remove_sample(lake, run_id) if SAMPLE_HOST in hosts and hosts != {SAMPLE_HOST} else 0
        result = RunResult(run_id, extraction, is_sample=is_sample, removed_sample_rows=removed)
        result = _build(settings, lake, result, watcher, warm_up, is_full_refresh=is_full_refresh)
        lake.compact_all(run_id=run_id, before=datetime.now(UTC).date() - timedelta(days=1))
    return dataclasses.replace(result, elapsed_ms=round((time.monotonic() - started) * 1000))


class _WarmUp:
    """Imports dbt beside the extraction, from the moment there is something new: it takes over a second."""

    def __init__(self, on_progress: Progress | None) -> None:
        self._on_progress = on_progress
        self._thread: threading.Thread | None = None

    def on_progress(self, done: int, total: int) -> None:
        self.start()
        if self._on_progress:
            self._on_progress(done, total)

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=preload, name="preload")
            self._thread.start()

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()


def _build(
    settings: Settings, lake: Lake, result: RunResult, watcher: Observer, warm_up: _WarmUp, *, is_full_refresh: bool
) -> RunResult:
    """Load, transform and publish, as far as there is something new."""
    fingerprint = project_fingerprint(settings)
    with open_warehouse(settings) as connection:
        loader = DuckDBLoader(settings, lake, connection)
        build = loader.current_build(fingerprint)
        if build is not None and is_published(settings, build) and not is_full_refresh:
            return result
        warm_up.start()
        load = loader.load(run_id=result.run_id)
        plan = loader.plan_build(run_id=result.run_id, fingerprint=fingerprint, is_full_refresh=is_full_refresh)
    if watcher.on_load:
        watcher.on_load(load)
    warm_up.join()
    transformed = transform_and_record(settings, lake, plan, run_id=result.run_id, fingerprint=fingerprint)
    if watcher.on_transform:
        watcher.on_transform(transformed)
    published = publish(settings, run_id=result.run_id, on_result=watcher.on_publish)
    return dataclasses.replace(result, load=load, transform=transformed, publish=published)


def transform_and_record(
    settings: Settings, lake: Lake, plan: BuildPlan, *, run_id: str, fingerprint: str
) -> TransformResult:
    """Transform, and only after it succeeded call the changed days clean."""
    transformed = transform(settings, plan)
    with open_warehouse(settings) as connection:
        DuckDBLoader(settings, lake, connection).finish_build(run_id=run_id, fingerprint=fingerprint)
    return transformed


def data_path(settings: Settings, relative: str) -> Path:
    """A path below the data folder, as a person in the working directory would type it."""
    path = settings.data_dir / relative
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
