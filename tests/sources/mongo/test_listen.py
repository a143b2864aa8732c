from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

import bson
import pytest
from bson import Regex
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from analytics.config import Settings
from analytics.errors import SourceUnavailable
from analytics.lake import Lake
from analytics.sources.mongo import listen
from analytics.sources.mongo.listen import NAME, Listener
from tests.sources.mongo.conftest import (
    Document,
    Mongod,
    extract,
    make_document,
    make_line,
    make_settings,
    read_lake,
    require_mongod,
    wait_until,
)

if TYPE_CHECKING:
    from pymongo.collection import Collection


@pytest.fixture(scope="module")
def replica_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A replica set of one node, on which change streams work."""
    server = Mongod(require_mongod(), tmp_path_factory.mktemp("replica") / "db", "--replSet", "rs", "--oplogSize", "50")
    server.start()
    with MongoClient(server.uri) as client:
        member = {"_id": 0, "host": f"127.0.0.1:{server.port}"}
        client.admin.command("replSetInitiate", {"_id": "rs", "members": [member]})
        wait_until(lambda: client.admin.command("hello")["isWritablePrimary"])
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture
def entries(replica_set: Mongod) -> Iterator[Collection[Document]]:
    with MongoClient(replica_set.uri) as client:
        collection = client[f"test_{os.urandom(6).hex()}"]["conversations"]
        collection.insert_one(make_document(make_line(0), _id="before"))
        yield collection
        client.drop_database(collection.database.name)


@pytest.fixture
def listened(entries: Collection[Document], replica_set: Mongod, tmp_path: Path) -> Settings:
    return make_settings(tmp_path / "data", replica_set.uri, entries)


class Running:
    """A listener in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        self.stopping = threading.Event()
        self.failure: BaseException | None = None
        self.listener = Listener(settings, Lake(settings.data_dir, "test"), self.stopping, flush_after_s=0.1)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.listener.run()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.failure = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def join(self) -> None:
        self._thread.join(30)


def ids_of(settings: Settings) -> set[str]:
    return {row[0] for row in read_lake(Lake(settings.data_dir), "source_record_id")}


def token_of(settings: Settings) -> str | None:
    return next(iter(Lake(settings.data_dir).read_state(source=NAME, dataset="conversations").values()), None)


def test_listener_commits_what_arrives_and_resumes_where_it_was(
    entries: Collection[Document], listened: Settings
) -> None:
    with Running(listened):
        wait_until(lambda: token_of(listened))
        entries.insert_one(make_document(make_line(1), _id="first"))
        wait_until(lambda: ids_of(listened) == {"first"})
        entries.update_one({"_id": "before"}, {"$set": {"cwd": "/edited"}})
        wait_until(lambda: "before" in ids_of(listened))
    entries.insert_one(make_document(make_line(2), _id="while away"))
    with Running(listened):
        wait_until(lambda: "while away" in ids_of(listened))


def test_listener_and_batch_together_count_nothing_twice(entries: Collection[Document], listened: Settings) -> None:
    with Running(listened):
        wait_until(lambda: token_of(listened))
        entries.insert_many(make_document(make_line(n), _id=n) for n in range(1, 50))
        wait_until(lambda: len(ids_of(listened)) == 49)
        assert extract(listened).rows_read == 50
    assert len(read_lake(Lake(listened.data_dir), "record_id")) == 50
    assert extract(listened).rows_read == 0


def test_listener_rejects_alone_what_cannot_be_a_line(entries: Collection[Document], listened: Settings) -> None:
    with Running(listened):
        wait_until(lambda: token_of(listened))
        entries.insert_many(
            [make_document(make_line(1, x=Regex("a")), _id="bad"), make_document(make_line(2), _id="good")]
        )
        wait_until(lambda: ids_of(listened) == {"good"})
    letters = list((listened.data_dir / "dead_letter").rglob("*.jsonl"))
    assert "_id=bad" in "".join(letter.read_text(encoding="utf-8") for letter in letters)


def test_listener_and_batch_refuse_the_same_document(entries: Collection[Document], listened: Settings) -> None:
    """The listener took U+FFFD for what is no UTF-8, so one document was a row and a dead letter."""
    broken = bson.encode(make_document(make_line(2, cwd="QQQQ"), _id="bad")).replace(b"QQQQ", b"\xff\xfe\xfd\xfc")
    with Running(listened):
        wait_until(lambda: token_of(listened))
        entries.insert_one(RawBSONDocument(broken))
        entries.insert_one(make_document(make_line(1), _id="good"))
        wait_until(lambda: "good" in ids_of(listened))
    assert ids_of(listened) == {"good"}
    assert Lake(listened.data_dir).snapshot("conversations").rows_rejected == 1
    assert extract(listened).rejected_by_reason == {"invalid UTF-8": 1}


def test_listener_waits_for_the_lock_and_ends_cleanly(entries: Collection[Document], listened: Settings) -> None:
    lake = Lake(listened.data_dir, "test")
    with Running(listened) as running:
        wait_until(lambda: token_of(listened))
        with lake.lock(wait_s=30.0):
            entries.insert_one(make_document(make_line(1), _id="held"))
            running.stopping.wait(0.5)
            assert ids_of(listened) == set()
        wait_until(lambda: ids_of(listened) == {"held"})


def test_listener_survives_a_restart_of_the_server(
    replica_set: Mongod, entries: Collection[Document], listened: Settings
) -> None:
    with Running(listened):
        wait_until(lambda: token_of(listened))
        replica_set.stop()
        replica_set.start()
        wait_until(lambda: entries.database.client.admin.command("hello")["isWritablePrimary"])
        entries.insert_one(make_document(make_line(1), _id="after"))
        wait_until(lambda: ids_of(listened) == {"after"})


def test_lost_history_sends_to_the_batch_run_and_forgets_the_token(
    entries: Collection[Document], listened: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Running(listened):
        wait_until(lambda: token_of(listened))

    def fail(*_: object) -> None:
        raise OperationFailure("the resume point may no longer be in the oplog", 286)

    monkeypatch.setattr(Listener, "_open_stream", fail)
    with Running(listened) as running:
        running.join()
    assert isinstance(running.failure, SourceUnavailable)
    assert "analytics extract --select mongo" in str(running.failure)
    assert token_of(listened) is None


def test_standalone_server_is_told_apart(collection: Collection[Document], settings: Settings) -> None:
    collection.insert_one(make_document(make_line(1)))
    with Running(settings) as running:
        running.join()
    assert "no replica set" in str(running.failure)


def test_process_commits_what_is_in_hand_on_sigterm(entries: Collection[Document], listened: Settings) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(listen.__file__).parents[3]),
        "ANALYTICS_MONGO_URI": listened.mongo_uri,
        "ANALYTICS_MONGO_DATABASE": listened.mongo_database,
    }
    command = [sys.executable, "-m", "analytics.sources.mongo.listen", "--data-dir", str(listened.data_dir)]
    process = subprocess.Popen([*command, "--flush-after-s", "600"], env=environment, stderr=subprocess.PIPE)
    wait_until(lambda: token_of(listened))
    entries.insert_one(make_document(make_line(1), _id="in hand"))
    time.sleep(1.0)  # the event is on its way to another process, which tells nobody before it commits
    process.terminate()
    _, story = process.communicate(timeout=30)
    assert process.returncode == 0, story
    assert ids_of(listened) == {"in hand"}
