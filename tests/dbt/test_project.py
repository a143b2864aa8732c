"""What conventions.md promises of every model, read from the manifest so that a new model is tested on arrival."""

from __future__ import annotations

import csv
import re
from typing import Any

import pytest

from tests.dbt.warehouse import DBT_DIR, Warehouse

FOLDER_OF_PREFIX = {
    "stg": ("staging", "bronze"),
    "int": ("intermediate", "silver"),
    "dim": ("marts/core", "gold"),
    "fct": ("marts/core", "gold"),
    "bridge": ("marts/core", "gold"),
    "agg": ("marts/aggregates", "gold"),
    "mart": ("marts/aggregates", "gold"),
    "alert": ("marts/alerts", "gold"),
}
TYPE_OF_SUFFIX = {
    "_at": "timestamp",
    "_date": "date",
    "_date_local": "date",
    "_key": "varchar",
    "_id": "varchar",
    "_tokens": "bigint",
    "_count": "bigint",
    "_ms": "bigint",
    "_lines": "bigint",
    "_bytes": "bigint",
    "_usd": "decimal(18,9)",
    "_ratio": "double",
    "_name": "varchar",
    "_type": "varchar",
    "_path": "varchar",
}
BARE_NAMES = {"id", "name", "type", "date", "value", "cost", "timestamp", "key"}


@pytest.fixture(scope="module")
def manifest(warehouse: Warehouse) -> dict[str, Any]:
    return dict(warehouse.manifest.writable_manifest().to_dict())


@pytest.fixture(scope="module")
def models(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]


def schemas_read(manifest: dict[str, Any], node: dict[str, Any]) -> set[str]:
    parents = {**manifest["nodes"], **manifest["sources"]}
    return {parents[parent]["schema"] for parent in node["depends_on"]["nodes"] if parent in parents}


def test_layering(manifest: dict[str, Any], models: list[dict[str, Any]]) -> None:
    may_read = {"bronze": {"raw", "bronze"}, "silver": {"bronze", "silver"}, "gold": {"silver", "gold"}}
    wrong = {
        model["name"]: sorted(schemas_read(manifest, model) - may_read[model["schema"]])
        for model in models
        if not schemas_read(manifest, model) <= may_read[model["schema"]]
    }
    assert not wrong


def test_analyses_read_only_gold(manifest: dict[str, Any]) -> None:
    cards = [node for node in manifest["nodes"].values() if node["resource_type"] == "analysis"]
    assert {
        card["name"]: schemas_read(manifest, card) for card in cards if schemas_read(manifest, card) - {"gold"}
    } == {}


def test_names_say_folder_and_schema(models: list[dict[str, Any]]) -> None:
    for model in models:
        folder, schema = FOLDER_OF_PREFIX[model["name"].split("_")[0]]
        assert f"models/{folder}/" in model["original_file_path"], model["name"]
        assert model["schema"] == schema, model["name"]


def test_column_names_say_their_type(models: list[dict[str, Any]]) -> None:
    for model in models:
        for name, column in model["columns"].items():
            where = f"{model['name']}.{name}"
            kind = (column.get("data_type") or "").replace(" ", "")
            assert name not in BARE_NAMES, where
            assert not name.endswith("_text"), f"{where}: text never reaches gold"
            if name.startswith(("is_", "has_", "was_")):
                assert kind == "boolean", where
            suffix = max((end for end in TYPE_OF_SUFFIX if name.endswith(end)), key=len, default=None)
            if suffix is not None:
                assert kind == TYPE_OF_SUFFIX[suffix], where


def test_gold_is_documented_typed_and_tested(manifest: dict[str, Any], models: list[dict[str, Any]]) -> None:
    tested = {
        node["attached_node"]
        for node in manifest["nodes"].values()
        if node["resource_type"] == "test" and (node.get("test_metadata") or {}).get("name") == "gold_contract"
    }
    for model in models:
        if model["schema"] != "gold":
            continue
        assert model["description"].startswith("One row per"), model["name"]
        assert model["config"]["contract"]["enforced"], model["name"]
        assert model["columns"], model["name"]
        assert model["unique_id"] in tested, f"{model['name']} has no gold_contract test"
        for name, column in model["columns"].items():
            assert column["description"].strip(), f"{model['name']}.{name}"
            assert column["data_type"], f"{model['name']}.{name}"


def test_every_alert_has_a_threshold(models: list[dict[str, Any]]) -> None:
    """One whose row is misspelt has none to exceed, and never fires."""
    with (DBT_DIR / "seeds" / "alert_thresholds.csv").open(encoding="utf-8", newline="") as file:
        named = [row["alert_name"] for row in csv.DictReader(file)]
    assert sorted(named) == sorted(model["name"] for model in models if model["name"].startswith("alert_"))


def test_what_fires_of_every_alert_is_shown(manifest: dict[str, Any], models: list[dict[str, Any]]) -> None:
    (shown,) = (manifest["nodes"][model["unique_id"]] for model in models if model["name"] == "agg_alerts")
    alerts = {model["unique_id"] for model in models if model["name"].startswith("alert_")}
    assert alerts <= set(shown["depends_on"]["nodes"])


def test_every_model_has_a_description(models: list[dict[str, Any]]) -> None:
    assert [model["name"] for model in models if not model["description"].startswith("One row per")] == []


def test_a_description_shared_by_three_is_a_docs_block(models: list[dict[str, Any]]) -> None:
    used: dict[tuple[str, str], set[str]] = {}
    for model in models:
        for name, column in model["columns"].items():
            if not column.get("doc_blocks"):
                used.setdefault((name, column["description"]), set()).add(model["name"])
    repeated = {name: sorted(users) for (name, _), users in used.items() if len(users) >= 3}
    assert not repeated


def test_every_macro_is_documented(manifest: dict[str, Any]) -> None:
    """Engines' own versions and what dbt calls by itself (materializations, schema names, tests) aside."""
    ours = [
        macro
        for macro in manifest["macros"].values()
        if macro["package_name"] == manifest["metadata"]["project_name"]
        and re.fullmatch(r"macros/\w+[.]sql", macro["original_file_path"])
        and "__" not in macro["name"]
        and macro["name"] != "generate_schema_name"
    ]
    assert ours
    assert [macro["name"] for macro in ours if not macro["description"]] == []
