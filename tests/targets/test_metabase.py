from __future__ import annotations

import copy
import dataclasses
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analytics import cards, dictionary
from analytics.cards import load_dashboards
from analytics.config import DBT_DIR, Settings
from analytics.dictionary import read_tables
from analytics.errors import ConfigError, PublishError
from analytics.targets import metabase
from analytics.targets.metabase import provisioner
from tests.builders import TABLES_ABOUT_RUNS, answering
from tests.targets import fake_metabase

CATALOG = {table.name: table for table in read_tables()}
# A part of gold, so that nine runs over it stay quick.
NAMES = ("dim_date", "dim_projects", "dim_sessions", "dim_tools", "dim_models", "fct_api_requests", "fct_tool_calls")
TABLES = {name: [column.name for column in CATALOG[name].columns] for name in NAMES}


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with fake_metabase.FakeMetabase(TABLES) as server:
        yield server


@pytest.fixture
def settings(tmp_path, fake):
    version = tmp_path / "published" / "run"
    version.mkdir(parents=True)
    (version.parent / "current").symlink_to("run")
    for name in TABLES:
        (version / f"{name}.parquet").touch()
    return Settings(data_dir=tmp_path, metabase_url=fake.url, metabase_password="correct horse")


def forget(settings):
    """As if these definitions were new."""
    (settings.data_dir / "cache" / "metabase.txt").unlink()


def state_of(fake):
    kinds = (fake.databases, fake.collections, fake.cards, fake.dashboards, fake.tables, fake.fields)
    return copy.deepcopy(kinds)


def test_publish_leaves_one_set_of_everything_when_run_six_times(fake, settings):
    states = []
    for number in range(6):
        metabase.publish(settings, f"run-{number}")
        states.append(state_of(fake))
        forget(settings)
    dashboards = load_dashboards()
    assert states[1:] == [states[0]] * 5
    assert len(fake.databases) == len(fake.collections) == 1
    assert len(fake.cards) == sum(len(dashboard.cards) for dashboard in dashboards) + 1
    assert sorted(entry["name"] for entry in fake.dashboards.values()) == sorted(entry.title for entry in dashboards)


def test_publish_changes_nothing_in_its_second_run(fake, settings):
    metabase.publish(settings, "run-1")
    forget(settings)
    fake.calls.clear()
    metabase.publish(settings, "run-2")
    written = [path for method, path in fake.calls if method != "GET"]
    assert [path.rsplit("/", 1)[-1] for path in written] == ["session", "sync_schema"]


def test_every_card_takes_the_date_and_project_filters(fake, settings):
    """But for those that say why not, and those about runs of the pipeline, which have no project."""
    metabase.publish(settings, "run-1")
    expected = {
        card.title: set()
        if card.unfiltered
        else {"since", "until"}
        if TABLES_ABOUT_RUNS.issuperset(card.query.models)
        else {"since", "until", "project"}
        for entry in load_dashboards()
        for card in entry.cards
    }
    for dashboard in fake.dashboards.values():
        assert [entry["id"] for entry in dashboard["parameters"]] == ["since", "until", "project"]
        for dashcard in dashboard["dashcards"]:
            wired = {mapping["parameter_id"] for mapping in dashcard["parameter_mappings"]}
            assert wired == expected[fake.cards[dashcard["card_id"]]["name"]]


def test_foreign_keys_and_descriptions_are_set(fake, settings):
    metabase.publish(settings, "run-1")
    names = {table["id"]: table["name"] for table in fake.tables.values()}
    keys = {
        (names[field["table_id"]], field["name"]): names[fake.fields[field["fk_target_field_id"]]["table_id"]]
        for field in fake.fields.values()
        if field["fk_target_field_id"]
    }
    assert keys["fct_api_requests", "project_key"] == "dim_projects"
    assert keys["fct_tool_calls", "tool_key"] == "dim_tools"
    assert all(table["description"] for table in fake.tables.values())
    assert not any("doc(" in (field["description"] or "") for field in fake.fields.values())


def test_publish_keeps_what_a_person_made(fake, settings):
    metabase.publish(settings, "run-1")
    collection = next(iter(fake.collections))
    question = {"name": "Estimated cost", "description": "mine", "collection_id": collection, "display": "table"}
    fake.cards[900] = {**next(iter(fake.cards.values())), **question, "id": 900}
    dashboard = next(entry for entry in fake.dashboards.values() if entry["name"] == "Cost and Usage")
    theirs = {
        "id": 901,
        "card_id": 900,
        "row": 90,
        "col": 0,
        "size_x": 6,
        "size_y": 4,
        "visualization_settings": {"a": 1},
        "parameter_mappings": [],
    }
    dashboard["dashcards"].append(theirs)
    dashboard["parameters"].append({"id": "team", "name": "Team", "slug": "team", "type": "string/="})
    described = next(iter(fake.tables.values()))
    described["description"] = "what we call it here"
    ours = next(entry for entry in dashboard["dashcards"] if entry["id"] != 901)
    ours["row"] = 77  # a moved card of ours comes back
    forget(settings)
    metabase.publish(settings, "run-2")
    assert fake.cards[900]["description"] == "mine"
    (kept,) = [entry for entry in dashboard["dashcards"] if entry["id"] == 901]
    assert {name: kept[name] for name in theirs} == theirs
    assert "team" in [entry["id"] for entry in dashboard["parameters"]]
    assert described["description"] == "what we call it here"
    assert 77 not in [entry["row"] for entry in dashboard["dashcards"]]


def test_publish_updates_a_card_whose_definition_changed(fake, settings):
    metabase.publish(settings, "run-1")
    card = next(entry for entry in fake.cards.values() if entry["name"] == "Estimated cost by model")
    card["dataset_query"]["stages"] = [{"lib/type": "mbql.stage/native", "native": "select 1"}]
    forget(settings)
    metabase.publish(settings, "run-2")
    assert "estimated_cost_usd" in fake.cards[card["id"]]["dataset_query"]["stages"][0]["native"]


def test_publish_says_what_to_do_when_metabase_sees_a_former_release(fake, settings, monkeypatch):
    """A process keeps the file that it has open, whatever takes its name."""
    monkeypatch.setattr(provisioner, "SYNC_TIMEOUT_S", 0.0)
    with pytest.raises(PublishError, match=r"do not appear\. Restart Metabase, .* restart metabase"):
        metabase.publish(settings, "run-1")


def test_publish_says_what_to_do_when_metabase_refuses(fake, settings):
    metabase.publish(settings, "run-1")
    forget(settings)
    wrong = dataclasses.replace(settings, metabase_password="wrong horse")
    with pytest.raises(PublishError, match=r"answered 401\..* Mend .*ANALYTICS_METABASE_PASSWORD") as caught:
        metabase.publish(wrong, "run-2")
    assert "wrong horse" not in str(caught.value)
    with pytest.raises(ConfigError, match="ANALYTICS_METABASE_PASSWORD"):
        metabase.publish(dataclasses.replace(settings, metabase_password=""), "run-3")


def test_a_wait_for_a_metabase_that_starts_is_told_once(fake, settings, caplog):
    """Five minutes went by without a word."""
    fake.unhealthy_for = 3
    metabase.publish(settings, "run-1")
    assert caplog.messages == [f"metabase: {fake.url} does not answer yet; waiting for it up to 300 s"]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n<html>Welcome</html>", b"220 mail ready\r\n"])
def test_an_address_of_something_else_is_a_wrong_setting(settings, answer):
    """A page of HTML was an exception of another kind, which stopped the run."""
    with answering(answer) as url, pytest.raises(ConfigError, match="is no Metabase"):
        metabase.publish(dataclasses.replace(settings, metabase_url=url), "run-1")


def test_a_filled_metabase_is_asked_one_thing_and_may_be_off(fake, settings):
    assert not metabase.TARGET.is_enabled(dataclasses.replace(settings, metabase_url=""))
    assert metabase.TARGET.is_enabled(settings)
    metabase.publish(settings, "run-1")
    fake.calls.clear()
    assert metabase.publish(settings, "run-2").summary == "unchanged"
    assert fake.calls == [("GET", "/api/session/properties")]
    fake.stop()
    assert metabase.publish(settings, "run-3").summary == "unchanged"


@pytest.mark.parametrize("module", [cards, dictionary])
def test_a_release_that_reads_the_definitions_otherwise_fills_metabase_anew(settings, tmp_path, monkeypatch, module):
    """A mended `card_sql` left every question as it was."""
    before = metabase.fingerprint(settings)
    changed = tmp_path / Path(module.__file__).name
    changed.write_bytes(Path(module.__file__).read_bytes() + b"# mended\n")
    monkeypatch.setattr(module, "__file__", str(changed))
    assert metabase.fingerprint(settings) != before


def test_a_dashboard_whose_folder_is_renamed_fills_metabase_anew(settings, tmp_path, monkeypatch):
    prints = set()
    for name in ("old", "new"):
        folder = tmp_path / f"of_{name}"
        shutil.copytree(cards.DASHBOARDS_DIR / "data_quality", folder / name)
        monkeypatch.setattr(metabase, "DASHBOARDS_DIR", folder)
        prints.add(metabase.fingerprint(settings))
    assert len(prints) == 2


def test_durations_are_minutes(fake, settings):
    metabase.publish(settings, "run-1")
    card = next(entry for entry in fake.cards.values() if entry["name"] == "Mean session length")
    shown = card["visualization_settings"]["column_settings"]['["name","mean_duration_ms"]']
    assert 90_000 * shown["scale"] == pytest.approx(1.5)
    assert shown["suffix"] == " min"
    assert card["visualization_settings"]["graph.y_axis.title_text"] == "min"


DOCKER = """#!/bin/sh
echo "$@" >> {calls}
case "$2" in
  port) echo 127.0.0.1:3999 ;;
  exec) shift 4; exec "$@" ;;
esac
"""


def test_the_smoke_test_takes_the_settings_of_the_worker(fake, settings, tmp_path):
    """It knew one port, took no password out of .env, and showed it to every process."""
    metabase.publish(settings, "run-1")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "docker").write_text(DOCKER.format(calls=tmp_path / "calls"))
    (programs / "docker").chmod(0o700)
    (programs / "python").symlink_to(sys.executable)
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ANALYTICS_METABASE_URL": fake.url,
        "ANALYTICS_METABASE_PASSWORD": settings.metabase_password,
    }
    outcome = subprocess.run(
        [DBT_DIR.parent / "docker" / "smoke.sh"], env=environment, capture_output=True, text=True, check=False
    )
    assert outcome.stdout == "ok: 6 dashboards at http://127.0.0.1:3999\n", outcome.stderr
    assert settings.metabase_password not in (tmp_path / "calls").read_text()


def test_an_emptied_metabase_is_filled_again(fake, settings):
    """`docker compose down --volumes` forgets Metabase's database and keeps ours."""
    metabase.publish(settings, "run-1")
    fake.forget_all()
    assert metabase.publish(settings, "run-2").summary == "6 dashboards"
    assert len(fake.dashboards) == 6


def test_a_card_that_is_defined_no_more_leaves_its_dashboard_and_stays_a_question(fake, settings, monkeypatch):
    metabase.publish(settings, "run-1")
    first, *others = load_dashboards()
    gone, *left = first.cards
    monkeypatch.setattr(metabase, "load_dashboards", lambda: (dataclasses.replace(first, cards=tuple(left)), *others))
    forget(settings)
    metabase.publish(settings, "run-2")
    dashboard = next(entry for entry in fake.dashboards.values() if entry["name"] == first.title)
    (question,) = [card for card in fake.cards.values() if card["name"] == gone.title]
    assert not question["archived"]
    assert question["id"] not in [entry["card_id"] for entry in dashboard["dashcards"]]
    assert len(dashboard["dashcards"]) == len(left)


def test_publish_keeps_tabs_and_a_second_copy_of_a_card(fake, settings):
    metabase.publish(settings, "run-1")
    dashboard = next(entry for entry in fake.dashboards.values() if entry["name"] == "Cost and Usage")
    dashboard["tabs"] = [{"id": 70, "name": "Ours"}, {"id": 71, "name": "Theirs"}]
    for entry in dashboard["dashcards"]:
        entry["dashboard_tab_id"] = 70
    copied = {**copy.deepcopy(dashboard["dashcards"][0]), "id": 902, "dashboard_tab_id": 71, "row": 3}
    dashboard["dashcards"].append(copied)
    lost = dashboard["dashcards"].pop(1)
    forget(settings)
    metabase.publish(settings, "run-2")
    by_card = {(entry["card_id"], entry["dashboard_tab_id"]) for entry in dashboard["dashcards"]}
    assert (copied["card_id"], 70) in by_card
    assert (copied["card_id"], 71) in by_card
    assert (lost["card_id"], 70) in by_card
    assert [tab["id"] for tab in dashboard["tabs"]] == [70, 71]


def test_holds_ignores_what_metabase_adds_and_no_difference():
    wanted = {"a": 1, "b": [{"c": None}]}
    assert provisioner.holds({"a": 1, "b": [{"c": None, "own": 2}], "own": 3}, wanted)
    assert provisioner.holds({"a": 1, "b": [{}]}, wanted)
    assert not provisioner.holds({"a": 1, "b": []}, wanted)
    assert not provisioner.holds({"a": 1, "b": [{"c": 4}]}, wanted)


def test_titles_are_unique_within_the_collection():
    titles = [card.title for dashboard in load_dashboards() for card in dashboard.cards]
    assert len(titles) == len(set(titles))
