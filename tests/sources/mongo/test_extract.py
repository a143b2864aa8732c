from __future__ import annotations

import dataclasses
import random
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from analytics.config import Settings
from analytics.contracts import load_contract
from analytics.errors import SourceUnavailable
from analytics.lake import Lake
from analytics.sources.mongo import extraction
from analytics.sources.mongo.connection import Server
from analytics.sources.mongo.extraction import MongoExtractor
from analytics.sources.transcripts import SOURCE as TRANSCRIPTS
from tests.sources.mongo.conftest import (
    STARTED_AT,
    Document,
    context_of,
    extract,
    make_document,
    make_line,
    read_lake,
    sync,
    write_transcripts,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.collection import Collection

# What a record is, whoever carried it. The rest says how it came.
CARRIED = {"source", "source_record_id", "record_date", "_source_position", "_extracted_at", "_run_id"}
COLUMNS = [name for name in load_contract("conversations").schema.names if name not in CARRIED]


@pytest.fixture
def lines(tmp_path: Path) -> list[tuple[str, Document]]:
    return write_transcripts(tmp_path / "projects")


@pytest.fixture
def expected(tmp_path: Path, lines: list[tuple[str, Document]]) -> list[tuple[Any, ...]]:
    """What the transcripts source makes of the same files, under the key that the lake of `settings` will have."""
    settings = Settings(data_dir=tmp_path / "files", transcript_dirs=(tmp_path / "projects",), workers=1)
    (tmp_path / "data").mkdir(exist_ok=True)
    Lake(settings.data_dir).key  # noqa: B018 - makes it
    (tmp_path / "data" / "local.key").write_bytes((settings.data_dir / "local.key").read_bytes())
    TRANSCRIPTS.extract(context_of(settings))
    return read_lake(Lake(settings.data_dir), *COLUMNS)


def rows_of(settings: Settings) -> list[tuple[Any, ...]]:
    return read_lake(Lake(settings.data_dir), *COLUMNS)


def lake_ids(settings: Settings) -> set[str]:
    return {row[0] for row in read_lake(Lake(settings.data_dir), "source_record_id")}


@pytest.mark.parametrize("workers", [1, 2])
def test_full_extract_equals_the_files(
    collection: Collection[Document],
    settings: Settings,
    lines: list[tuple[str, Document]],
    expected: list[tuple[Any, ...]],
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extraction, "UNIT_BYTES", 20_000)
    collection.insert_many(sync(collection, lines))
    result = extract(dataclasses.replace(settings, workers=workers))
    assert result.rows_read == collection.count_documents({})
    assert result.rows_rejected == 0
    assert rows_of(settings) == expected


@pytest.mark.parametrize("index", ["pair", "instant", "none"])
@pytest.mark.parametrize("seed", range(3))
def test_incremental_extract_equals_the_files_in_any_cut(
    collection: Collection[Document],
    settings: Settings,
    lines: list[tuple[str, Document]],
    expected: list[tuple[Any, ...]],
    index: str,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extraction, "UNIT_BYTES", 20_000)  # many ranges, and instants that fill more than one
    if index == "pair":
        collection.create_index([("ingestedAt", 1), ("_id", 1)])
    elif index == "instant":
        collection.create_index([("ingestedAt", -1)])
    documents = sync(collection, lines, seed=seed)
    chance = random.Random(seed)
    while documents:
        count = chance.randrange(1, 120)
        collection.insert_many(documents[:count], ordered=False)
        del documents[:count]
        extract(settings)
    assert rows_of(settings) == expected
    assert len(lake_ids(settings)) == collection.count_documents({})


def test_extract_loads_nothing_when_nothing_is_new(
    collection: Collection[Document], settings: Settings, lines: list[tuple[str, Document]]
) -> None:
    collection.insert_many(sync(collection, lines, started_at=datetime.now(UTC) - timedelta(seconds=20)))
    extract(settings)
    number = Lake(settings.data_dir).last_number("conversations")
    assert extract(settings).rows_read == 0
    assert Lake(settings.data_dir).last_number("conversations") == number


def test_extract_goes_on_when_the_servers_clock_went_back(
    collection: Collection[Document], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than 70 minutes back, as after a fail-over, the server refused a range that ends before it begins."""
    collection.create_index([("ingestedAt", 1), ("_id", 1)])
    now = datetime.now(UTC)
    collection.insert_one(make_document(make_line(1), now - timedelta(hours=1)))
    extract(settings)
    told = Server.now_ms
    monkeypatch.setattr(Server, "now_ms", lambda server: told(server) - 5 * 3_600_000)
    collection.insert_one(make_document(make_line(2), now - timedelta(minutes=30)))
    assert [extract(settings).rows_loaded for _ in range(2)] == [1, 0]
    monkeypatch.undo()
    assert extract(settings).rows_loaded == 0


@pytest.mark.parametrize("is_indexed", [True, False])
def test_extract_comes_to_rest_behind_a_bulk_load(
    collection: Collection[Document], settings: Settings, monkeypatch: pytest.MonkeyPatch, *, is_indexed: bool
) -> None:
    """Beyond 32,768 documents in the overlap every run read the others again and committed them."""
    monkeypatch.setattr(extraction, "MAX_DIGESTS", 10)
    if is_indexed:
        collection.create_index([("ingestedAt", 1), ("_id", 1)])
    collection.insert_many([make_document(make_line(number)) for number in range(40)])
    assert [extract(settings).rows_loaded for _ in range(4)] == [40, 30, 0, 0]
    number = Lake(settings.data_dir).last_number("conversations")
    collection.insert_one(make_document(make_line(41), STARTED_AT - timedelta(seconds=1)))  # late
    assert [extract(settings).rows_loaded for _ in range(2)] == [31, 0]
    collection.insert_one(make_document(make_line(42), STARTED_AT + timedelta(seconds=1)))
    assert [extract(settings).rows_loaded for _ in range(3)] == [32, 32, 0]
    collection.insert_one(make_document(make_line(43), STARTED_AT + timedelta(hours=1)))
    assert [extract(settings).rows_loaded for _ in range(2)] == [33, 0]
    assert Lake(settings.data_dir).last_number("conversations") == number + 4
    assert len(lake_ids(settings)) == 43


@pytest.mark.parametrize("is_indexed", [True, False])
def test_extract_finds_documents_that_share_the_boundary_instant(
    collection: Collection[Document], settings: Settings, *, is_indexed: bool
) -> None:
    if is_indexed:
        collection.create_index([("ingestedAt", 1), ("_id", 1)])
    settings = dataclasses.replace(settings, mongo_overlap_s=0)
    low, high = ObjectId("0" * 24), ObjectId("f" * 24)
    collection.insert_one(make_document(make_line(1), _id=high))
    extract(settings)
    collection.insert_one(make_document(make_line(2), _id=low))
    extract(settings)
    assert lake_ids(settings) == {str(low), str(high)}


def test_extract_finds_a_late_document_within_the_overlap(collection: Collection[Document], settings: Settings) -> None:
    collection.insert_one(make_document(make_line(1)))
    extract(settings)
    collection.insert_one(make_document(make_line(2), STARTED_AT - timedelta(seconds=599)))
    assert extract(settings).rows_read == 1


def test_extract_picks_up_a_changed_document(collection: Collection[Document], settings: Settings) -> None:
    """Within the overlap at once, before it by a full backfill. What the lake had stays beside it."""
    for number in (1, 10_000):
        collection.insert_one(make_document(make_line(number), STARTED_AT + timedelta(seconds=number), _id=number))
    extract(settings)
    collection.update_many({}, {"$set": {"message.content": "edited"}})
    assert extract(settings).rows_read == 1
    assert extract(settings, is_full_backfill=True).rows_read == 2
    assert len(read_lake(Lake(settings.data_dir), "record_id")) == 4


def test_deleted_document_stays_in_the_lake(collection: Collection[Document], settings: Settings) -> None:
    collection.insert_many(make_document(make_line(n), _id=n) for n in range(2))
    extract(settings)
    collection.delete_one({"_id": 0})
    extract(settings, is_full_backfill=True)
    assert lake_ids(settings) == {"0", "1"}


def test_extract_is_not_frozen_by_a_document_from_the_future(
    collection: Collection[Document], settings: Settings
) -> None:
    now = datetime.now(UTC)
    collection.insert_one(make_document(make_line(1), now + timedelta(days=4000), _id="future"))
    extract(settings)
    collection.insert_one(make_document(make_line(2), now - timedelta(minutes=1), _id="today"))
    assert extract(settings).rows_read == 1
    collection.insert_one(make_document(make_line(3), now + timedelta(minutes=30), _id="soon"))
    collection.insert_one(make_document(make_line(4), now + timedelta(days=400), _id="later"))
    assert extract(settings).rows_read >= 2
    assert lake_ids(settings) == {"future", "today", "soon", "later"}
    assert extract(settings).rows_read == 0


def test_extract_counts_and_reads_documents_without_a_date(
    collection: Collection[Document], settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    collection.insert_one(make_document(make_line(1), _id=1))
    extract(settings)
    odd: list[Any] = [None, "2026-06-01T08:00:00Z", 1_780_000_000_000, {"at": 1}, [1]]
    collection.insert_many(make_document(make_line(10 + n), value, _id=10 + n) for n, value in enumerate(odd))
    missing = make_document(make_line(20), _id=20)
    del missing["ingestedAt"]
    collection.insert_one(missing)
    assert extract(settings).rows_read == 6
    assert "documents_without_date=6" in caplog.text
    assert extract(settings).rows_read == 0
    collection.insert_one(make_document(make_line(5), None, _id=5))  # an id before those already read
    extract(settings)
    assert lake_ids(settings) == {"1", "5", "10", "11", "12", "13", "14", "20"}


@pytest.mark.parametrize("direction", [1, -1])
def test_extract_passes_over_an_array_of_dates(
    collection: Collection[Document], settings: Settings, monkeypatch: pytest.MonkeyPatch, direction: int
) -> None:
    """An index holds each of its dates, and none is where a range could end."""
    monkeypatch.setattr(extraction, "UNIT_BYTES", 1)
    keys = [("ingestedAt", 1), ("_id", 1)] if direction == 1 else [("ingestedAt", -1)]
    collection.create_index(keys)
    collection.insert_one(make_document(make_line(0), _id=0))
    extract(settings)
    later = [STARTED_AT + timedelta(hours=hour) for hour in range(1, 4)]
    values: list[Any] = [later[0], [later[0], later[1]], later[1], later[1], [later[2]], later[2]]
    collection.insert_many(make_document(make_line(n + 1), value, _id=n + 1) for n, value in enumerate(values))
    extract(settings)
    assert lake_ids(settings) == {str(n) for n in range(7)}


def test_backfill_that_was_stopped_leaves_what_came_since_to_the_increments(
    collection: Collection[Document], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed backfill once took the mark past documents whose ids lie where it had been before it was stopped."""
    monkeypatch.setattr(extraction, "UNIT_BYTES", 1)
    monkeypatch.setattr(extraction, "COMMIT_BYTES", 1)
    now = datetime.now(UTC)
    collection.insert_many(make_document(make_line(n), now - timedelta(days=2), _id=f"b{n}") for n in range(6))

    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise Stopped

    monkeypatch.setattr("analytics.sources.mongo.connection.Server.now_ms", lambda _: _ms(now - timedelta(days=1)))
    with pytest.raises(Stopped):
        extract(settings, on_progress=stop)
    monkeypatch.undo()
    collection.insert_one(make_document(make_line(10), now - timedelta(hours=3), _id="a"))
    collection.insert_one(make_document(make_line(11), now - timedelta(hours=1), _id="c"))
    extract(settings)
    assert lake_ids(settings) == {*(f"b{n}" for n in range(6)), "a", "c"}
    assert extract(settings).rows_read == 0


@pytest.mark.parametrize("is_stopped", [False, True])
def test_backfill_counts_the_documents_without_a_date_that_it_reads(
    collection: Collection[Document],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_stopped: bool,
) -> None:
    """One that comes where it has been is not counted, and read by the increment after it."""
    monkeypatch.setattr(extraction, "UNIT_BYTES", 1)
    monkeypatch.setattr(extraction, "COMMIT_BYTES", 1)
    now = datetime.now(UTC)
    values: list[Any] = [None, now - timedelta(days=2), [1], now + timedelta(days=400), now - timedelta(days=1), "x"]
    collection.insert_many(make_document(make_line(n), value, _id=f"b{n}") for n, value in enumerate(values))

    def come(done: int, total: int) -> None:
        if done > total / 2 and not collection.count_documents({"_id": "a"}):
            collection.insert_one(make_document(make_line(10), None, _id="a"))
            if is_stopped:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) if is_stopped else nullcontext():
        extract(settings, on_progress=come)
    extract(settings)
    assert lake_ids(settings) == {*(f"b{n}" for n in range(6)), "a"}
    assert "documents_without_date=3 " in caplog.text, "the backfill"
    assert "documents_without_date=4 " in caplog.text, "the increment"
    assert extract(settings).rows_read == 0


def test_what_comes_during_a_long_backfill_hides_no_document_without_a_date(
    collection: Collection[Document], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One dated an hour after the start was counted as one without a date, and hid a real one."""
    monkeypatch.setattr(extraction, "UNIT_BYTES", 1)
    now = datetime.now(UTC)
    collection.insert_many(make_document(make_line(n), now - timedelta(days=2), _id=f"b{n}") for n in range(6))
    now_ms = Server.now_ms
    monkeypatch.setattr(Server, "now_ms", lambda server: now_ms(server) - 3 * 3_600_000)

    def come(done: int, total: int) -> None:
        if not collection.count_documents({"_id": "c"}):
            collection.insert_one(make_document(make_line(20), now - timedelta(hours=1), _id="c"))

    extract(settings, on_progress=come)
    monkeypatch.setattr(Server, "now_ms", now_ms)
    collection.insert_one(make_document(make_line(10), None, _id="a"))
    extract(settings)
    assert lake_ids(settings) == {*(f"b{n}" for n in range(6)), "a", "c"}


def test_a_document_whose_future_has_come_hides_none_without_a_date(
    collection: Collection[Document], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    collection.insert_one(make_document(make_line(1), now - timedelta(days=2), _id="past"))
    collection.insert_one(make_document(make_line(2), now + timedelta(days=1), _id="future"))
    extract(settings)
    extract(settings)
    now_ms = Server.now_ms
    monkeypatch.setattr(Server, "now_ms", lambda server: now_ms(server) + 2 * 86_400_000)
    collection.insert_one(make_document(make_line(3), None, _id="a"))
    extract(settings)
    assert lake_ids(settings) == {"past", "future", "a"}


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def test_extract_pages_over_ids_of_mixed_types(
    collection: Collection[Document], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[Any] = [
        1,
        2.5,
        2**40,
        "a",
        "b",
        {"k": 1},
        {"k": 2},
        b"x",
        ObjectId(),
        ObjectId(),
        False,
        True,
        STARTED_AT,
    ]
    settings = dataclasses.replace(settings, mongo_batch_size=1)
    monkeypatch.setattr(extraction, "UNIT_BYTES", 500)
    collection.create_index([("ingestedAt", 1), ("_id", 1)])
    collection.insert_many(make_document(make_line(n), _id=value) for n, value in enumerate(ids))
    assert extract(settings).rows_read == len(ids)
    collection.insert_many(
        make_document(make_line(100 + n), STARTED_AT + timedelta(hours=1), _id=value)
        for n, value in enumerate([3, "c", {"k": 3}, ObjectId()])
    )
    assert extract(settings).rows_read == 4


def test_window_reads_by_the_lines_own_instant_and_leaves_the_mark(
    collection: Collection[Document], settings: Settings
) -> None:
    collection.insert_many(make_document(make_line(n), _id=n) for n in range(10))
    extract(settings)
    before = Lake(settings.data_dir).read_state(source="mongo", dataset="conversations")
    since, until = STARTED_AT + timedelta(seconds=3), STARTED_AT + timedelta(seconds=7)
    assert extract(settings, since=since, until=until).rows_read == 4
    assert Lake(settings.data_dir).read_state(source="mongo", dataset="conversations") == before


def test_incremental_extract_since_an_instant_moves_the_mark_only_without_a_gap(
    collection: Collection[Document], settings: Settings
) -> None:
    for n in range(5):
        collection.insert_one(make_document(make_line(n), STARTED_AT + timedelta(hours=n), _id=n))
    extractor = MongoExtractor(context_of(settings))
    assert extractor.incremental_extract(STARTED_AT + timedelta(hours=3)).rows_read == 2
    assert MongoExtractor(context_of(settings)).incremental_extract().rows_read == 5


def test_an_empty_collection_is_told(collection: Collection[Document], settings: Settings) -> None:
    collection.insert_one({})
    collection.delete_many({})
    for _ in range(2):
        assert extract(settings).nothing_found[0].startswith(collection.full_name)
    collection.insert_one(make_document(make_line(1)))
    assert extract(settings).nothing_found == ()


def test_another_collection_starts_anew(collection: Collection[Document], settings: Settings) -> None:
    collection.insert_one(make_document(make_line(1)))
    extract(settings)
    collection.database["entries"].insert_one(make_document(make_line(2), STARTED_AT - timedelta(days=9)))
    assert extract(dataclasses.replace(settings, mongo_collection="entries")).rows_read == 1


def test_large_collection_without_an_index_is_refused_with_the_line_that_makes_one(
    collection: Collection[Document], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "SMALL_COUNT", 1)
    collection.insert_many(make_document(make_line(n)) for n in range(3))
    assert extract(settings).rows_read == 3
    with pytest.raises(SourceUnavailable, match=r"createIndex\(\{ingestedAt: 1, _id: 1\}\)"):
        extract(settings)
