"""From BSON documents to the lines they carry, and on to the lake.

A document is a transcript line spread at the top level, plus four keys of the sync service. Without
those it is the line again, so it has the canonical form and the `record_id` of the line in its file.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from dataclasses import dataclass, field
from datetime import UTC, date
from typing import TYPE_CHECKING, Any

import bson
import orjson
from bson import json_util
from bson.binary import UUID_SUBTYPE, Binary
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.errors import InvalidBSON
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.son import SON

from analytics.errors import ContractViolation
from analytics.lake import Part, Rejection
from analytics.records import Refusal, Row, canonical_json, instant_date, not_json, parse_instant, plausible_instant
from analytics.records.conversations import flatten_line, foreign_producer, transcript_name
from analytics.records.writer import Place
from analytics.sources.mongo import DATASET, NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

    from analytics.sources import ExtractContext

Document = dict[str, Any]

# Dates stay milliseconds: no date is too early or late to be read, and none passes for JSON unseen.
CODEC: CodecOptions[Document] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
LENIENT_CODEC: CodecOptions[Document] = CODEC.with_options(unicode_decode_error_handler="replace")
DIGEST_BYTES = 16

# As canonical_json writes, and handing over whatever BSON has and JSON has not.
_STRICT = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_DATACLASS
)
_END_OF_WHOLE = re.compile(rb"\.0[,}\]]")  # a literal first, so that a text is passed over at memchr's speed
_WHOLE_DOUBLE = re.compile(rb"[0-9]{10,16}\.0[,}\]]")
_read_size = struct.Struct("<i").unpack_from
_JSON_INTEGERS_END = 2**53
_INT32_END = 2**31
_DATES_END = 2**63


@dataclass
class DocumentResult:
    """What some documents brought: parts on disk, not committed yet, and what was refused.

    `newest_ms` is the latest `ingestedAt` before the limit, `last_id` the `_id` of the last document
    as text. `digests` are those of documents that the next increment meets again.
    `undated_count` and `future_count`: documents without a date, and from the far future.
    """

    parts: list[Part] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    newest_ms: int = 0
    last_id: str | None = None
    undated_count: int = 0
    future_count: int = 0
    rows_read: int = 0
    document_count: int = 0
    byte_count: int = 0


@dataclass(frozen=True)
class Overlap:
    """What to skip, because the last run has read it, and what to remember for the next one.

    Documents ingested from `from_ms` on are remembered; None remembers nothing. `limit_ms` is the
    server's clock, beyond which no mark may go. From `future_ms` on is the far future.
    """

    seen: frozenset[bytes] = frozenset()
    from_ms: int | None = None
    limit_ms: int = 0
    future_ms: int = _DATES_END


def to_line(document: Document) -> tuple[Document, bytes]:
    """The transcript line in a document that has lost the service's keys, JSON values only, and its canonical form.

    Types that a deployment may have stored give the text or number that Claude Code wrote: dates as
    ISO with milliseconds and `Z`, ids and UUIDs as text, binary as base64, decimals as numbers, and
    NaN and the infinities, which JSON lacks, as null, like JavaScript's own writer. A whole double
    too large for 32 bits is an integer: that is how JavaScript's driver stores one.

    Raises:
        ContractViolation: some value has no JSON form, such as a regular expression.
    """
    is_odd = False

    def convert(value: Any) -> Any:
        nonlocal is_odd
        is_odd = True
        return to_json(value)

    try:
        text = orjson.dumps(document, default=convert, option=_STRICT)
    except (TypeError, ValueError) as error:
        if isinstance(error.__cause__, ContractViolation):
            raise error.__cause__ from None
        raise not_json(error) from error
    line: Document = orjson.loads(text) if is_odd else document
    if _END_OF_WHOLE.search(text) and _WHOLE_DOUBLE.search(text):
        line = _mend_doubles(line)
        return line, canonical_json(line)
    return line, text


def to_json(value: Any) -> Any:
    """The JSON value of a BSON value that is none yet. Raises ContractViolation where there is none."""
    if isinstance(value, Int64):
        return int(value)
    if isinstance(value, DatetimeMS):
        try:
            moment = value.as_datetime(CodecOptions(tz_aware=True, tzinfo=UTC))
        except (OverflowError, ValueError, InvalidBSON) as error:
            raise ContractViolation("a date beyond the year 9999 or before the year 1") from error
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, ObjectId):
        return str(value)
    if isinstance(value, Decimal128):
        return _number(value.to_decimal())
    if isinstance(value, Binary) and value.subtype == UUID_SUBTYPE and len(value) == 16:
        return str(value.as_uuid())
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, DBRef):
        return dict(value.as_doc())
    if isinstance(value, SON):
        return dict(value)
    if type(value) is str or (isinstance(value, str) and not isinstance(value, Code)):
        return str(value)
    raise ContractViolation(f"a value of BSON type {type(value).__name__} has no JSON form")


def _number(value: Decimal) -> int | float | None:
    if not value.is_finite():
        return None
    if value.as_tuple().exponent == 0 and abs(value) < _JSON_INTEGERS_END:
        return int(value)
    number = float(value)
    return number if abs(number) != float("inf") else None


def _mend_doubles(value: Any) -> Any:
    if type(value) is float:
        return int(value) if value.is_integer() and _INT32_END <= abs(value) <= _JSON_INTEGERS_END else value
    if isinstance(value, dict):
        return {key: _mend_doubles(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_mend_doubles(item) for item in value]
    return value


def split_batch(batch: bytes) -> Iterator[bytes]:
    """The single documents of a raw batch."""
    start, end = 0, len(batch)
    while start < end:
        behind = start + _read_size(batch, start)[0]
        yield batch[start:behind]
        start = behind


def last_document(batch: bytes) -> bytes:
    """The last document of a raw batch, found without copying the others."""
    start = behind = 0
    while behind < len(batch):
        start, behind = behind, behind + _read_size(batch, behind)[0]
    return batch[start:]


def ingested_ms(document: Mapping[str, Any]) -> int | None:
    """`ingestedAt` in milliseconds since 1970; None where it is no date."""
    value = document.get("ingestedAt")
    return int(value) if isinstance(value, DatetimeMS) else None


def id_text(value: Any) -> str:
    """An `_id` of any type as text."""
    if isinstance(value, ObjectId | str | int):
        return str(value)
    return json_util.dumps(value)


def _decode_leniently(piece: bytes) -> Document:
    """What can be read of a damaged document; nothing where even that fails."""
    try:
        return bson.decode(piece, LENIENT_CODEC)
    except InvalidBSON:
        return {}


class DocumentReader:
    """Hands documents to a writer of the lake, and keeps count. `finish` gives the result."""

    def __init__(self, context: ExtractContext) -> None:
        self._context = context
        keep_text = context.settings.content != "metadata"

        def flatten(line: Document, place: Place) -> Row:
            return flatten_line(line, keep_text=keep_text, file=place.file)

        self._writer = context.writer(flatten, source=NAME, dataset=DATASET)
        self._names: dict[str, str] = {}
        self._result = DocumentResult()
        self._has_window = context.has_window

    @property
    def row_count(self) -> int:
        """Documents taken in so far, rejected ones included."""
        return self._writer.row_count + len(self._result.rejections)

    def read_batch(self, batch: bytes, overlap: Overlap) -> None:
        """Take in a raw batch, less the documents that the last run has already read."""
        result = self._result
        result.byte_count += len(batch)
        for piece in split_batch(batch):
            try:
                document, is_damaged = bson.decode(piece, CODEC), False
            except InvalidBSON:
                document, is_damaged = _decode_leniently(piece), True
            at_ms = ingested_ms(document)
            if at_ms is None:
                result.undated_count += not is_damaged
            elif at_ms >= overlap.future_ms:
                result.future_count += 1
            if at_ms is not None and overlap.from_ms is not None:
                if result.newest_ms < at_ms < overlap.limit_ms:
                    result.newest_ms = at_ms
                if at_ms >= overlap.from_ms:
                    digest = digest_of(at_ms, piece)
                    result.digests.append(digest)
                    if digest in overlap.seen:
                        continue
            if is_damaged:
                self._reject_damaged(document)
            else:
                self._add(document, at_ms)

    def _reject_damaged(self, document: Document) -> None:
        self._result.document_count += 1
        reason = "invalid UTF-8" if document else "invalid BSON"
        self._reject(document, document.get("_id"), self._name(document.get("sourceFile")), reason)

    def _add(self, document: Document, at_ms: int | None) -> None:
        """Take in one document. What cannot be a line is rejected with its `_id`."""
        self._result.document_count += 1
        identity = document.pop("_id", None)
        document.pop("ingestedAt", None)
        document.pop("projectId", None)
        name = self._name(document.pop("sourceFile", None))
        try:
            line, canonical = to_line(document)
            if self._has_window and not self._context.is_in_window(parse_instant(line.get("timestamp"))):
                return
            if producer := foreign_producer(line):
                self._reject({}, identity, name, producer)
                return
            place = Place(name, None, self._fallback_date(at_ms, identity), self._id(identity))
            self._writer.add(line, place, canonical=canonical)
        except ContractViolation as violation:
            self._reject(document, identity, name, str(violation))

    def finish(self) -> DocumentResult:
        """Write what is buffered and hand over what there is."""
        self._result.rows_read = self.row_count
        self._result.parts = self._writer.flush()
        return self._result

    def _name(self, source_file: Any) -> str:
        if type(source_file) is not str or not source_file:  # code is text to Python and hashes as none
            return "unknown"
        name = self._names.get(source_file)
        if name is None:
            name = self._names[source_file] = self._context.redactor.redact_path(transcript_name(source_file))
        return name

    def _id(self, identity: Any) -> str:
        return str(identity) if type(identity) is ObjectId else self._context.redactor.redact_text(id_text(identity))

    def _fallback_date(self, at_ms: int | None, identity: Any) -> date:
        """The day that files a line without an instant: of its insertion, as far as the document tells."""
        if at_ms is not None and (instant := plausible_instant(at_ms * 1_000)) is not None:
            return instant_date(instant)
        if isinstance(identity, ObjectId):
            return identity.generation_time.date()
        return self._context.extracted_at.date()

    def _reject(self, document: Document, identity: Any, name: str, reason: str) -> None:
        content = json_util.dumps(document).encode("utf-8", "surrogatepass") if document else b""
        file = f"{name} _id={self._id(identity)}"
        self._result.rejections.append(self._context.reject(Refusal(0, reason, content), source=NAME, file=file))


def digest_of(at_ms: int, piece: bytes) -> bytes:
    """By which the very same document is known again, content and all; begins with its `ingestedAt`."""
    return at_ms.to_bytes(8, "big", signed=True) + hashlib.blake2b(piece, digest_size=8).digest()
