"""The server or this process dies, refuses, or is not there: nothing is lost, and nothing is said aloud."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import random
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, CursorNotFound, NotPrimaryError, OperationFailure, PyMongoError

from analytics import extractor
from analytics.config import Settings, load_settings
from analytics.errors import ConfigError, SourceUnavailable
from analytics.lake import Lake
from analytics.records import canonical_json, record_id
from analytics.sources.mongo import connection, extraction, scan
from tests.sources.mongo.conftest import (
    Document,
    Mongod,
    extract,
    make_document,
    make_line,
    make_settings,
    read_lake,
    require_mongod,
    sync,
    write_transcripts,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo.collection import Collection

PASSWORD = "correct-horse-battery"

# Run in a process of its own, in units small enough that a kill hits every step.
EXTRACT_IN_SMALL_UNITS = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from analytics.config import Settings
from analytics.lake import Lake
from analytics.sources import ExtractContext
from analytics.sources.mongo import SOURCE, extraction
extraction.UNIT_BYTES, extraction.COMMIT_BYTES = 4_000, 12_000
uri, database, data_dir, workers = sys.argv[1:5]
settings = Settings(
    data_dir=Path(data_dir), mongo_uri=uri, mongo_database=database, workers=int(workers), mongo_batch_size=10
)
print("started", flush=True)
SOURCE.extract(ExtractContext(settings, Lake(Path(data_dir), "test"), "test", datetime.now(UTC)))
"""


EXTRACT_AND_TELL_MEMORY = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from analytics.config import Settings
from analytics.lake import Lake
from analytics.sources import ExtractContext
from analytics.sources.mongo import SOURCE
from analytics.workers import peak_memory_bytes
uri, database, data_dir = sys.argv[1:4]
settings = Settings(data_dir=Path(data_dir), mongo_uri=uri, mongo_database=database, workers=1)
result = SOURCE.extract(ExtractContext(settings, Lake(Path(data_dir), "test"), "test", datetime.now(UTC)))
print(result.rows_loaded, peak_memory_bytes() >> 20)
"""


def ids_of(settings: Settings) -> set[str]:
    return {row[0] for row in read_lake(Lake(settings.data_dir), "source_record_id")}


def test_source_is_off_without_a_uri() -> None:
    from analytics.sources.mongo import SOURCE

    assert not SOURCE.is_enabled(Settings())
    with pytest.raises(ConfigError, match="ANALYTICS_MONGO_URI"):
        extract(Settings())


@pytest.mark.parametrize(
    "uri",
    [
        f"mongodb://reader:{PASSWORD}@127.0.0.1:1/?directConnection=true",
        f"mongodb://reader:{PASSWORD}@/@127.0.0.1:1",
        f"mongodb://reader:{PASSWORD}/x:1@127.0.0.1",
        f"mongodb://reader:{PASSWORD}@127.0.0.1:99999999",
        f"mongodb://reader@{PASSWORD}:nonsense",
        f"mongodb://reader:{PASSWORD}@127.0.0.1:1/?authMechanism=NONE&tls=maybe",
    ],
)
def test_failure_never_repeats_the_password(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SELECTION_TIMEOUT_MS", 50)
    settings = Settings(data_dir=tmp_path, mongo_uri=uri)
    with pytest.raises(SourceUnavailable, match="ANALYTICS_MONGO_URI") as caught:
        extract(settings)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None
    assert PASSWORD not in repr(settings)


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("mongodb://h1:27017/?appName=me@corp", "h1:27017"),
        ("mongodb://u:p@H2:27017,h3/db?appName=me@corp/x", "h2:27017,h3"),
        ("mongodb+srv://u:p@h4", "h4"),
        (f"mongodb://u:{PASSWORD}/1@h5/db", "h5"),
        ("", "an unnamed host"),
    ],
)
def test_address_is_that_of_the_hosts(uri: str, address: str) -> None:
    """An @ in an option was taken for the end of a password, so that two servers shared a mark."""
    assert connection.address_of(uri) == address


@pytest.mark.parametrize("error", [OperationFailure("text", 20), PyMongoError("text")])
def test_failure_of_no_known_kind_says_what_to_do(error: PyMongoError) -> None:
    """It named the failure alone."""
    with (
        pytest.raises(SourceUnavailable, match=r"Check .*, then run again\.$") as caught,
        connection.explained("host:27017", Settings()),
    ):
        raise error
    assert "text" not in str(caught.value)


def test_uri_of_another_kind_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match="ANALYTICS_MONGO_URI must begin") as caught:
        load_settings(environment={"ANALYTICS_MONGO_URI": f"postgres://reader:{PASSWORD}@host"}, dotenv=Path("none"))
    assert PASSWORD not in str(caught.value)


def test_missing_database_names_the_settings(settings: Settings) -> None:
    with pytest.raises(SourceUnavailable, match="ANALYTICS_MONGO_DATABASE and ANALYTICS_MONGO_COLLECTION"):
        extract(dataclasses.replace(settings, mongo_database="nowhere"))


@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")
def test_source_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SELECTION_TIMEOUT_MS", 50)
    write_transcripts(tmp_path / "projects")
    settings = Settings(
        data_dir=tmp_path / "data",
        transcript_dirs=(tmp_path / "projects",),
        mongo_uri="mongodb://127.0.0.1:1",
        workers=1,
    )
    result = extractor.extract(settings, Lake(settings.data_dir), run_id="test")
    assert list(result.failures) == ["mongo"]
    assert "127.0.0.1:1" in result.failures["mongo"]
    assert [entry.source for entry in result.results if entry.rows_loaded] == ["transcripts"]


def test_mongo_extractor_is_to_be_had_from_the_extractor() -> None:
    assert extractor.MongoExtractor is extraction.MongoExtractor


@pytest.mark.parametrize(
    "failure",
    [AutoReconnect("x"), CursorNotFound("x", 43), NotPrimaryError("x")],
    ids=lambda error: type(error).__name__,
)
def test_dead_cursor_is_resumed_behind_the_last_key(
    collection: Collection[Document], settings: Settings, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    collection.create_index([("ingestedAt", 1), ("_id", 1)])
    collection.insert_many(make_document(make_line(n), _id=n) for n in range(100))
    monkeypatch.setattr(scan, "RETRY_WAITS_S", (0.0, 0.0))
    open_batches = scan._open_batches
    opened = []

    def fail_after_three(*arguments: Any) -> Iterator[bytes]:
        opened.append(arguments)
        for number, batch in enumerate(open_batches(*arguments)):
            if number == 3:
                raise failure
            yield batch

    monkeypatch.setattr(scan, "_open_batches", fail_after_three)
    assert extract(dataclasses.replace(settings, mongo_batch_size=10)).rows_read == 100
    assert len(opened) > 2


def test_server_that_does_not_come_back_is_unavailable_and_keeps_what_was_committed(
    collection: Collection[Document], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.insert_many(make_document(make_line(n), _id=n) for n in range(100))
    monkeypatch.setattr(scan, "RETRY_WAITS_S", ())
    monkeypatch.setattr(extraction, "UNIT_BYTES", 1)
    monkeypatch.setattr(extraction, "COMMIT_BYTES", 1)
    open_batches = scan._open_batches

    opened = count()

    def fail(*arguments: Any) -> Iterable[bytes]:
        if next(opened) == 30:
            raise AutoReconnect("gone")
        return open_batches(*arguments)

    small = dataclasses.replace(settings, mongo_batch_size=10)
    monkeypatch.setattr(scan, "_open_batches", fail)
    with pytest.raises(SourceUnavailable, match="did not come back"):
        extract(small)
    monkeypatch.setattr(scan, "_open_batches", open_batches)
    durable = len(ids_of(settings))
    assert durable >= 20
    assert extract(small).rows_read == 100 - durable
    assert len(ids_of(settings)) == 100


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_lost_when_the_server_restarts_in_the_middle(
    own_mongod: Mongod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    lines = write_transcripts(tmp_path / "projects")
    with MongoClient(own_mongod.uri) as client:
        collection = client["claude_logs"]["conversations"]
        collection.insert_many(sync(collection, lines))
        document_count = collection.count_documents({})
        client.admin.command("fsync")
    monkeypatch.setattr(scan, "RETRY_WAITS_S", (0.1,) * 100)
    monkeypatch.setattr(connection, "SELECTION_TIMEOUT_MS", 500)
    monkeypatch.setattr(extraction, "UNIT_BYTES", 1)
    settings = make_settings(tmp_path / "data", own_mongod.uri, collection, mongo_batch_size=20, workers=workers)
    seen = []

    def restart(done: int, total: int) -> None:
        seen.append(done)
        if len(seen) == 5:
            own_mongod.stop()
            own_mongod.start()

    assert extract(settings, on_progress=restart).rows_read == document_count
    assert len(ids_of(settings)) == document_count


def test_killed_worker_is_told_without_a_traceback(
    collection: Collection[Document], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection.insert_many(make_document(make_line(n), _id=n) for n in range(100))
    monkeypatch.setattr(extraction, "UNIT_BYTES", 1)

    def kill(_done: int, _total: int) -> None:
        for worker in multiprocessing.active_children():
            worker.kill()

    with pytest.raises(SourceUnavailable, match="ANALYTICS_WORKERS=1"):
        extract(dataclasses.replace(settings, workers=2), on_progress=kill)
    assert extract(settings).rows_read == 100


def test_wrong_credentials_and_missing_rights_say_what_to_mend(tmp_path: Path) -> None:
    server = Mongod(require_mongod(), tmp_path / "mongod", "--nojournal", "--auth")
    server.start()
    try:
        with MongoClient(server.uri) as client:
            roles = ["root"]
            client.admin.command("createUser", "admin", pwd=PASSWORD, roles=roles)
        with MongoClient(server.uri, username="admin", password=PASSWORD) as client:
            client["claude_logs"]["conversations"].insert_one(make_document(make_line(1)))
            client.admin.command("createUser", "reader", pwd=PASSWORD, roles=[{"role": "read", "db": "claude_logs"}])
            client.admin.command("createUser", "nobody", pwd=PASSWORD, roles=[])

        def with_user(user: str, password: str = PASSWORD) -> Settings:
            uri = server.uri.replace("//", f"//{user}:{password}@")
            return Settings(data_dir=tmp_path / "data", mongo_uri=uri, workers=1)

        with pytest.raises(SourceUnavailable, match="refuses the user or the password") as caught:
            extract(with_user("reader", "wrong-secret"))
        assert "wrong-secret" not in str(caught.value)
        with pytest.raises(SourceUnavailable, match="role: 'read'"):
            extract(with_user("nobody"))
        assert extract(with_user("reader")).rows_loaded == 1
        assert extract(with_user("reader")).rows_loaded == 0
        assert PASSWORD not in "".join(
            path.read_bytes().decode("latin-1") for path in (tmp_path / "data").rglob("*") if path.is_file()
        )
    finally:
        server.stop(9)


@pytest.mark.parametrize("rounds", [4, pytest.param(50, marks=pytest.mark.torture)])
def test_killed_extraction_ends_equal(
    collection: Collection[Document], mongo_uri: str, settings: Settings, tmp_path: Path, rounds: int
) -> None:
    """kill -9 at random moments, of a backfill and of increments, with and without workers, while documents come."""
    lines = write_transcripts(tmp_path / "projects")
    documents = sync(collection, lines)
    chance = random.Random(rounds)
    collection.create_index([("ingestedAt", 1), ("_id", 1)])
    step = max(len(documents) // (rounds // 2), 1)
    for number in range(rounds):
        if documents:
            collection.insert_many(documents[:step], ordered=False)
            del documents[:step]
        workers = 1 + number % 2
        arguments = [mongo_uri, collection.database.name, str(settings.data_dir), str(workers)]
        process = subprocess.Popen(
            [sys.executable, "-c", EXTRACT_IN_SMALL_UNITS, *arguments],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.random() * (0.6 if workers == 1 else 3.0))  # workers take a second to start
        process.kill()
        process.wait()
        process.stdout.close()
    extract(settings)
    clean = dataclasses.replace(settings, data_dir=tmp_path / "clean")
    extract(clean)
    assert ids_of(settings) == ids_of(clean)
    ids_of_lines = sorted({record_id(canonical_json(line)) for _, line in lines})
    assert [row[0] for row in read_lake(Lake(settings.data_dir), "record_id")] == ids_of_lines


@pytest.mark.torture
def test_documents_of_16_mb_side_by_side_load_in_bounded_memory(
    collection: Collection[Document], mongo_uri: str, settings: Settings
) -> None:
    """Ranges are cut by the usual size, so all of these are in one of them: 480 MB."""
    collection.insert_many(make_document(make_line(n), _id=n) for n in range(40_000))
    for n in range(32):
        message = {"role": "user", "content": f"{n:08}" * 1_900_000}
        collection.insert_one(make_document(make_line(50_000 + n, message=message), _id=20_000 + (n + 1) / 100))
    done = subprocess.run(
        [sys.executable, "-c", EXTRACT_AND_TELL_MEMORY, mongo_uri, collection.database.name, str(settings.data_dir)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    loaded, peak_mb = map(int, done.stdout.split())
    assert loaded == 40_032
    assert peak_mb < 600
