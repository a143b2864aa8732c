"""The cards of the dashboards: defined once, rendered by every target that shows one.

A dashboard is a folder of `dbt/analyses/dashboards`: `_dashboard.yml`, a dbt exposure whose meta lists
its cards, and the queries. A query is SQL over gold, at the finest grain anyone asks for, with the
columns `activity_date` and `project_path` to filter by. A card is one roll-up of a query: dimensions,
measures, a chart, a place. Several cards, of any dashboard, may roll up the same query.

Everything here is parsing and text; nothing needs dbt or a database.
"""

from __future__ import annotations

import csv
import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analytics.config import DBT_DIR
from analytics.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

DASHBOARDS_DIR = DBT_DIR / "analyses" / "dashboards"
CHARTS = ("number", "bar", "line", "area", "row", "heatmap", "table")
GRID_COLUMNS = 24
DATE = "activity_date"
PROJECT = "project_path"
# What a reader may filter by, where the query has the column.
FILTERS = (DATE, PROJECT, "model_name", "is_sidechain")

_REF = re.compile(r"\{\{\s*ref\(\s*['\"](\w+)['\"]\s*\)\s*\}\}")
_TERM = r"(sum|min|max)\((\w+)\)"
_MEASURE = re.compile(rf"{_TERM}(?:\s*/\s*{_TERM})?")
# What is between a select and its own from, which begins its line as far in.
_SELECTED = re.compile(r"^( *)select\b(.*?)^\1from\b", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Measure:
    """An aggregate of one column, or the ratio of two: the grammar that a page can compute as well as SQL."""

    name: str
    function: str
    column: str
    divisor_function: str = ""
    divisor_column: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads, dividend first."""
        return (self.column, self.divisor_column) if self.divisor_column else (self.column,)

    @property
    def sql(self) -> str:
        """The measure as an expression."""
        top = f"{self.function}({self.column})"
        return f"{top} / nullif({self.divisor_function}({self.divisor_column}), 0)" if self.divisor_column else top


@dataclass(frozen=True)
class Place:
    """Where a card stands on the grid of 24 columns."""

    column: int
    row: int
    width: int
    height: int


@dataclass(frozen=True)
class Query:
    """SQL over gold, its refs resolved, with the columns it gives and the models it reads."""

    name: str
    sql: str
    models: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """One question with its chart."""

    name: str
    title: str
    description: str
    query: Query
    chart: str
    unit: str
    measures: tuple[Measure, ...]
    place: Place
    dimensions: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    label: str = ""
    order_by: str = ""
    limit: int = 0
    grain: str = "day"
    unfiltered: str = ""
    empty: str = ""
    """What to do to have rows, for a card whose query gives none at all."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What it shows, in order."""
        return (*self.dimensions, *(measure.name for measure in self.measures))


@dataclass(frozen=True)
class Dashboard:
    """A dashboard, its cards in reading order, and the models that its exposure declares."""

    slug: str
    title: str
    description: str
    position: int
    cards: tuple[Card, ...]
    exposed_models: tuple[str, ...] = field(default=())


def load_dashboards(folder: Path = DASHBOARDS_DIR) -> tuple[Dashboard, ...]:
    """Every dashboard in its order. Raises ConfigError naming the file and the card that is wrong."""
    queries = {file.stem: parse_query(file.stem, file.read_text(encoding="utf-8")) for file in folder.glob("*/*.sql")}
    dashboards = [
        parse_dashboard(file.parent.name, file.read_text(encoding="utf-8"), queries)
        for file in sorted(folder.glob("*/_dashboard.yml"))
    ]
    return tuple(sorted(dashboards, key=lambda dashboard: (dashboard.position, dashboard.slug)))


def parse_query(name: str, text: str) -> Query:
    """A query with `{{ ref('x') }}` made `gold.x`. Raises ConfigError for any other templating."""
    models = tuple(sorted(set(_REF.findall(text))))
    sql = _REF.sub(r"gold.\1", text).strip().rstrip(";")
    if "{{" in sql or "{%" in sql:
        raise ConfigError(f"cards: {name}.sql may use {{{{ ref() }}}} and no other templating.")
    return Query(name, sql, models)


def parse_dashboard(slug: str, text: str, queries: Mapping[str, Query]) -> Dashboard:
    """A dashboard out of the text of its `_dashboard.yml`."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        (exposure,) = yaml.load(text, Loader=loader)["exposures"]  # noqa: S506 both loaders are safe ones
        meta = exposure["config"]["meta"]
        return Dashboard(
            slug=slug,
            title=exposure["label"],
            description=_one_line(exposure["description"]),
            position=meta["position"],
            cards=tuple(_parse_card(slug, entry, queries) for entry in meta["cards"]),
            exposed_models=tuple(sorted(re.findall(r"ref\('(\w+)'\)", " ".join(exposure["depends_on"])))),
        )
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"cards: {slug}/_dashboard.yml does not parse ({type(error).__name__}: {error}).") from error


def _parse_card(slug: str, entry: Mapping[str, Any], queries: Mapping[str, Query]) -> Card:
    where = f"cards: {slug}/{entry.get('name', '?')}"
    query = queries.get(entry.get("query", entry["name"]))
    if query is None:
        raise ConfigError(f"{where} names a query that has no .sql file.")
    if entry["chart"] not in CHARTS:
        raise ConfigError(f"{where} has an unknown chart. There are: {', '.join(CHARTS)}.")
    measures = tuple(_parse_measure(where, name, text) for name, text in entry["measures"].items())
    names = {measure.name for measure in measures}
    series = tuple(entry.get("series", ()))
    if not names.issuperset(series) or entry.get("label", measures[0].name) not in names:
        raise ConfigError(f"{where} draws a measure that it does not define.")
    place = Place(**entry["place"])
    if place.column + place.width > GRID_COLUMNS:
        raise ConfigError(f"{where} stands out of the grid's {GRID_COLUMNS} columns.")
    return Card(
        name=entry["name"],
        title=entry["title"],
        description=_one_line(entry["description"]),
        query=query,
        chart=entry["chart"],
        unit=entry["unit"],
        measures=measures,
        place=place,
        dimensions=tuple(entry.get("dimensions", ())),
        series=series or ((measures[0].name,) if entry["chart"] != "table" else ()),
        label=entry.get("label", ""),
        order_by=entry.get("order_by", ""),
        limit=int(entry.get("limit", 0)),
        grain=entry.get("grain", "day"),
        unfiltered=_one_line(entry.get("unfiltered", "")),
        empty=_one_line(entry.get("empty", "")),
    )


def _parse_measure(where: str, name: str, text: str) -> Measure:
    match = _MEASURE.fullmatch(text)
    if match is None:
        raise ConfigError(f"{where}: measure {name} must be sum(x), min(x) or max(x), or one of them over another.")
    function, column, divisor_function, divisor_column = match.groups()
    return Measure(name, function, column, divisor_function or "", divisor_column or "")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def card_sql(card: Card, conditions: Sequence[str] = ()) -> str:
    """The card as one statement: its query, filtered and rolled up.

    A condition is text for the where clause, an optional clause of Metabase (`[[and ...]]`) included.
    """
    grouped = [
        f"cast(date_trunc('week', {DATE}) as date) as {DATE}" if name == DATE and card.grain == "week" else name
        for name in card.dimensions
    ]
    columns = [*grouped, *(f"{measure.sql} as {measure.name}" for measure in card.measures)]
    lines = [f"with card_rows as (\n{card.query.sql}\n)", "select", "    " + ",\n    ".join(columns)]
    lines.append("from card_rows")
    lines.append("where 1 = 1")
    lines.extend(f"    {condition}" for condition in conditions)
    if card.dimensions:
        positions = ", ".join(str(position) for position, _ in enumerate(card.dimensions, start=1))
        lines.append(f"group by {positions}")
        lines.append("order by " + (f"{card.order_by} nulls last, 1" if card.order_by else positions))
    if card.limit:
        lines.append(f"limit {card.limit}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Cube:
    """What a page needs of one query to draw every card of it under any filter: additive rows."""

    query: Query
    dimensions: tuple[str, ...]
    measures: tuple[tuple[str, str], ...]
    """Column and the function that merges two rows of it."""


def iter_cubes(dashboards: Sequence[Dashboard]) -> Iterator[Cube]:
    """One cube per query that any card uses."""
    cards: dict[str, list[Card]] = {}
    for dashboard in dashboards:
        for card in dashboard.cards:
            cards.setdefault(card.query.name, []).append(card)
    for users in cards.values():
        query = users[0].query
        wanted = {name for card in users for name in card.dimensions}
        filters = [name for name in FILTERS if name in wanted or has_column(query, name)]
        dimensions = tuple(dict.fromkeys([*filters, *sorted(wanted)]))
        columns = {
            (column, function)
            for card in users
            for measure in card.measures
            for column, function in zip(measure.columns, (measure.function, measure.divisor_function), strict=False)
            if column not in dimensions
        }
        yield Cube(query, dimensions, tuple(sorted(columns)))


@functools.cache
def read_labels(folder: Path = DASHBOARDS_DIR) -> Mapping[str, str]:
    """What people call the columns that cards show, out of `names.csv`."""
    with (folder / "names.csv").open(encoding="utf-8", newline="") as file:
        return {row["column"]: row["label"] for row in csv.DictReader(file)}


def label(name: str) -> str:
    """What people call a column; its own words where nobody said."""
    return read_labels().get(name) or name.replace("_", " ").capitalize()


def has_column(query: Query, name: str) -> bool:
    """Whether a query gives a column, told by the last select that names columns."""
    columns = [match[2] for match in _SELECTED.finditer(query.sql)]
    return re.search(rf"(?:\.|\bas |^\s*){name}\b\s*,?\s*$", "".join(columns[-1:]), re.MULTILINE) is not None
