from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import UuidRepresentation
from bson.datetime_ms import DatetimeMS

from analytics.config import Settings
from analytics.lake import Lake
from analytics.records import canonical_json, record_id
from analytics.sources.mongo.documents import CODEC, to_line
from tests.sources.mongo.conftest import Document, extract, make_document, make_line, read_lake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pymongo.collection import Collection


def through_bson(value: Any) -> Any:
    line, canonical = to_line(bson.decode(bson.encode({"value": value, "a": 1}), CODEC))
    assert canonical == canonical_json(line)
    return line["value"]


@pytest.mark.parametrize(
    ("stored", "written"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 67_000, UTC), "2026-01-02T03:04:05.067Z"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00.000Z"),
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), "1969-12-31T23:59:59.000Z"),
        (ObjectId("0123456789abcdef01234567"), "0123456789abcdef01234567"),
        (Int64(7), 7),
        (2**53, 2**53),
        (5_000_000_000.0, 5_000_000_000),  # JavaScript's driver stores 5000000000 so
        (1.0, 1.0),
        (2.5, 2.5),
        (Decimal128("12"), 12),
        (Decimal128("0.0125"), 0.0125),
        (Decimal128("NaN"), None),
        (Decimal128("1E+6000"), None),
        (b"\x00\xff", "AP8="),
        (Binary(b"\x01", 128), "AQ=="),
        (
            Binary.from_uuid(UUID("12345678-1234-5678-1234-567812345678"), UuidRepresentation.STANDARD),
            "12345678-1234-5678-1234-567812345678",
        ),
        ({"$ref": "#/a", "$id": "b"}, {"$ref": "#/a", "$id": "b"}),
        ("version 1.0, 12345678901.0,", "version 1.0, 12345678901.0,"),
    ],
)
def test_to_line_gives_the_value_that_claude_code_wrote(stored: Any, written: Any) -> None:
    value = through_bson({"in": [stored]})["in"][0]
    assert (type(value), value) == (type(written), written)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_to_line_writes_null_for_what_json_lacks(number: float) -> None:
    assert json.loads(canonical_json(through_bson([number]))) == [None]


def test_timestamp_stored_as_a_date_is_the_same_record(collection: Collection[Document], settings: Settings) -> None:
    line = make_line(3)
    moment = datetime.fromisoformat(line["timestamp"])
    collection.insert_many([make_document(line), make_document({**line, "timestamp": moment})])
    extract(settings)
    rows = read_lake(Lake(settings.data_dir), "record_id", "occurred_at")
    assert rows == [(record_id(canonical_json(line)), moment.replace(tzinfo=None))]


def test_extract_survives_odd_documents(collection: Collection[Document], settings: Settings) -> None:
    """Each refused one is in the dead letter with its id; the others are in the lake."""
    refused = {
        "regex": {"value": Regex("a+")},
        "code": {"value": Code("f()")},
        "timestamp": {"value": Timestamp(1, 1)},
        "max": {"value": MaxKey()},
        "year 10000": {"value": DatetimeMS(300_000_000_000_000)},
    }
    kept: dict[str, Document] = {
        "nan": {"type": "assistant", "costUSD": float("nan"), "durationMs": float("inf")},
        "empty": {},
        "null": {"message": None, "type": None, "timestamp": None, "sessionId": 5},
        "date before 1970": {"timestamp": datetime(1960, 1, 1, tzinfo=UTC)},
        "large": {"message": {"role": "user", "content": "x" * 15_000_000}},
        "deep": {"value": nested(90)},
    }
    for name, keys in {**refused, **kept}.items():
        collection.insert_one(make_document(make_line(1, **keys), _id=name))
    result = extract(settings)
    assert result.rows_read == len(refused) + len(kept)
    assert result.rows_rejected == len(refused)
    assert {row[0] for row in read_lake(Lake(settings.data_dir), "source_record_id")} == set(kept)
    letters = (settings.data_dir / result.dead_letters[0]).read_text(encoding="utf-8")
    files = [json.loads(letter)["file"] for letter in letters.splitlines()]
    assert sorted(files) == sorted(f"-home-dev-app/s-1.jsonl _id={name}" for name in refused)


HOSTILE = (
    *(
        float("nan"),
        float("inf"),
        -1,
        0.5,
        1e300,
        Int64(2**63 - 1),
        Decimal128("1E+6000"),
        Decimal128("NaN"),
        True,
        None,
    ),
    *("", "\0", "\u00b2", "nan", "1e400", "9" * 5000, "x" * 70_000, b"\xff", [], {}, [None, {}, [[]]], {"$ref": 1}),
    *(Regex("a"), Code("a"), Timestamp(1, 1), MinKey(), MaxKey(), ObjectId("0123456789abcdef01234567")),
    *(DatetimeMS(-(2**62)), DatetimeMS(2**62), datetime(1950, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
)


def with_hostile(value: Any) -> Iterator[Any]:
    """The value over and over, each time with one hostile value in place of it, or of what is in it."""
    yield from (*HOSTILE, nested(150))
    if isinstance(value, dict):
        for name, item in value.items():
            yield from ({**value, name: odd} for odd in with_hostile(item))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from ([*value[:index], odd, *value[index + 1 :]] for odd in with_hostile(item))


def test_one_odd_value_costs_only_itself(collection: Collection[Document], settings: Settings) -> None:
    """Whatever stands in any field of a document, its neighbours arrive, and the next run is quiet."""
    collection.create_index([("ingestedAt", 1), ("_id", 1)])
    use = {"type": "tool_use", "id": "t", "name": "Edit", "input": {"file_path": "a"}}
    usage = {"input_tokens": 1, "output_tokens": 2, "cache_creation": {"ephemeral_1h_input_tokens": 1}}
    message = {"id": "m", "role": "assistant", "model": "claude-x", "content": [use], "usage": usage}
    line = make_document(make_line(1, type="assistant", message=message, costUSD=0.1, toolUseResult={"durationMs": 1}))
    odd = [document for document in with_hostile(line) if isinstance(document, dict) and document]
    good = [make_document(make_line(number), _id=f"good-{number}") for number in (2, 3)]
    collection.insert_many([good[0], *odd, good[1]])
    result = extract(settings)
    assert result.rows_read == result.rows_loaded + result.rows_rejected == len(odd) + 2
    ids = {row[0] for row in read_lake(Lake(settings.data_dir), "source_record_id")}
    assert len(ids) == result.rows_loaded
    assert {"good-2", "good-3"} < ids
    assert extract(settings).rows_read == 0


def test_extract_rejects_invalid_utf8_alone(
    collection: Collection[Document], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver refuses to write such a text, other services do not."""
    good = make_document(make_line(1), _id="good")
    broken = bson.encode(make_document(make_line(2, cwd="QQQQ"), _id="bad")).replace(b"QQQQ", b"\xff\xfe\xfd\xfc")
    collection.insert_one(good)
    from bson.raw_bson import RawBSONDocument

    collection.insert_one(RawBSONDocument(broken))
    result = extract(settings)
    assert (result.rows_loaded, result.rejected_by_reason) == (1, {"invalid UTF-8": 1})
    assert extract(settings).rows_read == 0


def test_dead_letter_holds_no_secret(collection: Collection[Document], settings: Settings) -> None:
    secret = "sk-ant-api03-" + "A1b2" * 24
    collection.insert_one(make_document(make_line(1, value=Regex("a"), key=secret), _id=f"id {secret}"))
    collection.insert_one(make_document(make_line(2), _id=f"id {secret}2", sourceFile=f"/x/projects/{secret}/s.jsonl"))
    extract(settings)
    assert not [
        path for path in settings.data_dir.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()
    ]


def test_metadata_policy_writes_no_text(collection: Collection[Document], settings: Settings, tmp_path: Path) -> None:
    collection.insert_one(make_document(make_line(1, message={"role": "user", "content": "marker-text"})))
    collection.insert_one(make_document(make_line(1, value=Regex("marker-text"))))
    extract(Settings(**{**settings.__dict__, "content": "metadata"}))
    assert b"marker-text" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_line_of_a_subagent_gets_its_id_from_the_path(collection: Collection[Document], settings: Settings) -> None:
    path = "C:\\Users\\dev\\.claude\\projects\\-app\\s-1\\subagents\\agent-abc.jsonl"
    collection.insert_one(make_document(make_line(1), sourceFile=path))
    extract(settings)
    rows = read_lake(Lake(settings.data_dir), "agent_id", "_source_file", "source")
    assert rows == [("abc", "-app/s-1/subagents/agent-abc.jsonl", "mongo")]


def test_lines_of_other_tools_are_refused(collection: Collection[Document], settings: Settings) -> None:
    collection.insert_one(make_document({"type": "session_meta", "payload": {}}))
    collection.insert_one(make_document(make_line(1, message={"role": "model", "parts": []})))
    collection.insert_one(make_document(make_line(2)))
    assert extract(settings).rows_rejected == 2


def test_line_without_an_instant_is_filed_under_its_ingestion(
    collection: Collection[Document], settings: Settings
) -> None:
    collection.insert_one(make_document({"type": "summary"}, datetime(2026, 3, 4, 23, 59, tzinfo=UTC)))
    extract(settings)
    assert str(read_lake(Lake(settings.data_dir), "record_date")[0][0]) == "2026-03-04"


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"v": [value]} if depth % 2 else {"v": value}
    return value
