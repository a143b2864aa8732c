"""Target `report`: every dashboard in one HTML file that needs nothing else.

    <data>/published/report.html    opens from the file system, asks the network nothing

The page holds the cubes of the cards (their rows at the finest grain a filter can ask for, compressed)
and rolls them up itself, so that date range, project, model and thread can be chosen in it. The chart
library comes out of a pinned package once and is kept for all data folders.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import importlib.metadata
import time
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analytics.cards import DATE, PROJECT, Cube, Dashboard, has_column, iter_cubes, label, load_dashboards
from analytics.config import PREPARED_DIR, Settings
from analytics.errors import AnalyticsError, ConfigError
from analytics.files import keep_file, read_kept_file, shown_path, write_private_file
from analytics.sample import is_synthetic
from analytics.targets import Target, TargetResult
from analytics.targets.snapshot import open_current
from analytics.warehouse import fetch_row, sql_literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb
    import pyarrow as pa

REPORT = "report.html"
SELECTION = "report-selection.html"
# A card of single files would need a row per file and day. The page gets the files that lead a month.
FILES_PER_MONTH = 60
_PAGE_DIR = Path(__file__).parent / "page"
# They share one scope, each using what stands before it.
SCRIPTS = ("data.js", "words.js", "charts.js", "cards.js", "page.js")


@dataclasses.dataclass(frozen=True)
class Restriction:
    """What of gold goes into the page: all, or some days, or one project (by path or by name)."""

    since: date | None = None
    until: date | None = None
    project: str = ""

    def __post_init__(self) -> None:
        if self.since and self.until and self.until <= self.since:
            raise ConfigError("report: --until must be a later day than --since; it is the first day left out.")

    @property
    def file_name(self) -> str:
        """What the page is called unless somebody says so: a page of some data never takes the place of the whole."""
        return REPORT if self == Restriction() else SELECTION

    def conditions(self, cube: Cube) -> list[str]:
        """Clauses for a where. A query without projects gives nothing of a single project."""
        clauses = []
        if self.since and DATE in cube.dimensions:
            clauses.append(f"and {DATE} >= date '{self.since.isoformat()}'")
        if self.until and DATE in cube.dimensions:
            clauses.append(f"and {DATE} < date '{self.until.isoformat()}'")
        if self.project:
            path, ending = sql_literal(self.project), sql_literal(f"/{self.project}")
            is_there = f"({PROJECT} = {path} or ends_with({PROJECT}, {ending}))"
            clauses.append(f"and {is_there}" if has_column(cube.query, PROJECT) else "and false")
        return clauses


def publish(settings: Settings, run_id: str) -> TargetResult:
    """Write the report over what is published."""
    started = time.monotonic()
    file = settings.published_dir / REPORT
    size = write_report(settings, file)
    return TargetResult(
        target="report",
        summary=f"{size / 1e6:.1f} MB",
        location=shown_path(file),
        elapsed_ms=round((time.monotonic() - started) * 1000),
        facts={"byte_count": size, "run_id": run_id},
    )


def prepare(_: Settings) -> None:
    """Load what every page needs whatever the data: the cards, the chart library, and Arrow's functions."""
    import pyarrow.compute  # noqa: F401

    load_dashboards()
    read_library(PREPARED_DIR)


TARGET = Target(name="report", is_enabled=lambda _: True, publish=publish, prepare=prepare)


def write_report(settings: Settings, file: Path, restriction: Restriction | None = None) -> int:
    """Write the page, whole or not at all. Returns its size in bytes; raises AnalyticsError."""
    text = render_page(settings, restriction or Restriction())
    write_private_file(file, text)
    return len(text)


def render_page(settings: Settings, restriction: Restriction) -> bytes:
    """The whole page as bytes."""
    dashboards = load_dashboards()
    with open_current(settings) as connection:
        if restriction.project:
            _check_project(connection, restriction.project)
        cubes = {cube.query.name: read_cube(connection, cube, restriction) for cube in iter_cubes(dashboards)}
        if restriction != Restriction() and not any(cube["row_count"] for cube in cubes.values()):
            raise ConfigError("report: nothing is published of these days.")
        page = _describe_page(connection, settings)
    model = {
        "page": page,
        "names": {name: label(name) for dashboard in dashboards for card in dashboard.cards for name in card.columns},
        "dashboards": [_as_json(dashboard) for dashboard in dashboards],
        "cubes": cubes,
    }
    parts = {
        "css": (_PAGE_DIR / "page.css").read_bytes(),
        "script": b"\n".join((_PAGE_DIR / name).read_bytes() for name in SCRIPTS),
        "data": pack(to_json(model)),
        "library": read_library(PREPARED_DIR),
    }
    page_text = (_PAGE_DIR / "page.html").read_bytes()
    for name, content in parts.items():
        page_text = page_text.replace(b"{{ %s }}" % name.encode(), content, 1)
    return page_text


def _check_project(connection: duckdb.DuckDBPyConnection, project: str) -> None:
    paths = connection.execute("select project_path from gold.dim_projects").fetchall()
    if not any(path == project or path.endswith(f"/{project}") for (path,) in paths):
        raise ConfigError(
            f"report: no project is called {project}. "
            'See: analytics query "select project_name, project_path from dim_projects"'
        )


def pack(content: bytes) -> bytes:
    """Compressed and in letters that mean nothing to HTML, so that no name in the data can end a script."""
    return base64.b64encode(gzip.compress(content, compresslevel=4, mtime=0))


def to_json(value: Any) -> bytes:
    """JSON, numpy arrays as lists."""
    import orjson

    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def read_library(folder: Path) -> bytes:
    """The chart library, packed. Making it takes 1.3 s, so it is kept in the folder, if that can be written."""
    version = importlib.metadata.version("vl-convert-python")
    kept = folder / f"chart-library-{version}"
    packed = read_kept_file(kept)
    if packed is not None:
        return packed
    import vl_convert

    packed = pack(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").encode())
    with suppress(OSError, AnalyticsError):
        keep_file(kept, packed)
    return packed


def read_cube(connection: duckdb.DuckDBPyConnection, cube: Cube, restriction: Restriction) -> dict[str, Any]:
    """The rows of a cube by column: strings as indexes, days as day numbers, money in whole nano-dollars."""
    table = connection.sql(_page_sql(cube, restriction)).to_arrow_table()
    columns = {name: _encode(table.column(name)) for name in table.column_names}
    note = (
        f"The page holds the {FILES_PER_MONTH} most-edited files of each month."
        if "file_path" in cube.dimensions
        else ""
    )
    return {"name": cube.query.name, "row_count": table.num_rows, "columns": columns, "note": note}


def _page_sql(cube: Cube, restriction: Restriction) -> str:
    measures = []
    for column, function in cube.measures:
        value = f"{function}({column})"
        # Whole numbers, so that the page's sums are those of the database to the last digit.
        exact = f"cast({value} * 1000000000 as bigint)" if column.endswith("_usd") else value
        measures.append(f'{exact} as "{function}:{column}"')
    rows = [f"with card_rows as (\n{cube.query.sql}\n)"]
    source = "card_rows"
    if "file_path" in cube.dimensions:
        rows.append(  # every name in it is ours
            f""", leading_files as (
    select distinct file_path from (
        select file_path, row_number() over (
            partition by date_trunc('month', {DATE}) order by sum(edit_count) desc, file_path asc
        ) as place
        from card_rows group by file_path, date_trunc('month', {DATE})
    ) where place <= {FILES_PER_MONTH}
)"""
        )
        source = "card_rows semi join leading_files using (file_path)"
    rows.append("select " + ", ".join([*cube.dimensions, *measures]))
    rows.append(f"from {source} where 1 = 1")
    rows.extend(restriction.conditions(cube))
    rows.append("group by all order by all")
    return "\n".join(rows)


def _encode(column: pa.ChunkedArray) -> dict[str, Any]:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        encoded = column.combine_chunks().dictionary_encode()
        return {"values": encoded.dictionary.to_pylist(), "data": _numbers(encoded.indices)}
    if pa.types.is_date(kind):
        return {"data": _numbers(column.cast(pa.int32()))}
    if pa.types.is_timestamp(kind):
        return {"data": _numbers(column.cast(pa.timestamp("ms")).cast(pa.int64()))}
    if pa.types.is_boolean(kind):
        return {"data": _numbers(column.cast(pa.int8()))}
    if pa.types.is_decimal(kind):
        is_whole = kind.scale == 0
        return {"data": _numbers(column.cast(pa.int64() if is_whole else pa.float64()))}
    return {"data": _numbers(column)}


def _numbers(column: pa.Array | pa.ChunkedArray) -> Any:
    """Numbers as orjson takes them. Not by to_numpy, which imports pandas and takes 0.2 s for it."""
    import numpy as np
    import pyarrow as pa

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if array.null_count or not len(array):
        return array.to_pylist()
    kind = f"{'f' if pa.types.is_floating(array.type) else 'i'}{array.type.bit_width // 8}"
    return np.frombuffer(array.buffers()[1], dtype=kind)[array.offset : array.offset + len(array)]


def _as_json(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "slug": dashboard.slug,
        "title": dashboard.title,
        "description": dashboard.description,
        "cards": [{**dataclasses.asdict(card), "query": card.query.name} for card in dashboard.cards],
    }


def _describe_page(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Mapping[str, Any]:
    run_id, published_at = _one_row(connection, "select run_id, published_at from gold.published_snapshot")
    # What a clock that is ahead wrote is newer than all the others and tells nothing of them.
    (newest_at,) = _one_row(
        connection,
        """
        select max(occurred_at) from (
            select occurred_at from gold.fct_messages
            union all select occurred_at from gold.fct_api_requests
            union all select occurred_at from gold.fct_hook_events
        ) where occurred_at <= (select published_at from gold.published_snapshot)
        """,
    )
    return {
        "run_id": run_id,
        "published_at": _minute(published_at),
        "newest_at": _minute(newest_at),
        "timezone": settings.timezone.removeprefix("Etc/"),
        "is_synthetic": is_synthetic(settings),
    }


def _one_row(connection: duckdb.DuckDBPyConnection, sql: str) -> Sequence[Any]:
    return fetch_row(connection, sql) or (None, None)


def _minute(instant: datetime | None) -> str:
    return "" if instant is None else instant.replace(tzinfo=UTC).strftime("%Y-%m-%d %H:%M")
