"""`make schedule` as a person uses it: real processes, a real server, and the keyboard's signal."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.server.schemas.schedules import IntervalSchedule

from analytics.config import Settings
from analytics.lake import Lake
from analytics.targets.snapshot import current_version
from flows.deployments import build_deployments
from tests.builders import make_answer, make_prompt, write_transcript

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("started_in", "imported"),
    [(PROJECT, "prefect"), (None, "flows.main_pipeline"), (None, "flows.backfill"), (None, "flows.deployments")],
)
def test_nothing_tells_prefect_s_makers_about_flows(tmp_path: Path, started_in: Path | None, imported: str) -> None:
    """Only `make schedule` had that off; a flow started directly sent its heartbeat."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    question = "from prefect.settings import get_current_settings as get; print(get().server.analytics_enabled)"
    done = subprocess.run(
        [sys.executable, "-c", f"import {imported}; {question}"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=started_in or tmp_path,
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("help", 2)])
def test_who_asks_for_help_starts_no_schedule(tmp_path: Path, argument: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.deployments", argument],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        cwd=PROJECT,
        timeout=60,
    )
    assert (done.returncode, "usage: python -m flows.deployments" in done.stdout + done.stderr) == (code, True)


def wait_for(what: Callable[[], object], timeout_s: float = 180.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


class Schedule:
    """The command, in a session of its own, like a terminal's."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.output = folder / "schedule.txt"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.deployments"],
                env={**os.environ, "PYTHONPATH": str(PROJECT), "PREFECT_LOGGING_TO_API_ENABLED": "true", **environment},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def interrupt(self) -> int:
        """Ctrl-C. Returns the exit code, once every process it began has ended."""
        family = self.family()
        os.killpg(self.process.pid, signal.SIGINT)
        code = self.process.wait(60)
        _, alive = psutil.wait_procs(family, timeout=15)
        assert not alive
        return code


@pytest.fixture
def begin(tmp_path: Path, api_url: str) -> Iterator[Callable[..., Schedule]]:
    """Begins schedules; what a failing test leaves of them is killed."""
    begun: list[Schedule] = []

    def start(**environment: str) -> Schedule:
        begun.append(Schedule(tmp_path, **{"PREFECT_API_URL": api_url, **environment}))
        return begun[-1]

    yield start
    for schedule in begun:
        if schedule.process.poll() is None:
            for process in [*schedule.family(), schedule.process]:
                process.kill()
            schedule.process.wait()


def lock_is_free(settings: Settings) -> bool:
    with Lake(settings.data_dir, settings.host_id).lock():
        return True


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def states_of_runs() -> list[str]:
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(tags={"all_": ["analytics"]}))
    return [run.state.name if run.state else "" for run in runs]


@pytest.mark.torture
def test_schedule_runs_at_once_also_after_one_that_was_interrupted(
    world: Settings, begin: Callable[..., Schedule]
) -> None:
    """A run that was cut short kept its slot on the server, and those after it were dropped."""
    write_transcript(world, make_prompt(), make_answer())
    interrupted = begin()
    wait_for(lambda: "Task run 'extract" in interrupted.said())
    interrupted.interrupt()
    schedule = begin()
    wait_for(lambda: re.search(r"Flow run .* Finished in state Completed", schedule.said()))
    assert current_version(world)
    assert schedule.interrupt() == 0
    assert lock_is_free(world)
    assert "Traceback" not in schedule.said()
    assert "Error" not in schedule.said()


def test_ctrl_c_in_the_middle_of_a_run_leaves_no_process_no_lock_and_a_cancelled_run(
    world: Settings, begin: Callable[..., Schedule], tmp_path: Path
) -> None:
    """On a machine of several users, too: where Prefect keeps what it serves was the folder of who came first."""
    shared = tmp_path / "tmp"
    shared.mkdir()
    (shared / "runner_storage").touch()  # which is in nobody's way, not even root's, who may write anywhere
    write_transcript(world, make_prompt(), make_answer())
    schedule = begin(TMPDIR=str(shared))
    wait_for(lambda: "Task run 'load'" in schedule.said())
    assert schedule.interrupt() == 0
    assert lock_is_free(world)
    assert "Traceback" not in schedule.said()
    assert "Cancelled" in states_of_runs()
    assert [path.name for path in shared.iterdir()] == ["runner_storage"]


@pytest.mark.torture
def test_runs_end_with_a_schedule_that_is_killed(world: Settings, begin: Callable[..., Schedule]) -> None:
    write_transcript(world, make_prompt(), make_answer())
    schedule = begin()
    wait_for(lambda: "Task run 'load'" in schedule.said())
    family = schedule.family()
    schedule.process.kill()
    schedule.process.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    assert lock_is_free(world)


@pytest.mark.torture
def test_schedule_starts_a_server_where_there_is_none_and_stops_it(
    world: Settings, begin: Callable[..., Schedule], tmp_path: Path
) -> None:
    write_transcript(world, make_prompt(), make_answer())
    port = free_port()
    home = str(tmp_path / "prefect")
    schedule = begin(PREFECT_API_URL="", PREFECT_HOME=home, PREFECT_SERVER_API_PORT=str(port))
    wait_for(lambda: current_version(world))
    assert f"schedule   server         http://127.0.0.1:{port}\n" in schedule.said()
    assert schedule.interrupt() == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.torture
def test_server_and_run_end_with_a_runner_that_is_killed(
    world: Settings, begin: Callable[..., Schedule], tmp_path: Path
) -> None:
    """The server stayed for good, and the next schedule took it for one of the user's."""
    write_transcript(world, make_prompt(), make_answer())
    home = str(tmp_path / "prefect")
    schedule = begin(PREFECT_API_URL="", PREFECT_HOME=home, PREFECT_SERVER_API_PORT=str(free_port()))
    wait_for(lambda: "Task run 'extract" in schedule.said())
    family = schedule.family()
    next(process for process in family if "--runner" in process.cmdline()).kill()
    assert schedule.process.wait(60) != 0
    _, alive = psutil.wait_procs(family, timeout=60)
    for process in alive:
        process.kill()
    assert not alive
    assert lock_is_free(world)


def test_port_that_something_else_uses_is_told_without_a_traceback(begin: Callable[..., Schedule]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        schedule = begin(PREFECT_API_URL="", PREFECT_SERVER_API_PORT=str(taken.getsockname()[1]))
        assert schedule.process.wait(120) == 2
    assert "set PREFECT_SERVER_API_PORT to another one" in schedule.said()
    assert "Traceback" not in schedule.said()


def test_server_of_somebody_else_is_not_taken_unasked(begin: Callable[..., Schedule], api_url: str) -> None:
    """A second user's schedule went to the server of the first: each hour one of them had a run."""
    port = str(urllib.parse.urlsplit(api_url).port)
    schedule = begin(PREFECT_API_URL="", PREFECT_SERVER_API_PORT=port)
    assert schedule.process.wait(60) == 2
    assert f"set PREFECT_API_URL={api_url}" in schedule.said()
    assert "Traceback" not in schedule.said()


def test_server_makes_the_runs_of_the_schedule(world: Settings) -> None:
    """Under SQLAlchemy 2.1 the server's scheduler failed each time, so that only the first run ever came."""
    hourly = build_deployments()[0]
    deployment_id = hourly.apply()
    # Tomorrow's, which no schedule of another test takes for due.
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=1)
    wanted = {"start_time": hour.isoformat(), "min_runs": 3}
    with get_client(sync_client=True) as client:
        # What the scheduler does every minute, and the server of the tests, which lacks it, when it is asked.
        client.request("POST", "/deployments/{id}/schedule", path_params={"id": deployment_id}, json=wanted)
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(deployment_id={"any_": [deployment_id]}))
    # Other tests ask for runs at once, which no schedule made.
    made = [run for run in runs if run.auto_scheduled]
    assert {run.expected_start_time.astimezone(UTC) for run in made} == {
        hour + timedelta(hours=count, minutes=5) for count in range(3)
    }
    assert {run.state.name for run in made if run.state} == {"Scheduled"}


@pytest.mark.parametrize("hours", [1, 5, 6, 24, 48])
def test_pipeline_is_scheduled_at_equal_intervals_and_a_backfill_on_demand(
    world: Settings, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """A cron expression gave 24 hours as 00:05 and 23:05, and so 48."""
    monkeypatch.setenv("ANALYTICS_RUN_INTERVAL_HOURS", str(hours))
    hourly, backfill = build_deployments()
    assert backfill.schedules in (None, [])
    (entry,) = hourly.schedules
    schedule = IntervalSchedule.model_validate(entry.schedule.model_dump())
    runs = asyncio.run(schedule.get_dates(n=60, start=datetime(2026, 3, 1, tzinfo=UTC)))
    assert {(later - earlier).total_seconds() for earlier, later in pairwise(runs)} == {hours * 3_600}
    assert {run.minute for run in runs} == {5}
    assert (24 % hours == 0) <= any(run.hour == 0 for run in runs)
