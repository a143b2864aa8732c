"""Stage 1, extract: every enabled source into the lake. `python -m analytics.extractor` = `analytics extract`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analytics.config import Settings
from analytics.errors import AnalyticsError, ConfigError
from analytics.lake import Lake
from analytics.lake.upkeep import sweep_failed_run
from analytics.result import Result
from analytics.sample import has_own_data
from analytics.sources import ExtractContext, ExtractResult, Progress, Source, iter_sources


@dataclass(frozen=True)
class Extraction(Result):
    """What an extraction brought: a result per source that could be read, a reason per source that could not."""

    results: tuple[ExtractResult, ...]
    failures: dict[str, str]

    @property
    def rows_loaded(self) -> int:
        return sum(result.rows_loaded for result in self.results)


def select_sources(settings: Settings, names: Sequence[str] = ()) -> list[Source]:
    """The named sources, or all enabled ones. Raises ConfigError for an unknown name."""
    available = {source.name: source for source in iter_sources()}
    for name in names:
        if name not in available:
            raise ConfigError(f"--select {name}: there is no such source. There are: {', '.join(available)}.")
    return [source for name, source in available.items() if (name in names if names else source.is_enabled(settings))]


def needs_sample(settings: Settings, lake: Lake) -> bool:
    """Whether the sample stands in: there is nothing of the user's, neither in the lake nor to be read."""
    return not has_own_data(lake) and not select_sources(settings)


def import_archive(settings: Settings, lake: Lake, path: Path, *, run_id: str, select: Sequence[str]) -> Extraction:
    """Read an archive of one source's events. Raises ConfigError unless one is named that can, and the path is."""
    able = {source.name: source.import_archive for source in iter_sources() if source.import_archive}
    name = select[0] if len(select) == 1 else ""
    read = able.get(name)
    if read is None:
        raise ConfigError(f"--import: name whose events these are, with --select {' or --select '.join(able)}.")
    if not path.exists():
        raise ConfigError(f"{name}: {path} is missing. Give a file or a folder of events.")
    context = ExtractContext(settings=settings, lake=lake, run_id=run_id, extracted_at=datetime.now(UTC))
    return Extraction((read(context, path),), {})


def extract(
    settings: Settings,
    lake: Lake,
    *,
    run_id: str,
    select: Sequence[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    is_full_backfill: bool = False,
    on_progress: Progress | None = None,
    on_result: Callable[[ExtractResult], None] | None = None,
) -> Extraction:
    """Read what is new in every selected source. A source that cannot be read does not stop the others.

    `since` is inclusive, `until` exclusive, both aware; see `ExtractContext` for what a window means.
    Raises ConfigError for a window that holds no instant, and for an unknown source.
    """
    if since is not None and until is not None and until <= since:
        raise ConfigError("--until must be later than --since; it is the first instant left out.")
    results: list[ExtractResult] = []
    failures: dict[str, str] = {}
    context = ExtractContext(
        settings=settings,
        lake=lake,
        run_id=run_id,
        extracted_at=datetime.now(UTC),
        since=since,
        until=until,
        is_full_backfill=is_full_backfill,
        on_progress=on_progress,
    )
    for source in select_sources(settings, select):
        try:
            result = source.extract(context)
        except ConfigError:
            raise
        except AnalyticsError as error:
            failures[source.name] = str(error)
            with suppress(AnalyticsError, OSError):
                sweep_failed_run(lake, run_id)
            continue
        results.append(result)
        if on_result:
            on_result(result)
    return Extraction(tuple(results), failures)


def __getattr__(name: str) -> Any:
    """`MongoExtractor`, imported when it is asked for: its driver is for those who use it."""
    if name != "MongoExtractor":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from analytics.sources.mongo.extraction import MongoExtractor

    return MongoExtractor


if __name__ == "__main__":
    import sys

    from analytics.cli import main

    raise SystemExit(main(["extract", *sys.argv[1:]]))
