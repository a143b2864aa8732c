"""Reading a collection in key order, in raw batches, across cursors that die.

Pages are key ranges of one index and short queries, so no cursor lives long. Index bounds (`min`),
unlike comparisons in a filter, cross BSON types, so `_id`s of any mix of types are met in order.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import bson
from bson.datetime_ms import DatetimeMS
from bson.min_key import MinKey
from pymongo.errors import PyMongoError

from analytics.sources.mongo.connection import INGESTED_AT, PAIR_INDEX, Order, Server, is_passing
from analytics.sources.mongo.documents import LENIENT_CODEC, Document, ingested_ms, split_documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE_BATCHES = 16
RETRY_WAITS_S = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)

_log = logging.getLogger(__name__)

_NOT_DATES = (
    "double", "string", "object", "array", "binData", "undefined", "objectId", "bool", "null", "regex", "dbPointer",
    "javascript", "symbol", "int", "timestamp", "long", "decimal", "minKey", "maxKey",
)  # fmt: skip


@dataclass(frozen=True)
class Key:
    """Where a document stands: its `ingestedAt` in milliseconds, and its `_id`."""

    ingested_ms: int | None
    id: Any


@dataclass(frozen=True)
class Scan:
    """What to read, and in which order: by `_id`, by (ingestedAt, _id), or by ingestedAt alone.

    `lower_ms` (inclusive) and `upper_ms` (exclusive) bound ingestedAt in the latter two. `after` is the
    last document already read.
    """

    order: Order
    where: Document = field(default_factory=dict)
    lower_ms: int = 0
    upper_ms: int = 0
    after: Key | None = None
    index: str | None = None


def strays(future_ms: int) -> Document:
    """Documents that no range of `ingestedAt` meets in time: without a date there, or one far in the future.

    Spelled by types, because the server answers `$not: {$type: date}` with a scan of everything.
    """
    return {
        "$or": [
            {INGESTED_AT: None},
            {INGESTED_AT: {"$type": list(_NOT_DATES)}},
            {INGESTED_AT: {"$gte": DatetimeMS(future_ms)}},
        ]
    }


def ingested_between(lower_ms: int, upper_ms: int) -> Document:
    """Documents ingested in a half-open range."""
    return {INGESTED_AT: {"$gte": DatetimeMS(lower_ms), "$lt": DatetimeMS(upper_ms)}}


def iter_batches(server: Server, scan: Scan, *, batch_size: int) -> Iterator[tuple[bytes, Key]]:
    """Raw batches in order, each with the key of its last document.

    A cursor that dies is opened again behind the last key, with waits that add up to a minute before
    giving up; every batch read starts them anew. By ingestedAt alone the documents of the last instant
    are read again then, which doubles nothing: equal lines are one record.
    """
    after = scan.after
    failures = 0
    page_size = 0 if scan.order == "instant" else batch_size * PAGE_BATCHES
    while True:
        page_count = 0
        try:
            for raw in _open_page(server, scan, after, batch_size, page_size):
                batch, count, key = _trim(raw, scan, after if page_count == 0 else None)
                page_count += count
                failures = 0
                if batch and key is not None:
                    after = key
                    yield batch, key
        except PyMongoError as error:
            if not is_passing(error) or failures == len(RETRY_WAITS_S):
                raise
            wait_s = RETRY_WAITS_S[failures]
            _log.info("mongo: reading goes on after error=%s wait_ms=%d", type(error).__name__, wait_s * 1000)
            time.sleep(wait_s)
            failures += 1
            continue
        if page_size == 0 or page_count < page_size:
            return


def _open_page(
    server: Server, scan: Scan, after: Key | None, batch_size: int, page_size: int
) -> Iterable[Any]:  # of bytes; the driver's types know only documents
    find = server.collection.find_raw_batches
    if scan.order == "id":
        cursor = find(scan.where, batch_size=batch_size, limit=page_size).sort("_id", 1).hint([("_id", 1)])
        return cursor if after is None else cursor.min([("_id", after.id)])
    if scan.order == "pair":
        cursor = find(scan.where, batch_size=batch_size, limit=page_size).sort(list(PAIR_INDEX))
        first = Key(scan.lower_ms, MinKey()) if after is None else after
        return cursor.hint(list(PAIR_INDEX)).min(_bound(first)).max(_bound(Key(scan.upper_ms, MinKey())))
    lower = scan.lower_ms if after is None or after.ingested_ms is None else after.ingested_ms
    where = {"$and": [ingested_between(lower, scan.upper_ms), scan.where]}
    return find(where, batch_size=batch_size).sort(INGESTED_AT, 1).hint(scan.index)


def _bound(key: Key) -> list[Any]:
    return [(INGESTED_AT, DatetimeMS(key.ingested_ms or 0)), ("_id", key.id)]


def _trim(raw: bytes, scan: Scan, after: Key | None) -> tuple[bytes, int, Key | None]:
    """A batch less the document it was to start behind, how many it had, and the key of its last one."""
    if not raw:
        return raw, 0, None
    count, start, last = 0, 0, 0
    position = 0
    while position < len(raw):
        last = position
        position += int.from_bytes(raw[position : position + 4], "little")
        count += 1
    if after is not None and scan.order != "instant":
        first = next(split_documents(raw))
        if _is_same(_key(first), after, scan):
            start = len(first)
    return raw[start:] if start else raw, count, _key(raw[last:]) if start < len(raw) else None


def _key(piece: bytes) -> Key:
    document = bson.decode(piece, LENIENT_CODEC)
    return Key(ingested_ms(document), document.get("_id"))


def _is_same(key: Key, other: Key, scan: Scan) -> bool:
    if isinstance(key.id, bool) != isinstance(other.id, bool):  # 1 and true are equal here, not there
        return False
    return bool(key.id == other.id) and (scan.order == "id" or key.ingested_ms == other.ingested_ms)
