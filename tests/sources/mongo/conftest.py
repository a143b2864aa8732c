"""A real mongod for the tests, and a collection filled the way the sync service does it."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from pymongo import MongoClient

from analytics.config import Settings
from analytics.lake import Lake
from analytics.sources import ExtractContext, ExtractResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.collection import Collection

Document = dict[str, Any]
STARTED_AT = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)


class Mongod:
    """One server process on a free loopback port, which tests may stop, start and kill."""

    def __init__(self, binary: str, folder: Path, *options: str) -> None:
        self._binary, self._folder, self._options = binary, folder, options
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                self._binary,
                *("--dbpath", str(self._folder), "--bind_ip", "127.0.0.1", "--port", str(self.port)),
                *("--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--logpath", f"{self._folder}.log"),
                *("--setParameter", "diagnosticDataCollectionEnabled=false", "--logappend"),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
        )
        with MongoClient(self.uri, serverSelectionTimeoutMS=30_000) as client:
            client.admin.command("ping")

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None


def find_mongod() -> str | None:
    """A mongod that runs here: on the path, or the one in the wheel that the tests' extra installs."""
    spec = importlib.util.find_spec("fiftyone")
    places = (spec.submodule_search_locations or ()) if spec else ()
    for binary in (shutil.which("mongod"), *(str(Path(place, "db", "bin", "mongod")) for place in places)):
        # The wheel's needs libcurl, which small systems do not have.
        if binary and Path(binary).is_file() and _runs(binary):
            return binary
    return None


def _runs(binary: str) -> bool:
    return subprocess.run([binary, "--version"], check=False, capture_output=True).returncode == 0


def require_mongod() -> str:
    binary = find_mongod()
    if binary is None:
        reason = (
            "no mongod that runs: set TEST_MONGODB_URI, put mongod on the PATH, or install the wheel of the dev extra "
            "and libcurl4"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return binary


@pytest.fixture(scope="session")
def mongo_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that lives as long as the session. Tests tell their data apart by database."""
    if given := os.environ.get("TEST_MONGODB_URI"):
        yield given
        return
    server = Mongod(require_mongod(), tmp_path_factory.mktemp("mongod") / "db", "--nojournal")
    server.start()
    yield server.uri
    server.stop()


@pytest.fixture
def own_mongod(tmp_path: Path) -> Iterator[Mongod]:
    """A server that a test may stop and start."""
    server = Mongod(require_mongod(), tmp_path / "mongod")
    server.start()
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture
def collection(mongo_uri: str) -> Iterator[Collection[Document]]:
    with MongoClient(mongo_uri, tz_aware=True) as client:
        name = f"test_{os.urandom(6).hex()}"
        yield client[name]["conversations"]
        client.drop_database(name)


@pytest.fixture
def settings(collection: Collection[Document], mongo_uri: str, tmp_path: Path) -> Settings:
    return make_settings(tmp_path / "data", mongo_uri, collection)


def make_settings(data_dir: Path, uri: str, collection: Collection[Document], **changes: Any) -> Settings:
    return Settings(
        **{
            "data_dir": data_dir,
            "mongo_uri": uri,
            "mongo_database": collection.database.name,
            "mongo_collection": collection.name,
            "workers": 1,
            **changes,
        }
    )


def context_of(settings: Settings, **changes: Any) -> ExtractContext:
    return ExtractContext(
        **{
            "settings": settings,
            "lake": Lake(settings.data_dir, "test"),
            "run_id": "test",
            "extracted_at": datetime.now(UTC),
            **changes,
        }
    )


def extract(settings: Settings, **changes: Any) -> ExtractResult:
    from analytics.sources.mongo import SOURCE

    return SOURCE.extract(context_of(settings, **changes))


def make_line(number: int, **keys: Any) -> Document:
    moment = STARTED_AT + timedelta(seconds=number)
    return {
        "type": "user",
        "uuid": f"u-{number}",
        "sessionId": "s-1",
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "message": {"role": "user", "content": f"line {number}"},
        **keys,
    }


def make_document(line: Document, ingested_at: Any = STARTED_AT, **keys: Any) -> Document:
    """A line as the service inserts it."""
    return {
        **line,
        "projectId": "-home-dev-app",
        "sourceFile": "/home/dev/.claude/projects/-home-dev-app/s-1.jsonl",
        "ingestedAt": ingested_at,
        **keys,
    }


def write_transcripts(projects: Path, seed: int = 1) -> list[tuple[str, Document]]:
    """Transcript files of the shapes that matter here. Returns their lines, each with its file's path."""
    chance = random.Random(seed)
    lines: list[tuple[str, Document]] = []
    for session in range(6):
        folder = projects / f"-home-dev-app{session % 2}"
        names = [f"s-{session}.jsonl", *([f"s-{session}/subagents/agent-a{session}.jsonl"] if session % 3 == 0 else [])]
        for name in names:
            content = [_shape(session, number, chance) for number in range(40)]
            content.append({key: value for key, value in content[4].items() if key != "timestamp"})
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in content))
            lines += [(str(path), line) for line in content]
    return lines


def _shape(session: int, number: int, chance: random.Random) -> Document:
    line = make_line(session * 40_000 + number * 7, sessionId=f"s-{session}", uuid=f"u-{session}-{chance.random()}")
    match number % 5:
        case 0:
            return {"type": "summary", "summary": f"summary {session} {number % 3}", "leafUuid": "l"}
        case 1:
            usage = {"input_tokens": chance.randrange(10**6), "output_tokens": 7, "cache_read_input_tokens": 2**33}
            use = {"type": "tool_use", "id": f"t-{session}-{number}", "name": "Edit", "input": {"file_path": "/a.py"}}
            message = {"id": f"m-{session}-{number}", "role": "assistant", "model": "claude-sonnet-4-5"}
            return {**line, "type": "assistant", "message": {**message, "usage": usage, "content": [use]}}
        case 2:
            return {**line, "toolUseResult": {"durationMs": 1.5, "ratio": 1.0, "list": [None, True, "é\u2028😀"]}}
        case 3:
            return {**line, "message": {"role": "user", "content": "key sk-ant-api03-" + "A1b2" * 24}}
        case _:
            return line


def sync(
    collection: Collection[Document],
    lines: list[tuple[str, Document]],
    *,
    seed: int = 1,
    started_at: datetime = STARTED_AT,
    duplicate_ratio: float = 0.2,
) -> list[Document]:
    """The documents that the service would insert for lines, in the order they become visible.

    Batches of 100 share one `ingestedAt`; some lines come twice under new ids; some documents are seen
    minutes after their `ingestedAt`; within a batch the order is nobody's.
    """
    chance = random.Random(seed)
    repeated = [line for line in lines if chance.random() < duplicate_ratio]
    documents = []
    for number, (path, line) in enumerate([*lines, *repeated]):
        ingested_at = started_at + timedelta(seconds=5 * (number // 100))
        visible_at = ingested_at + timedelta(seconds=chance.choice([0] * 9 + [chance.randrange(300)]))
        project = path.split("/projects/", 1)[1].split("/", 1)[0]
        keys = {"projectId": project, "sourceFile": path, "ingestedAt": ingested_at}
        documents.append((visible_at, chance.random(), {**line, **keys}))
    return [document for _, _, document in sorted(documents, key=lambda entry: entry[:2])]


def read_lake(lake: Lake, *columns: str) -> list[tuple[Any, ...]]:
    """The distinct rows of the lake's committed files, sorted."""
    import duckdb

    files = [str(lake.part_file(path)) for path in lake.snapshot("conversations").parts]
    if not files:
        return []
    wanted = ", ".join(columns)
    with duckdb.connect() as connection:
        return connection.execute(
            f"select distinct {wanted} from read_parquet(?, union_by_name = true) order by all", [files]
        ).fetchall()


def wait_until(condition: Any, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the awaited state did not come"
        time.sleep(0.02)
