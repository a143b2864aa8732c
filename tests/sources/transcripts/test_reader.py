from __future__ import annotations

import io
from datetime import date
from pathlib import Path

import pytest

from analytics.sources.transcripts.discovery import Task, TranscriptFile
from analytics.sources.transcripts.reader import FileReader, find_foreign_producer

LIMIT = 1 << 20
FILE_DAY = date(2026, 3, 1)
FILE = TranscriptFile(Path("/x/s.jsonl"), "s.jsonl", 0, 0, "1:1")


def make_reader(content: bytes, offset: int = 0, last_at: int | None = None) -> FileReader:
    return FileReader(Task(FILE, offset, last_at), io.BytesIO(content), LIMIT, FILE_DAY)


def read(content: bytes, **arguments):
    reader = make_reader(content, **arguments)
    return reader, [record for record, _, _ in reader]


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":1}\n{"a":2}\n',
        b'{"a":1}\n{"a":2}',
        b'{"a":1}\r\n{"a":2}\r\n',
        b'\xef\xbb\xbf{"a":1}\n{"a":2}\n',
        b'\n\n  \n{"a":1}\n\r\n\t\n{"a":2}\n\n',
        b'{"a":1}{"a":2}\n',
        b'{"a":1}  {"a":2}',
        b'\0\0\0\n\0\0{"a":1}\n{"a":2}\0\0\0\n',
    ],
)  # fmt: skip
def test_a_record_is_found_however_it_is_written(content):
    reader, records = read(content)
    assert records == [{"a": 1}, {"a": 2}]
    assert reader.refusals == []
    assert not reader.is_waiting
    assert reader.offset == len(content)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"a":"\xff"}', "invalid UTF-8"),
        (b'{"a":\0\0}', "NUL bytes"),
        (b'{"a":', "not JSON"),
        (b"plain text", "not JSON"),
        (b"[1,2]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a":1}{"b"', "not JSON"),
        (b"\xff\xfe{\0}\0", "invalid UTF-8"),
        (b"[" * 5_000, "nested too deeply"),
        (b'{"a":"' + b"x" * LIMIT + b'"}', "longer than 1 MB"),
    ],
)
def test_a_bad_line_is_rejected_with_its_place_and_the_rest_goes_on(bad, reason):
    first = b'{"a":1}\n'
    reader, records = read(first + bad + b'\n{"a":2}\n')
    assert records == [{"a": 1}, {"a": 2}]
    assert [(position, why) for position, why, _ in reader.refusals] == [(len(first), reason)]
    assert reader.offset == len(first) + len(bad) + 1 + len(first)


@pytest.mark.parametrize(
    "tail", [b'{"a":', b"{", b"[1]", b"3", b'{"a":"\xc3', b'{"b":1}{"c"', b'{"a":"' + b"x" * LIMIT]
)
def test_an_unfinished_end_waits_and_nothing_of_it_is_taken(tail):
    reader, records = read(b'{"a":1}\n' + tail)
    assert records == [{"a": 1}]
    assert reader.is_waiting
    assert reader.refusals == []
    assert reader.offset == 8


def test_positions_are_byte_offsets_of_the_records():
    content = '{"ä":1}\n\n{"b":2}{"c":3}\n'.encode()
    places = [position for _, position, _ in make_reader(content)]
    assert [content[place : place + 3] for place in places] == [b'{"\xc3', b'{"b', b'{"c']


def test_a_record_without_an_instant_is_filed_with_the_one_before_it_or_else_after_it():
    content = b'{"n":0}\n{"timestamp":"2026-01-05T00:00:00Z"}\n{"n":2}\n{"timestamp":"2026-01-04T00:00:00Z"}\n{"n":4}\n'
    assert [day.day for _, _, day in make_reader(content)] == [5, 5, 5, 4, 4]


def test_a_file_without_any_instant_is_filed_by_its_own_time():
    assert [day for _, _, day in make_reader(b'{"n":0}\n{"n":1}\n')] == [FILE_DAY, FILE_DAY]


def test_reading_on_keeps_the_last_instant():
    content = b'{"n":0}\n'
    assert [day.isoformat() for _, _, day in make_reader(content, last_at=1_767_571_200_000_000)] == ["2026-01-05"]


@pytest.mark.parametrize(
    ("line", "producer"),
    [
        (b'{"type":"session_meta","payload":{"id":"x"}}', "Codex"),
        (b'{"type":"event_msg","payload":{}}', "Codex"),
        (b'{"type":"user","message":{"role":"user","parts":[{"text":"x"}]}}', "Qwen"),
        (b'{"type":"system","systemPayload":{}}', "Qwen"),
        (b'{"sessionId":"session-01234567-89ab-cdef-0123-456789abcdef"}', "iFlow"),
        (b'{"type":"user","message":{"role":"user","content":"x"},"payload":1}', None),
        (b'{"type":"summary"}', None),
        (b"not json", None),
        (b"[]", None),
        (b"", None),
    ],
)
def test_find_foreign_producer_knows_look_alikes(line, producer):
    found = find_foreign_producer(b'{"type":"summary"}\n' + line + b"\n")
    assert (found is None) if producer is None else found.startswith(f"a{'n' if producer[0] == 'i' else ''} {producer}")


def test_a_look_alike_is_refused_whole_and_each_line_is_counted():
    reader, records = read(b'{"type":"session_meta","payload":{}}\n\n{"a":1}\nbroken\n')
    assert records == []
    assert reader.foreign_count == 3
    assert "Codex" in reader.foreign_reason
