from __future__ import annotations

import copy
import dataclasses
import importlib.util
import sys
from pathlib import Path

import pytest

from analytics.cards import load_dashboards
from analytics.config import Settings
from analytics.errors import ConfigError, PublishError
from analytics.targets import metabase
from tests.builders import TABLES_ABOUT_RUNS

_SPEC = importlib.util.spec_from_file_location("fake_metabase", Path(__file__).with_name("fake_metabase.py"))
fake_metabase = importlib.util.module_from_spec(_SPEC)
sys.modules["fake_metabase"] = fake_metabase
_SPEC.loader.exec_module(fake_metabase)

CATALOG = metabase.read_catalog(metabase.MARTS_DIR)
# A part of gold, so that nine runs over it stay quick.
NAMES = ("dim_date", "dim_projects", "dim_sessions", "dim_tools", "dim_models", "fct_api_requests", "fct_tool_calls")
TABLES = {name: list(CATALOG[name].columns) for name in NAMES}


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(metabase.time, "sleep", lambda _: None)
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


def state_of(fake):
    kinds = (fake.databases, fake.collections, fake.cards, fake.dashboards, fake.tables, fake.fields)
    return copy.deepcopy(kinds)


def test_publish_leaves_one_set_of_everything_when_run_six_times(fake, settings):
    states = []
    for number in range(6):
        metabase.publish(settings, f"run-{number}")
        states.append(state_of(fake))
    dashboards = load_dashboards()
    assert states[1:] == [states[0]] * 5
    assert len(fake.databases) == len(fake.collections) == 1
    assert len(fake.cards) == sum(len(dashboard.cards) for dashboard in dashboards) + 1
    assert sorted(entry["name"] for entry in fake.dashboards.values()) == sorted(entry.title for entry in dashboards)


def test_publish_changes_nothing_in_its_second_run(fake, settings):
    metabase.publish(settings, "run-1")
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
    fake.cards[900] = {**question, "id": 900, "dataset_query": next(iter(fake.cards.values()))["dataset_query"]}
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
    metabase.publish(settings, "run-2")
    assert fake.cards[900]["description"] == "mine"
    assert theirs in dashboard["dashcards"]
    assert "team" in [entry["id"] for entry in dashboard["parameters"]]
    assert described["description"] == "what we call it here"
    assert 77 not in [entry["row"] for entry in dashboard["dashcards"]]


def test_publish_updates_a_card_whose_definition_changed(fake, settings):
    metabase.publish(settings, "run-1")
    card = next(entry for entry in fake.cards.values() if entry["name"] == "Estimated cost by model")
    card["dataset_query"]["native"]["query"] = "select 1"
    card["dataset_query"]["native"]["template-tags"] = {}
    metabase.publish(settings, "run-2")
    assert "estimated_cost_usd" in fake.cards[card["id"]]["dataset_query"]["native"]["query"]


def test_publish_says_what_to_do_when_metabase_refuses(fake, settings):
    metabase.publish(settings, "run-1")
    wrong = dataclasses.replace(settings, metabase_password="wrong horse")
    with pytest.raises(PublishError, match=r"POST /api/session was answered 401") as caught:
        metabase.publish(wrong, "run-2")
    assert "wrong horse" not in str(caught.value)
    with pytest.raises(ConfigError, match="ANALYTICS_METABASE_PASSWORD"):
        metabase.publish(dataclasses.replace(settings, metabase_password=""), "run-3")


def test_target_is_wanted_until_these_definitions_are_there(fake, settings):
    assert not metabase.TARGET.is_enabled(dataclasses.replace(settings, metabase_url=""))
    assert metabase.TARGET.is_enabled(settings)
    metabase.publish(settings, "run-1")
    assert not metabase.TARGET.is_enabled(settings)


def test_titles_are_unique_within_the_collection():
    titles = [card.title for dashboard in load_dashboards() for card in dashboard.cards]
    assert len(titles) == len(set(titles))
