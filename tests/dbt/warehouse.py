"""A warehouse built by the real dbt project from rows that a test writes by hand.

`make_line` fills the boring columns from the contract, `Warehouse` loads lines the way the loader
promises to (one row per record and day, `raw._dirty_dates`, the plan of what to rebuild) and runs dbt
in this process.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from analytics.contracts import load_contract

DBT_DIR = Path(__file__).parents[2] / "dbt"
SCHEMA = load_contract("conversations").warehouse_schema
PRICE_COLUMNS = (DBT_DIR / "seeds" / "model_prices.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
Row = dict[str, Any]


def at(text: str) -> datetime:
    """`at("01 12:30")` is 2026-06-01T12:30: tests live in one month."""
    day, clock = text.split(" ")
    return datetime.fromisoformat(f"2026-06-{day}T{clock}")


def make_line(line_type: str = "user", occurred_at: str | datetime | None = "01 12:00", **columns: Any) -> Row:
    """One transcript line. Its record id follows from its content, as in the lake."""
    row: Row = {
        "source": "transcripts",
        "session_id": "s1",
        "occurred_at": at(occurred_at) if isinstance(occurred_at, str) else occurred_at,
        "cwd": "/home/dev/app",
        "is_sidechain": False,
        "line_type": line_type,
        "message_role": line_type,
        "_source_file": "a.jsonl",
        **columns,
    }
    unknown = set(row) - set(SCHEMA.names)
    assert not unknown, f"no such columns: {unknown}"
    row["record_id"] = hashlib.md5(repr(sorted(row.items(), key=str)).encode()).hexdigest()
    row.setdefault("record_date", row["occurred_at"].date() if row["occurred_at"] else at("01 00:00").date())
    return row


def make_prompt(text: str | None = "fix the bug", occurred_at: str = "01 12:00", **columns: Any) -> Row:
    fields = {
        "line_uuid": f"u-{occurred_at}-{columns.get('session_id', 's1')}",
        "content_shape": "string",
        "prompt_text": text,
        "text_char_count": len(text or ""),
    }
    return make_line("user", occurred_at, **{**fields, **columns})


def make_answer(message_id: str | None = "m1", occurred_at: str | datetime | None = "01 12:01", **columns: Any) -> Row:
    """An assistant line with usage."""
    fields = {
        "message_id": message_id,
        "request_id": None if message_id is None else f"r-{message_id}",
        "line_uuid": f"a-{message_id}-{occurred_at}-{columns.get('blocks')}",
        "model": "claude-sonnet-4-6",
        "stop_reason": "end_turn",
        "has_usage": True,
        "input_tokens": 10,
        "output_tokens": 100,
        "content_shape": "blocks",
        "text_char_count": 40,
        "blocks": [{"block_index": 0, "block_type": "text", "text_char_count": 40}],
    }
    return make_line("assistant", occurred_at, **{**fields, **columns})


def make_tool_use(
    tool_use_id: str = "t1",
    occurred_at: str | datetime | None = "01 12:01",
    tool_name: str = "Bash",
    block: Row | None = None,
    **columns: Any,
) -> Row:
    use = {"block_index": 0, "block_type": "tool_use", "tool_use_id": tool_use_id, "tool_name": tool_name}
    return make_answer(columns.pop("message_id", "m1"), occurred_at, blocks=[{**use, **(block or {})}], **columns)


def make_tool_result(
    tool_use_id: str = "t1", occurred_at: str | datetime | None = "01 12:02", block: Row | None = None, **columns: Any
) -> Row:
    result = {"block_index": 0, "block_type": "tool_result", "tool_use_id": tool_use_id}
    fields = {
        "line_uuid": f"res-{tool_use_id}-{occurred_at}",
        "content_shape": "blocks",
        "blocks": [{**result, **(block or {})}],
    }
    return make_line("user", occurred_at, **{**fields, **columns})


def closure_sql() -> str:
    """The text in macros/scope.sql that the loader runs."""
    text = (DBT_DIR / "macros" / "scope.sql").read_text(encoding="utf-8")
    found = re.search(r"-- closure begins\n(.*?)-- closure ends", text, re.DOTALL)
    assert found
    return found[1]


class Warehouse:
    """One DuckDB file and the dbt project that builds it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "test_warehouse.duckdb"
        self.target = folder / "target"
        self.template = folder / "template.duckdb"

    def reset(self, timezone: str = "UTC") -> None:
        """Start anew without lines. Seeds and views are built once, on the first reset, and copied from then on."""
        self.path.unlink(missing_ok=True)
        if not self.template.exists():
            self._create_raw()
            self.run("build", "--exclude-resource-types", "unit_test", "test")
            shutil.copy(self.path, self.template)
        shutil.copy(self.template, self.path)
        with self.connect() as connection:
            connection.execute("update raw._build_settings set reporting_timezone = ?", [timezone])

    def _create_raw(self) -> None:
        prices = ", ".join(f"null::varchar as {name}" for name in PRICE_COLUMNS)
        with self.connect() as connection:
            connection.register("no_rows", SCHEMA.empty_table())
            connection.execute("create schema raw")
            connection.execute("create table raw.conversations as select * from no_rows")
            for dataset in ("check_results", "pipeline_runs"):
                connection.register("no_records", load_contract(dataset).warehouse_schema.empty_table())
                connection.execute(f"create table raw.{dataset} as select * from no_records")
            connection.execute(f"create table raw.model_price_overrides as select {prices} limit 0")
            connection.execute("create table raw._dirty_dates (dataset varchar, record_date date)")
            connection.execute("create table raw._rebuild_dates (record_date date, role varchar)")
            connection.execute(
                """
                create table raw._build_settings as select
                    'UTC' as reporting_timezone, 60::bigint as conversation_gap_minutes,
                    'test' as run_id, timestamp '2026-07-01 00:00:00' as run_at, true as is_full_refresh
                """
            )

    def connect(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self.path))

    def load(self, lines: Sequence[Row], *, is_full_refresh: bool = True) -> None:
        """Add lines and plan the build, as the loader does."""
        with self.connect() as connection:
            connection.register("new_lines", pa.Table.from_pylist(list(lines), schema=SCHEMA))
            connection.execute("delete from raw._dirty_dates; delete from raw._rebuild_dates")
            connection.execute(
                "insert into raw._dirty_dates select distinct 'conversations', record_date from new_lines"
            )
            connection.execute(
                """
                insert into raw.conversations
                select * from new_lines
                where (record_id, record_date) not in (select (record_id, record_date) from raw.conversations)
                qualify row_number() over (partition by record_id, record_date) = 1
                """
            )
            connection.execute("update raw._build_settings set is_full_refresh = ?", [is_full_refresh])
            if not is_full_refresh:
                connection.execute(f"insert into raw._rebuild_dates {closure_sql()}")

    def dbt(self, *arguments: str) -> Any:
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager
        from dbt.cli.main import dbtRunner

        with _environment(ANALYTICS_WAREHOUSE_FILE=str(self.path)):
            try:
                outcome = dbtRunner().invoke(
                    [
                        *arguments,
                        *("--project-dir", str(DBT_DIR), "--profiles-dir", str(DBT_DIR)),
                        *("--target-path", str(self.target), "--log-path", str(self.target)),
                        *("--quiet", "--no-use-colors", "--log-level-file", "none"),
                    ]
                )
            finally:
                DuckDBConnectionManager.close_all_connections()
        if outcome.exception is not None:
            raise outcome.exception
        return outcome.result

    def run(self, *arguments: str) -> None:
        """Build models and fail with the first message of a model that did not."""
        failed = [
            f"{result.node.name}: {result.message}"
            for result in self.dbt(*arguments).results
            if str(result.status) in ("error", "fail")
        ]
        assert not failed, "\n".join(failed)

    def query(self, sql: str) -> list[Row]:
        with self.connect() as connection:
            cursor = connection.execute(sql)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def gold_tables(self) -> list[str]:
        rows = self.query("select table_name from information_schema.tables where table_schema = 'gold' order by 1")
        return [row["table_name"] for row in rows]

    def snapshot(self) -> dict[str, list[str]]:
        """Every gold table as sorted text: equal means equal to the row."""
        with self.connect() as connection:
            return {
                table: sorted(str(row) for row in connection.execute(f"select * from gold.{table}").fetchall())
                for table in self.gold_tables()
            }


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    previous = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in previous.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
