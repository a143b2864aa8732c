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
from analytics.lake import new_run_id
from analytics.targets import alerts
from tests.builders import answering

ALERT = "alert_daily_cost_above_budget"


def publish_alert(settings, firings):
    """What is published of one alert, in the shape of dbt/macros/alerts.sql: its firings, by subject and value."""
    version = settings.published_dir / "run"
    version.mkdir(parents=True, exist_ok=True)
    current = version.parent / "current"
    if not current.exists():
        current.symlink_to("run")
    measured = ", ".join(f"('{subject}', {value}::double)" for subject, value in firings.items()) or "(null, null)"
    duckdb.sql(
        f"""
        select md5(subject_name || '2026-01-02') as alert_key, '{ALERT}' as alert_name, 'high' as severity,
            subject_name, 'usd' as unit_name, measured_value, 25.0::double as threshold_value,
            date '2026-01-02' as measured_date
        from (values {measured}) as measurements (subject_name, measured_value)
        where measured_value > 25.0
        """
    ).write_parquet(str(version / f"{ALERT}.parquet"))


def publish_firings(settings, firings):
    """A run of its own finds these firings of the alert."""
    publish_alert(settings, firings)
    return alerts.publish(settings, new_run_id())


@pytest.fixture
def webhook():
    told = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.append(message)
            self.send_response(200 if message.get("text") else 400)  # as Slack does
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
    publish_alert(settings, {"/a": 60, "/b": 60})
    assert alerts.TARGET.is_enabled(settings)
    result = alerts.publish(settings, "run")
    assert result.summary == "1 of 1 fire"
    assert result.location == f"{ALERT} (2)"
    assert publish_firings(settings, {}).summary == "0 of 1 fire"


def test_webhook_is_told_once_of_a_firing_whose_value_changes_and_never_a_row(tmp_path, webhook):
    """A day above its budget was told again with every cent."""
    url, told = webhook
    settings = Settings(data_dir=tmp_path, webhook_url=url)
    for value in (60, 61.5, 63):
        publish_firings(settings, {"/secret-project": value})
    publish_firings(settings, {"/secret-project": 64, "/other": 60})
    assert counts_in(told) == [(1, 1), (2, 1)]
    assert [entry["severity"] for message in told for entry in message["alerts"]] == ["high", "high"]
    assert told[0]["text"] == f"Claude Code analytics: {ALERT} (1) fired"
    assert "secret" not in json.dumps(told)


def test_a_firing_that_ended_is_told_when_it_begins_again(tmp_path, webhook):
    url, told = webhook
    settings = Settings(data_dir=tmp_path, webhook_url=url)
    for value in (60, 20, 60):
        publish_firings(settings, {"/a": value})
    assert counts_in(told) == [(1, 1), (1, 1)]


def test_a_firing_that_ended_is_told_again_even_if_another_could_not_be_told_meanwhile(tmp_path, webhook):
    url, told = webhook
    settings = Settings(data_dir=tmp_path, webhook_url=url)
    publish_firings(settings, {"/a": 60})
    with pytest.raises(PublishError):
        publish_firings(dataclasses.replace(settings, webhook_url="http://127.0.0.1:9/hook"), {"/b": 60})
    publish_firings(settings, {"/a": 60, "/b": 60})
    assert counts_in(told) == [(1, 1), (2, 2)]


def counts_in(told):
    """(firings, new ones) of the one alert in each message."""
    return [(entry["firing_count"], entry["new_count"]) for message in told for entry in message["alerts"]]


def test_webhook_that_does_not_answer_is_an_error_for_a_person(tmp_path):
    settings = Settings(data_dir=tmp_path, webhook_url="http://127.0.0.1:9/hook")
    with pytest.raises(PublishError, match=rf"{ALERT} \(1\) fire, and the webhook did not take"):
        publish_firings(settings, {"/a": 60})


def test_webhook_that_answers_something_else_than_http_is_an_error_for_a_person(tmp_path):
    """Its answer was an exception of another kind, which stopped the run."""
    with answering(b"220 mail ready\r\n") as url:
        settings = Settings(data_dir=tmp_path, webhook_url=url)
        with pytest.raises(PublishError, match="did not take"):
            publish_firings(settings, {"/a": 60})
