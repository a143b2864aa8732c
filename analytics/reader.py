"""Reading what is published: one query, one version, and the forms it is printed in."""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import re
import unicodedata
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from analytics.config import Settings
from analytics.errors import ConfigError, unwritable
from analytics.targets.snapshot import gold_tables, open_current
from analytics.warehouse import sql_identifier

if TYPE_CHECKING:
    import duckdb

Form = Literal["table", "json", "csv", "parquet"]
EXPORTED_FORMS: tuple[Form, ...] = ("csv", "json", "parquet")
MAX_CELL_CHARS = 60
# A spreadsheet takes a cell that begins so for a formula; some take the wide forms too.
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n")
# DuckDB's own suggestion is one of its system tables where no other is near.
_UNKNOWN_TABLE = re.compile(r'Catalog Error: Table with name (\S+) does not exist!\nDid you mean "[^"]*"\?')


def list_tables(settings: Settings) -> pa.Table:
    """The published tables, a row each."""
    return pa.table({"table_name": pa.array(published_tables(settings), pa.string())})


def published_tables(settings: Settings) -> list[str]:
    """Names of the published tables."""
    with open_current(settings) as connection:
        return gold_tables(connection)


def read_query(settings: Settings, sql: str) -> pa.Table:
    """The rows of one statement over one published version. Of two columns of one name the second is `name_1`.

    Raises ConfigError for SQL that does not run, that is more than one question, or that would write a file.
    """
    import duckdb

    with open_current(settings) as connection:
        try:
            _refuse_what_is_no_question(connection, sql)
            table = connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            told = _UNKNOWN_TABLE.sub(lambda match: _suggest(match[1], gold_tables(connection)), str(error).strip())
            raise ConfigError(f"query: {told}") from error
    return table.rename_columns(_distinct(table.column_names))


def _refuse_what_is_no_question(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    import duckdb

    kinds = duckdb.StatementType
    statements = connection.extract_statements(sql)
    *before, last = [statement.type for statement in statements] or [kinds.INVALID]
    if last == kinds.MULTI:  # how DuckDB 2 tells of what has a PIVOT in it, be it a question or a file to write
        connection.extract_statements(f"from ({statements[-1].query.strip().rstrip(';')}\n)")
        last = kinds.SELECT
    # DuckDB 1 writes PIVOT as a type to create and a question.
    if last not in (kinds.SELECT, kinds.EXPLAIN, kinds.CALL) or not {*before} <= {kinds.CREATE, kinds.SET}:
        raise ConfigError(
            "query: give one statement that reads rows, such as a SELECT. --csv and --parquet write files."
        )


def _distinct(names: list[str]) -> list[str]:
    """The names, each once: a number tells a repeated one from the first."""
    found: list[str] = []
    for name in names:
        candidates = (name if number == 0 else f"{name}_{number}" for number in count())
        found.append(next(candidate for candidate in candidates if candidate not in found))
    return found


def read_table(settings: Settings, name: str, *, limit: int | None = None) -> pa.Table:
    """The rows of a published table. Raises ConfigError for an unknown name, with those like it."""
    tables = published_tables(settings)
    table = name.removeprefix("gold.")
    if table not in tables:
        raise ConfigError(_suggest(name, tables))
    bound = "" if limit is None else f" limit {limit}"
    return read_query(settings, f"select * from gold.{sql_identifier(table)}{bound}")


def _suggest(name: str, tables: list[str]) -> str:
    close = difflib.get_close_matches(name.removeprefix("gold."), tables)
    hint = f"Did you mean {' or '.join(close)}?" if close else "`analytics show` lists those there are."
    return f"There is no table {name!r}. {hint}"


def write_table(table: pa.Table, file: Path, form: Form) -> None:
    """Write rows to a file. Raises ConfigError where it cannot be written."""
    import pyarrow.parquet as pq

    try:
        if form == "parquet":
            pq.write_table(table, file, compression="zstd")
        else:
            file.write_text(render(table, form), encoding="utf-8")
    except OSError as error:
        raise unwritable(file) from error


def render(table: pa.Table, form: Form) -> str:
    """Rows as an aligned table, JSON (one array of objects) or CSV (safe to open in a spreadsheet)."""
    rows = [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]
    if form == "json":
        return json.dumps(rows, indent=2, default=_json_value, ensure_ascii=False) + "\n"
    if form == "csv":
        return _render_csv(table.column_names, rows)
    return _render_table(table, rows)


def _plain(value: Any) -> Any:
    """Decimals without a fraction as integers: DuckDB sums bigints into them."""
    if isinstance(value, Decimal):
        return int(value) if value.as_tuple().exponent == 0 else value
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    return value


def _json_value(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else str(value)


def _render_csv(names: list[str], rows: list[dict[str, Any]]) -> str:
    # With "\n" alone the writer would leave a carriage return unquoted, and a cell would end its row.
    output = io.StringIO()
    writer = csv.writer(_LineFeeds(output), lineterminator="\r\n")
    writer.writerow([_csv_cell(name) for name in names])
    for row in rows:
        writer.writerow([_csv_cell(row[name]) for name in names])
    return output.getvalue()


class _LineFeeds:
    """Takes a csv writer's rows, each with its CRLF, and ends them with a line feed."""

    def __init__(self, output: io.StringIO) -> None:
        self._output = output

    def write(self, row: str) -> int:
        return self._output.write(row.removesuffix("\r\n") + "\n")


def _csv_cell(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")  # no spreadsheet reads 0E-9
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def _render_table(table: pa.Table, rows: list[dict[str, Any]]) -> str:
    is_number = [
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        for kind in table.schema.types
    ]
    cells = [[_cell(row[name]) for name in table.column_names] for row in rows]
    widths = [
        max([_width(name), *(_width(line[index]) for line in cells)]) for index, name in enumerate(table.column_names)
    ]
    lines = [
        "  ".join(_pad(text, width, right=right) for text, width, right in zip(line, widths, is_number, strict=True))
        for line in [table.column_names, ["-" * width for width in widths], *cells]
    ]
    return "".join(line.rstrip() + "\n" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, Decimal):
        return f"{value:,.4f}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1 else f"{value:,.2f}"
    text = "".join(char if char.isprintable() else " " for char in str(value))
    return text if len(text) <= MAX_CELL_CHARS else text[: MAX_CELL_CHARS - 1] + "…"


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
