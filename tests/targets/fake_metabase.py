"""A stateful stand-in for Metabase: validates every request against metabase_api.yml and holds to the real rules.

It answers in the shapes that Metabase 63 answers in: with the keys of its own that it adds, and with queries in the
form it keeps them in, whichever form they came in. Given a DuckDB connection with gold in it, it runs the SQL of
questions. Its second judge is Metabase's own command-line client (test_metabase_client.py).
"""

from __future__ import annotations

import copy
import json
import re
import threading
from decimal import Decimal
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from openapi_core import OpenAPI
from openapi_core.testing import MockRequest

VERSION = "v0.63.1"
SPECIFICATION = Path(__file__).with_name("metabase_api.yml")
PUBLIC = ("/api/health", "/api/session/properties", "/api/setup", "/api/session")


class Refusal(Exception):
    def __init__(self, status: int, **errors: str) -> None:
        super().__init__(status)
        self.status = status
        self.errors = errors


def entity_id(key: int) -> str:
    """An id of 21 letters, as Metabase gives besides the number."""
    return f"entity{key:015d}"


def kept_query(query: dict[str, Any]) -> dict[str, Any]:
    """A native query as Metabase keeps it, out of that form or of the older one."""
    if query.get("type") != "native":
        return query
    stage = {
        "lib/type": "mbql.stage/native",
        **{("native" if k == "query" else k): v for k, v in query["native"].items()},
    }
    return {"lib/type": "mbql/query", "database": query["database"], "stages": [stage]}


def with_values(sql: str, values: dict[str, Any]) -> str:
    """SQL whose variables are numbered parameters, and whose optional clauses are there if they have a value."""
    order = list(values)

    def clause(match: re.Match[str]) -> str:
        return match[1] if set(re.findall(r"\{\{(\w+)\}\}", match[1])) <= set(order) else ""

    chosen = re.sub(r"\[\[(.*?)\]\]", clause, sql, flags=re.DOTALL)
    return re.sub(r"\{\{(\w+)\}\}", lambda match: f"${order.index(match[1]) + 1}", chosen)


def as_number(value: Any) -> float | str:
    return float(value) if isinstance(value, Decimal) else str(value)


@cache
def read_specification() -> OpenAPI:
    return OpenAPI.from_file_path(str(SPECIFICATION))


class FakeMetabase:
    """Its state, and a server on loopback while it is entered as a context."""

    def __init__(self, tables: dict[str, list[str]], gold: Any = None) -> None:
        self.token = "setup-token"
        self.admin: dict[str, str] | None = None
        self.sessions: set[str] = set()
        self.api_keys: set[str] = set()
        self.databases: dict[int, dict[str, Any]] = {}
        self.collections: dict[int, dict[str, Any]] = {}
        self.cards: dict[int, dict[str, Any]] = {}
        self.dashboards: dict[int, dict[str, Any]] = {}
        self.tables: dict[int, dict[str, Any]] = {}
        self.fields: dict[int, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.unhealthy_for = 1
        self.sync_delay = 1
        self._tables = tables
        self._gold = gold
        self._running = threading.Lock()
        self._last_id = 0

    def __enter__(self) -> Self:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else b""
                try:
                    status, answer = 200, fake.handle(self.command, self.path, dict(self.headers), body)
                except Refusal as refusal:
                    status, answer = refusal.status, {"errors": refusal.errors}
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def forget_all(self) -> None:
        """An empty database again."""
        self.admin = None
        for kept in (self.databases, self.collections, self.cards, self.dashboards, self.tables, self.fields):
            kept.clear()

    def new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def handle(self, method: str, target: str, headers: dict[str, str], content: bytes) -> Any:
        url = urlsplit(target)
        self.calls.append((method, url.path))
        self._validate(method, url, content)
        sent = {name.lower(): value for name, value in headers.items()}
        is_known = sent.get("x-metabase-session") in self.sessions or sent.get("x-api-key") in self.api_keys
        if url.path not in PUBLIC and not is_known:
            raise Refusal(401)
        body = json.loads(content) if content else {}
        parts = [part for part in url.path.split("/") if part][1:]
        name = f"{method.lower()}_" + "_".join("id" if part.isdigit() else part for part in parts)
        ids = [int(part) for part in parts if part.isdigit()]
        handler = getattr(self, name.replace("-", "_"), None)
        if handler is None:
            raise Refusal(404)
        return copy.deepcopy(handler(*ids, body))

    def _validate(self, method: str, url: Any, content: bytes) -> None:
        request = MockRequest(
            "http://localhost",
            method.lower(),
            url.path,
            args=dict(parse_qs(url.query)),
            data=content or None,
            content_type="application/json",
        )
        try:
            read_specification().validate_request(request)
        except Exception as error:
            reason = f"{error} {getattr(error, '__cause__', '')} {getattr(error.__cause__, 'schema_errors', '')}"
            raise Refusal(400, specification=reason[:500]) from error

    def _find(self, kind: dict[int, dict[str, Any]], key: int) -> dict[str, Any]:
        if key not in kind:
            raise Refusal(404)
        return kind[key]

    def get_health(self, _: Any) -> Any:
        if self.unhealthy_for:
            self.unhealthy_for -= 1
            raise Refusal(503)
        return {"status": "ok"}

    def get_session_properties(self, _: Any) -> Any:
        version = {"tag": VERSION, "date": "2026-09-01", "branch": "release", "hash": "0000000"}
        return {"setup-token": self.token, "has-user-setup": self.admin is not None, "version": version}

    def get_user_current(self, _: Any) -> Any:
        return {"id": 1, "email": (self.admin or {}).get("email"), "is_superuser": True}

    def post_setup(self, body: Any) -> Any:
        if self.admin is not None:
            raise Refusal(403)
        if body["token"] != self.token:
            raise Refusal(400, token="Token does not match the setup token.")
        self.admin = body["user"]
        return self._session()

    def post_session(self, body: Any) -> Any:
        admin = self.admin or {}
        if (body["username"], body["password"]) != (admin.get("email"), admin.get("password")):
            raise Refusal(401, password="did not match stored password")
        return self._session()

    def _session(self) -> Any:
        session = f"session-{self.new_id()}"
        self.sessions.add(session)
        return {"id": session}

    def get_database(self, _: Any) -> Any:
        return {"data": list(self.databases.values()), "total": len(self.databases)}

    def post_database(self, body: Any) -> Any:
        if body["engine"] != "duckdb":
            raise Refusal(400, engine="no such driver")
        key = self.new_id()
        self.databases[key] = {
            "id": key,
            "description": None,
            "initial_sync_status": "complete",
            "timezone": "UTC",
            "is_sample": False,
            **body,
        }
        return self.databases[key]

    def get_database_id(self, key: int, _: Any) -> Any:
        return self._find(self.databases, key)

    def put_database_id(self, key: int, body: Any) -> Any:
        self._find(self.databases, key).update(body)
        return self.databases[key]

    def post_database_id_sync_schema(self, key: int, _: Any) -> Any:
        self._find(self.databases, key)
        known = {table["name"] for table in self.tables.values()}
        for name, columns in self._tables.items():
            if name in known:
                continue
            table = self.new_id()
            self.tables[table] = {
                "id": table,
                "name": name,
                "display_name": name.replace("_", " ").title(),
                "schema": "gold",
                "description": None,
                "db_id": key,
                "active": True,
                "entity_type": "entity/GenericTable",
                "visibility_type": None,
            }
            for column in columns:
                field = self.new_id()
                self.fields[field] = {
                    "id": field,
                    "table_id": table,
                    "name": column,
                    "display_name": column.replace("_", " ").title(),
                    "base_type": "type/Text",
                    "database_type": "VARCHAR",
                    "active": True,
                    "description": None,
                    "semantic_type": None,
                    "fk_target_field_id": None,
                }
        return {"status": "ok"}

    def get_database_id_metadata(self, key: int, _: Any) -> Any:
        database = self._find(self.databases, key)
        if self.sync_delay:
            self.sync_delay -= 1
            return {**database, "tables": []}
        return {**database, "tables": [self._with_fields(table) for table in self.tables.values()]}

    def get_table_id_query_metadata(self, key: int, _: Any) -> Any:
        return self._with_fields(self._find(self.tables, key))

    def _with_fields(self, table: dict[str, Any]) -> dict[str, Any]:
        return {**table, "fields": [field for field in self.fields.values() if field["table_id"] == table["id"]]}

    def put_table_id(self, key: int, body: Any) -> Any:
        self._find(self.tables, key).update(body)
        return self.tables[key]

    def put_field_id(self, key: int, body: Any) -> Any:
        target = body.get("fk_target_field_id")
        if target is not None and (target not in self.fields or body.get("semantic_type") != "type/FK"):
            raise Refusal(400, fk_target_field_id="is no field, or the field is no foreign key")
        self._find(self.fields, key).update(body)
        return self.fields[key]

    def get_collection(self, _: Any) -> Any:
        return [{"id": "root", "name": "Our analytics"}, *self.collections.values()]

    def post_collection(self, body: Any) -> Any:
        key = self.new_id()
        own = {"archived": False, "location": "/", "type": None, "authority_level": None, "namespace": None}
        self.collections[key] = {"id": key, "entity_id": entity_id(key), "description": None, **own, **body}
        return self.collections[key]

    def get_collection_id_items(self, key: int, _: Any) -> Any:
        self._find(self.collections, key)
        items = [
            {
                "id": entry["id"],
                "name": entry["name"],
                "description": entry["description"],
                "model": model,
                "collection_id": key,
                "archived": entry["archived"],
                "entity_id": entry["entity_id"],
            }
            for model, kind in (("card", self.cards), ("dashboard", self.dashboards))
            for entry in kind.values()
            if entry["collection_id"] == key
        ]
        return {"data": items, "total": len(items)}

    def _check_card(self, card: Any) -> None:
        query = card["dataset_query"] = kept_query(card["dataset_query"])
        if query["database"] not in self.databases:
            raise Refusal(404)
        (stage,) = query["stages"]
        used = set(re.findall(r"\{\{\s*([\w-]+)\s*\}\}", stage["native"]))
        tags = stage.get("template-tags", {})
        if used != set(tags) or any(tag["name"] != name for name, tag in tags.items()):
            raise Refusal(400, dataset_query="template tags and the query's variables differ")
        if card["collection_id"] is not None:
            self._find(self.collections, card["collection_id"])

    def post_card(self, body: Any) -> Any:
        key = self.new_id()
        card = {
            "id": key,
            "description": None,
            "collection_id": None,
            "archived": False,
            "type": "question",
            "query_type": "native",
            "database_id": body["dataset_query"]["database"],
            "table_id": None,
            "creator_id": 1,
            "entity_id": entity_id(key),
            "parameters": [],
            **body,
        }
        self._check_card(card)
        self.cards[key] = card
        return card

    def get_card(self, _: Any) -> Any:
        return list(self.cards.values())

    def get_card_id(self, key: int, _: Any) -> Any:
        return self._find(self.cards, key)

    def put_card_id(self, key: int, body: Any) -> Any:
        card = {**self._find(self.cards, key), **body}
        self._check_card(card)
        self.cards[key] = card
        return card

    def post_card_id_query(self, key: int, body: Any) -> Any:
        (stage,) = self._find(self.cards, key)["dataset_query"]["stages"]
        values = {}
        for parameter in body.get("parameters", []):
            kind, (_, tag) = parameter["target"]
            if kind != "variable" or tag not in stage.get("template-tags", {}):
                raise Refusal(400, parameters="points at nothing")
            values[tag] = parameter["value"]
        with self._running:
            result = self._gold.execute(with_values(stage["native"], values), list(values.values()) or None)
            names = [column[0] for column in result.description]
            rows = json.loads(json.dumps(result.fetchall(), default=as_number))
        columns = [{"name": name, "display_name": name, "base_type": "type/*"} for name in names]
        return {"status": "completed", "row_count": len(rows), "data": {"rows": rows, "cols": columns}}

    def post_dashboard(self, body: Any) -> Any:
        key = self.new_id()
        self.dashboards[key] = {
            "id": key,
            "description": None,
            "collection_id": None,
            "archived": False,
            "creator_id": 1,
            "entity_id": entity_id(key),
            "width": "fixed",
            "auto_apply_filters": True,
            "enable_embedding": False,
            "public_uuid": None,
            "cache_ttl": None,
            "dashcards": [],
            "tabs": [],
            "parameters": [],
            **body,
        }
        return self.dashboards[key]

    def get_dashboard(self, _: Any) -> Any:
        unlisted = ("dashcards", "tabs")
        return [
            {name: value for name, value in entry.items() if name not in unlisted} for entry in self.dashboards.values()
        ]

    def get_dashboard_id(self, key: int, _: Any) -> Any:
        return self._find(self.dashboards, key)

    def put_dashboard_id(self, key: int, body: Any) -> Any:
        dashboard = self._find(self.dashboards, key)
        parameters = {entry["id"] for entry in body.get("parameters", dashboard["parameters"])}
        if "dashcards" in body:
            there = {entry["id"] for entry in dashboard["dashcards"]}
            kept = []
            for entry in body["dashcards"]:
                if entry["id"] >= 0 and entry["id"] not in there:
                    raise Refusal(400, dashcards="a new card needs a negative id")
                if entry["col"] + entry["size_x"] > 24:
                    raise Refusal(400, dashcards="stands out of the grid")
                if entry.get("card_id") is not None:
                    self._find(self.cards, entry["card_id"])
                for mapping in entry.get("parameter_mappings", []):
                    self._check_mapping(mapping, parameters)
                new_id = entry["id"] if entry["id"] >= 0 else self.new_id()
                own = {"dashboard_id": key, "dashboard_tab_id": None, "entity_id": None, "inline_parameters": None}
                kept.append({**own, **entry, "id": new_id})
            body["dashcards"] = kept  # whoever is not sent is gone
        for entry in body.get("parameters", []):
            source = entry.get("values_source_config", {}).get("card_id")
            if source is not None:
                self._find(self.cards, source)
        dashboard.update(body)
        return dashboard

    def _check_mapping(self, mapping: Any, parameters: set[str]) -> None:
        kind, (_, tag) = mapping["target"]
        (stage,) = self._find(self.cards, mapping["card_id"])["dataset_query"]["stages"]
        tags = stage.get("template-tags", {})
        if mapping["parameter_id"] not in parameters or kind != "variable" or tag not in tags:
            raise Refusal(400, parameter_mappings="points at nothing")
