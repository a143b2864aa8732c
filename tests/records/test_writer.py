from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from datetime import date

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.errors import ContractViolation
from analytics.records import canonical_json, instant_date, parse_instant, record_id
from analytics.records.writer import Place, RecordWriter
from analytics.sources import ExtractContext
from tests.builders import make_context

FALLBACK = date(2026, 2, 1)
SECRET = "ghp_" + "a1B2" * 9


def open_writer(context: ExtractContext) -> RecordWriter[Place]:
    def flatten(record, place):
        instant = parse_instant(record.get("at"))
        return {} if instant is None else {"occurred_at": instant}

    return context.writer(flatten, source="transcripts", dataset="conversations")


def written_rows(context, writer):
    return [
        row
        for part in writer.flush()
        for row in pq.read_table(context.lake.part_file(part.path), partitioning=None).to_pylist()
    ]


@pytest.fixture(scope="module")
def shared_context(tmp_path_factory):
    return make_context(tmp_path_factory.mktemp("shared"))


@pytest.mark.parametrize("scanner_bytes", [0, 1 << 40])
@pytest.mark.parametrize("redact_bytes", [1, 300, 1 << 20])
@given(st.lists(st.tuples(st.sampled_from(["", "2026-01-01", "2026-01-02"]), st.booleans(), st.integers(0, 90))))
def test_each_row_keeps_its_own_payload_day_and_place_whatever_it_was_redacted_with(
    shared_context, scanner_bytes, redact_bytes, drawn
):
    records = [
        {
            "n": number,
            "text": (SECRET if is_secret else "") + "é" * length,
            **({"at": f"{day}T10:00:00Z"} if day else {}),
        }
        for number, (day, is_secret, length) in enumerate(drawn)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analytics.records.writer.REDACT_BYTES", redact_bytes)
        patch.setattr("analytics.redactor.SCANNER_BYTES", scanner_bytes)
        writer = open_writer(shared_context)
        for record in records:
            own_id = f"own-{record['n']}" if record["n"] % 2 else None
            writer.add(record, Place(f"file-{record['n']}", record["n"], FALLBACK, own_id))
        rows = {row["_source_position"]: row for row in written_rows(shared_context, writer)}
    assert sorted(rows) == [record["n"] for record in records]
    for record in records:
        number, row = record["n"], rows[record["n"]]
        payload = json.loads(row["payload"])
        assert row["record_id"] == record_id(canonical_json(record))
        assert row["_source_file"] == f"file-{number}"
        assert row["source_record_id"] == (f"own-{number}" if number % 2 else None)
        assert row["record_date"] == (instant_date(parse_instant(record["at"])) if "at" in record else FALLBACK)
        assert SECRET not in row["payload"]
        assert payload["text"].endswith(record["text"].removeprefix(SECRET))
        if SECRET not in record["text"]:
            assert payload == record


def test_a_record_is_filed_by_what_redaction_leaves_of_it(tmp_path):
    def flatten(record, place):
        return {} if record["text"] != SECRET else {"occurred_at": parse_instant("2026-01-01T10:00:00Z")}

    writer = make_context(tmp_path).writer(flatten, source="transcripts", dataset="conversations")
    writer.add({"text": SECRET}, Place("file", 0, FALLBACK))
    assert [part.record_date for part in writer.flush()] == [FALLBACK]


def test_of_a_record_that_cannot_be_taken_nothing_is_kept(tmp_path):
    """Kept in part, it would give every later record the payload of the one before."""

    def flatten(record, place):
        if record["n"] == 1:
            raise ContractViolation("no row")
        return {}

    context = make_context(tmp_path)
    writer = context.writer(flatten, source="transcripts", dataset="conversations")
    for number, record in enumerate([{"n": 0}, {"n": 1}, {"n": float("nan"), "key": object()}, {"n": 3}]):
        with suppress(ContractViolation):
            writer.add(record, Place("file", number, FALLBACK))
    rows = written_rows(context, writer)
    assert [(row["_source_position"], row["payload"]) for row in rows] == [(0, '{"n":0}'), (3, '{"n":3}')]
    assert [row["record_id"] for row in rows] == [record_id(canonical_json({"n": number})) for number in (0, 3)]
    assert writer.row_count == 2


def test_metadata_alone_leaves_no_payload(tmp_path):
    context = make_context(tmp_path, content="metadata")
    writer = open_writer(context)
    writer.add({"n": 1}, Place("file", 0, FALLBACK))
    assert [row["payload"] for row in written_rows(context, writer)] == [None]


def test_what_waits_to_be_written_takes_little_more_memory_than_it_says(tmp_path):
    """orjson's own output keeps the room it reserved, which is ten times its text."""
    writer = open_writer(make_context(tmp_path))
    record = {"text": "x" * 3_000}
    writer.add(record, Place("file", 0, FALLBACK))  # what is made once
    tracemalloc.start()
    try:
        for number in range(3_000):
            writer.add({**record, "n": number}, Place("file", number, FALLBACK))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 2.5 * 3_000 * 3_000
