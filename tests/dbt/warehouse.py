"""A warehouse built by the real dbt project from rows that a test writes by hand.

`make_line` fills the boring columns from the contract, `Warehouse` puts rows into `raw` by the loader's own
tables, entities and plan of what to rebuild, and runs dbt in this process. A run repeats an increment without dbt
(analytics/replay.py), and so do tests: what dbt ran for the first of them is run again for the others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from analytics.config import Settings
from analytics.contracts import iter_contracts, load_contract
from analytics.lake import Lake
from analytics.loader import DuckDBLoader
from analytics.replay import Statement, replay
from analytics.transformer import statements_of
from analytics.workers import set_environment

DATASETS = ("conversations", "hook_events", "api_requests")
DBT_DIR = Path(__file__).parents[2] / "dbt"
SCHEMAS = {dataset: load_contract(dataset).warehouse_schema for dataset in DATASETS}
RUN = {"run_id": "test", "fingerprint": "test"}
TABLES_ONLY = ("run", "--select", "config.materialized:table", "config.materialized:incremental")
DATA_TESTS = ("test", "--select", "test_type:data")
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
    return _as_record("conversations", row)


def _as_record(dataset: str, row: Row) -> Row:
    unknown = set(row) - set(SCHEMAS[dataset].names)
    assert not unknown, f"no such columns: {unknown}"
    row["record_id"] = hashlib.md5(repr(sorted(row.items(), key=str)).encode()).hexdigest()
    row.setdefault("record_date", row["occurred_at"].date() if row["occurred_at"] else at("01 00:00").date())
    return row


def make_hook(event_name: str = "Stop", occurred_at: str | datetime | None = "01 12:00", **columns: Any) -> Row:
    """One hook firing."""
    row: Row = {
        "source": "hooks",
        "session_id": "s1",
        "occurred_at": at(occurred_at) if isinstance(occurred_at, str) else occurred_at,
        "event_name": event_name,
        "producer": "claude-code",
        "cwd": "/home/dev/app",
        **columns,
    }
    return _as_record("hook_events", row)


def make_request_event(occurred_at: str | datetime | None = "01 12:01", **columns: Any) -> Row:
    """What a proxy saw of the request that `make_answer_row` makes."""
    row: Row = {
        "source": "api_requests",
        "occurred_at": at(occurred_at) if isinstance(occurred_at, str) else occurred_at,
        "event_type": "api_request",
        "model": "claude-sonnet-4-6",
        "status": "success",
        "input_tokens": 10,
        "output_tokens": 100,
        **columns,
    }
    return _as_record("api_requests", row)


def make_prompt_row(text: str | None = "fix the bug", occurred_at: str = "01 12:00", **columns: Any) -> Row:
    fields = {
        "line_uuid": f"u-{occurred_at}-{columns.get('session_id', 's1')}",
        "content_shape": "string",
        "prompt_text": text,
        "text_char_count": len(text or ""),
    }
    return make_line(occurred_at=occurred_at, **{**fields, **columns})


def make_answer_row(
    message_id: str | None = "m1", occurred_at: str | datetime | None = "01 12:01", **columns: Any
) -> Row:
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
    return make_answer_row(columns.pop("message_id", "m1"), occurred_at, blocks=[{**use, **(block or {})}], **columns)


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


class Warehouse:
    """One DuckDB file and the dbt project that builds it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "warehouse.duckdb"
        self.target = folder / "target"
        self.template = folder / "template.duckdb"
        self.kept: dict[tuple[Any, ...], list[Statement]] = {}
        self.is_full_refresh = True

    def reset(self, timezone: str = "UTC", prices_file: Path | None = None) -> None:
        """Start anew without lines. Seeds and views are built once, on the first reset, and copied from then on."""
        self.path.unlink(missing_ok=True)
        self.settings = Settings(data_dir=self.path.parent, timezone="UTC", conversation_gap_minutes=60)
        if not self.template.exists():
            with self.connect() as connection:
                loader = self._loader(connection)
                for contract in iter_contracts():
                    loader._create_table(contract)
                loader.plan_build(**RUN)
            self.run("build", "--exclude-resource-types", "unit_test", "test")
            shutil.copy(self.path, self.template)
        shutil.copy(self.template, self.path)
        self.settings = dataclasses.replace(self.settings, timezone=timezone, prices_file=prices_file)
        with self.connect() as connection:
            self._loader(connection).plan_build(**RUN)

    def connect(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self.path))

    def _loader(self, connection: duckdb.DuckDBPyConnection) -> DuckDBLoader:
        return DuckDBLoader(self.settings, Lake(self.settings.data_dir, "test"), connection)

    def load(
        self,
        lines: Sequence[Row] = (),
        hooks: Sequence[Row] = (),
        events: Sequence[Row] = (),
        *,
        is_full_refresh: bool = True,
        run_at: str = "2026-07-01 00:00:00",
    ) -> None:
        """Add rows, one per record and day, and let the loader plan the build as after a load of its own."""
        with self.connect() as connection:
            loader = self._loader(connection)
            if not is_full_refresh:
                loader.finish_build(**RUN)
            for dataset, rows in zip(DATASETS, (lines, hooks, events), strict=True):
                self._insert(connection, dataset, rows)
                dates = sorted({row["record_date"] for row in rows})
                loader._replace_entities(dataset, dates)
                connection.execute("insert into raw._dirty_dates select ?, unnest(?::date[])", [dataset, dates])
            plan = loader.plan_build(**RUN, is_full_refresh=is_full_refresh)
            self.is_full_refresh = is_full_refresh
            assert plan.is_full_refresh == is_full_refresh
            # The one clock that models see: nothing is counted back from a record that is later.
            connection.execute("update raw._build_settings set run_at = ?::timestamp", [run_at])

    def _insert(self, connection: duckdb.DuckDBPyConnection, dataset: str, rows: Sequence[Row]) -> None:
        connection.register("new_rows", pa.Table.from_pylist(list(rows), schema=SCHEMAS[dataset]))
        connection.execute(
            f"""
            insert into raw.{dataset}
            select * from new_rows
            where (record_id, record_date) not in (select (record_id, record_date) from raw.{dataset})
            qualify row_number() over (partition by record_id, record_date) = 1
            """
        )

    def build(
        self,
        lines: Sequence[Row] = (),
        hooks: Sequence[Row] = (),
        events: Sequence[Row] = (),
        *,
        run_at: str = "2026-07-01 00:00:00",
    ) -> None:
        """Add rows and build what they touch: what most runs do, and what equals a full build."""
        self.load(lines, hooks, events, is_full_refresh=False, run_at=run_at)
        self.repeat(*TABLES_ONLY)

    def repeat(self, *arguments: str, with_dbt: bool = False) -> None:
        """Run a command with dbt or, once dbt ran it for such a plan, by the statements that it ran then."""
        command = (self.settings.timezone, self.is_full_refresh, *arguments)
        if with_dbt or command not in self.kept:
            results = self.run(*arguments)
            statements = statements_of(results, self.manifest)
            assert len(statements) == len(results)
            self.kept[command] = list(statements.values())
        elif not replay(self.settings, self.kept[command]):
            self.run(*arguments)  # which tells what is wrong
            pytest.fail("dbt can do what its statements cannot")

    @cached_property
    def manifest(self) -> Any:
        """What dbt makes of the project's files, read once, without what it kept of them as they were before."""
        return self._invoke("parse", "--no-partial-parse")

    def dbt(self, *arguments: str) -> Any:
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager

        try:
            return self._invoke(*arguments, manifest=self.manifest)
        finally:
            DuckDBConnectionManager.close_all_connections()

    def _invoke(self, *arguments: str, manifest: Any = None) -> Any:
        from dbt.cli.main import dbtRunner

        with set_environment(ANALYTICS_WAREHOUSE_FILE=str(self.path)):
            outcome = dbtRunner(manifest=manifest).invoke(
                [
                    *arguments,
                    *("--project-dir", str(DBT_DIR), "--profiles-dir", str(DBT_DIR)),
                    *("--target-path", str(self.target), "--log-path", str(self.target)),
                    *("--quiet", "--no-write-json", "--no-use-colors", "--log-level-file", "none"),
                ]
            )
        if outcome.exception is not None:
            raise outcome.exception
        return outcome.result

    def run(self, *arguments: str) -> list[Any]:
        """Build models and fail with the first message of a model that did not."""
        results = list(self.dbt(*arguments).results)
        failed = [
            f"{result.node.name}: {result.message}" for result in results if str(result.status) in ("error", "fail")
        ]
        assert not failed, "\n".join(failed)
        return results

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
