from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from analytics.interruption import EXIT_CODE, STOPPED
from analytics.lake import Lake
from tests.builders import make_prompt, make_settings, write_transcript

PROJECT = Path(__file__).parents[1]
# As from a terminal: what a shell starts in the background ignores the keyboard's signal, and so would its children.
READY = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import analytics.__main__ as door
print("ready", flush=True)
raise SystemExit(door.main())
"""
ENDLESS = "select sum(a.range * b.range) from range(1000000) as a, range(1000000) as b"


@contextmanager
def start(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command in a process group of its own, as a terminal has it, from its first own line of code on."""
    environment = {**os.environ, "HOME": str(folder / "home"), "ANALYTICS_DATA_DIR": str(folder / "data")}
    with subprocess.Popen(
        [sys.executable, "-c", READY, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        cwd=PROJECT,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def interrupt(folder: Path, *arguments: str, after_s: float, stage: str = "", times: int = 1) -> tuple[int, str]:
    """The exit code of a command and all that it and its workers said about being interrupted.

    It is interrupted so many seconds after it told of a stage, or after its first line of code.
    """
    with start(folder, *arguments) as process:
        assert process.stdout is not None
        if stage:
            next(line for line in process.stdout if line.startswith(stage))
        time.sleep(after_s)
        for _ in range(times):
            os.killpg(process.pid, signal.SIGINT)
        shown, told = process.communicate(timeout=60)
    assert {line.split()[0] for line in shown.splitlines()} <= {"extract", "load"}, shown
    return process.returncode, told


@pytest.fixture
def published(tmp_path):
    """As much of a publication as a query wants to see."""
    version = tmp_path / "data" / "published" / "20260101T000000Z"
    version.mkdir(parents=True)
    (version.parent / "current").symlink_to(version.name)
    return tmp_path


@pytest.mark.parametrize("after_s", [0.03, 0.3, 1.5])
def test_ctrl_c_stops_a_query_with_one_line_at_any_moment(published, after_s):
    """An import that was broken off, or DuckDB's own word for it, was told as a bug."""
    assert interrupt(published, "query", ENDLESS, after_s=after_s) == (EXIT_CODE, f"{STOPPED}\n")


@pytest.mark.parametrize("after_s", [0.3, 1.3])
def test_ctrl_c_stops_a_run_and_its_workers_with_one_line_at_any_moment(tmp_path, after_s):
    assert interrupt(tmp_path, "run", after_s=after_s) == (EXIT_CODE, f"{STOPPED}\n")


@pytest.mark.parametrize("after_s", [0.2, 3.0])
def test_ctrl_c_stops_dbt_without_a_word_of_its_own(tmp_path, after_s):
    """dbt told on stdout what it could not finish, and of a dbt that had to be killed Python told what it left."""
    stopped = interrupt(tmp_path, "run", "--full-refresh", after_s=after_s, stage="load")
    assert stopped == (EXIT_CODE, f"{STOPPED}\n")


def test_a_second_ctrl_c_is_no_other(tmp_path):
    assert interrupt(tmp_path, "run", after_s=1.5, times=2) == (EXIT_CODE, f"{STOPPED}\n")


def test_what_ctrl_c_interrupted_is_done_by_the_next_run(tmp_path):
    settings = make_settings(tmp_path)
    for number in range(200):
        write_transcript(settings, *(make_prompt(f"{number}-{n}") for n in range(200)), name=f"s{number}.jsonl")
    arguments = ("extract", "--transcript-dirs", str(settings.transcript_dirs[0]), "--timezone", "UTC")
    assert interrupt(tmp_path, *arguments, after_s=0.8) == (EXIT_CODE, f"{STOPPED}\n")
    with start(tmp_path, *arguments) as again:
        again.communicate(timeout=60)
    assert again.returncode == 0
    parts = Lake(settings.data_dir).snapshot("conversations").parts.values()
    assert sum(part.row_count for part in parts) == 40_000
