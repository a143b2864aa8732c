"""Metabase's own command-line client as a second judge of the stand-in and of what is sent to it.

It checks each answer against its schemas, and each question and dashboard before it sends them. npm installs
it, pinned, into a folder of the test. Without node and npm, or out of npm's reach, the tests are skipped.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from analytics.cards import load_dashboards
from analytics.targets import metabase
from analytics.targets.metabase.payloads import card_payload
from tests.targets import fake_metabase

PACKAGE = Path(__file__).with_name("metabase_client") / "package.json"
API_KEY = "mb_key"
DASHBOARDS = load_dashboards()
# One question of each kind of chart, the others differ in their words only.
KINDS = {card.chart: (dashboard.slug, card) for dashboard in DASHBOARDS for card in dashboard.cards}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """The client's path."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    folder = tmp_path_factory.mktemp("client")
    shutil.copy(PACKAGE, folder)
    flags = ["--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    # Where no network is, it says so at once instead of trying for minutes.
    flags += ["--fetch-retries=1", "--fetch-timeout=20000"]
    try:
        subprocess.run(["npm", "install", *flags], cwd=folder, capture_output=True, text=True, check=True, timeout=180)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm could not install the client: {str(error.stderr or error).strip()[-200:]}")
    return folder / "node_modules" / ".bin" / "mb"


@pytest.fixture(scope="module")
def fake(sample_settings, published):
    """A stand-in, provisioned over the sample, that runs its questions."""
    rows = published.execute("select view_name from duckdb_views() where schema_name = 'gold' order by 1").fetchall()
    tables = {
        name: [column for column, *_ in published.execute(f"describe gold.{name}").fetchall()] for (name,) in rows
    }
    with fake_metabase.FakeMetabase(tables, published) as server:
        server.api_keys.add(API_KEY)
        server.unhealthy_for = server.sync_delay = 0
        settings = dataclasses.replace(sample_settings, metabase_url=server.url, metabase_password="correct horse")
        metabase.publish(settings, "run-1")
        yield server


@pytest.fixture
def ask(client, fake, tmp_path):
    """Run the client; the answer it has checked, as JSON."""

    def run(*arguments, body=None, url=fake.url):
        if body is not None:
            file = tmp_path / "body.json"
            file.write_text(json.dumps(body))
            arguments = (*arguments, "--file", str(file))
        environment = {**os.environ, "HOME": str(tmp_path), "MB_URL": url, "MB_API_KEY": API_KEY, "DO_NOT_TRACK": "1"}
        command = [str(client), *arguments, "--json", "--full", "--max-bytes", "0"]
        outcome = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
        )
        assert outcome.returncode == 0, f"{arguments[:2]}: {outcome.stdout[-1500:]} {outcome.stderr[-1500:]}"
        return json.loads(outcome.stdout)

    return run


def test_the_client_sets_up_an_empty_metabase(ask):
    user = {"email": "admin@example.com", "password": "correct horse", "first_name": "A", "last_name": "B"}
    with fake_metabase.FakeMetabase({}) as empty:
        body = {"token": empty.token, "user": user, "prefs": {"site_name": "x", "site_locale": "en"}}
        assert ask("setup", body=body, url=empty.url)["id"] in empty.sessions


def test_the_client_finds_all_that_was_provisioned(ask, fake):
    (database,) = ask("database", "list")["data"]
    (collection,) = [entry for entry in ask("collection", "list")["data"] if entry["id"] != "root"]
    items = ask("collection", "items", str(collection["id"]))["data"]
    assert database["engine"] == "duckdb"
    assert sorted(entry["name"] for entry in ask("dashboard", "list")["data"]) == sorted(d.title for d in DASHBOARDS)
    assert sum(entry["model"] == "card" for entry in items) == sum(len(d.cards) for d in DASHBOARDS) + 1


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.slug)
def test_the_client_reads_a_dashboard_and_sends_it_back(ask, fake, dashboard):
    """It checks every reference to a question before it sends."""
    (key,) = [key for key, entry in fake.dashboards.items() if entry["name"] == dashboard.title]
    read = ask("dashboard", "get", str(key))
    assert len(read["dashcards"]) == len(dashboard.cards)
    sent = ask("dashboard", "update", str(key), body={name: read[name] for name in ("dashcards", "parameters")})
    assert sent["dashcards"] == read["dashcards"]


@pytest.mark.parametrize("chart", KINDS)
def test_the_client_makes_our_questions_and_gives_them_back_as_sent(ask, fake, chart):
    """It checks a query against Metabase's own schema before it sends, and what comes back against another."""
    slug, card = KINDS[chart]
    payload = card_payload(slug, card, next(iter(fake.databases)), next(iter(fake.collections)))
    made = ask("card", "create", body=payload)
    assert {name: made[name] for name in payload} == payload
    del fake.cards[made["id"]]


def test_a_foreign_key_is_one_to_the_client(ask, fake):
    (table,) = [key for key, entry in fake.tables.items() if entry["name"] == "fct_tool_calls"]
    fields = {entry["name"]: entry for entry in ask("table", "fields", str(table))["data"]}
    target = fake.fields[fields["tool_key"]["fk_target_field_id"]]
    assert (fields["tool_key"]["semantic_type"], fake.tables[target["table_id"]]["name"]) == ("type/FK", "dim_tools")


def test_filters_give_the_numbers_that_sql_gives(ask, fake, published):
    (key,) = [key for key, card in fake.cards.items() if card["name"] == "Estimated cost"]
    chosen = {"since": "2026-10-20", "until": "2026-10-27", "project": "/home/dev/code/storefront"}
    parameters = [
        {"type": "date/single" if name != "project" else "string/=", "target": ["variable", ["template-tag", name]]}
        | {"value": value}
        for name, value in chosen.items()
    ]
    answer = ask("card", "query", str(key), "--parameters", json.dumps(parameters))
    [(cost,)] = published.execute(
        "select sum(facts.estimated_cost_usd) from gold.fct_api_requests as facts "
        "join gold.dim_projects using (project_key) where project_path = $project "
        "and occurred_date_local between $since::date and $until::date",
        chosen,
    ).fetchall()
    assert answer["data"]["rows"][0][0] == pytest.approx(float(cost))
    assert ask("card", "query", str(key))["data"]["rows"][0][0] > float(cost)
