"""Reading a collection in key order, in raw batches, across cursors that die.

A scan is cut into key ranges of one index, each a short query, so no cursor lives long. Index bounds
(`min`, `max`), unlike comparisons in a filter, cross BSON types, so `_id`s of any mix of types are met in order.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import bson
from bson.datetime_ms import DatetimeMS
from pymongo.errors import PyMongoError

from analytics.sources.mongo.connection import INGESTED_AT, PAIR_INDEX, Order, Server, is_passing
from analytics.sources.mongo.documents import LENIENT_CODEC, Document, ingested_ms, last_document, split_batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_MS = 2**62
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

    `lower` (inclusive) and `upper` (exclusive) bound it in that order; by `_id` each may be absent.
    """

    order: Order
    where: Document = field(default_factory=dict)
    lower: Key | None = None
    upper: Key | None = None
    index: str | None = None


def undated() -> Document:
    """Documents that no range of `ingestedAt` meets: without a date there.

    Spelled by types, because the server answers `$not: {$type: date}` with a scan of everything.
    """
    return {"$or": [{INGESTED_AT: None}, {INGESTED_AT: {"$type": list(_NOT_DATES)}}]}


def ingested_from(future_ms: int) -> Document:
    """Documents that no range up to that instant meets: ingested then or later."""
    return {INGESTED_AT: {"$gte": DatetimeMS(future_ms)}}


def ingested_between(lower_ms: int, upper_ms: int) -> Document:
    """Documents ingested in a half-open range."""
    return {INGESTED_AT: {"$gte": DatetimeMS(lower_ms), "$lt": DatetimeMS(upper_ms)}}


def iter_ranges(server: Server, scan: Scan, *, count: int) -> Iterator[Scan]:
    """The scan in consecutive ranges of about `count` documents, told by the index alone.

    What `where` leaves out counts too. By ingestedAt alone no instant is cut in two.
    """
    rest = scan
    while (cut := _find_cut(server, rest, count)) is not None:
        yield dataclasses.replace(rest, upper=cut)
        rest = dataclasses.replace(rest, lower=cut)
    yield rest


def _find_cut(server: Server, scan: Scan, count: int) -> Key | None:
    """The key that stands `count` documents behind the lower bound, or the next one to cut at; None at the end."""
    rest, failures = scan, 0
    while True:
        try:
            cut = _first_key(_open_index(server, rest, skip=count))
        except PyMongoError as error:
            failures = _wait(error, failures)
            continue
        if cut is None or _is_cut(cut, scan):
            return cut
        if scan.order == "instant" and cut.ingested_ms is not None:
            rest, count = dataclasses.replace(scan, lower=Key(cut.ingested_ms + 1, None)), 0
        else:
            count += 1


def _is_cut(key: Key, scan: Scan) -> bool:
    """Whether a range may end here: behind its start, and at a date, which an array of dates is not."""
    if scan.order == "id" or scan.lower is None:
        return True
    return key.ingested_ms is not None and (scan.order == "pair" or key.ingested_ms != scan.lower.ingested_ms)


def newest_before(server: Server, limit_ms: int, index: str | None = None) -> int:
    """The latest `ingestedAt` before an instant, by an index that begins with it, or by a scan; 0 for none."""
    where = ingested_between(-MAX_MS, limit_ms)
    found = server.collection.find_one(where, {"_id": False, INGESTED_AT: True}, sort=[(INGESTED_AT, -1)], hint=index)
    return ingested_ms(found or {}) or 0


def iter_batches(server: Server, scan: Scan, *, batch_size: int) -> Iterator[tuple[bytes, Key]]:
    """Raw batches in order, each with the key of its last document.

    A cursor that dies is opened again behind the last key, with waits that add up to a minute before
    giving up; every batch read starts them anew. By ingestedAt alone the documents of the last instant
    are read again then, which doubles nothing: equal lines are one record.
    """
    after: Key | None = None
    failures = 0
    while True:
        is_reopened = after is not None and scan.order != "instant"
        rest = scan if after is None else dataclasses.replace(scan, lower=after)
        try:
            for raw in _open_batches(server, rest, batch_size):
                batch = _less_the_first(raw, rest) if is_reopened else raw
                is_reopened = False
                failures = 0
                if batch:
                    last = _key(last_document(batch))
                    after = last if _is_cut(last, scan) else after
                    yield batch, last
        except PyMongoError as error:
            failures = _wait(error, failures)
        else:
            return


def _wait(error: PyMongoError, failures: int) -> int:
    """Give the server time to come back. Raises what time does not mend."""
    if not is_passing(error) or failures == len(RETRY_WAITS_S):
        raise error
    wait_s = RETRY_WAITS_S[failures]
    _log.info("mongo: reading goes on after error=%s wait_ms=%d", type(error).__name__, wait_s * 1000)
    time.sleep(wait_s)
    return failures + 1


def _open_batches(server: Server, scan: Scan, batch_size: int) -> Iterable[bytes]:
    return _bounded(server.collection.find_raw_batches(_filter(scan), batch_size=batch_size), scan)


def _open_index(server: Server, scan: Scan, *, skip: int) -> Iterable[bytes]:
    """The key at one place of the index, read without the documents."""
    only_key = {"_id": scan.order != "instant", **({} if scan.order == "id" else {INGESTED_AT: True})}
    where = {} if scan.order != "instant" else _filter(dataclasses.replace(scan, where={}))
    return _bounded(server.collection.find_raw_batches(where, only_key, skip=skip, limit=1), scan)


def _filter(scan: Scan) -> Document:
    if scan.order != "instant" or scan.lower is None or scan.upper is None:
        return scan.where
    return {"$and": [ingested_between(scan.lower.ingested_ms or 0, scan.upper.ingested_ms or 0), scan.where]}


def _bounded(cursor: Any, scan: Scan) -> Iterable[bytes]:  # the driver's types know only documents
    index = {"id": [("_id", 1)], "pair": list(PAIR_INDEX), "instant": [(INGESTED_AT, 1)]}[scan.order]
    batches = cursor.sort(index).hint(scan.index or index)
    if scan.order != "instant" and scan.lower is not None:
        batches = batches.min(_bound(scan.lower, scan))
    if scan.order != "instant" and scan.upper is not None:
        batches = batches.max(_bound(scan.upper, scan))
    found: Iterable[bytes] = batches
    return found


def _bound(key: Key, scan: Scan) -> list[Any]:
    id_bound = ("_id", key.id)
    return [id_bound] if scan.order == "id" else [(INGESTED_AT, DatetimeMS(key.ingested_ms or 0)), id_bound]


def _less_the_first(raw: bytes, scan: Scan) -> bytes:
    """A batch less the document that the range was to start behind, if it is still there."""
    first = next(split_batch(raw), b"")
    return raw[len(first) :] if first and _is_same(_key(first), scan) else raw


def _first_key(batches: Iterable[bytes]) -> Key | None:
    raw = b"".join(batches)
    return _key(raw) if raw else None


def _key(piece: bytes) -> Key:
    document = bson.decode(piece, LENIENT_CODEC)
    return Key(ingested_ms(document), document.get("_id"))


def _is_same(key: Key, scan: Scan) -> bool:
    other = scan.lower
    if other is None or isinstance(key.id, bool) != isinstance(other.id, bool):  # 1 and true are equal here, not there
        return False
    return bool(key.id == other.id) and (scan.order == "id" or key.ingested_ms == other.ingested_ms)
