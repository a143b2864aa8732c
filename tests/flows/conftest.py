from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import flows  # noqa: F401 - before Prefect, which looks at its environment once
from analytics.config import Settings
from tests.builders import make_settings


@pytest.fixture(scope="session", autouse=True)
def _prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One real Prefect server for all tests: it takes seconds to start."""
    environment = pytest.MonkeyPatch()
    environment.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
    environment.setenv("PREFECT_LOGGING_TO_API_ENABLED", "false")
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield
    environment.undo()


@pytest.fixture
def api_url() -> str:
    """Where the server is, for processes that a test begins."""
    from prefect.settings import PREFECT_API_URL

    return str(PREFECT_API_URL.value())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of one test, in the environment too, where the flow looks for them. Its audits are left out."""
    settings = make_settings(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(settings.home_dir))
    monkeypatch.setenv("ANALYTICS_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("ANALYTICS_TRANSCRIPT_DIRS", str(settings.transcript_dirs[0]))
    monkeypatch.setenv("ANALYTICS_TIMEZONE", "UTC")
    monkeypatch.setenv("ANALYTICS_HOST_ID", "test")
    monkeypatch.setenv("ANALYTICS_WORKERS", "1")
    return settings


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a receiver on loopback was told."""
    received: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.append(message)
            self.send_response(200 if message.get("text") else 400)  # as Slack does
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("ANALYTICS_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/hook")
    yield received
    server.shutdown()
    thread.join()
    server.server_close()
