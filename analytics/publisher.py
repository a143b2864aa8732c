"""Stage 5, publish: gold to every target.

Whether gold may be published is the validator's to say: a run comes here only after its checks, and
`analytics publish` asks `validator.require_release` first.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import dataclass

from analytics.config import Settings
from analytics.errors import AnalyticsError, describe_bug
from analytics.files import write_private_file
from analytics.result import Result
from analytics.targets import FIRST, TargetResult, iter_targets, target_names
from analytics.targets.snapshot import current_version

# In the folder of a version: the targets that failed, by name, once all were tried.
FAILED = "_failed"


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
    settings: Settings,
    *,
    run_id: str,
    only: Container[str] | None = None,
    on_result: Callable[[TargetResult], None] | None = None,
    on_bug: Callable[[Exception], None] | None = None,
) -> PublishResult:
    """Write every enabled target, or `only` those named. Any but the snapshot fails alone, and is noted as owed."""
    results: list[TargetResult] = []
    failures: dict[str, str] = {}
    for target in iter_targets():
        if (only is not None and target.name not in only) or not target.is_enabled(settings):
            continue
        try:
            result = target.publish(settings, run_id)
        except Exception as error:
            if target.name == FIRST:
                raise  # the others read it
            if isinstance(error, AnalyticsError):
                failures[target.name] = str(error)
            else:
                failures[target.name] = describe_bug(error)
                if on_bug:
                    on_bug(error)
            continue
        results.append(result)
        if on_result:
            on_result(result)
    version = current_version(settings)
    if version is not None:
        write_private_file(version / FAILED, "\n".join(failures).encode())
    return PublishResult(tuple(results), failures)


def owed_targets(settings: Settings) -> frozenset[str]:
    """What does not show the current version: the targets that failed, or, where not all were tried, any but the first.

    A look at one file: a run that has nothing to do asks.
    """
    version = current_version(settings)
    if version is None:
        return frozenset()
    try:
        return frozenset((version / FAILED).read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return frozenset(target_names()) - {FIRST}
