"""Stage 2, load: the lake's committed days into schema `raw` of the warehouse, and the plan of what to rebuild.

The warehouse file is disposable: delete it, and the next load makes it anew from the lake. Loading
replaces whole days, so that loading twice changes nothing. Only this module writes schema `raw`.
"""

from __future__ import annotations

import hashlib
import time
import zoneinfo
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from analytics.build_plan import BuildPlan
from analytics.config import Settings
from analytics.contracts import PAYLOAD, Contract, iter_contracts, journal_datasets
from analytics.lake import Lake, Part, Snapshot
from analytics.lake.upkeep import remove_parts
from analytics.overrides import OVERRIDES, read_override
from analytics.result import Result
from analytics.sample import is_synthetic
from analytics.warehouse import fetch_row, sql_identifier, sql_literal, transaction, with_enough_memory

if TYPE_CHECKING:
    import duckdb

CHUNK_BYTES = 256 << 20

# Which days a changed day reaches; the rule and its reasons stand in the file.
REBUILD_DATES_SQL = Path(__file__).with_name("rebuild_dates.sql").read_text(encoding="utf-8")


READ_PARTS_SQL = "read_parquet(?, hive_partitioning = false, filename = true, file_row_number = true)"
# Parts of an older contract lack columns. To know, DuckDB opens all parts and holds what each says of its columns until
# it is done, 80 MB for 219 of them, so only who reads such columns asks for it.
READ_ALL_COLUMNS_SQL = READ_PARTS_SQL.replace("(?,", "(?, union_by_name = true,")

# Copies are rare: ranking only them keeps the wide rows streaming (5 times faster than ranking all, measured
# on 310,000 rows).
REPEATED_ROWS_SQL = f"""
    select filename, file_row_number from (
        select filename, file_row_number, row_number() over (
            partition by record_date, record_id
            order by source, _source_file nulls last, _source_position nulls last, _extracted_at desc, _run_id desc
        ) as copy_number
        from {READ_PARTS_SQL}
        where (record_date, record_id) in (
            select (record_date, record_id) from {READ_PARTS_SQL}
            group by record_date, record_id having count(*) > 1
        )
    ) where copy_number > 1
"""

MATCH_WINDOW_MS = 10_000  # window_ms of int_api_request_matches.sql

# Who a row may change: its session, its message (by the ids of dbt's macro message_source_id) and its tool calls, by
# dataset that has any.
ENTITIES_SQL = {
    "conversations": """
        select record_date, coalesce(cast(progress_message_at as date), record_date), session_id,
            case
                when line_type not in ('user', 'assistant', 'progress', 'attachment') then null
                when coalesce(progress_message_type, line_type) = 'assistant' then coalesce(
                    nullif(message_id, ''), nullif(request_id, ''), nullif(progress_message_uuid, ''),
                    nullif(line_uuid, ''), record_id
                )
                else coalesce(nullif(progress_message_uuid, ''), nullif(line_uuid, ''), record_id)
            end,
            unnest(case when len(blocks) > 0 then list_transform(blocks, lambda b: b.tool_use_id) else [null] end)
        from raw.conversations
        -- Lines of state name no session and make no fact: as one session they would tie every day to every other.
        -- int_session_threads_computed has the same rule.
        where
            nullif(session_id, '') is not null
            or line_type in ('user', 'assistant', 'progress')
            or message_role = 'user'
            or line_subtype in ('compact_boundary', 'api_error')
    """,
    # A firing without a time may be filed under several days: its copies are one entity.
    "hook_events": """
        select record_date, record_date, session_id, case when occurred_at is null then record_id end, tool_use_id
        from raw.hook_events
    """,
    # An event near midnight may be about a response of the day before or after it.
    "api_requests": f"""
        select record_date,
            unnest([
                cast(occurred_at - to_milliseconds({MATCH_WINDOW_MS} + coalesce(latency_ms, 0)) as date), record_date,
                cast(occurred_at + to_milliseconds({MATCH_WINDOW_MS} + coalesce(latency_ms, 0)) as date)
            ]),
            coalesce(nullif(session_id, ''), 'api_requests ' || record_date), null, null
        from raw.api_requests
    """,
}


_SQL_TYPES = {
    pa.string(): "varchar",
    pa.bool_(): "boolean",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.timestamp("us"): "timestamp",
    pa.date32(): "date",
}


@dataclass(frozen=True)
class DatasetLoad(Result):
    """What loading did to one dataset. Rows of the replaced days; `repeated` are copies of a record."""

    dataset: str
    row_count: int
    repeated_count: int
    dates: tuple[date, ...]
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadResult(Result):
    """What one load did, per dataset that changed. What runs wrote about themselves is loaded and not told."""

    datasets: tuple[DatasetLoad, ...]
    elapsed_ms: int

    @property
    def row_count(self) -> int:
        return sum(entry.row_count for entry in self.datasets)

    @property
    def repeated_count(self) -> int:
        return sum(entry.repeated_count for entry in self.datasets)

    @property
    def date_count(self) -> int:
        return len({day for entry in self.datasets for day in entry.dates})

    @property
    def damaged(self) -> tuple[str, ...]:
        return tuple(path for entry in self.datasets for path in entry.damaged)


class DuckDBLoader:
    """Brings schema `raw` of one warehouse to the state of one lake."""

    def __init__(self, settings: Settings, lake: Lake, connection: duckdb.DuckDBPyConnection) -> None:
        self._settings = settings
        self._lake = lake
        self._connection = connection
        connection.execute("create schema if not exists raw")
        connection.execute(
            "create table if not exists raw._loaded (dataset varchar, origin_hash varchar, commit_number bigint)"
        )
        connection.execute("create table if not exists raw._dirty_dates (dataset varchar, record_date date)")
        connection.execute("create table if not exists raw._new_rows (row_count bigint)")
        connection.execute(
            """
            create table if not exists raw._entities (
                dataset varchar, record_date date, fact_date date,
                session_hash ubigint, message_hash ubigint, tool_hash ubigint
            )
            """
        )
        connection.execute(
            "create table if not exists raw._builds (fingerprint varchar, local_date date, run_id varchar)"
        )

    def load(self, *, run_id: str) -> LoadResult:
        """Replace the days that commits touched since the last load, dataset by dataset."""
        started = time.monotonic()
        loads = [(contract, self._load_dataset(contract, run_id)) for contract in iter_contracts()]
        news = tuple(load for contract, load in loads if load is not None and not contract.is_journal)
        return LoadResult(news, round((time.monotonic() - started) * 1000))

    def load_journals(self, *, run_id: str) -> None:
        """The same of what runs wrote about themselves: models show that by themselves."""
        for contract in iter_contracts():
            if contract.is_journal:
                self._load_dataset(contract, run_id)

    def _load_dataset(self, contract: Contract, run_id: str) -> DatasetLoad | None:
        damaged: list[str] = []
        while (news := self._find_news(contract)) is not None:
            snapshot, dates = news
            parts = [part for part in snapshot.parts.values() if part.record_date in dates]
            found = self._set_aside_damaged(contract, parts, run_id)
            if not found:
                load = with_enough_memory(
                    self._connection,
                    partial(self._replace_dates, contract, snapshot.number, parts, sorted(dates), tuple(damaged)),
                )
                self._show_payloads(contract, snapshot)
                return load
            damaged += found  # which the log says now, and perhaps what another host added meanwhile
        return None

    def show_payloads(self) -> None:
        """Have the views over payloads read the files that count now: for who is to sweep the others."""
        for contract in iter_contracts():
            self._show_payloads(contract, self._lake.snapshot(contract.dataset))

    def _show_payloads(self, contract: Contract, snapshot: Snapshot) -> None:
        """`raw.<dataset>_payloads`: what a record said, where it lies in the lake. One row per record.

        A file that is gone or damaged is no reason not to load the others: the view then stays as it was.
        """
        import duckdb

        if contract.is_journal:
            return
        files = ", ".join(sql_literal(self._lake.part_file(path).absolute()) for path in sorted(snapshot.parts))
        # Every file has these three columns: only one is opened to make the view, however many there are.
        parts = f"read_parquet([{files}], hive_partitioning = false)" if files else f"raw.{contract.dataset}"
        payload = f"any_value({PAYLOAD})" if files else "null::varchar"
        with suppress(duckdb.Error):
            self._connection.execute(
                f"""
                create or replace view raw.{contract.dataset}_payloads as
                select record_date, record_id, {payload} as {PAYLOAD} from {parts} group by record_date, record_id
                """
            )

    def _find_news(self, contract: Contract) -> tuple[Snapshot, set[date]] | None:
        """The dataset as the lake has it, and the days that differ in the warehouse; None when nothing does."""
        snapshot = self._lake.snapshot(contract.dataset)
        number = self._held_number(contract)
        if number is None:
            self._create_table(contract)
            return snapshot, {part.record_date for part in snapshot.parts.values()}
        if number == snapshot.number:
            return None
        commits = list(self._lake.iter_commits(contract.dataset, after=number))
        if any(commit.removes and commit.changed_dates for commit in commits):
            # Rows that are gone reach dates that no remaining row names: only a full build is right.
            self._connection.execute("delete from raw._builds")
        return snapshot, {day for commit in commits for day in commit.changed_dates}

    def _held_number(self, contract: Contract) -> int | None:
        """Up to which commit the dataset's table holds this lake. 0 for a table that was empty until now.

        None where there is no such table, or it was made by other rules, of another lake, or of commits that
        this one, put back from a copy, does not have.
        """
        held = fetch_row(
            self._connection,
            "select commit_number, origin_hash from raw._loaded where dataset = ?",
            [contract.dataset],
        )
        return int(held[0]) if held and held[1] == self._hash_origin(contract, held[0]) else None

    def _hash_origin(self, contract: Contract, number: int) -> str:
        """By what rules a table was made, and of which commits: a commit's content tells it from any other."""
        rules = f"{contract.warehouse_schema}|{ENTITIES_SQL.get(contract.dataset)}"
        commit = self._lake.commit_digest(contract.dataset, number) if number else ""
        return hashlib.sha256(f"{rules}|{commit}".encode()).hexdigest()[:16]

    def _create_table(self, contract: Contract) -> None:
        """The empty table of a contract, with its grain as a comment."""
        columns = _sql_columns(contract.warehouse_schema)
        self._connection.execute(f"create or replace table raw.{contract.dataset} ({columns})")
        # A comment rather than a primary key: an index would make loading four times slower.
        self._connection.execute(f"comment on table raw.{contract.dataset} is {sql_literal(contract.grain)}")
        self._connection.execute("delete from raw._entities where dataset = ?", [contract.dataset])
        self._connection.execute("delete from raw._builds")

    def _replace_dates(
        self, contract: Contract, number: int, parts: Sequence[Part], dates: Sequence[date], damaged: tuple[str, ...]
    ) -> DatasetLoad:
        connection = self._connection
        with transaction(connection):
            [(deleted,)] = connection.execute(
                f"delete from raw.{contract.dataset} where record_date in (select unnest(?::date[]))", [list(dates)]
            ).fetchall()
            inserted = sum(self._insert(contract, chunk) for chunk in _chunk_by_day(parts))
            connection.execute(
                "insert into raw._dirty_dates select ?, unnest(?::date[])", [contract.dataset, list(dates)]
            )
            if not contract.is_journal:
                connection.execute("insert into raw._new_rows values (?)", [max(inserted - int(deleted), 0)])
        # By itself, for DuckDB reads rows of an open transaction with one thread. If it stops before this one, the next
        # load replaces the same days again.
        with transaction(connection):
            self._replace_entities(contract.dataset, dates)
            connection.execute("delete from raw._loaded where dataset = ?", [contract.dataset])
            connection.execute(
                "insert into raw._loaded values (?, ?, ?)",
                [contract.dataset, self._hash_origin(contract, number), number],
            )
        repeated = sum(part.row_count for part in parts) - inserted
        return DatasetLoad(contract.dataset, inserted, repeated, tuple(dates), damaged)

    def _set_aside_damaged(self, contract: Contract, parts: Sequence[Part], run_id: str) -> list[str]:
        """Parts whose bytes are no longer those they were named after: out of the lake, and read again.

        DuckDB checks no page sums, so a flipped bit could become a wrong number; the name knows.
        """
        with ThreadPoolExecutor(self._settings.workers) as pool:
            intact = list(pool.map(self._lake.is_part_intact, [part.path for part in parts]))
        damaged = [part.path for part, is_intact in zip(parts, intact, strict=True) if not is_intact]
        remove_parts(
            self._lake,
            contract.dataset,
            damaged,
            run_id=run_id,
            kind="quarantine",
            forget_positions=True,
            keep_in=self._lake.quarantine_dir,
        )
        return damaged

    def _insert(self, contract: Contract, parts: Sequence[Part]) -> int:
        """Insert the distinct records of some days. Of the copies of a record the one with the least place stays."""
        connection = self._connection
        files = [str(self._lake.part_file(part.path)) for part in parts]
        # Told before rather than deleted after: rows that are changed in the transaction that inserted them
        # are written twice, which took as long as all the rest.
        connection.execute(f"create or replace temp table repeated_rows as {REPEATED_ROWS_SQL}", [files, files])
        # Parts of an older contract lack columns, which are null then, or have columns that are no more.
        [(inserted,)] = connection.execute(
            f"""
            insert into raw.{contract.dataset} by name
            select {", ".join(contract.warehouse_schema.names)} from (
                (select * from raw.{contract.dataset} limit 0)
                union all by name
                select * exclude ({PAYLOAD}, filename, file_row_number)
                from {READ_ALL_COLUMNS_SQL} as parts
                anti join repeated_rows using (filename, file_row_number)
            )
            """,
            [files],
        ).fetchall()
        return int(inserted)

    def _replace_entities(self, dataset: str, dates: Sequence[date]) -> None:
        """Keep `raw._entities` in step with the replaced days. Ids are hashed: they are only compared."""
        if dataset not in ENTITIES_SQL:
            return
        self._connection.execute(
            "delete from raw._entities where dataset = ? and record_date in (select unnest(?::date[]))",
            [dataset, list(dates)],
        )
        self._connection.execute(
            f"""
            insert into raw._entities
            select distinct ?, record_date, fact_date, hash(coalesce(nullif(session_id, ''), 'unknown')),
                case when message_id is not null then hash(message_id) end,
                case when tool_use_id is not null then hash(tool_use_id) end
            from ({ENTITIES_SQL[dataset]}) as entity (record_date, fact_date, session_id, message_id, tool_use_id)
            where record_date in (select unnest(?::date[]))
            """,
            [dataset, list(dates)],
        )

    @property
    def has_loaded(self) -> bool:
        """Whether the warehouse holds this lake, as far as it was loaded."""
        return all(self._held_number(contract) is not None for contract in iter_contracts())

    # ---- what to rebuild

    def take_new_row_count(self) -> int:
        """How many rows the loads since the last call added, however often they tried.

        What runs wrote about themselves does not count.
        """
        [(count,)] = self._connection.execute("select coalesce(sum(row_count), 0) from raw._new_rows").fetchall()
        self._connection.execute("delete from raw._new_rows")
        return int(count)

    def plan_build(self, *, run_id: str, fingerprint: str, is_full_refresh: bool = False) -> BuildPlan:
        """Decide what the transformation rebuilds and leave it in `raw` where the models read it.

        Everything, when the last successful build had another fingerprint (models, settings, prices);
        otherwise the days that loads touched since then, and the days these reach.
        """
        run_at = datetime.now(UTC)
        built = fetch_row(self._connection, "select fingerprint from raw._builds")
        is_full = is_full_refresh or built is None or built[0] != fingerprint
        self._write_overrides()
        self._connection.execute(
            """
            create or replace table raw._build_settings as select
                ?::varchar as reporting_timezone, ?::bigint as conversation_gap_minutes,
                ?::varchar as run_id, ?::timestamp as run_at, ?::boolean as is_full_refresh,
                ?::boolean as is_synthetic
            """,
            [
                self._settings.timezone,
                self._settings.conversation_gap_minutes,
                run_id,
                run_at.replace(tzinfo=None),
                is_full,
                is_synthetic(self._settings),
            ],
        )
        self._connection.execute("create or replace table raw._rebuild_dates (record_date date, role varchar)")
        if is_full:
            # From here on the tables are of no build until this one is finished, also for who takes the change back.
            self._connection.execute("delete from raw._builds")
            return BuildPlan(is_full_refresh=True)
        self._connection.execute(f"insert into raw._rebuild_dates {REBUILD_DATES_SQL}")
        rows = self._connection.execute("select record_date, role from raw._rebuild_dates order by 1").fetchall()
        counts = [
            self._connection.execute(
                f"select count(*) from raw.{dataset} where record_date in (select record_date from raw._rebuild_dates)"
            ).fetchall()
            for dataset in ENTITIES_SQL
        ]
        return BuildPlan(
            is_full_refresh=False,
            rebuild_dates=tuple(day for day, role in rows if role == "rebuild"),
            read_dates=tuple(day for day, role in rows if role == "read"),
            row_count=sum(count for [(count,)] in counts),
        )

    def current_build(self, fingerprint: str) -> str | None:
        """The run whose build is current: all input, this fingerprint, today's local day. None where there is none."""
        local_date = self._local_date(datetime.now(UTC))
        built = fetch_row(self._connection, "select fingerprint, local_date, run_id from raw._builds")
        touched = self._connection.execute("select distinct dataset from raw._dirty_dates").fetchall()
        dirty = {dataset for (dataset,) in touched} - journal_datasets()
        is_loaded = all(self._is_loaded(contract) for contract in iter_contracts() if not contract.is_journal)
        if built is None or built[:2] != (fingerprint, local_date) or dirty or not is_loaded:
            return None
        return str(built[2])

    def _is_loaded(self, contract: Contract) -> bool:
        """Whether the warehouse has every row. Compactions and positions move the log on without one."""
        number = self._held_number(contract)
        return number is not None and not any(
            commit.changed_dates for commit in self._lake.iter_commits(contract.dataset, after=number)
        )

    def finish_build(self, *, run_id: str, fingerprint: str) -> None:
        """Record that a transformation succeeded: the dirty days are clean, the fingerprint is known.

        The day it was built for is the one it was planned on, though midnight may have passed since.
        """
        [(run_at,)] = self._connection.execute("select run_at from raw._build_settings").fetchall()
        local_date = self._local_date(run_at.replace(tzinfo=UTC))
        with transaction(self._connection):
            self._connection.execute("delete from raw._builds")
            self._connection.execute("insert into raw._builds values (?, ?, ?)", [fingerprint, local_date, run_id])
            self._connection.execute("delete from raw._dirty_dates")

    def _local_date(self, moment: datetime) -> date:
        return moment.astimezone(zoneinfo.ZoneInfo(self._settings.timezone)).date()

    def _write_overrides(self) -> None:
        """The user's own rows of seeds, as text; empty tables where there is no file."""
        for override in OVERRIDES:
            file = override.file(self._settings)
            rows = read_override(override, file) if file else []
            columns = ", ".join(f"unnest(?::varchar[]) as {name}" for name in override.columns)
            self._connection.execute(
                f"create or replace table raw.{override.table} as select {columns}",
                [[row[name] for row in rows] for name in override.columns],
            )


def _sql_columns(fields: Iterable[pa.Field]) -> str:
    """Arrow's fields as DuckDB declares them. By itself it could, but imports Arrow's data sets for that, for 45 ms."""
    return ", ".join(f"{sql_identifier(field.name)} {_sql_type(field.type)}" for field in fields)


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return f"struct({_sql_columns(kind)})"
    return _SQL_TYPES[kind]


def _chunk_by_day(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Parts in chunks that never split a day, so that the copies of a record meet, and stay small."""
    chunk: list[Part] = []
    size = 0
    for part in sorted(parts, key=lambda entry: (entry.record_date, entry.path)):
        if size > CHUNK_BYTES and part.record_date != chunk[-1].record_date:
            yield chunk
            chunk, size = [], 0
        chunk.append(part)
        size += part.byte_count
    if chunk:
        yield chunk


if __name__ == "__main__":
    import sys

    from analytics.cli import main

    raise SystemExit(main(["load", *sys.argv[1:]]))
