"""The flow is killed at random moments, and a day goes by with faults, while input arrives."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from analytics import pipeline
from analytics.config import Settings
from analytics.errors import AnalyticsError, PublishError
from analytics.lake import Lake
from analytics.targets.snapshot import open_current
from flows import main_pipeline
from flows.main_pipeline import analytics_pipeline
from tests.builders import encode, make_answer, make_prompt, make_settings, write_transcript

pytestmark = pytest.mark.torture
KILLS = int(os.environ.get("TORTURE_KILLS", "100"))
GOLD = ("fct_api_requests", "fct_messages", "fct_tool_calls", "dim_sessions", "agg_daily_summary")


def append(settings: Settings, number: int) -> None:
    """Input that arrives: one prompt and its answer."""
    at = f"2026-01-{2 + number // 60:02}T10:{number % 60:02}"
    path = settings.transcript_dirs[0] / "-home-dev-app" / "s1.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(encode(make_prompt(f"prompt {number}", f"{at}:00.000Z"), make_answer(f"m{number}", f"{at}:01.000Z")))


def gold_of(settings: Settings) -> dict[str, list[str]]:
    with open_current(settings) as connection:
        return {name: sorted(map(str, connection.execute(f"select * from gold.{name}").fetchall())) for name in GOLD}


def undisturbed(settings: Settings, folder: Path) -> dict[str, list[str]]:
    """Gold of one run over the same input."""
    fresh = make_settings(folder, transcript_dirs=settings.transcript_dirs, validate="never")
    pipeline.run(fresh)
    return gold_of(fresh)


class Reader(threading.Thread):
    """Asks in a loop whether what is published agrees with itself."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self.is_stopping = threading.Event()
        self.disagreements: list[Any] = []

    def run(self) -> None:
        sql = "select (select count(*) from fct_api_requests), (select sum(request_count) from agg_daily_summary)"
        while not self.is_stopping.wait(0.2):
            try:
                with open_current(self._settings) as connection:
                    [row] = connection.execute(sql).fetchall()
            except AnalyticsError:
                continue  # nothing is published yet
            if row[0] != (row[1] or 0):
                self.disagreements.append(row)


def test_killed_at_random_moments_ends_like_an_undisturbed_run(world: Settings, api_url: str, tmp_path: Path) -> None:
    generator = random.Random(7)
    reader = Reader(world)
    reader.start()
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PREFECT_API_URL": api_url, "PYTHONPATH": str(root)}
    try:
        for number in range(KILLS):
            append(world, number)
            flow = subprocess.Popen(
                [sys.executable, "-m", "flows.main_pipeline"],
                env=environment,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            deadline = time.monotonic() + generator.uniform(1.0, 18.0)
            while time.monotonic() < deadline and flow.poll() is None:
                time.sleep(0.05)
            if flow.poll() is None and number % 2:
                os.killpg(flow.pid, signal.SIGKILL)  # the machine dies
            flow.kill()  # a want of memory takes the one process; those beside it must end by themselves
            flow.wait()
        analytics_pipeline()
    finally:
        reader.is_stopping.set()
        reader.join()
    assert reader.disagreements == []
    assert gold_of(world) == undisturbed(world, tmp_path / "fresh")


def test_a_day_with_faults_loses_nothing(world: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(11)
    monkeypatch.setattr(main_pipeline, "LOCK_WAIT_S", 0.0)
    for task in (main_pipeline.extract_source, main_pipeline.publish):
        monkeypatch.setattr(task, "retry_delay_seconds", 0)
    write_transcript(world)
    faults = ["none", "source", "publish", "lock", "crash"]
    real = {name: getattr(pipeline, name) for name in ("extract", "publish", "transform", "audit")}
    happened: list[str] = []
    for hour in range(24):
        for number in range(hour * 3, hour * 3 + generator.randint(1, 3)):
            append(world, number)
        fault = generator.choice(faults) if hour < 23 else "none"
        happened.append(fault)
        with monkeypatch.context() as broken:
            if fault == "source":
                gone = pipeline.Extraction((), {"transcripts": "transcripts: not there"})
                broken.setattr(pipeline, "extract", lambda *_, gone=gone, **__: gone)
            elif fault in ("publish", "crash"):
                stage = "publish" if fault == "publish" else generator.choice(["transform", "audit"])
                error = PublishError("publish: full") if fault == "publish" else RuntimeError("crash")

                def fail(*_: Any, error: Exception = error, **__: Any) -> Any:
                    raise error

                broken.setattr(pipeline, stage, fail)
            lock = Lake(world.data_dir, world.host_id).lock() if fault == "lock" else None
            if lock:
                lock.__enter__()
            try:
                analytics_pipeline()
            except (AnalyticsError, RuntimeError):
                assert fault != "none"
            finally:
                if lock:
                    lock.__exit__(None, None, None)
        assert {name: getattr(pipeline, name) for name in real} == real
    assert len(set(happened)) == len(faults)
    assert gold_of(world) == undisturbed(world, tmp_path / "fresh")
    with Lake(world.data_dir, world.host_id).lock():
        pass
