"""Target `alerts`: what fires is named in the summary, and the webhook is told once."""

from __future__ import annotations

import dataclasses
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import duckdb
import pytest

from analytics.config import Settings
from analytics.errors import PublishError
from analytics.targets import alerts


def publish_alert(settings, rows):
    version = settings.published_dir / "run"
    version.mkdir(parents=True, exist_ok=True)
    current = version.parent / "current"
    if not current.exists():
        current.symlink_to("run")
    values = ", ".join(f"({row!r}, date '2026-01-0{number + 1}')" for number, row in enumerate(rows)) or "('', null)"
    where = "" if rows else " where false"
    duckdb.sql(f"select * from (values {values}) as firing (project_path, fired_date){where}").write_parquet(
        str(version / "alert_daily_cost_above_budget.parquet")
    )


@pytest.fixture
def webhook():
    told = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook", told
    server.shutdown()
    server.server_close()


def test_target_is_off_without_alerts(tmp_path):
    assert not alerts.TARGET.is_enabled(Settings(data_dir=tmp_path))


def test_publish_names_what_fires(tmp_path):
    settings = Settings(data_dir=tmp_path)
    publish_alert(settings, ["/a", "/b"])
    assert alerts.TARGET.is_enabled(settings)
    result = alerts.publish(settings, "run")
    assert result.summary == "1 of 1 fire"
    assert result.location == "alert_daily_cost_above_budget (2)"
    publish_alert(settings, [])
    assert alerts.publish(settings, "run").summary == "0 of 1 fire"


def test_webhook_is_told_once_and_never_a_row(tmp_path, webhook):
    url, told = webhook
    settings = Settings(data_dir=tmp_path, webhook_url=url)
    publish_alert(settings, ["/secret-project"])
    for _ in range(3):
        alerts.publish(settings, "run-1")
    publish_alert(settings, ["/secret-project", "/other"])
    alerts.publish(settings, "run-2")
    counts = [[(entry["firing_count"], entry["new_count"]) for entry in message["alerts"]] for message in told]
    assert counts == [[(1, 1)], [(2, 1)]]
    assert "secret" not in json.dumps(told)


def test_webhook_that_does_not_answer_is_tried_again(tmp_path, webhook):
    url, told = webhook
    settings = Settings(data_dir=tmp_path, webhook_url="http://127.0.0.1:9/hook")
    publish_alert(settings, ["/a"])
    with pytest.raises(PublishError, match="did not take"):
        alerts.publish(settings, "run-1")
    alerts.publish(dataclasses.replace(settings, webhook_url=url), "run-2")
    assert len(told) == 1
