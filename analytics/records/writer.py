"""From records to Parquet parts: canonical form, id, redaction, flattening, one buffer per day.

This is the one path by which content enters the lake, whatever the source, so that redaction cannot
be forgotten by a new one: a source hands over parsed records and gets parts back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import accumulate, pairwise
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from analytics.config import ContentPolicy
from analytics.contracts import PAYLOAD, Contract
from analytics.lake import Lake, Part
from analytics.records import Row, canonical_json, instant_date, record_id
from analytics.redactor import Redactor

REDACT_BYTES = 512 << 10  # little enough that the lines are still in the processor's cache when they are searched
FLUSH_BYTES = 24 << 20


class Place(NamedTuple):
    """Where a record stands in its source, and the day that files it when it carries no instant."""

    file: str
    position: int | None
    fallback_date: date
    source_record_id: str | None = None


class AnyPlace(Protocol):
    """What a writer asks of a place. A source's own may also tell what its records do not, for its `flatten`."""

    @property
    def file(self) -> str: ...
    @property
    def position(self) -> int | None: ...
    @property
    def fallback_date(self) -> date: ...
    @property
    def source_record_id(self) -> str | None: ...


P = TypeVar("P", bound=AnyPlace)
Offsets = NDArray[np.int32]  # where each text of a joined one starts, and where the last ends


@dataclass
class _Batch(Generic[P]):
    """Records that wait for one search for secrets, a list for each of their parts."""

    record_ids: list[str] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    places: list[P] = field(default_factory=list)
    days: list[date] = field(default_factory=list)
    byte_count: int = 0

    def indices_by_day(self) -> Mapping[date, list[int]]:
        """Which records each day files."""
        days: defaultdict[date, list[int]] = defaultdict(list)
        for index, day in enumerate(self.days):
            days[day].append(index)
        return days


@dataclass
class _Day:
    """What waits to be written for one day. What every row has is a list for each column: cheaper than keys of rows."""

    rows: list[Row] = field(default_factory=list)
    record_ids: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    positions: list[int | None] = field(default_factory=list)
    payloads: list[pa.Array] = field(default_factory=list)

    def columns(self) -> dict[str, list[Any] | pa.ChunkedArray]:
        columns: dict[str, list[Any] | pa.ChunkedArray] = {
            "record_id": self.record_ids,
            "_source_file": self.files,
            "_source_position": self.positions,
        }
        return {**columns, PAYLOAD: pa.chunked_array(self.payloads)} if self.payloads else columns


class RecordWriter(Generic[P]):
    """Buffers records and writes them as parts of at most about `FLUSH_BYTES` of content.

    `flatten` turns a redacted record into typed columns. Memory is bounded by the buffers and the
    largest single record. `parts` grows with each flush; they count once the caller commits them.
    `row_count` records were taken so far.
    """

    def __init__(
        self,
        lake: Lake,
        contract: Contract,
        *,
        source: str,
        run_id: str,
        extracted_at: datetime,
        redactor: Redactor,
        content: ContentPolicy,
        flatten: Callable[[Any, P], Row],
    ) -> None:
        self.parts: list[Part] = []
        self.row_count = 0
        self._lake = lake
        self._contract = contract
        self._constants = {
            "source": source,
            "_extracted_at": extracted_at.replace(tzinfo=None),
            "_run_id": run_id,
        }
        self._redactor = redactor
        self._content = content
        self._flatten = flatten
        self._batch = _Batch[P]()
        self._days: dict[date, _Day] = {}
        self._buffered_bytes = 0

    def add(self, record: Mapping[str, Any], place: P, *, identity: Any = None, canonical: bytes | None = None) -> None:
        """Take in one record. `identity` is what the id is made of, where that is more than the record.

        `canonical` is the record's canonical form, from a source that has it already. Raises
        ContractViolation for a record that JSON cannot hold; nothing of it is kept.
        """
        canonical = canonical_json(record) if canonical is None else canonical
        key = record_id(canonical if identity is None else canonical_json(identity))
        # Flattened and dated while it is at hand: parsed records that wait for their batch cost memory and cold caches.
        row = self._row(record, place)
        day = _day_of(row, place)
        batch = self._batch
        batch.record_ids.append(key)
        batch.texts.append(canonical)
        batch.rows.append(row)
        batch.places.append(place)
        batch.days.append(day)
        batch.byte_count += len(canonical)
        self.row_count += 1
        if batch.byte_count >= REDACT_BYTES:
            self._settle()

    def _row(self, record: Any, place: P) -> Row:
        row = self._flatten(record, place)
        if place.source_record_id is not None:
            row["source_record_id"] = place.source_record_id
        return row

    def flush(self) -> list[Part]:
        """Write everything that is buffered. Returns all parts written so far."""
        self._settle()
        self._write_days()
        return self.parts

    def _write_days(self) -> None:
        for day in sorted(self._days):
            self._write_day(day, self._days[day])
        self._days.clear()
        self._buffered_bytes = 0

    def _settle(self) -> None:
        """Redact what is waiting, and file it by day."""
        batch, self._batch = self._batch, _Batch()
        if not batch.texts:
            return
        joined, offsets = _join(batch.texts)
        if touched := self._redactor.find_touched(joined, offsets) if self._content != "full" else ():
            for index in touched:
                # What is kept may only come from the redacted form.
                batch.texts[index] = self._redactor.redact_json(batch.texts[index])
                place = batch.places[index]
                batch.rows[index] = row = self._row(orjson.loads(batch.texts[index]), place)
                batch.days[index] = _day_of(row, place)
            joined, offsets = _join(batch.texts)
        payloads = None if self._content == "metadata" else _text_array(joined, offsets)
        for day, indices in batch.indices_by_day().items():
            bucket = self._days.setdefault(day, _Day())
            bucket.rows += [batch.rows[index] for index in indices]
            bucket.record_ids += [batch.record_ids[index] for index in indices]
            bucket.files += [batch.places[index].file for index in indices]
            bucket.positions += [batch.places[index].position for index in indices]
            if payloads is not None:
                # Nearly always a batch is of one day; of many, each has its lines copied, in one piece.
                bucket.payloads.append(payloads if len(indices) == len(payloads) else payloads.take(pa.array(indices)))
        self._buffered_bytes += len(joined)
        if self._buffered_bytes >= FLUSH_BYTES:
            self._write_days()

    def _write_day(self, day: date, bucket: _Day) -> None:
        constants = {**self._constants, "record_date": day}
        table = build_table(bucket.rows, bucket.columns(), self._contract.schema, constants)
        self.parts.append(self._lake.write_part(table, self._contract.dataset, day))


def _day_of(row: Row, place: AnyPlace) -> date:
    """The day that files a record: that of its instant or, without one, of its place."""
    instant = row.get("occurred_at")
    return place.fallback_date if instant is None else instant_date(instant)


def _join(texts: list[bytes]) -> tuple[bytes, Offsets]:
    """One text of all, and where each of them lies in it. Each alone holds ten times its bytes, as orjson left it."""
    return b"".join(texts), np.fromiter(accumulate(map(len, texts), initial=0), np.int32)


def _text_array(joined: bytes, offsets: Offsets) -> pa.Array:
    """The texts, which are UTF-8 by their making, as an array that shares their memory."""
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(joined)])


def build_table(
    rows: list[Row],
    lists: Mapping[str, list[Any] | pa.ChunkedArray],
    schema: pa.Schema,
    constants: Mapping[str, Any],
) -> pa.Table:
    """Rows, which leave out what is null, beside whole columns and constants, as a table of the schema.

    Unknown columns raise KeyError. Arrow converts the rows as one array of structs: twice as fast as a list of
    values for each column. Most columns are about some kinds of lines, so those that no row has are left out of that.
    """
    present = set().union(*rows)
    if unknown := present.difference(schema.names):
        raise KeyError(min(unknown))
    fields = [entry for entry in schema if entry.name in present]
    converted = pa.array(rows, pa.struct(fields)).flatten()
    columns = dict(zip((entry.name for entry in fields), converted, strict=True))
    for name, values in lists.items():
        columns[name] = pa.array(values, schema.field(name).type) if isinstance(values, list) else values
    for name, value in constants.items():
        columns[name] = pa.repeat(pa.scalar(value, schema.field(name).type), len(rows))
    for entry in schema:
        if entry.name not in columns:
            columns[entry.name] = pa.nulls(len(rows), entry.type)
    return pa.table([columns[name] for name in schema.names], schema=schema)


def split_evenly(sizes: list[int], target: int) -> list[range]:
    """Consecutive runs of items whose sizes add up to about `target`; one larger item is a run of its own."""
    cuts, total = [0], 0
    for index, size in enumerate(sizes):
        if total and total + size > target:
            cuts.append(index)
            total = 0
        total += size
    cuts.append(len(sizes))
    return [range(start, end) for start, end in pairwise(cuts) if end > start]
