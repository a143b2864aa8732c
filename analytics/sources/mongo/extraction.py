"""A run of the source: what to read, in units on every core, committed with the mark that goes with it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from bson import json_util
from bson.min_key import MinKey
from pymongo.errors import OperationFailure

from analytics.lake import Part, Rejection, State
from analytics.records import EPOCH
from analytics.sources import ExtractContext, ExtractResult, Tally
from analytics.sources.mongo import DATASET, NAME
from analytics.sources.mongo.connection import (
    Server,
    address_of,
    connect,
    explained,
    find_index,
    find_order,
    open_server,
)
from analytics.sources.mongo.documents import DIGEST_BYTES, Document, DocumentReader, DocumentResult, Overlap
from analytics.sources.mongo.scan import (
    MAX_MS,
    Key,
    Scan,
    ingested_between,
    ingested_from,
    iter_batches,
    iter_ranges,
    newest_before,
    undated,
)
from analytics.workers import open_pool

if TYPE_CHECKING:
    from analytics.config import Settings

UNIT_BYTES = 8 << 20
COMMIT_BYTES = 128 << 20
USUAL_DOCUMENT_BYTES = 2_000
UPPER_LAG_MS = 5_000
FUTURE_MS = 3_600_000
WINDOW_SKEW_MS = 86_400_000
SMALL_COUNT = 200_000
MAX_DIGESTS = 32_768

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mark:
    """How far a collection is durably read. Kept in commits, under one key, so that it is forgotten whole.

    `ingested_ms` is the latest `ingestedAt` read, never past the server's clock: everything before it is
    in the lake, but for documents that arrive later than the overlap. `is_backfilling` is set while a
    backfill is unfinished, which has read up to `backfill_id`; it began at `backfill_ms`. `digests`
    are the documents read that lie in the overlap; where they are too many for that, `overlap_count` is
    their number before the last reading of them all, if the mark has not moved since. `undated_count` and
    `undated_id`: documents without a date, and the last of them read. `future_count`: those with a date
    that no increment meets yet.
    """

    ingested_ms: int | None = None
    is_backfilling: bool = False
    backfill_id: str | None = None
    backfill_ms: int | None = None
    undated_count: int = 0
    undated_id: str | None = None
    future_count: int = 0
    digests: frozenset[bytes] = frozenset()
    overlap_count: int | None = None

    @property
    def is_overfull(self) -> bool:
        """Whether the overlap may hold documents that `digests` do not know."""
        return len(self.digests) >= MAX_DIGESTS

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was ever read."""
        return self.ingested_ms is None and not self.is_backfilling

    def moved(self, result: DocumentResult, span_ms: int) -> Mark:
        """The mark once a result is durable: at its newest document, with the digests that still matter.

        Beyond a limit the oldest digests are left out: their documents are read again, once while nothing moves.
        """
        newest_ms = max(self.ingested_ms or 0, result.newest_ms)
        first = (newest_ms - span_ms).to_bytes(8, "big", signed=True)
        digests = [digest for digest in self.digests.union(result.digests) if digest >= first]
        if len(digests) > MAX_DIGESTS:
            digests = sorted(digests)[-MAX_DIGESTS:]
        return dataclasses.replace(self, ingested_ms=newest_ms, digests=frozenset(digests))

    def as_json(self) -> dict[str, Any]:
        digests = base64.b64encode(b"".join(sorted(self.digests))).decode()
        return {**self.__dict__, "digests": digests}

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Mark:
        """What a commit says; what only another version knows is left out, and at worst read again."""
        joined = base64.b64decode(entry["digests"])
        starts = range(0, len(joined), DIGEST_BYTES)
        known = {field.name: entry[field.name] for field in dataclasses.fields(cls) if field.name in entry}
        return cls(**{**known, "digests": frozenset(joined[start : start + DIGEST_BYTES] for start in starts)})


Advance = Callable[[Mark, DocumentResult], Mark]


@dataclass
class _Pending:
    """What was read since the last commit."""

    parts: list[Part] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    rows_read: int = 0
    byte_count: int = 0


@dataclass
class _Total(Tally):
    """What all commits brought, and how far the reading is."""

    document_count: int = 0
    byte_count: int = 0


def state_key(settings: Settings) -> str:
    """What a mark is filed under: another server, database or collection starts anew instead of skipping."""
    place = f"{address_of(settings.mongo_uri)}/{settings.mongo_database}.{settings.mongo_collection}"
    return f"watermark:{hashlib.sha256(place.encode()).hexdigest()[:16]}"


class MongoExtractor:
    """Extracts one collection into the lake, under one run. Each call connects anew.

    All of them may be stopped at any point and called again: what was committed stays, what was not is
    read again, and equal lines are one record. They raise SourceUnavailable when the server cannot be read.
    """

    def __init__(self, context: ExtractContext) -> None:
        self._context = context
        self._settings = context.settings
        self._key = state_key(context.settings)
        self._total = _Total()
        self._pending = _Pending()

    def extract(self) -> ExtractResult:
        """What the context asks for: a window, a full backfill, or what is new."""
        if self._context.has_window:
            return self._window_extract()
        return self.full_extract() if self._context.is_full_backfill else self.incremental_extract()

    def full_extract(self) -> ExtractResult:
        """Read every document, by `_id`, whatever was read before; needs no further index.

        One that is stopped is finished by the next `incremental_extract`; calling this again starts over.
        """
        self._total.started = time.monotonic()
        with open_server(self._settings) as server:
            self._backfill(server, self._start_backfill(server))
            return self._result(server)

    def incremental_extract(self, since: datetime | None = None) -> ExtractResult:
        """Read what was ingested since the mark, less the overlap; everything where there is no mark yet.

        Args:
            since: Read from this instant of `ingestedAt` on instead (inclusive, aware). The mark moves
                only if that leaves no gap.
        """
        self._total.started = time.monotonic()
        with open_server(self._settings) as server:
            mark = self._read_mark()
            if since is not None:
                self._increment_since(server, mark, since)
            elif mark.is_fresh:
                self._backfill(server, self._start_backfill(server))
            else:
                if mark.is_backfilling:
                    mark = self._backfill(server, mark)
                self._increment(server, mark)
            return self._result(server)

    def _result(self, server: Server) -> ExtractResult:
        if not server.collection.estimated_document_count():
            self._total.nothing_found = [f"{server.name} at {server.address}"]
        return self._total.result(source=NAME, dataset=DATASET)

    # ---- the passes

    def _start_backfill(self, server: Server) -> Mark:
        return Mark(is_backfilling=True, backfill_ms=server.now_ms())

    def _backfill(self, server: Server, mark: Mark) -> Mark:
        """Read on by `_id` from where the backfill is.

        What was ingested since it began is left to increments: its `_id` may lie where this has been.
        """
        began_ms = mark.backfill_ms or server.now_ms()
        limit_ms = began_ms - UPPER_LAG_MS
        from_ms = self._newest_ms(server, limit_ms) - self._overlap_ms
        overlap = Overlap(from_ms=from_ms, limit_ms=limit_ms, future_ms=began_ms + FUTURE_MS)

        def advance(reached: Mark, result: DocumentResult) -> Mark:
            return dataclasses.replace(
                reached.moved(result, self._overlap_ms),
                backfill_id=result.last_id or reached.backfill_id,
                # Counted as they are read, so that the next increment's count tells of those that came behind.
                undated_count=reached.undated_count + result.undated_count,
                future_count=reached.future_count + result.future_count,
            )

        mark = self._read(server, _scan_behind(mark.backfill_id, {}), overlap, mark, advance)
        self._report_undated(server, mark.undated_count)
        mark = dataclasses.replace(
            mark, ingested_ms=mark.ingested_ms or 0, is_backfilling=False, backfill_id=None, backfill_ms=None
        )
        self._commit(mark)
        return mark

    def _increment(self, server: Server, before: Mark) -> None:
        # After a fail-over the clock may be another's, hours back. The service writes on by its own.
        now_ms = max(server.now_ms(), before.ingested_ms or 0)
        from_ms = (before.ingested_ms or 0) - self._overlap_ms
        scan = self._range(server, from_ms, now_ms + FUTURE_MS)
        overlap_count: int | None = None
        if before.is_overfull:  # counted before it is read: what comes in between makes another number next time
            overlap_count = server.collection.count_documents(ingested_between(from_ms, now_ms + FUTURE_MS))
        # What is newer than the server's clock is read, yet must not take the mark along.
        overlap = Overlap(before.digests, from_ms, now_ms - UPPER_LAG_MS)
        unordered: list[DocumentResult] = []

        def advance(reached: Mark, result: DocumentResult) -> Mark:
            if scan.order == "id":
                unordered.append(result)
                return reached
            return reached.moved(result, self._overlap_ms)

        mark = before
        if overlap_count is None or overlap_count != before.overlap_count:
            blank = dataclasses.replace(before, digests=frozenset(), overlap_count=None)
            mark = self._read(server, scan, overlap, blank, advance)
            for result in unordered:
                mark = mark.moved(result, self._overlap_ms)
            if mark.ingested_ms == before.ingested_ms:
                mark = dataclasses.replace(mark, overlap_count=overlap_count)
        mark = self._read_undated(server, mark)
        mark = self._read_future(server, mark, now_ms)
        # Nothing new is no commit: the next run asks for the same range and skips the same documents.
        if self._pending.rows_read or self._total.rows_read or _counts(mark) != _counts(before):
            self._commit(mark)

    def _increment_since(self, server: Server, mark: Mark, since: datetime) -> None:
        lower_ms = (since - EPOCH) // timedelta(milliseconds=1)
        now_ms = server.now_ms()
        is_joined = mark.ingested_ms is not None and lower_ms <= mark.ingested_ms - self._overlap_ms
        overlap = Overlap(from_ms=lower_ms, limit_ms=now_ms - UPPER_LAG_MS)
        results: list[DocumentResult] = []

        def advance(reached: Mark, result: DocumentResult) -> Mark:
            results.append(result)
            return reached

        mark = self._read(server, self._range(server, lower_ms, now_ms + FUTURE_MS), overlap, mark, advance)
        for result in results if is_joined else ():
            mark = mark.moved(result, self._overlap_ms)
        if self._pending.rows_read:
            self._commit(mark)

    def _window_extract(self) -> ExtractResult:
        """Lines whose own instant lies in the window, read again. The mark stays as it is.

        The server leaves out what was ingested a day or more before the window: no line is older than
        its ingestion but for a wrong clock. What has no date is looked at.
        """
        self._total.started = time.monotonic()
        with open_server(self._settings) as server:
            where: Document = {}
            if self._context.since is not None:
                since_ms = (self._context.since - EPOCH) // timedelta(milliseconds=1)
                dated = ingested_between(since_ms - WINDOW_SKEW_MS, MAX_MS)
                where = {"$or": [dated, undated()]}
            self._commit(self._read(server, Scan("id", where), Overlap(), self._read_mark()))
            return self._result(server)

    def _newest_ms(self, server: Server, limit_ms: int) -> int:
        """Where the mark will be after a backfill; the limit where only a scan of a large collection would tell."""
        if found := find_index(server):
            return newest_before(server, limit_ms, found[1])
        is_small = server.collection.estimated_document_count() <= SMALL_COUNT
        return newest_before(server, limit_ms) if is_small else limit_ms

    def _range(self, server: Server, lower_ms: int, upper_ms: int) -> Scan:
        order, index = find_order(server, small_count=SMALL_COUNT)
        if order == "id":
            return Scan("id", ingested_between(lower_ms, upper_ms))
        return Scan(order, {}, Key(lower_ms, MinKey()), Key(upper_ms, MinKey()), index)

    def _read_undated(self, server: Server, mark: Mark) -> Mark:
        """Documents without a date: those behind the last one, or all if the count tells of others."""
        count = server.collection.count_documents(undated())
        self._report_undated(server, count)
        if count == mark.undated_count:
            return mark

        def advance(reached: Mark, result: DocumentResult) -> Mark:
            return dataclasses.replace(reached, undated_id=result.last_id or reached.undated_id)

        known_count, before = mark.undated_count, self._total.document_count
        is_partial = mark.undated_id is not None
        mark = self._read(server, _scan_behind(mark.undated_id, undated()), Overlap(), mark, advance)
        if is_partial and known_count + self._total.document_count - before < count:
            mark = self._read(server, Scan("id", undated()), Overlap(), mark, advance)
        return dataclasses.replace(mark, undated_count=count)

    def _read_future(self, server: Server, mark: Mark, now_ms: int) -> Mark:
        """Documents from the far future, if their count tells of others; what it hides is read when its time comes."""
        where = ingested_from(now_ms + FUTURE_MS)
        count = server.collection.count_documents(where)
        if count not in (0, mark.future_count):
            mark = self._read(server, Scan("id", where), Overlap(), mark)
        return dataclasses.replace(mark, future_count=count)

    def _report_undated(self, server: Server, count: int) -> None:
        if count:
            run_id = self._context.run_id
            _log.warning("mongo: run_id=%s documents_without_date=%d in %s", run_id, count, server.name)

    @property
    def _overlap_ms(self) -> int:
        return self._settings.mongo_overlap_s * 1_000

    # ---- units and commits

    def _read(
        self,
        server: Server,
        scan: Scan,
        overlap: Overlap,
        mark: Mark,
        advance: Advance = lambda mark, _: mark,
    ) -> Mark:
        """Read a scan to its end, committing on the way. `advance` gives the mark that a unit leaves once durable."""
        size, document_bytes = self._sizes_of(server)
        ranges = iter_ranges(server, scan, count=max(UNIT_BYTES // document_bytes, 1))
        with closing(self._run_units(server, ranges, overlap)) as results:
            for result in results:
                self._context.lake.make_durable(result.parts)
                self._pending.parts += result.parts
                self._pending.rejections += result.rejections
                self._pending.rows_read += result.rows_read
                self._pending.byte_count += result.byte_count
                self._total.document_count += result.document_count
                self._total.byte_count += result.byte_count
                self._total.unit_count += 1
                mark = advance(mark, result)
                if self._pending.byte_count >= COMMIT_BYTES:
                    self._commit(mark)
                if self._context.on_progress:
                    self._context.on_progress(self._total.byte_count, max(size, self._total.byte_count))
        return mark

    def _sizes_of(self, server: Server) -> tuple[int, int]:
        """Bytes of the whole collection, and of its usual document."""
        try:
            stats = server.collection.database.command("collStats", server.collection.name)
        except OperationFailure:
            return 0, USUAL_DOCUMENT_BYTES
        return int(stats["size"]), int(stats.get("avgObjSize", USUAL_DOCUMENT_BYTES))

    def _run_units(
        self, server: Server, ranges: Iterator[Scan], overlap: Overlap
    ) -> Generator[DocumentResult, None, None]:
        """Results in the order of the ranges, read here when there is little to do, else on every core."""
        context = self._context
        heads = list(islice(ranges, 2))
        if len(heads) < 2 or context.settings.workers == 1:
            for scan in chain(heads, ranges):
                yield read_range(context, server, scan, overlap)
            return
        running: deque[Future[DocumentResult]] = deque()
        with open_pool(NAME, context.settings.workers, _start_worker, context.for_worker(), overlap) as pool:
            for scan in chain(heads, ranges):
                running.append(pool.submit(_read_in_worker, scan))
                if len(running) > 2 * context.settings.workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()

    def _commit(self, mark: Mark) -> None:
        """Make what is pending count, together with the mark; a window leaves the mark as it is."""
        pending, self._pending = self._pending, _Pending()
        self._total.commit(
            self._context,
            source=NAME,
            dataset=DATASET,
            adds=pending.parts,
            rows_read=pending.rows_read,
            rejections=pending.rejections,
            state={} if self._context.has_window else self._state(mark),
        )

    def _read_mark(self) -> Mark:
        entry = self._context.lake.read_state(source=NAME, dataset=DATASET).get(self._key)
        return Mark.from_json(entry) if entry else Mark()

    def _state(self, mark: Mark) -> State:
        return {} if mark.is_fresh else {self._key: mark.as_json()}


def read_range(context: ExtractContext, server: Server, scan: Scan, overlap: Overlap) -> DocumentResult:
    """Read one range into parts. Runs in a worker or here; what it returns counts once it is committed."""
    reader = DocumentReader(context)
    last: Key | None = None
    for batch, key in iter_batches(server, scan, batch_size=context.settings.mongo_batch_size):
        reader.read_batch(batch, overlap)
        last = key
    result = reader.finish()
    result.last_id = None if last is None else _dump_id(last.id)
    return result


_worker: list[Any] = []


def _start_worker(context: ExtractContext, overlap: Overlap) -> None:
    _worker[:] = [context, overlap, connect(context.settings)]


def _read_in_worker(scan: Scan) -> DocumentResult:
    context, overlap, server = _worker
    with explained(server.address, context.settings):
        return read_range(context, server, scan, overlap)


def _counts(mark: Mark) -> tuple[int, int]:
    return mark.undated_count, mark.future_count


def _scan_behind(known: str | None, where: Document) -> Scan:
    """A scan by `_id` of what comes after an `_id` that was read."""
    if known is None:
        return Scan("id", where)
    identity = _load_id(known)
    return Scan("id", {"$and": [where, {"_id": {"$ne": identity}}]}, lower=Key(None, identity))


def _dump_id(identity: Any) -> str:
    return json_util.dumps(identity, json_options=json_util.CANONICAL_JSON_OPTIONS)


def _load_id(text: str) -> Any:
    return json_util.loads(text, json_options=json_util.CANONICAL_JSON_OPTIONS)
