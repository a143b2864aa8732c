"""Small worlds for tests: settings below one folder, transcript lines, and what a run left behind.

Builders fill the boring fields, so that a test shows only the odd one.
"""

from __future__ import annotations

import json
import socketserver
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import orjson
import pyarrow.parquet as pq

from analytics.checks.suites import CheckResult, Severity
from analytics.config import Settings, load_settings
from analytics.extractor import Extraction, extract
from analytics.lake import Lake
from analytics.lake.lock import hold_lock
from analytics.loader import DuckDBLoader, LoadResult
from analytics.sources import ExtractContext, ExtractResult
from analytics.warehouse import open_warehouse

RUN_COLUMNS = {"_extracted_at", "_run_id", "_loaded_at"}
TABLES_ABOUT_RUNS = {
    "published_snapshot",
    "agg_alerts",
    "agg_cost_projection",
    "alert_pipeline_stale",
    "fct_pipeline_runs",
    "fct_check_results",
}
Line = dict[str, Any]


def make_settings(folder: Path, **fields: Any) -> Settings:
    """Settings whose every path lies below `folder`; one process, UTC, a fixed host."""
    projects = folder / "projects"
    projects.mkdir(parents=True, exist_ok=True)
    defaults: dict[str, Any] = {
        "data_dir": folder / "data",
        "transcript_dirs": (projects,),
        "timezone": "UTC",
        "host_id": "test",
        "workers": 1,
        "home_dir": folder / "home",
    }
    return Settings(**{**defaults, **fields})


def make_context(folder: Path, **overrides: str) -> ExtractContext:
    """What an extraction below `folder` is given; its settings are words, as a user would write them."""
    settings = load_settings(
        {"data_dir": str(folder / "data"), "host_id": "test", **overrides},
        environment={"HOME": str(folder)},
        dotenv=Path("/nonexistent"),
    )
    lake = Lake(settings.data_dir, settings.host_id)
    return ExtractContext(settings=settings, lake=lake, run_id="run", extracted_at=datetime(2026, 1, 3, tzinfo=UTC))


def make_once(folder: Path, make: Callable[[], None]) -> None:
    """Have the first process that asks for what is to be in the folder make it; the others wait."""
    with hold_lock(folder, wait_s=600):
        complete = folder / "complete"
        if not complete.exists():
            make()
            complete.touch()


def make_prompt(text: str = "fix the bug", at: str = "2026-01-02T10:00:00.000Z", **fields: Any) -> Line:
    """A line as a person's prompt leaves it."""
    return {
        "type": "user",
        "uuid": f"u-{zlib.crc32(text.encode('utf-8', 'replace')):08x}-{at}",
        "parentUuid": None,
        "sessionId": "s1",
        "timestamp": at,
        "cwd": "/home/dev/app",
        "version": "2.1.200",
        "message": {"role": "user", "content": text},
        **fields,
    }


def make_answer(
    message_id: str = "m1", at: str = "2026-01-02T10:00:01.000Z", content: list[Any] | None = None, **usage: Any
) -> Line:
    """A line of an assistant's message with usage."""
    return {
        "type": "assistant",
        "uuid": f"a-{message_id}-{at}",
        "parentUuid": None,
        "sessionId": "s1",
        "requestId": f"r-{message_id}",
        "timestamp": at,
        "cwd": "/home/dev/app",
        "version": "2.1.200",
        "message": {
            "id": message_id,
            "role": "assistant",
            "model": "claude-sonnet-4-6",
            "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "done"}] if content is None else content,
            "usage": {"input_tokens": 10, "output_tokens": 20, **usage},
        },
    }


def encode(*lines: Mapping[str, Any] | bytes) -> bytes:
    """Lines as a transcript holds them; bytes pass as they are, their newline is added."""
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


def write_transcript(
    settings: Settings, *lines: Mapping[str, Any] | bytes, name: str = "-home-dev-app/s1.jsonl"
) -> Path:
    """A transcript of these lines, in place of what had its name."""
    path = settings.transcript_dirs[0] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(*lines))
    return path


def run_extract(settings: Settings, run_id: str = "run", **arguments: Any) -> ExtractResult:
    """Extract the transcripts. Fails where the source could not be read."""
    extraction = try_extract(settings, run_id, **arguments)
    assert not extraction.failures, extraction.failures
    return extraction.results[0]


def try_extract(settings: Settings, run_id: str = "run", **arguments: Any) -> Extraction:
    lake = Lake(settings.data_dir, settings.host_id)
    return extract(settings, lake, run_id=run_id, select=["transcripts"], **arguments)


def committed_rows(settings: Settings, dataset: str = "conversations") -> list[Line]:
    """Every committed row, copies included."""
    lake = Lake(settings.data_dir, settings.host_id)
    paths = sorted(lake.snapshot(dataset).parts)
    return [row for path in paths for row in pq.read_table(lake.part_file(path), partitioning=None).to_pylist()]


def distinct_rows(settings: Settings, *, without: Iterable[str] = ()) -> dict[tuple[str, str], Line]:
    """What the loader makes of committed rows, by record and day: the copy with the least place."""
    hidden = RUN_COLUMNS | set(without)
    rows = sorted(
        committed_rows(settings), key=lambda row: (row["_source_file"], row["_source_position"]), reverse=True
    )
    return {
        (row["record_id"], str(row["record_date"])): {name: row[name] for name in row if name not in hidden}
        for row in rows
    }


def dead_letters(settings: Settings, dataset: str = "conversations") -> list[Line]:
    files = sorted((settings.data_dir / "dead_letter" / dataset).glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


def iter_contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Everything a folder holds, as bytes to search: names, files, and Parquet after decompression."""
    for path in sorted(folder.rglob("*")):
        yield "name", str(path.relative_to(folder)).encode()
        if path.is_file():
            yield str(path), path.read_bytes()
            if path.suffix == ".parquet":
                yield f"{path} decoded", repr(pq.read_table(path, partitioning=None).to_pydict()).encode()


def published_rows(settings: Settings) -> dict[str, list[str]]:
    """Every published table about the user's work, sorted, without what differs by run or by the hour of the run."""
    version = (settings.published_dir / "current").resolve()
    tables = {}
    for file in sorted(version.glob("*.parquet")):
        if file.stem in TABLES_ABOUT_RUNS:
            continue
        table = pq.read_table(file)
        kept = table.drop_columns([name for name in table.column_names if name.startswith("_")])
        tables[file.stem] = sorted(map(repr, kept.to_pylist()))
    return tables


def die_at(point: str) -> Callable[[str], None]:
    """Stands in for `step`: the process dies at this point."""

    def step(name: str) -> None:
        if name == point:
            raise KeyboardInterrupt

    return step


# What nobody should send and somebody does: too deep, too large, no JSON, no text, another type.
HOSTILE_VALUES = (
    "[" * 300 + "]" * 300,
    "[" * 1000 + "]" * 1000,
    '{"a":' * 300 + "1" + "}" * 300,
    "1e400",
    "1" + "0" * 400,
    "-18446744073709551616",
    "18446744073709551616",
    "18446744073709551615",
    "9223372036854775808",
    "-1",
    "0.5",
    "NaN",
    "-Infinity",
    r'"\ud800"',
    r'"\u0000"',
    '"\0"',
    '"\u00b2"',
    '"1e400"',
    '"nan"',
    f'"{"9" * 5000}"',
    f'"{"x" * 70_000}"',
    '""',
    "",
    "null",
    "true",
    "[]",
    "{}",
    "[null, {}, [[]]]",
)


def hostile_records(record: Mapping[str, Any]) -> Iterator[bytes]:
    """The record over and over, each time with one hostile value in place of it, of a field, or of what is in one."""
    return (spelt.encode() for text in HOSTILE_VALUES for spelt in _spell_with(record, text) if spelt)


def _spell_with(value: Any, text: str) -> Iterator[str]:
    yield text
    if isinstance(value, dict):
        for name, item in value.items():
            for odd in _spell_with(item, text):
                members = {other: json.dumps(entry) for other, entry in value.items()} | {name: odd}
                yield "{" + ", ".join(f'"{other}": {spelt}' for other, spelt in members.items()) + "}"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            for odd in _spell_with(item, text):
                items = [odd if place == index else json.dumps(entry) for place, entry in enumerate(value)]
                yield f"[{', '.join(items)}]"


def is_json(text: bytes) -> bool:
    """Whether it can be read as it is, in the middle of whatever."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def run_load(settings: Settings, run_id: str = "run") -> LoadResult:
    with open_warehouse(settings) as connection:
        return DuckDBLoader(settings, Lake(settings.data_dir, settings.host_id), connection).load(run_id=run_id)


def raw_rows(settings: Settings, dataset: str = "conversations") -> list[tuple[Any, ...]]:
    """What `raw` holds, sorted, without what differs by run."""
    with open_warehouse(settings) as connection:
        rows = connection.execute(f"describe raw.{dataset}").fetchall()
        columns = sorted(name for name, *_ in rows if name not in RUN_COLUMNS)
        return sorted(connection.execute(f"select {', '.join(columns)} from raw.{dataset}").fetchall(), key=repr)


def make_gold(settings: Settings, **tables: str) -> None:
    """Gold tables of the given queries: what dbt leaves, without the three seconds of dbt."""
    with open_warehouse(settings) as connection:
        loader = DuckDBLoader(settings, Lake(settings.data_dir, settings.host_id), connection)
        connection.execute("create schema if not exists gold")
        loader.plan_build(run_id="build", fingerprint="f", is_full_refresh=True)
        loader.finish_build(run_id="build", fingerprint="f")
        for name, sql in tables.items():
            connection.execute(f"create or replace table gold.{name} as {sql}")


def make_check(*, is_success: bool = True, severity: Severity = "severe") -> CheckResult:
    """What Great Expectations found of one expectation."""
    return CheckResult(
        suite="gold_marts",
        name="sessions_add_up",
        expectation_type="unexpected_rows_expectation",
        column=None,
        severity=severity,
        is_success=is_success,
        unexpected_count=0 if is_success else 7,
        checked_count=None,
        error_type=None,
        description="A session's tokens are those of its requests.",
        advice="Rebuild from the lake.",
    )


@contextmanager
def answering(content: bytes) -> Iterator[str]:
    """The address of a server on loopback that answers everything with these bytes."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.connection.recv(1 << 16)
            self.wfile.write(content)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class WorkerInProcess:
    """Stands in for a Worker where a test replaces what it is called for, or counts what it does."""

    peak_memory_bytes = 1

    def __init__(self, name: str, warm_up: Callable[[], object]) -> None:
        """Warms nothing up."""

    def start(self) -> None:
        """Starts nothing."""

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends nothing."""
