"""A run of the source: what to read, in units on every core, committed with the mark that goes with it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from bson import json_util
from pymongo.errors import OperationFailure

from analytics.lake import Lake, Part, Rejection, State
from analytics.records import EPOCH
from analytics.sources import ExtractContext, ExtractResult
from analytics.sources.mongo import DATASET, NAME
from analytics.sources.mongo.connection import Server, address_of, find_order, open_server
from analytics.sources.mongo.documents import DIGEST_BYTES, Document, Overlap, UnitResult, read_unit
from analytics.sources.mongo.scan import Key, Scan, ingested_between, iter_batches, strays
from analytics.workers import open_pool

if TYPE_CHECKING:
    from analytics.config import Settings

UNIT_BYTES = 8 << 20
COMMIT_BYTES = 128 << 20
UPPER_LAG_MS = 5_000
FUTURE_MS = 3_600_000
WINDOW_SKEW_MS = 86_400_000
SMALL_COUNT = 200_000
MAX_DIGESTS = 32_768
MAX_MS = 2**62

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mark:
    """How far a collection is durably read. Kept in commits, under one key, so that it is forgotten whole.

    `ingested_ms` is the latest `ingestedAt` read, never past the server's clock: everything before it is
    in the lake, but for documents that arrive later than the overlap. `is_backfilling` is set while a
    backfill is unfinished, which has read up to `backfill_id`. `digests` are the documents read that lie
    in the overlap. `stray_count` and `stray_id`: documents without a date, and the last of them read.
    """

    ingested_ms: int | None = None
    is_backfilling: bool = False
    backfill_id: str | None = None
    stray_count: int = 0
    stray_id: str | None = None
    digests: str = ""

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was ever read."""
        return self.ingested_ms is None and not self.is_backfilling

    def moved(self, result: UnitResult, span_ms: int) -> Mark:
        """The mark once a result is durable: at its newest document, with the digests that still matter."""
        newest_ms = max(self.ingested_ms or 0, result.newest_ms)
        digests = _join_digests(self.digests, result.digests, newest_ms - span_ms)
        return dataclasses.replace(self, ingested_ms=newest_ms, digests=digests)


Advance = Callable[[Mark, Key, UnitResult], Mark]


@dataclass
class _Unit:
    batches: list[bytes]
    byte_count: int
    last: Key


@dataclass
class _Pending:
    """What was read since the last commit."""

    parts: list[Part] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    rows_read: int = 0
    byte_count: int = 0


@dataclass
class _Total:
    rows_read: int = 0
    rows_loaded: int = 0
    unit_count: int = 0
    document_count: int = 0
    byte_count: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    dead_letters: list[str] = field(default_factory=list)


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
        started = time.monotonic()
        with open_server(self._settings) as server:
            self._backfill(server, self._start_backfill(server))
        return self._result(started)

    def incremental_extract(self, since: datetime | None = None) -> ExtractResult:
        """Read what was ingested since the mark, less the overlap; everything where there is no mark yet.

        Args:
            since: Read from this instant of `ingestedAt` on instead (inclusive, aware). The mark moves
                only if that leaves no gap.
        """
        started = time.monotonic()
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
        return self._result(started)

    # ---- the passes

    def _start_backfill(self, server: Server) -> Mark:
        now_ms = server.now_ms()
        stray_count = server.collection.count_documents(strays(now_ms + FUTURE_MS))
        self._report_strays(server, stray_count)
        return Mark(is_backfilling=True, stray_count=stray_count)

    def _backfill(self, server: Server, mark: Mark) -> Mark:
        after = None if mark.backfill_id is None else Key(None, _load_id(mark.backfill_id))
        overlap = Overlap(span_ms=self._overlap_ms, limit_ms=server.now_ms() - UPPER_LAG_MS)

        def advance(reached: Mark, last: Key, result: UnitResult) -> Mark:
            return dataclasses.replace(reached.moved(result, self._overlap_ms), backfill_id=_dump_id(last.id))

        mark = self._read(server, Scan("id", after=after), overlap, mark, advance)
        mark = dataclasses.replace(mark, ingested_ms=mark.ingested_ms or 0, is_backfilling=False, backfill_id=None)
        self._commit(mark)
        return mark

    def _increment(self, server: Server, before: Mark) -> None:
        now_ms = server.now_ms()
        scan = self._range(server, (before.ingested_ms or 0) - self._overlap_ms, now_ms + FUTURE_MS)
        # What is newer than the server's clock is read, yet must not take the mark along.
        overlap = Overlap(_split_digests(before.digests), self._overlap_ms, now_ms - UPPER_LAG_MS)
        unordered: list[UnitResult] = []

        def advance(reached: Mark, _: Key, result: UnitResult) -> Mark:
            if scan.order == "id":
                unordered.append(result)
                return reached
            return reached.moved(result, self._overlap_ms)

        mark = self._read(server, scan, overlap, dataclasses.replace(before, digests=""), advance)
        for result in unordered:
            mark = mark.moved(result, self._overlap_ms)
        mark = self._read_strays(server, mark, now_ms)
        # Nothing new is no commit: the next run asks for the same range and skips the same documents.
        if self._pending.rows_read or self._total.rows_read or mark.stray_count != before.stray_count:
            self._commit(mark)

    def _increment_since(self, server: Server, mark: Mark, since: datetime) -> None:
        lower_ms = (since - EPOCH) // timedelta(milliseconds=1)
        now_ms = server.now_ms()
        is_joined = mark.ingested_ms is not None and lower_ms <= mark.ingested_ms - self._overlap_ms
        overlap = Overlap(span_ms=self._overlap_ms, limit_ms=now_ms - UPPER_LAG_MS)
        results: list[UnitResult] = []

        def advance(reached: Mark, _: Key, result: UnitResult) -> Mark:
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
        started = time.monotonic()
        with open_server(self._settings) as server:
            where: Document = {}
            if self._context.since is not None:
                since_ms = (self._context.since - EPOCH) // timedelta(milliseconds=1)
                dated = ingested_between(since_ms - WINDOW_SKEW_MS, MAX_MS)
                where = {"$or": [dated, *strays(MAX_MS)["$or"]]}
            self._commit(self._read(server, Scan("id", where), Overlap(), self._read_mark()))
        return self._result(started)

    def _range(self, server: Server, lower_ms: int, upper_ms: int) -> Scan:
        order, index = find_order(server, small_count=SMALL_COUNT)
        if order == "id":
            return Scan("id", ingested_between(lower_ms, upper_ms))
        return Scan(order, {}, lower_ms, upper_ms, index=index)

    def _read_strays(self, server: Server, mark: Mark, now_ms: int) -> Mark:
        """Documents that no increment meets: those behind the last one, or all if the count tells of others."""
        where = strays(now_ms + FUTURE_MS)
        count = server.collection.count_documents(where)
        self._report_strays(server, count)
        if count == mark.stray_count:
            return mark

        def advance(reached: Mark, last: Key, _: UnitResult) -> Mark:
            return dataclasses.replace(reached, stray_id=_dump_id(last.id))

        known_count, before = mark.stray_count, self._total.document_count
        is_partial = mark.stray_id is not None
        after = None if mark.stray_id is None else Key(None, _load_id(mark.stray_id))
        mark = self._read(server, Scan("id", where, after=after), Overlap(), mark, advance)
        if is_partial and known_count + self._total.document_count - before < count:
            mark = self._read(server, Scan("id", where), Overlap(), mark, advance)
        return dataclasses.replace(mark, stray_count=count)

    def _report_strays(self, server: Server, count: int) -> None:
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
        advance: Advance = lambda mark, _last, _result: mark,
    ) -> Mark:
        """Read a scan to its end, committing on the way. `advance` gives the mark that a unit leaves once durable."""
        size = self._size_of(server) if self._context.on_progress else 0
        units = _iter_units(iter_batches(server, scan, batch_size=self._settings.mongo_batch_size))
        for unit, result in self._run_units(units, overlap):
            self._pending.parts += result.parts
            self._pending.rejections += result.rejections
            self._pending.rows_read += result.rows_read
            self._pending.byte_count += unit.byte_count
            self._total.document_count += result.document_count
            self._total.byte_count += unit.byte_count
            self._total.unit_count += 1
            mark = advance(mark, unit.last, result)
            if self._pending.byte_count >= COMMIT_BYTES:
                self._commit(mark)
            if self._context.on_progress:
                self._context.on_progress(self._total.byte_count, max(size, self._total.byte_count))
        return mark

    def _size_of(self, server: Server) -> int:
        try:
            return int(server.collection.database.command("collStats", server.collection.name)["size"])
        except OperationFailure:
            return 0

    def _run_units(self, units: Iterator[_Unit], overlap: Overlap) -> Iterator[tuple[_Unit, UnitResult]]:
        """Results in the order of the units, read here when there is little to do, else on every core."""
        context = self._context
        heads = [unit for unit in (next(units, None), next(units, None)) if unit is not None]
        if len(heads) < 2 or context.settings.workers == 1:
            for unit in chain(heads, units):
                yield unit, read_unit(context, unit.batches, overlap)
            return
        lake = Lake(context.lake.data_dir, context.lake.host_id)
        bare = dataclasses.replace(context, on_progress=None, lake=lake)
        with open_pool(context.settings.workers, _start_worker, bare, overlap) as pool:
            running: deque[tuple[_Unit, Future[UnitResult]]] = deque()
            for unit in chain(heads, units):
                running.append((unit, pool.submit(_read_in_worker, unit.batches)))
                unit.batches = []
                if len(running) > context.settings.workers:
                    done, future = running.popleft()
                    yield done, future.result()
            while running:
                done, future = running.popleft()
                yield done, future.result()

    def _commit(self, mark: Mark) -> None:
        """Make what is pending count, together with the mark; a window leaves the mark as it is."""
        pending, self._pending = self._pending, _Pending()
        state = {} if self._context.has_window else self._state(mark)
        if not (pending.rows_read or state):
            return
        entry = self._context.lake.commit(
            DATASET,
            NAME,
            run_id=self._context.run_id,
            adds=pending.parts,
            rows_read=pending.rows_read,
            rejections=pending.rejections,
            state=state,
        )
        self._total.rows_read += pending.rows_read
        self._total.rows_loaded += entry.rows_loaded
        for rejection in pending.rejections:
            self._total.reasons[rejection.reason] += rejection.row_count
        if entry.dead_letter:
            self._total.dead_letters.append(entry.dead_letter)

    def _read_mark(self) -> Mark:
        entry = self._context.lake.read_state(DATASET, NAME).get(self._key)
        return Mark(**entry) if entry else Mark()

    def _state(self, mark: Mark) -> State:
        return {} if mark.is_fresh else {self._key: dataclasses.asdict(mark)}

    def _result(self, started: float) -> ExtractResult:
        total = self._total
        return ExtractResult(
            source=NAME,
            dataset=DATASET,
            rows_read=total.rows_read,
            rows_loaded=total.rows_loaded,
            rows_rejected=total.reasons.total(),
            unit_count=total.unit_count,
            elapsed_ms=round((time.monotonic() - started) * 1000),
            dead_letters=tuple(total.dead_letters),
            rejected_by_reason=dict(total.reasons),
        )


_worker: list[Any] = []


def _start_worker(context: ExtractContext, overlap: Overlap) -> None:
    _worker[:] = [context, overlap]


def _read_in_worker(batches: list[bytes]) -> UnitResult:
    context, overlap = _worker
    return read_unit(context, batches, overlap)


def _iter_units(batches: Iterable[tuple[bytes, Key]]) -> Iterator[_Unit]:
    unit: _Unit | None = None
    for batch, last in batches:
        if unit is None:
            unit = _Unit([], 0, last)
        unit.batches.append(batch)
        unit.byte_count += len(batch)
        unit.last = last
        if unit.byte_count >= UNIT_BYTES:
            yield unit
            unit = None
    if unit is not None:
        yield unit


def _dump_id(identity: Any) -> str:
    return json_util.dumps(identity, json_options=json_util.CANONICAL_JSON_OPTIONS)


def _load_id(text: str) -> Any:
    return json_util.loads(text, json_options=json_util.CANONICAL_JSON_OPTIONS)


def _join_digests(known: str, added: list[bytes], from_ms: int) -> str:
    """The digests of documents ingested at or after an instant, as one text.

    Beyond a limit the oldest are left out: their documents are read again, no more.
    """
    first = from_ms.to_bytes(8, "big", signed=True)
    kept = sorted(digest for digest in {*_split_digests(known), *added} if digest >= first)
    return base64.b64encode(b"".join(kept[-MAX_DIGESTS:])).decode()


def _split_digests(text: str) -> frozenset[bytes]:
    joined = base64.b64decode(text)
    return frozenset(joined[start : start + DIGEST_BYTES] for start in range(0, len(joined), DIGEST_BYTES))
