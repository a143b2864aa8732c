"""Run the flow every hour on this machine: `make schedule`, or `python -m flows.deployments`.

Uses the server that Prefect is configured for (PREFECT_API_URL or a profile); without one it starts a
local server, on loopback, whose page it prints. `prefect.yaml` deploys the same flow to a work pool.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from analytics.config import load_settings
from analytics.errors import AnalyticsError, ConfigError
from analytics.files import PRIVATE_UMASK

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

HOURLY = "hourly"
# Runs are so many hours apart from here on, whether or not that divides a day. At the full hour everybody runs.
ANCHOR = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)
SERVER_HOST = "127.0.0.1"
SERVER_START_S = 90
SERVER_STOP_S = 30
_RUNNER = "--runner"


def build_deployments() -> list[RunnerDeployment]:
    """What is served: the pipeline every so many hours, and a backfill when somebody asks for one."""
    from prefect.schedules import Interval

    from flows.backfill import analytics_backfill
    from flows.main_pipeline import analytics_pipeline

    hourly: Any = analytics_pipeline.to_deployment(
        name=HOURLY,
        schedule=Interval(timedelta(hours=load_settings().run_interval_hours), anchor_date=ANCHOR),
        description="Extract, load, transform, validate and publish what is new.",
        tags=["analytics"],
    )
    backfill: Any = analytics_backfill.to_deployment(
        name="backfill", description="Read a date range again.", tags=["analytics"]
    )
    return [hourly, backfill]


def is_healthy(api_url: str) -> bool:
    """Whether a Prefect server answers there."""
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=2) as answer:  # noqa: S310 - the user's own server
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


@contextmanager
def running_server(port: int) -> Iterator[str]:
    """The address of the API of a local server that ends with the context.

    Raises:
        ConfigError: it did not come up, or one was there already.
    """
    api_url = f"http://{SERVER_HOST}:{port}/api"
    if is_healthy(api_url):
        raise ConfigError(
            f"schedule: a Prefect server answers on {api_url} already. If it is another schedule's, the two would take "
            "each other's runs: set PREFECT_SERVER_API_PORT to another port. If it is yours to share, set "
            f"PREFECT_API_URL={api_url}."
        )
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", SERVER_HOST, "--port", str(port)]
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + SERVER_START_S
        while not is_healthy(api_url):
            if server.poll() is not None or time.monotonic() > deadline:
                raise ConfigError(
                    f"schedule: Prefect's server did not come up on {api_url}. If something else uses the port, "
                    "set PREFECT_SERVER_API_PORT to another one, or PREFECT_API_URL to a server of yours."
                )
            if select.select([sys.stdin], [], [], 0.2)[0]:
                raise SystemExit(0)
        yield api_url
    finally:
        server.terminate()
        try:
            server.wait(timeout=SERVER_STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def serve_hourly() -> int:
    """Serve the deployments until stopped, beginning with a run at once that catches up with the time before.

    Ctrl-C reaches every process of a terminal, and would tear a run apart. So all the others live in a session of
    their own, and end in their order when this process closes its end of a pipe, or dies. Returns the exit code.
    """
    os.umask(PRIVATE_UMASK)
    command = [sys.executable, "-m", "flows.deployments", _RUNNER]
    # Prefect's own folder for what it serves has one name for all users, and belongs to the first who came.
    with tempfile.TemporaryDirectory(prefix="analytics-") as temporary:
        environment = {**os.environ, "TMPDIR": temporary}
        with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=environment) as runner:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda *_: runner.stdin and runner.stdin.close())
            code = runner.wait()
            with suppress(OSError):  # nobody is left
                # Unless the runner was killed: its server would stay, and its run wait for an answer of one.
                os.killpg(runner.pid, signal.SIGKILL)
    return code


def _run_server_and_runner() -> None:
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_API_PORT, temporary_settings

    if PREFECT_API_URL.value():
        asyncio.run(_serve_until_told_to_stop(build_deployments()))
        return
    port = PREFECT_SERVER_API_PORT.value()
    with running_server(port) as api_url, temporary_settings({PREFECT_API_URL: api_url}):
        print(f"schedule   server         http://{SERVER_HOST}:{port}", flush=True)
        asyncio.run(_serve_until_told_to_stop(build_deployments()))


async def _serve_until_told_to_stop(deployments: Sequence[RunnerDeployment]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.logging.handlers import APILogHandler
    from prefect.runner import Runner

    # One run at a time: the next one waits, then finds what arrived meanwhile. The runner counts, not the server,
    # where the slot of a run that was killed stays taken for minutes, and for ever if the server forgot who had it.
    runner = Runner(limit=1)
    for deployment in deployments:
        deployment_id = await runner.aadd_deployment(deployment)
        if deployment.name == HOURLY:
            async with get_client() as client:
                await client.create_flow_run_from_deployment(deployment_id)
    hours = load_settings().run_interval_hours
    often = "every hour" if hours == 1 else f"every {hours} hours"
    print(f"schedule   {HOURLY:<14} now and {often}, at {ANCHOR.minute} past   stop with Ctrl-C", flush=True)
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), told.set)
    serving = asyncio.create_task(runner.start())
    await asyncio.wait({serving, asyncio.create_task(told.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        await runner.cancel_all()
        serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving
    await APILogHandler.aflush()  # while there is a server to take the last lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m flows.deployments", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(_RUNNER, action="store_true", help=argparse.SUPPRESS)
    if not parser.parse_args().runner:
        raise SystemExit(serve_hourly())
    try:
        _run_server_and_runner()
    except AnalyticsError as error:
        print(f"error      {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
