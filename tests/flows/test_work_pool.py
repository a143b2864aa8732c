"""`prefect.yaml` deployed to a work pool, and a worker that takes its runs: the real commands against a real server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from analytics import pipeline
from analytics.config import Settings
from analytics.errors import LockHeld
from analytics.lake import Lake
from flows.deployments import is_healthy
from tests.builders import make_answer, make_prompt, make_settings, published_rows, write_transcript

pytestmark = pytest.mark.torture
PROJECT = Path(__file__).parents[2]
# The slot of a run that was killed is given back when its lease of five minutes ends.
SLOT_S = 420.0


def wait_for(what: Callable[[], Any], timeout_s: float = 300.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
    return found


class Worker:
    """`prefect worker start`, in a session of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "analytics"]
        self.process = subprocess.Popen(command, cwd=PROJECT, env=environment, start_new_session=True)

    def family(self) -> list[psutil.Process]:
        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]

    def kill(self) -> None:
        """What a machine without memory does, to all of them."""
        if self.process.poll() is None:
            for process in self.family():
                process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with all its services: the one of the other tests gives no slot back. It keeps its leases on disk."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("server")
    kept = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, "PREFECT_HOME": str(home), **kept},
        stdout=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/api"
    wait_for(lambda: is_healthy(url))
    with temporary_settings({PREFECT_API_URL: url}):
        yield url
    server.terminate()
    server.wait()


@pytest.fixture
def environment(world: Settings, api_url: str) -> dict[str, str]:
    """A machine with a pool and the deployments of prefect.yaml."""
    environment = {**os.environ, "PREFECT_API_URL": api_url, "PYTHONPATH": str(PROJECT)}
    fresh_pool = ["work-pool", "create", "analytics", "--type", "process", "--overwrite"]
    # Deleted first, so that no test finds the slot of its deployment taken by a run of another one.
    for words in (fresh_pool, ["deployment", "delete", "--all"], ["deploy", "--all"]):
        command = [sys.executable, "-m", "prefect", "--no-prompt", *words]
        subprocess.run(command, cwd=PROJECT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return environment


@pytest.fixture
def begin_worker(environment: dict[str, str]) -> Iterator[Callable[[], Worker]]:
    begun: list[Worker] = []

    def begin() -> Worker:
        begun.append(Worker(environment))
        return begun[-1]

    yield begin
    for worker in begun:
        worker.kill()


def start_run(name: str = "analytics_pipeline/hourly", **parameters: Any) -> UUID:
    run = run_deployment(name, parameters=parameters, timeout=0)
    assert isinstance(run, FlowRun)
    return run.id


def state_of(run_id: UUID) -> str:
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run_id).state
    return state.name if state else ""


def ends(run_id: UUID) -> str:
    wait_for(lambda: state_of(run_id) in ("Completed", "Failed", "Crashed", "Cancelled"))
    return state_of(run_id)


def lock_is_held(settings: Settings) -> bool:
    try:
        with Lake(settings.data_dir, settings.host_id).lock():
            return False
    except LockHeld:
        return True


def has_read_something(settings: Settings) -> bool:
    """As soon as its first commit is there: loading, building and publishing are still to come."""
    return Lake(settings.data_dir, settings.host_id).last_number("conversations") > 0


def write_days(settings: Settings, count: int) -> None:
    lines = []
    for number in range(count):
        at = f"2026-01-{1 + number % 28:02}T10:00:{number // 28:02}"
        lines += [make_prompt(f"prompt {number}", f"{at}.000Z"), make_answer(f"m{number}", f"{at}.500Z")]
    write_transcript(settings, *lines)


def errors_told(webhook: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """What of its messages is about a run that failed; others are alerts."""
    return [(told["flow"], told["stage"], told["error"]) for told in webhook if "error" in told]


def assert_nothing_is_lost_or_doubled(settings: Settings, folder: Path) -> None:
    fresh = make_settings(folder, transcript_dirs=settings.transcript_dirs, validate="never")
    pipeline.run(fresh)
    assert published_rows(settings) == published_rows(fresh)


def test_run_after_a_killed_worker_finishes_what_it_began(
    world: Settings, begin_worker: Callable[[], Worker], tmp_path: Path
) -> None:
    write_days(world, 40)
    worker = begin_worker()
    killed = start_run()
    wait_for(lambda: has_read_something(world))
    worker.kill()
    wait_for(lambda: not lock_is_held(world), 30)
    write_days(world, 60)
    begin_worker()

    def is_done() -> bool:
        return ends(start_run()) == "Completed"

    wait_for(is_done, SLOT_S)
    assert state_of(killed) in ("Running", "Crashed")
    assert_nothing_is_lost_or_doubled(world, tmp_path / "fresh")


def test_cancelled_run_ends_its_processes_and_frees_lock_and_slot(
    world: Settings, webhook: list[dict[str, Any]], begin_worker: Callable[[], Worker], tmp_path: Path
) -> None:
    """The webhook comes first: a worker has the environment of the moment when it began."""
    write_days(world, 40)
    worker = begin_worker()
    run_id = start_run()
    wait_for(lambda: lock_is_held(world))
    family = worker.family()[1:]
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Cancelling())
    assert ends(run_id) == "Cancelled"
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    assert not lock_is_held(world)
    wait_for(lambda: errors_told(webhook), 60)
    assert ends(start_run()) == "Completed"
    assert_nothing_is_lost_or_doubled(world, tmp_path / "fresh")
    assert errors_told(webhook) == [("analytics_pipeline", "unknown", "Cancelling")]


def test_second_run_beside_one_that_goes_on_is_dropped(world: Settings, begin_worker: Callable[[], Worker]) -> None:
    write_days(world, 40)
    begin_worker()
    first = start_run()
    wait_for(lambda: lock_is_held(world))
    assert ends(start_run()) == "Cancelled"
    assert ends(first) == "Completed"


def test_backfill_reads_the_days_of_its_range_and_no_others(
    world: Settings, begin_worker: Callable[[], Worker], tmp_path: Path
) -> None:
    write_days(world, 56)
    begin_worker()
    assert ends(start_run("analytics_backfill/backfill", since="2026-01-10", until="2026-01-20")) == "Completed"
    days = {row.split("'occurred_date': ")[1].split(")")[0] for row in published_rows(world)["fct_messages"]}
    assert days == {f"datetime.date(2026, 1, {day}" for day in range(10, 20)}
    assert ends(start_run("analytics_backfill/backfill", since="2026-01-10", until="2026-01-20")) == "Completed"
    assert ends(start_run()) == "Completed"
    assert_nothing_is_lost_or_doubled(world, tmp_path / "fresh")


def test_worker_that_is_told_to_stop_leaves_nothing_behind(world: Settings, begin_worker: Callable[[], Worker]) -> None:
    write_days(world, 40)
    worker = begin_worker()
    start_run()
    wait_for(lambda: lock_is_held(world))
    family = worker.family()
    os.killpg(worker.process.pid, signal.SIGINT)
    _, alive = psutil.wait_procs(family, timeout=90)
    assert not alive
    assert not lock_is_held(world)
