"""Cards and dashboards as the bodies of requests. Pure: nothing here knows what is there already."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analytics.cards import DATE, PROJECT, Card, card_sql, has_column, label

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def mark(name: str) -> str:
    """What tells ours from what people make, in a description."""
    return f"[made by analytics: {name}]"


def marked(description: str | None) -> str:
    """The name in a mark, empty where there is none."""
    match = re.search(r"\[made by analytics: ([\w/]+)\]", description or "")
    return match[1] if match else ""


def filters_of(card: Card) -> list[Filter]:
    """The filters that a card takes: those whose column its query gives."""
    return [] if card.unfiltered else [entry for entry in FILTERS if has_column(card.query, entry.column)]


def card_payload(slug: str, card: Card, database_id: int, collection_id: int) -> dict[str, Any]:
    """A question as Metabase takes it."""
    filters = filters_of(card)
    name = f"{slug}/{card.name}"
    return {
        "name": card.title,
        "description": f"{card.description} {mark(name)}",
        "collection_id": collection_id,
        "display": _DISPLAYS.get(card.chart, card.chart),
        "dataset_query": _native_query(
            database_id,
            card_sql(card, [entry.clause for entry in filters]),
            {
                entry.slug: {
                    "id": str(uuid.uuid5(_NAMESPACE, f"{name}/{entry.slug}")),
                    "name": entry.slug,
                    "display-name": entry.name,
                    "type": entry.kind,
                }
                for entry in filters
            },
        ),
        "visualization_settings": _visualization(card),
    }


def projects_card(database_id: int, collection_id: int) -> dict[str, Any]:
    """The question that fills the project filter."""
    sql = "select project_path, last_active_at\nfrom gold.dim_projects\norder by last_active_at desc, project_path"
    return {
        "name": "Projects to filter by",
        "description": f"Fills the project filter of the dashboards. {mark('projects')}",
        "collection_id": collection_id,
        "display": "table",
        "dataset_query": _native_query(database_id, sql, {}),
        "visualization_settings": {},
    }


def _native_query(database_id: int, sql: str, tags: Mapping[str, Any]) -> dict[str, Any]:
    """SQL in the form that Metabase keeps and gives back; it takes the older `type: native` too, and changes it."""
    stage: dict[str, Any] = {"lib/type": "mbql.stage/native", "native": sql}
    if tags:
        stage["template-tags"] = tags
    return {"lib/type": "mbql/query", "database": database_id, "stages": [stage]}


def _visualization(card: Card) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    settings["column_settings"] = {
        f'["name","{name}"]': {"column_title": label(name), **_format(name)} for name in card.columns
    }
    if card.chart in ("bar", "line", "area", "row"):
        settings |= {"graph.dimensions": list(card.dimensions), "graph.metrics": list(card.series)}
        settings["graph.y_axis.title_text"] = "min" if card.unit == "ms" else card.unit
        settings["series_settings"] = {name: {"title": label(name)} for name in card.series}
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


def _format(name: str) -> dict[str, Any]:
    if name.endswith("_usd"):
        return {"number_style": "currency", "currency": "USD"}
    if name.endswith("_ratio"):
        return {"number_style": "percent", "decimals": 1}
    # Metabase has no unit that changes with the figure.
    return {"scale": 1 / 60000, "suffix": " min", "decimals": 1} if name.endswith("_ms") else {}


def parameter_payload(entry: Filter, projects_id: int) -> dict[str, Any]:
    """A filter of a dashboard."""
    parameter: dict[str, Any] = {
        "id": entry.slug,
        "name": entry.name,
        "slug": entry.slug,
        "type": entry.widget,
        "sectionId": entry.widget.split("/")[0],
        # A variable of SQL takes one value.
        "isMultiSelect": False,
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


def dashcard_payload(card: Card, card_id: int, dashcard_id: int) -> dict[str, Any]:
    """A question in its place, wired to the filters. A negative id makes a new one."""
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


def kept_dashcard(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the API takes back of a card on a dashboard."""
    names = ("id", "card_id", "row", "col", "size_x", "size_y", "visualization_settings", "parameter_mappings")
    kept = {name: entry.get(name) for name in names}
    for name in ("dashboard_tab_id", "series", "action_id", "inline_parameters"):
        if entry.get(name):
            kept[name] = entry[name]
    return kept
