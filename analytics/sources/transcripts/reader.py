"""Transcript files to records: lines with their places, in bounded memory.

What a line can be besides one JSON object: empty, two objects without a newline between, a half
written end that waits for its rest, not UTF-8, NUL bytes where a disk lost a page, longer than any
memory should hold. Each is handled here and counted; nothing is dropped without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, BinaryIO

import orjson

from analytics.errors import ContractViolation
from analytics.records import (
    BLANKS,
    BOM,
    NOT_AN_OBJECT,
    Refusal,
    instant_date,
    parse_concatenated,
    parse_instant,
    parse_json,
)
from analytics.records.conversations import foreign_producer
from analytics.records.lines import iter_lines
from analytics.sources.transcripts.discovery import Task, hash_edges

PROBE_BYTES = 64 << 10
# Cheap to look for, so that Claude Code's own files are parsed once only.
_FOREIGN_TELLS = re.compile(rb'"(?:payload"|parts"|systemPayload"|toolCallResult"|session-)')


Found = Sequence[tuple[dict[str, Any], int]]  # the records of one line, each with its position


@dataclass
class FileReader:
    """Reads one file from its task's offset. After iterating, `offset`, `last_at` and the counts are final.

    Iterating yields `(record, position, date)`: the date is the record's own day or, for a record
    without an instant, the day of the last instant before it in the file (of the first one after it
    at the start, of the file itself if there is none).
    """

    task: Task
    opened: BinaryIO
    max_line_bytes: int
    file_date: date
    offset: int = 0
    last_at: int | None = None
    is_waiting: bool = False
    foreign_reason: str | None = None
    foreign_count: int = 0
    refusals: list[Refusal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.offset = self.task.offset
        self.last_at = self.task.last_at
        self.foreign_reason = self.task.foreign_reason
        # Judged by its beginning, however little of that the first read saw.
        if self.foreign_reason is None and self.offset < PROBE_BYTES:
            self.foreign_reason = find_foreign_producer(self.opened.read(PROBE_BYTES))

    def __iter__(self) -> Iterator[tuple[dict[str, Any], int, date]]:
        undated: list[tuple[dict[str, Any], int]] = []
        for start, end, content, is_terminated in iter_lines(self.opened, self.offset, self.max_line_bytes):
            try:
                if self.foreign_reason is None:
                    found = self._read_line(start, content)
                else:
                    found = self._count_foreign(start, content, is_terminated=is_terminated)
            except _Refused as refused:
                if not is_terminated:  # half written: left for the next run
                    self.is_waiting = True
                    break
                self.refusals.append(refused.refusal)
                found = ()
            self.offset = end
            for record, position in found:
                instant = parse_instant(record.get("timestamp"))
                if instant is not None:
                    self.last_at = instant
                elif self.last_at is None:
                    undated.append((record, position))
                    continue
                day = instant_date(self.last_at)
                if undated:
                    yield from ((earlier, place, day) for earlier, place in undated)
                    undated = []
                yield record, position, day
        yield from ((earlier, place, self.file_date) for earlier, place in undated)

    def edges(self) -> str:
        """The hash by which the next run knows this file again."""
        return hash_edges(self.opened, self.offset)

    def _read_line(self, start: int, content: bytes | None) -> Found:
        """The records of a line: nearly always it is one JSON object, which costs no more than its parsing."""
        if content is None:
            raise _Refused(start, f"longer than {self.max_line_bytes >> 20} MB")
        try:
            value = orjson.loads(content)
        except orjson.JSONDecodeError:
            value = None
        if isinstance(value, dict):
            return ((value, start),)
        return self._read_odd_line(start, content)

    def _count_foreign(self, start: int, content: bytes | None, *, is_terminated: bool) -> Found:
        """No records. A half written end waits here too: its rest would count as a line of its own."""
        stripped = b"" if content is None else content.strip(BLANKS)
        if content is not None and not stripped:
            return ()
        if not is_terminated:
            try:
                parse_json(stripped)
            except ContractViolation as violation:
                raise _Refused(start, str(violation)) from violation
        self.foreign_count += 1
        return ()

    def _read_odd_line(self, start: int, content: bytes) -> Found:
        """What a line holds that is not one JSON object as it stands."""
        if start == 0:
            content = content.removeprefix(BOM)
        stripped = content.strip(BLANKS)
        if not stripped:
            return ()
        try:
            value = parse_json(stripped)
        except ContractViolation as violation:
            return self._recover(start + content.index(stripped[:1]), stripped, str(violation))
        if isinstance(value, dict):
            return ((value, start),)
        raise _Refused(start, NOT_AN_OBJECT, stripped)

    def _recover(self, position: int, content: bytes, reason: str) -> Found:
        """The objects of a line that holds several; otherwise it is refused for the first reason."""
        try:
            return [(parse_json(part), position + offset) for offset, part in parse_concatenated(content)]
        except ContractViolation as violation:
            raise _Refused(position, reason, content) from violation


class _Refused(Exception):
    """A line that cannot be read, at least not yet: at a file's end it may be half written."""

    def __init__(self, position: int, reason: str, content: bytes = b"") -> None:
        super().__init__(reason)
        self.refusal = Refusal(position, reason, content)


def find_foreign_producer(head: bytes) -> str | None:
    """Which other tool wrote a file that looks like a transcript; None for Claude Code's own.

    Judged by its first lines: a tool writes some that look like Claude Code's beside those that do not.
    """
    if _FOREIGN_TELLS.search(head) is None:
        return None
    for line in head.split(b"\n")[:50]:
        try:
            record = parse_json(line)
        except ContractViolation:
            continue
        if isinstance(record, dict) and (producer := foreign_producer(record)):
            return producer
    return None
