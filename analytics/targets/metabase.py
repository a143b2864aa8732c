"""Target `metabase`: the same cards as questions and dashboards of a Metabase, over its REST API.

Runs when ANALYTICS_METABASE_URL is set. Everything it makes carries a mark in its description and is
found by it again, so that a run after the first changes nothing, and nothing that a person made is
touched: a person's cards on our dashboards stay, and so do their filters.

    admin  ->  database  ->  sync  ->  foreign keys, descriptions  ->  collection  ->  cards  ->  dashboards
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analytics.cards import DATE, PROJECT, Card, Dashboard, card_sql, has_column, load_dashboards
from analytics.config import PROJECT_DIR, Settings
from analytics.errors import ConfigError, PublishError
from analytics.files import make_private_folder, write_private_file
from analytics.targets import Target, TargetResult
from analytics.targets.snapshot import current_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

DATABASE = "Claude Code analytics"
COLLECTION = "Claude Code analytics"
MARTS_DIR = PROJECT_DIR / "dbt" / "models" / "marts"
TIMEOUT_S = 30.0
START_TIMEOUT_S = 300.0
SYNC_TIMEOUT_S = 120.0

_DISPLAYS = {"number": "scalar", "heatmap": "table"}
_NAMESPACE = uuid.UUID("6f0f3c52-6a2b-5c0a-9d4e-6a1d8b0c7e11")


@dataclass(frozen=True)
class Filter:
    """A dashboard filter: its widget, and the clause it puts into every card that has the column."""

    slug: str
    name: str
    column: str
    kind: str
    widget: str
    clause: str


FILTERS = (
    Filter("since", "From", DATE, "date", "date/single", f"[[and {DATE} >= cast({{{{since}}}} as date)]]"),
    Filter("until", "To (inclusive)", DATE, "date", "date/single", f"[[and {DATE} <= cast({{{{until}}}} as date)]]"),
    Filter("project", "Project", PROJECT, "text", "string/=", f"[[and {PROJECT} = {{{{project}}}}]]"),
)


def publish(settings: Settings, run_id: str) -> TargetResult:
    """Make Metabase hold every card and dashboard as defined here. Raises PublishError when it refuses."""
    started = time.monotonic()
    dashboards = load_dashboards()
    client = Client(settings.metabase_url)
    client.wait_until_healthy(START_TIMEOUT_S)
    log_in(client, settings)
    version = current_version(settings)
    published = {file.stem for file in version.glob("*.parquet")} if version else set()
    catalog = {name: notes for name, notes in read_catalog(MARTS_DIR).items() if name in published}
    counts = Provisioner(client, settings.metabase_database_file).provision(dashboards, catalog)
    _remember(settings, run_id)
    return TargetResult(
        target="metabase",
        summary=f"{counts['dashboards']} dashboards",
        location=settings.metabase_url,
        elapsed_ms=round((time.monotonic() - started) * 1000),
        facts=dict(counts),
    )


def _is_wanted(settings: Settings) -> bool:
    """Whether Metabase is set up to be filled, and not yet with these definitions.

    What Metabase shows is read from the published files, so a run that changed rows only leaves
    nothing to do here.
    """
    if not settings.metabase_url:
        return False
    note = _note_file(settings)
    return not note.exists() or note.read_text(encoding="utf-8").split("\n")[0] != fingerprint(settings)


TARGET = Target(name="metabase", is_enabled=_is_wanted, publish=publish)


def fingerprint(settings: Settings) -> str:
    """A hash of all that is provisioned, and where."""
    digest = hashlib.sha256(f"{settings.metabase_url}|{settings.metabase_database_file}".encode())
    for folder, pattern in ((PROJECT_DIR / "dbt" / "analyses" / "dashboards", "*/*"), (MARTS_DIR, "**/*.*")):
        for file in sorted(folder.glob(pattern)):
            if file.is_file():
                digest.update(file.read_bytes())
    return digest.hexdigest()


def _note_file(settings: Settings) -> Path:
    return settings.data_dir / "cache" / "metabase.txt"


def _remember(settings: Settings, run_id: str) -> None:
    make_private_folder(_note_file(settings).parent)
    write_private_file(_note_file(settings), f"{fingerprint(settings)}\n{run_id}\n".encode())


class Client:
    """One Metabase, and the session in it."""

    def __init__(self, url: str) -> None:
        if not re.match(r"https?://", url):
            raise ConfigError("ANALYTICS_METABASE_URL must start with http:// or https://.")
        self._url = url.rstrip("/")
        self.session = ""

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer as JSON. Raises PublishError with the status and never with the body that was sent."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.session:
            headers["X-Metabase-Session"] = self.session
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}{path}", data, headers, method=method)  # noqa: S310 see __init__
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                content = answer.read()
        except urllib.error.HTTPError as error:
            raise PublishError(f"metabase: {method} {path} was answered {error.code}.{_reason(error)}") from error
        except OSError as error:
            raise PublishError(
                f"metabase: {self._url} cannot be reached ({type(error).__name__}). Start it."
            ) from error
        return json.loads(content) if content else None

    def wait_until_healthy(self, timeout_s: float) -> None:
        """Wait for a Metabase that is still starting, which takes a minute the first time."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if self.call("GET", "/api/health").get("status") == "ok":
                    return
            except PublishError:
                if time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                raise PublishError(f"metabase: {self._url} is not healthy after {timeout_s:.0f} s. See its log.")
            time.sleep(1.0)


def _reason(error: urllib.error.HTTPError) -> str:
    """The names of the fields that Metabase objects to; their values may be secrets."""
    try:
        answer = json.loads(error.read())
    except (ValueError, OSError):
        return ""
    fields = answer.get("errors") if isinstance(answer, dict) else None
    return f" It objects to: {', '.join(sorted(fields))}." if isinstance(fields, dict) and fields else ""


def log_in(client: Client, settings: Settings) -> None:
    """Take a session, after making the first admin in a Metabase that has none."""
    if not settings.metabase_password:
        raise ConfigError("metabase: set ANALYTICS_METABASE_PASSWORD, the password of its admin.")
    properties = client.call("GET", "/api/session/properties")
    if not properties.get("has-user-setup") and properties.get("setup-token"):
        answer = client.call(
            "POST",
            "/api/setup",
            {
                "token": properties["setup-token"],
                "user": {
                    "email": settings.metabase_user,
                    "password": settings.metabase_password,
                    "first_name": "Analytics",
                    "last_name": "Admin",
                },
                "prefs": {"site_name": DATABASE, "site_locale": "en", "allow_tracking": False},
            },
        )
    else:
        body = {"username": settings.metabase_user, "password": settings.metabase_password}
        answer = client.call("POST", "/api/session", body)
    client.session = answer["id"]


@dataclass(frozen=True)
class TableNotes:
    """What the dbt project says of a gold table: its meaning, its columns' and where its keys point."""

    description: str
    columns: Mapping[str, str]
    foreign_keys: Mapping[str, tuple[str, str]]


def read_catalog(folder: Path) -> dict[str, TableNotes]:
    """Descriptions and foreign keys of every gold table, out of the dbt project's own files."""
    import yaml

    docs = {
        name: " ".join(text.split())
        for file in folder.rglob("*.md")
        for name, text in re.findall(
            r"{%\s*docs (\w+)\s*%}(.*?){%\s*enddocs\s*%}", file.read_text(encoding="utf-8"), re.DOTALL
        )
    }

    def describe(text: str) -> str:
        return " ".join(re.sub(r"{{\s*doc\(\"(\w+)\"\)\s*}}", lambda match: docs.get(match[1], ""), text).split())

    catalog = {}
    for file in sorted(folder.rglob("*.yml")):
        for model in yaml.safe_load(file.read_text(encoding="utf-8")).get("models") or []:
            columns = {column["name"]: describe(column.get("description", "")) for column in model.get("columns", [])}
            keys = {name: key for test in model.get("data_tests", []) for name, key in _foreign_keys(test)}
            catalog[model["name"]] = TableNotes(describe(model.get("description", "")), columns, keys)
    return catalog


def _foreign_keys(test: Any) -> Iterator[tuple[str, tuple[str, str]]]:
    contract = test.get("gold_contract", {}) if isinstance(test, dict) else {}
    for column, target in contract.get("arguments", {}).get("foreign_keys", {}).items():
        match = re.search(r"ref\('(\w+)'\)", str(target.get("to", "")))
        if match:
            yield column, (match[1], target["field"])


class Provisioner:
    """Brings one Metabase to what the cards say. Each step finds what is there and changes what differs."""

    def __init__(self, client: Client, database_file: str) -> None:
        self._client = client
        self._database_file = database_file

    def provision(self, dashboards: Sequence[Dashboard], catalog: Mapping[str, TableNotes]) -> dict[str, int]:
        """Everything, in order. Returns how many of each there are."""
        database_id = self.ensure_database()
        tables = self.sync(database_id, set(catalog))
        self.describe(tables, catalog)
        collection_id = self.ensure_collection()
        items = self._items(collection_id)
        projects_id = self.ensure_card(items, _projects_card(database_id, collection_id))
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
                raise PublishError("metabase: the tables of gold do not appear. Is the published folder mounted?")
            time.sleep(0.5)

    def describe(self, tables: Mapping[str, dict[str, Any]], catalog: Mapping[str, TableNotes]) -> None:
        """Foreign keys, which the driver does not read, and descriptions where nobody has written one."""
        fields = {(name, field["name"]): field for name, table in tables.items() for field in table["fields"]}
        for name, notes in catalog.items():
            if name not in tables:
                continue
            if notes.description and not tables[name].get("description"):
                self._client.call("PUT", f"/api/table/{tables[name]['id']}", {"description": notes.description})
            for column, text in notes.columns.items():
                field = fields.get((name, column))
                if field is None:
                    continue
                change: dict[str, Any] = {}
                if text and not field.get("description"):
                    change["description"] = text
                target = fields.get(notes.foreign_keys.get(column, ("", "")))
                if target and field.get("fk_target_field_id") != target["id"]:
                    change |= {"semantic_type": "type/FK", "fk_target_field_id": target["id"]}
                if change:
                    self._client.call("PUT", f"/api/field/{field['id']}", change)

    def ensure_collection(self) -> int:
        """The folder that holds what we make."""
        mark = _mark("collection")
        for collection in self._client.call("GET", "/api/collection"):
            if mark in (collection.get("description") or "") and not collection.get("archived"):
                return int(collection["id"])
        body = {"name": COLLECTION, "description": f"Dashboards over the published marts. {mark}"}
        return int(self._client.call("POST", "/api/collection", body)["id"])

    def _items(self, collection_id: int) -> dict[tuple[str, str], int]:
        """Our own cards and dashboards by kind and mark."""
        path = f"/api/collection/{collection_id}/items?models=card&models=dashboard&limit=2000"
        found = {}
        for item in self._client.call("GET", path)["data"]:
            match = re.search(r"\[made by analytics: ([\w/]+)\]", item.get("description") or "")
            if match:
                found[item["model"], match[1]] = int(item["id"])
        return found

    def ensure_card(self, items: Mapping[tuple[str, str], int], payload: Mapping[str, Any]) -> int:
        """A question as wanted: made, changed if it differs, or left alone."""
        mark = re.search(r"\[made by analytics: ([\w/]+)\]", payload["description"])
        card_id = items.get(("card", mark[1])) if mark else None
        if card_id is None:
            return int(self._client.call("POST", "/api/card", payload)["id"])
        there = self._client.call("GET", f"/api/card/{card_id}")
        changed = {name: value for name, value in payload.items() if there.get(name) != value}
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
        head = {"name": dashboard.title, "description": f"{dashboard.description} {_mark(dashboard.slug)}"}
        dashboard_id = items.get(("dashboard", dashboard.slug))
        if dashboard_id is None:
            body = {**head, "collection_id": collection_id}
            dashboard_id = int(self._client.call("POST", "/api/dashboard", body)["id"])
        there = self._client.call("GET", f"/api/dashboard/{dashboard_id}")
        ours = {card_id for _, card_id in cards}
        by_card = {entry.get("card_id"): entry for entry in there["dashcards"]}
        dashcards = [
            _dashcard(card, card_id, by_card.get(card_id, {}).get("id", -1 - index))
            for index, (card, card_id) in enumerate(cards)
        ]
        kept = [_kept(entry) for entry in there["dashcards"] if entry.get("card_id") not in ours]
        parameters = [_parameter(entry, projects_id) for entry in FILTERS]
        names = {entry["id"] for entry in parameters}
        parameters += [entry for entry in there.get("parameters") or [] if entry["id"] not in names]
        body = {**head, "dashcards": [*dashcards, *kept], "parameters": parameters}
        if any(entry.get("dashboard_tab_id") for entry in kept):
            body["tabs"] = [{"id": tab["id"], "name": tab["name"]} for tab in there.get("tabs") or []]
        is_same = (
            all(there.get(name) == head[name] for name in head)
            and [_kept(entry) for entry in there["dashcards"]] == body["dashcards"]
            and there.get("parameters") == parameters
        )
        if not is_same:
            self._client.call("PUT", f"/api/dashboard/{dashboard_id}", body)
        return dashboard_id


def _mark(name: str) -> str:
    return f"[made by analytics: {name}]"


def filters_of(card: Card) -> list[Filter]:
    """The filters that a card takes: those whose column its query gives."""
    return [] if card.unfiltered else [entry for entry in FILTERS if has_column(card.query, entry.column)]


def card_payload(slug: str, card: Card, database_id: int, collection_id: int) -> dict[str, Any]:
    """A question as Metabase takes it."""
    filters = filters_of(card)
    name = f"{slug}/{card.name}"
    return {
        "name": card.title,
        "description": f"{card.description} {_mark(name)}",
        "collection_id": collection_id,
        "display": _DISPLAYS.get(card.chart, card.chart),
        "dataset_query": {
            "type": "native",
            "database": database_id,
            "native": {
                "query": card_sql(card, [entry.clause for entry in filters]),
                "template-tags": {
                    entry.slug: {
                        "id": str(uuid.uuid5(_NAMESPACE, f"{name}/{entry.slug}")),
                        "name": entry.slug,
                        "display-name": entry.name,
                        "type": entry.kind,
                        "required": False,
                    }
                    for entry in filters
                },
            },
        },
        "visualization_settings": _visualization(card),
    }


def _projects_card(database_id: int, collection_id: int) -> dict[str, Any]:
    sql = "select project_path, last_active_at\nfrom gold.dim_projects\norder by last_active_at desc, project_path"
    return {
        "name": "Projects to filter by",
        "description": f"Fills the project filter of the dashboards. {_mark('projects')}",
        "collection_id": collection_id,
        "display": "table",
        "dataset_query": {
            "type": "native",
            "database": database_id,
            "native": {"query": sql, "template-tags": {}},
        },
        "visualization_settings": {},
    }


def _visualization(card: Card) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    columns = {f'["name","{name}"]': form for name in _shown(card) if (form := _format(name))}
    if columns:
        settings["column_settings"] = columns
    if card.chart in ("bar", "line", "area", "row"):
        settings |= {"graph.dimensions": list(card.dimensions), "graph.metrics": list(card.series)}
        settings["graph.y_axis.title_text"] = card.unit
        if card.chart != "line" and (len(card.series) > 1 or len(card.dimensions) > 1):
            settings["stackable.stack_type"] = None if card.chart == "area" else "stacked"
    elif card.chart == "number":
        settings["scalar.field"] = card.series[0]
    elif card.chart == "heatmap":
        # Metabase draws no heat map: a pivoted table with a colour per cell is its nearest.
        settings |= {
            "table.pivot": True,
            "table.pivot_column": card.dimensions[0],
            "table.cell_column": card.series[0],
            "table.column_formatting": [
                {"columns": [card.series[0]], "type": "range", "colors": ["#ffffff", "#3563c9"], "min_type": "all"}
            ],
        }
    return settings


def _shown(card: Card) -> list[str]:
    return [measure.name for measure in card.measures]


def _format(name: str) -> dict[str, Any]:
    if name.endswith("_usd"):
        return {"number_style": "currency", "currency": "USD"}
    if name.endswith("_ratio"):
        return {"number_style": "percent", "decimals": 1}
    return {"suffix": " ms", "decimals": 0} if name.endswith("_ms") else {}


def _parameter(entry: Filter, projects_id: int) -> dict[str, Any]:
    parameter: dict[str, Any] = {
        "id": entry.slug,
        "name": entry.name,
        "slug": entry.slug,
        "type": entry.widget,
        "sectionId": entry.widget.split("/")[0],
    }
    if entry.slug == "project":
        parameter |= {
            "values_source_type": "card",
            "values_source_config": {
                "card_id": projects_id,
                "value_field": ["field", PROJECT, {"base-type": "type/Text"}],
            },
        }
    return parameter


def _dashcard(card: Card, card_id: int, dashcard_id: int) -> dict[str, Any]:
    return {
        "id": dashcard_id,
        "card_id": card_id,
        "row": card.place.row,
        "col": card.place.column,
        "size_x": card.place.width,
        "size_y": card.place.height,
        "visualization_settings": {},
        "parameter_mappings": [
            {"parameter_id": entry.slug, "card_id": card_id, "target": ["variable", ["template-tag", entry.slug]]}
            for entry in filters_of(card)
        ],
    }


def _kept(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the API takes back of a card on a dashboard."""
    names = ("id", "card_id", "row", "col", "size_x", "size_y", "visualization_settings", "parameter_mappings")
    kept = {name: entry.get(name) for name in names}
    for name in ("dashboard_tab_id", "series", "action_id"):
        if entry.get(name):
            kept[name] = entry[name]
    return kept
