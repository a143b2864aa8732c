"""Stage 5, publish: gold to every target. Runs only after the checks have passed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from analytics.config import Settings
from analytics.errors import AnalyticsError
from analytics.result import Result
from analytics.targets import FIRST, TargetResult, iter_targets


@dataclass(frozen=True)
class PublishResult(Result):
    """A result per target that was written, a reason per target that was not."""

    targets: tuple[TargetResult, ...]
    failures: dict[str, str]


def prepare(settings: Settings) -> None:
    """Have every enabled target do ahead what it can. What fails is tried again, and told, by `publish`."""
    for target in iter_targets():
        with suppress(Exception):
            if target.is_enabled(settings):
                target.prepare(settings)


def publish(
    settings: Settings, *, run_id: str, on_result: Callable[[TargetResult], None] | None = None
) -> PublishResult:
    """Write every enabled target. Without the snapshot nothing else is tried; any other fails alone."""
    results: list[TargetResult] = []
    failures: dict[str, str] = {}
    for target in iter_targets():
        if not target.is_enabled(settings):
            continue
        try:
            result = target.publish(settings, run_id)
        except AnalyticsError as error:
            if target.name == FIRST:
                raise
            failures[target.name] = str(error)
            continue
        results.append(result)
        if on_result:
            on_result(result)
    return PublishResult(tuple(results), failures)
