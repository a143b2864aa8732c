"""Run the flow every hour on this machine: `make schedule`, or `python -m flows.deployments`.

Uses the server that PREFECT_API_URL names; without one it starts a local server, on loopback, whose
page it prints. `prefect.yaml` deploys the same flow to a work pool instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

DEPLOYMENT = "hourly"
SERVER_HOST = "127.0.0.1"
SERVER_PORT = 4200
SERVER_START_S = 90
QUIET_ENVIRONMENT = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def build_deployment(cron: str | None = None) -> RunnerDeployment:
    """The hourly deployment: never two runs at once, and one that would overlap is dropped, not queued.

    A run catches up with all that arrived since the last one, so a dropped run loses nothing.
    """
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy

    from flows.main_pipeline import analytics_pipeline

    deployment: Any = analytics_pipeline.to_deployment(
        name=DEPLOYMENT,
        cron=cron or hourly_cron(),
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW, grace_period_seconds=600
        ),
        description="Extract, load, transform, validate and publish what is new.",
        tags=["analytics"],
    )
    deployed: RunnerDeployment = deployment
    return deployed


def hourly_cron() -> str:
    """Every ANALYTICS_RUN_INTERVAL_HOURS hours, five minutes past: at the full hour everybody runs."""
    from analytics.config import load_settings

    hours = load_settings().run_interval_hours
    return "5 * * * *" if hours == 1 else f"5 */{min(hours, 23)} * * *"


def is_healthy(api_url: str) -> bool:
    """Whether a Prefect server answers there."""
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=2) as answer:  # noqa: S310 - the user's own server
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def start_server(port: int = SERVER_PORT) -> subprocess.Popen[bytes] | None:
    """A local server on loopback, or None when one answers already. Raises TimeoutError when it does not come up."""
    api_url = f"http://{SERVER_HOST}:{port}/api"
    os.environ["PREFECT_API_URL"] = api_url
    if is_healthy(api_url):
        return None
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", SERVER_HOST, "--port", str(port)]
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **QUIET_ENVIRONMENT}
    )
    deadline = time.monotonic() + SERVER_START_S
    while time.monotonic() < deadline and server.poll() is None:
        if is_healthy(api_url):
            return server
        time.sleep(0.5)
    server.terminate()
    raise TimeoutError(f"Prefect's server did not answer on {api_url}. Is the port taken? Set PREFECT_API_URL.")


def serve_hourly() -> None:
    """Serve the deployment until stopped. Runs missed while it was not running are caught up by the next one."""
    os.umask(0o077)
    os.environ.update(QUIET_ENVIRONMENT)
    server = None
    if not os.environ.get("PREFECT_API_URL"):
        server = start_server()
        print(f"schedule   server         http://{SERVER_HOST}:{SERVER_PORT}", flush=True)
    try:
        from prefect import serve

        deployment = build_deployment()
        print(f"schedule   {deployment.name:<14} {hourly_cron()}   stop with Ctrl-C", flush=True)
        serve(deployment)
    finally:
        if server is not None:
            server.terminate()
            server.wait(timeout=30)


if __name__ == "__main__":
    serve_hourly()
