"""Brings one Metabase to what the cards say, and leaves alone what people made."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from analytics.errors import PublishError
from analytics.targets.metabase.payloads import (
    FILTERS,
    card_payload,
    dashcard_payload,
    kept_dashcard,
    mark,
    marked,
    parameter_payload,
    projects_card,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analytics.cards import Card, Dashboard
    from analytics.dictionary import Table
    from analytics.targets.metabase.client import Client

DATABASE = "Claude Code analytics"
COLLECTION = "Claude Code analytics"
SYNC_TIMEOUT_S = 120.0


def holds(there: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there. Metabase adds keys of its own to what it was given."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(holds(there.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(there, list) and len(there) == len(wanted) and all(map(holds, there, wanted))
    return bool(there == wanted)


class Provisioner:
    """Brings one Metabase to what the cards say. Each step finds what is there and changes what differs."""

    def __init__(self, client: Client, database_file: str) -> None:
        self._client = client
        self._database_file = database_file

    def provision(self, dashboards: Sequence[Dashboard], catalog: Mapping[str, Table]) -> dict[str, int]:
        """Everything, in order. Returns how many of each there are."""
        database_id = self.ensure_database()
        tables = self.sync(database_id, set(catalog))
        self.describe(tables, catalog)
        collection_id = self.ensure_collection()
        items = self._items(collection_id)
        projects_id = self.ensure_card(items, projects_card(database_id, collection_id))
        card_count = 1
        for dashboard in dashboards:
            cards = []
            for card in dashboard.cards:
                payload = card_payload(dashboard.slug, card, database_id, collection_id)
                cards.append((card, self.ensure_card(items, payload)))
            card_count += len(cards)
            self.ensure_dashboard(items, dashboard, cards, collection_id, projects_id)
        return {"tables": len(tables), "cards": card_count, "dashboards": len(dashboards)}

    def ensure_database(self) -> int:
        """Our connection, by its name."""
        details = {"database_file": self._database_file, "read_only": True, "old_implicit_casting": True}
        for database in self._client.call("GET", "/api/database")["data"]:
            if database["name"] == DATABASE and database["engine"] == "duckdb":
                there = database.get("details") or {}
                if any(there.get(name) != value for name, value in details.items()):
                    path = f"/api/database/{database['id']}"
                    self._client.call("PUT", path, {"name": DATABASE, "engine": "duckdb", "details": details})
                return int(database["id"])
        body = {
            "name": DATABASE,
            "engine": "duckdb",
            "details": details,
            "is_full_sync": True,
            "is_on_demand": False,
            "connection_source": "admin",
        }
        return int(self._client.call("POST", "/api/database", body)["id"])

    def sync(self, database_id: int, wanted: set[str]) -> dict[str, dict[str, Any]]:
        """Have the tables read, and wait until the wanted ones are known."""
        self._client.call("POST", f"/api/database/{database_id}/sync_schema", {})
        deadline = time.monotonic() + SYNC_TIMEOUT_S
        while True:
            answer = self._client.call("GET", f"/api/database/{database_id}/metadata")
            tables = {table["name"]: table for table in answer["tables"] if table["schema"] == "gold"}
            if tables and wanted <= set(tables):
                return tables
            if time.monotonic() > deadline:
                raise PublishError(
                    "metabase: tables of gold do not appear. Restart Metabase, which keeps the file that it had open "
                    "when they changed: docker compose restart metabase. If that does not help: is the published "
                    "folder mounted?"
                )
            time.sleep(0.5)

    def describe(self, tables: Mapping[str, dict[str, Any]], catalog: Mapping[str, Table]) -> None:
        """Foreign keys, which the driver does not read, and descriptions where nobody has written one."""
        fields = {(name, field["name"]): field for name, table in tables.items() for field in table["fields"]}
        for name, notes in catalog.items():
            if name not in tables:
                continue
            if notes.meaning and not tables[name].get("description"):
                self._client.call("PUT", f"/api/table/{tables[name]['id']}", {"description": notes.meaning})
            targets = {key.column: fields.get((key.table, key.target_column)) for key in notes.foreign_keys}
            for column in notes.columns:
                field = fields.get((name, column.name))
                if field is None:
                    continue
                change: dict[str, Any] = {}
                if column.meaning and not field.get("description"):
                    change["description"] = column.meaning
                target = targets.get(column.name)
                if target and field.get("fk_target_field_id") != target["id"]:
                    change |= {"semantic_type": "type/FK", "fk_target_field_id": target["id"]}
                if change:
                    self._client.call("PUT", f"/api/field/{field['id']}", change)

    def ensure_collection(self) -> int:
        """The folder that holds what we make."""
        for collection in self._client.call("GET", "/api/collection"):
            if marked(collection.get("description")) == "collection" and not collection.get("archived"):
                return int(collection["id"])
        body = {"name": COLLECTION, "description": f"Dashboards over the published marts. {mark('collection')}"}
        return int(self._client.call("POST", "/api/collection", body)["id"])

    def _items(self, collection_id: int) -> dict[tuple[str, str], int]:
        """Our own cards and dashboards by kind and mark."""
        path = f"/api/collection/{collection_id}/items?models=card&models=dashboard&limit=2000"
        items = self._client.call("GET", path)["data"]
        return {(item["model"], marked(item.get("description"))): int(item["id"]) for item in items}

    def ensure_card(self, items: Mapping[tuple[str, str], int], payload: Mapping[str, Any]) -> int:
        """A question as wanted: made, changed if it differs, or left alone."""
        card_id = items.get(("card", marked(payload["description"])))
        if card_id is None:
            return int(self._client.call("POST", "/api/card", payload)["id"])
        there = self._client.call("GET", f"/api/card/{card_id}")
        changed = {name: value for name, value in payload.items() if not holds(there.get(name), value)}
        if changed:
            self._client.call("PUT", f"/api/card/{card_id}", changed)
        return card_id

    def ensure_dashboard(
        self,
        items: Mapping[tuple[str, str], int],
        dashboard: Dashboard,
        cards: Sequence[tuple[Card, int]],
        collection_id: int,
        projects_id: int,
    ) -> int:
        """A dashboard with our cards in their places and what people put on it left where it is."""
        head = {"name": dashboard.title, "description": f"{dashboard.description} {mark(dashboard.slug)}"}
        dashboard_id = items.get(("dashboard", dashboard.slug))
        if dashboard_id is None:
            made = self._client.call("POST", "/api/dashboard", {**head, "collection_id": collection_id})
            dashboard_id = int(made["id"])
        there = self._client.call("GET", f"/api/dashboard/{dashboard_id}")
        parameters = [parameter_payload(entry, projects_id) for entry in FILTERS]
        names = {entry["id"] for entry in parameters}
        parameters += [entry for entry in there.get("parameters") or [] if entry["id"] not in names]
        dashcards = _arrange(there, cards, _retired(items, dashboard))
        body: dict[str, Any] = {**head, "dashcards": dashcards, "parameters": parameters}
        if there.get("tabs"):
            body["tabs"] = [{"id": tab["id"], "name": tab["name"]} for tab in there["tabs"]]
        by_id = [{entry["id"]: entry for entry in entries} for entries in (there["dashcards"], dashcards)]
        if not (holds(there, {**head, "parameters": parameters}) and holds(*by_id) and len(by_id[0]) == len(by_id[1])):
            self._client.call("PUT", f"/api/dashboard/{dashboard_id}", body)
        return dashboard_id


def _retired(items: Mapping[tuple[str, str], int], dashboard: Dashboard) -> set[int]:
    """Questions that we made for a dashboard and define no more. They leave it, and are not deleted."""
    defined = {f"{dashboard.slug}/{card.name}" for card in dashboard.cards}
    return {
        card_id
        for (kind, name), card_id in items.items()
        if kind == "card" and name.startswith(f"{dashboard.slug}/") and name not in defined
    }


def _arrange(there: Mapping[str, Any], cards: Sequence[tuple[Card, int]], retired: set[int]) -> list[dict[str, Any]]:
    """Our cards in their places, on the tab where they are, then all that people put on the dashboard."""
    first_tab = next((tab["id"] for tab in there.get("tabs") or []), None)
    own: dict[int, Mapping[str, Any]] = {}
    kept = []
    wanted = {card_id for _, card_id in cards}
    for entry in there["dashcards"]:
        card_id = entry.get("card_id")
        if card_id in wanted and card_id not in own:
            own[card_id] = entry
        elif card_id not in retired:
            kept.append(kept_dashcard(entry))
    placed = []
    for index, (card, card_id) in enumerate(cards):
        before = own.get(card_id, {})
        entry = dashcard_payload(card, card_id, before.get("id", -1 - index))
        tab = before.get("dashboard_tab_id") or first_tab
        placed.append({**entry, "dashboard_tab_id": tab} if tab else entry)
    return [*placed, *kept]
