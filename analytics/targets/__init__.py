"""Where results go: one module per target, found by being here.

A target module holds `TARGET`. The snapshot comes first, because it is what the others read; any other
that fails fails alone, and the next run tries it again.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from analytics.config import Settings
from analytics.result import Result

FIRST = "snapshot"


@dataclass(frozen=True)
class TargetResult(Result):
    """What a target did, in one line. `facts` are its counts, for `--json`."""

    target: str
    summary: str
    location: str = ""
    elapsed_ms: int = 0
    facts: dict[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """One place to publish to: its name, whether it is wanted, and how it is written.

    `prepare` is what can be done before there is anything to publish, while the run waits for the build.
    """

    name: str
    is_enabled: Callable[[Settings], bool]
    publish: Callable[[Settings, str], TargetResult]
    prepare: Callable[[Settings], object] = lambda _: None


def target_names() -> list[str]:
    """Every target that has a module here: the snapshot, then the rest by name. Imports none."""
    return sorted((info.name for info in pkgutil.iter_modules(__path__)), key=lambda name: (name != FIRST, name))


def iter_targets() -> Iterator[Target]:
    """The targets, in their order."""
    for name in target_names():
        target: Target = importlib.import_module(f"{__name__}.{name}").TARGET
        yield target
