"""Minutes instead of an hour: `python -m analytics.sources.mongo.listen` follows the collection's change stream.

Micro-batches go into the same lake under the same contract, with the resume token in their commit. The
token is filed under a source of its own, so the batch run neither sees nor moves it: the batch run
stays the truth, and what both carry is one record. Needs a replica set; one of a single node will do.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bson import json_util
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from analytics.config import Settings, load_settings
from analytics.errors import AnalyticsError, LockHeld, SourceUnavailable
from analytics.lake import Lake
from analytics.sources import ExtractContext
from analytics.sources.mongo import DATASET
from analytics.sources.mongo.connection import Server, ServerGone, open_server
from analytics.sources.mongo.documents import Document, DocumentReader, Overlap
from analytics.sources.mongo.extraction import state_key

if TYPE_CHECKING:
    from pymongo.change_stream import CollectionChangeStream

NAME = "mongo_listener"
FLUSH_AFTER_S = 10.0
FLUSH_COUNT = 5_000
IDLE_COMMIT_S = 3_600.0
AWAIT_MS = 500
MAX_WAIT_S = 60.0
LAST_LOCK_WAIT_S = 30.0

# The server no longer has what the token points at, or an event is too large to be sent.
_LOST_CODES = frozenset({136, 222, 260, 280, 286, 10334})
_NO_CHANGE_STREAMS = 40573

# A document is decoded as the batch run does it, which refuses what is no UTF-8.
RAW_CODEC: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

_log = logging.getLogger(__name__)


class Listener:
    """Follows one collection until told to stop. Nothing is lost when it dies: the token is that of the last commit."""

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        stop: threading.Event,
        *,
        flush_after_s: float = FLUSH_AFTER_S,
        flush_count: int = FLUSH_COUNT,
    ) -> None:
        self._settings, self._lake, self._stop = settings, lake, stop
        self._flush_after_s, self._flush_count = flush_after_s, flush_count
        self._key = state_key(settings).replace("watermark", "resume_token")
        self._reader: DocumentReader | None = None
        self._run_id = "listen"
        self._due_at = 0.0
        self.rows_committed = 0

    def run(self) -> None:
        """Follow, and connect again with growing waits when the server goes away.

        Raises:
            SourceUnavailable: waiting cannot help: rights, no replica set, or a history that is lost.
        """
        wait_s = 1.0
        while not self._stop.is_set():
            committed = self.rows_committed
            try:
                with open_server(self._settings) as server:
                    self._follow(server)
            except ServerGone as error:
                wait_s = 1.0 if self.rows_committed > committed else min(wait_s * 2, MAX_WAIT_S)
                _log.warning("%s retry_ms=%d", error, wait_s * 1000)
                self._reader = None
                self._stop.wait(wait_s)

    def _follow(self, server: Server) -> None:
        token = self._read_token()
        try:
            with self._open_stream(server, token) as stream:
                self._due_at = time.monotonic() + (0.0 if token is None else IDLE_COMMIT_S)
                while not self._stop.is_set():
                    change = stream.try_next()
                    if change is not None:
                        self._take(change)
                    elif not stream.alive:
                        raise SourceUnavailable(
                            f"mongo: {server.name} was dropped or renamed. Mend ANALYTICS_MONGO_COLLECTION."
                        )
                    if time.monotonic() >= self._due_at or (
                        self._reader is not None and self._reader.row_count >= self._flush_count
                    ):
                        self._commit(stream.resume_token)
                if self._reader is not None:
                    self._commit(stream.resume_token)
        except OperationFailure as error:
            if error.code == _NO_CHANGE_STREAMS:
                raise SourceUnavailable(
                    f"mongo: {server.address} is no replica set, so it has no change stream. Start it with --replSet "
                    "and run rs.initiate(), or leave it to the batch run."
                ) from None
            if error.code in _LOST_CODES and token is not None:
                self._commit(None)
                raise SourceUnavailable(
                    f"mongo: the change stream of {server.address} no longer reaches back to where the listener was. "
                    "Run analytics extract --select mongo, which misses nothing, then start the listener again."
                ) from None
            raise

    def _open_stream(self, server: Server, token: Document | None) -> CollectionChangeStream[RawBSONDocument]:
        kinds = {"operationType": {"$in": ["insert", "replace", "update"]}}
        collection = server.collection.with_options(codec_options=RAW_CODEC)
        return collection.watch(
            [{"$match": kinds}], full_document="updateLookup", resume_after=token, max_await_time_ms=AWAIT_MS
        )

    def _take(self, change: Mapping[str, Any]) -> None:
        document = change.get("fullDocument")
        if document is None:  # deleted since; the batch run may still have met it
            return
        if self._reader is None:
            now = datetime.now(UTC)
            self._run_id = f"listen-{now.strftime('%Y%m%dT%H%M%S%fZ')}"
            self._reader = DocumentReader(ExtractContext(self._settings, self._lake, self._run_id, now))
            self._due_at = time.monotonic() + self._flush_after_s
        self._reader.read_batch(document.raw, Overlap())

    def _commit(self, token: Any) -> None:
        """One micro-batch, its dead letters and its token. Only this takes the lake's lock."""
        reader, self._reader = self._reader, None
        result = reader.finish() if reader is not None else None
        state = {self._key: None if token is None else json_util.dumps(token)}
        gives_up_at: float | None = None
        while True:
            try:
                with self._lake.lock(wait_s=1.0):
                    commit = self._lake.commit(
                        source=NAME,
                        dataset=DATASET,
                        run_id=self._run_id,
                        adds=result.parts if result else (),
                        rows_read=result.rows_read if result else 0,
                        rejections=result.rejections if result else (),
                        state=state,
                    )
                break
            except LockHeld:
                if self._stop.is_set():
                    gives_up_at = gives_up_at or time.monotonic() + LAST_LOCK_WAIT_S
                    if time.monotonic() >= gives_up_at:
                        _log.warning("mongo: stopped while the lake was locked; the next start reads the rest again")
                        return
        self._due_at = time.monotonic() + IDLE_COMMIT_S
        self.rows_committed += commit.rows_loaded
        if result is not None:
            _log.info(
                "mongo: committed rows=%d rejected=%d dead_letter=%s",
                commit.rows_loaded,
                commit.rows_rejected,
                commit.dead_letter,
            )

    def _read_token(self) -> Document | None:
        text = self._lake.read_state(source=NAME, dataset=DATASET).get(self._key)
        token: Document | None = json_util.loads(text) if text else None
        return token


def main(arguments: Sequence[str] | None = None) -> int:
    """Listen until SIGTERM or Ctrl-C, and commit what is in hand before ending."""
    parser = argparse.ArgumentParser(
        prog="python -m analytics.sources.mongo.listen", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data-dir", help="data folder (ANALYTICS_DATA_DIR)")
    parser.add_argument("--flush-after-s", type=float, default=FLUSH_AFTER_S, help="longest wait of a document (10)")
    parser.add_argument("--flush-count", type=int, default=FLUSH_COUNT, help="documents of a micro-batch (5000)")
    parsed = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load_settings({"data_dir": parsed.data_dir} if parsed.data_dir else None)
        lake = Lake(settings.data_dir, settings.host_id)
        Listener(settings, lake, stop, flush_after_s=parsed.flush_after_s, flush_count=parsed.flush_count).run()
    except AnalyticsError as error:
        print(f"error      {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
