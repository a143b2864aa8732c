"""Runs the pipeline in a process that kills itself at the n-th point between two steps.

    python tests/torture/killer.py spine <folder> <n>    extract, load, gold from raw without dbt, publish
    python tests/torture/killer.py run <folder> <n>      `analytics run`
    python tests/torture/killer.py dbt <folder> <n>      the same with settings that set-up did not prepare for

A point is every `step` of the lake, the queue and the snapshot, and every call of a function that
changes the warehouse, before and after it. Prints the number of points when it gets to the end.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from pathlib import Path
from typing import Any

from analytics import lake, pipeline, replay
from analytics.cli import main
from analytics.lake import Lake, upkeep
from analytics.loader import DuckDBLoader
from analytics.sources.hooks import queue
from analytics.targets import snapshot
from analytics.warehouse import open_warehouse
from analytics.workers import Worker
from tests.builders import RUN_COLUMNS, make_settings, run_load, try_extract

GOLD = "select * exclude ({hidden}) from raw.conversations"
_passed = 0


def point(_name: str = "") -> None:
    global _passed  # noqa: PLW0603 - a process that counts its own steps
    _passed += 1
    if _passed == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)


def _between(function: Any) -> Any:
    @functools.wraps(function)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        point()
        result = function(*arguments, **named)
        point()
        return result

    return wrapped


def arm() -> None:
    lake.step = upkeep.step = snapshot.step = queue.step = point
    for name in ("_create_table", "_replace_dates", "_insert", "plan_build", "finish_build"):
        setattr(DuckDBLoader, name, _between(getattr(DuckDBLoader, name)))
    Worker.call = _between(Worker.call)
    replay._run = _between(replay._run)
    pipeline.begin_warehouse = _between(pipeline.begin_warehouse)


def run_spine(folder: Path) -> None:
    """The pipeline with one gold table made of raw, which costs no dbt."""
    settings = make_settings(folder)
    data_lake = Lake(settings.data_dir, settings.host_id)
    run_id = f"20260101T{os.getpid():012d}Z"
    with data_lake.lock():
        assert not try_extract(settings, run_id).failures
        run_load(settings, run_id)
        with open_warehouse(settings) as connection:
            DuckDBLoader(settings, data_lake, connection).plan_build(run_id=run_id, fingerprint="f")
            hidden = ", ".join(sorted(RUN_COLUMNS - {"_loaded_at"}))
            connection.execute("create schema if not exists gold")
            connection.execute(f"create or replace table gold.fct_lines as {GOLD.format(hidden=hidden)}")
        with open_warehouse(settings) as connection:
            DuckDBLoader(settings, data_lake, connection).finish_build(run_id=run_id, fingerprint="f")
        snapshot.publish(settings, run_id)


if __name__ == "__main__":
    arm()
    if sys.argv[1] == "spine":
        run_spine(Path(sys.argv[2]))
    else:
        root = Path(sys.argv[2])
        flags = ["--data-dir", str(root / "data"), "--transcript-dirs", str(root / "projects"), "--timezone", "UTC"]
        if sys.argv[1] == "dbt":
            flags += ["--timezone", "Etc/Zulu"]
        code = main(["run", "--quiet", *flags])
        if code:
            raise SystemExit(code)
    print(_passed)
