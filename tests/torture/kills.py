"""What the tests that kill have in common."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.builders import make_answer, make_prompt, make_settings, published_rows, raw_rows, write_transcript

PROJECT = Path(__file__).parents[2]


def run_killer(
    mode: str, folder: Path, at_point: int, *, timeout_s: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run until the point kills it, 0 for none. After the timeout it is killed too, and TimeoutExpired raised."""
    environment = {**os.environ, "ANALYTICS_HOST_ID": "test", "PYTHONPATH": str(PROJECT), "HOME": str(folder / "home")}
    command = [sys.executable, str(PROJECT / "tests" / "torture" / "killer.py"), mode, str(folder), str(at_point)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=PROJECT, env=environment, check=False, timeout=timeout_s
    )


def make_world(folder: Path) -> None:
    """Two days, a rejected line, a copy of a file, and an answer that grows over two lines."""
    settings = make_settings(folder)
    lines = [
        make_prompt(),
        make_answer("m1", output_tokens=1),
        make_answer("m1", at="2026-01-03T00:00:01Z", output_tokens=9),
    ]
    write_transcript(settings, *lines, b"broken", name="p/s1.jsonl")
    write_transcript(settings, *lines, name="p/copy.jsonl")


def grow_world(folder: Path) -> None:
    """New lines for an old day and a new one."""
    settings = make_settings(folder)
    write_transcript(settings, make_prompt("late"), make_prompt("next", at="2026-01-05T00:00:00Z"), name="p/s2.jsonl")


def grow_and_damage_world(folder: Path) -> None:
    """New lines, and a damaged part of the lake, which a run sets aside and builds everything for."""
    grow_world(folder)
    settings = make_settings(folder)
    oldest = min((settings.data_dir / "raw" / "conversations").rglob("date=2026-01-02/*/*.parquet"))
    oldest.write_bytes(oldest.read_bytes()[:-40])


def state_of(folder: Path):
    settings = make_settings(folder)
    return raw_rows(settings), published_rows(settings)


def assert_every_kill_is_harmless(
    tmp_path: Path,
    mode: str,
    *,
    points: range | None = None,
    grow: Callable[[Path], None] = grow_and_damage_world,
    kinds: Sequence[str] = ("first", "second"),
) -> int:
    """Kill the first run, and then the second one, at every point; clean runs must then end as undisturbed ones.

    Two clean runs follow the second kill: what a run sets aside, the next one reads again.
    """
    quiet = tmp_path / "quiet"
    make_world(quiet)
    first = run_killer(mode, quiet, 0)
    assert first.returncode == 0, first.stderr
    expected_first = state_of(quiet)
    young = tmp_path / "young"
    shutil.copytree(quiet, young, symlinks=True)
    grow(quiet)
    second = run_killer(mode, quiet, 0)
    assert second.returncode == 0, second.stderr
    run_killer(mode, quiet, 0)
    expected_second = state_of(quiet)

    def check(job: tuple[str, int]) -> None:
        kind, number = job
        folder = tmp_path / f"{kind}{number}"
        if kind == "first":
            make_world(folder)
        else:
            shutil.copytree(young, folder, symlinks=True)
            grow(folder)
        killed = run_killer(mode, folder, number)
        assert killed.returncode == -signal.SIGKILL, (job, killed.stderr)
        for _ in range(1 if kind == "first" else 2):
            clean = run_killer(mode, folder, 0)
            assert clean.returncode == 0, (job, clean.stderr)
        assert state_of(folder) == (expected_first if kind == "first" else expected_second), job
        shutil.rmtree(folder)

    counts = {"first": int(first.stdout.split()[-1]), "second": int(second.stdout.split()[-1])}
    jobs = [(kind, number) for kind in kinds for number in range(1, counts[kind] + 1)]
    jobs = jobs if points is None else jobs[points.start : points.stop : points.step]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check, jobs))
    return len(jobs)
