"""What every record has: strict JSON, a canonical form, an id that is a pure function of content, an instant."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from analytics.errors import ContractViolation

Row = dict[str, Any]  # of a dataset: typed columns by name, absent ones left out

BOM = b"\xef\xbb\xbf"
BLANKS = b" \t\r\n\0"
NOT_AN_OBJECT = "not a JSON object"
_NOT_BLANK = re.compile(r"[^ \t\r]")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DATE = date(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
MICROSECONDS_A_DAY = 86_400_000_000
# What clocks that are wrong do not leave: gold has a row for each day from the first instant to the last.
_MIN_INSTANT = 946_684_800_000_000  # year 2000
_MAX_INSTANT = 4_102_444_800_000_000  # year 2100
COUNTS_END = 10**10
_WORD_LIMIT = 200
_COSTS_END = 10**15
_NANO = Decimal(1_000_000_000)


class Refusal(NamedTuple):
    """What cannot be a record: where it stands in its file, why, and its bytes. A source makes a `Rejection` of it."""

    position: int
    reason: str
    content: bytes = b""


def parse_json(text: bytes) -> Any:
    """One JSON value, strictly.

    Lone surrogates, which a truncated emoji leaves and which make SQL engines drop the whole text,
    become U+FFFD. Raises ContractViolation with the reason, never with the text.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        strict_error = error
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ContractViolation("invalid UTF-8") from error
    if "\\u" not in decoded:
        raise ContractViolation(_explain(text, strict_error))
    try:
        return _repair(json.loads(decoded, parse_constant=_refuse_constant))
    except RecursionError as error:
        raise ContractViolation("nested too deeply") from error
    except ValueError as error:
        raise ContractViolation(_explain(text, strict_error)) from error


def parse_object(text: bytes) -> dict[str, Any]:
    """One JSON object, as strictly. Raises ContractViolation for any other value."""
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ContractViolation(NOT_AN_OBJECT)
    return value


def split_lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of a small file, each with its byte offset."""
    offset = 0
    for line in content.split(b"\n"):
        yield offset, line
        offset += len(line) + 1


def parse_lines(lines: Iterable[tuple[int, bytes]], refusals: list[Refusal]) -> Iterator[tuple[int, Any]]:
    """The values of JSON lines, each with its offset. Blank lines are none.

    What is not JSON is added to `refusals`.
    """
    for position, line in lines:
        stripped = line.removeprefix(BOM).strip(BLANKS)
        if not stripped:
            continue
        try:
            value = parse_json(stripped)
        except ContractViolation as violation:
            refusals.append(Refusal(position, str(violation), stripped))
        else:
            yield position, value


def _explain(text: bytes, error: orjson.JSONDecodeError) -> str:
    if b"\0" in text:
        return "NUL bytes"
    if "recursion" in str(error).lower() or "depth" in str(error).lower():
        return "nested too deeply"
    return "not JSON"


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _repair(value: Any) -> Any:
    """The value with lone surrogates replaced and integers beyond 64 bits as floats, as strict JSON needs."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_repair(key): _repair(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_repair(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value)
    return value


def parse_concatenated(text: bytes) -> list[tuple[int, bytes]]:
    """Two or more JSON objects written on one line without a newline between: each with its byte offset.

    Seen where two writers shared a file. Raises ContractViolation when the text is anything else.
    """
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ContractViolation("invalid UTF-8") from error
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    parts: list[tuple[int, bytes]] = []
    position, byte_offset = 0, 0
    try:
        while position < len(decoded):
            if decoded[position] != "{":
                raise ContractViolation("not JSON")
            _, end = decoder.raw_decode(decoded, position)
            part = decoded[position:end].encode()
            parts.append((byte_offset, part))
            following = _NOT_BLANK.search(decoded, end)
            skipped = (following.start() if following else len(decoded)) - end
            position, byte_offset = end + skipped, byte_offset + len(part) + skipped
    except (ValueError, RecursionError) as error:
        raise ContractViolation("not JSON") from error
    return parts


def canonical_json(record: Any) -> bytes:
    """The record's one spelling: sorted keys, compact, UTF-8. Equal records give equal bytes.

    Raises ContractViolation for what JSON cannot hold.
    """
    try:
        return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError) as error:
        raise not_json(error) from error


def not_json(error: Exception) -> ContractViolation:
    """Why a JSON writer refused a value."""
    return ContractViolation("nested too deeply" if "recursion" in str(error).lower() else "cannot be written as JSON")


def record_id(canonical: bytes) -> str:
    """32 hex digits of the SHA-256 of a canonical record."""
    return hashlib.sha256(canonical).hexdigest()[:32]


def parse_instant(value: Any) -> int | None:
    """Microseconds since 1970 UTC of a time stamp as sources write it; None where it is none.

    Reads ISO 8601 with `Z`, an offset or nothing (then UTC), datetimes, and numbers, also as text, which
    are seconds, milliseconds, microseconds or nanoseconds by their size. A SQL cast of text would drop
    the offset without a word, so this is the one place where text becomes an instant.
    """
    if isinstance(value, str):
        return _parse_iso(value)
    if isinstance(value, datetime):
        return _from_datetime(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if value != value or abs(value) > 1e19:
        return None
    for limit, factor in ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1)):
        if abs(value) < limit:
            return plausible_instant(int(value * factor))
    return plausible_instant(int(value) // 1_000)


def parse_word(value: Any) -> str | None:
    """A name or an id. A longer text in its place is content and stays in the payload."""
    return value if isinstance(value, str) and 0 < len(value) <= _WORD_LIMIT else None


def char_count(value: Any) -> int:
    """Characters of a text; of any other value, those of its compact JSON."""
    return len(value) if isinstance(value, str) else len(orjson.dumps(value).decode())


def parse_count(value: Any) -> int | None:
    """A count as sources write it, a number or digits; None where it is none, negative or absurd.

    Ten thousand million of anything in one record is its writer's fault, and its price would not fit 64 bits.
    """
    if isinstance(value, str):
        return parse_count(int(value)) if value.isascii() and value.isdigit() and len(value) < 18 else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < COUNTS_END:
        return None
    count: int = round(value)
    return count


def parse_cost(value: Any) -> int | None:
    """Dollars, as a number or as text, in nano-dollars; exact for what JSON wrote. None from a million dollars on."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        nano = Decimal(value.strip() if isinstance(value, str) else repr(value)) * _NANO
        return int(nano.to_integral_value()) if 0 <= nano < _COSTS_END else None
    except ArithmeticError:  # no number, or one with a million digits
        return None


@lru_cache(maxsize=4_096)  # a line's instant is asked for by the reader and by the row
def _parse_iso(text: str) -> int | None:
    try:
        return _from_datetime(datetime.fromisoformat(text))
    except ValueError:
        return parse_instant(int(text)) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _from_datetime(moment: datetime) -> int | None:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        return plausible_instant((aware - EPOCH) // _MICROSECOND)
    except OverflowError:
        return None


def plausible_instant(instant: int) -> int | None:
    """The instant, if a clock can be right about it: those that were never set say 1970, and copies 1980."""
    return instant if _MIN_INSTANT <= instant < _MAX_INSTANT else None


def instant_date(instant: int) -> date:
    """The UTC day of an instant in microseconds."""
    return _date_of_day(instant // MICROSECONDS_A_DAY)


@lru_cache(maxsize=4_096)
def _date_of_day(day: int) -> date:
    return EPOCH_DATE + timedelta(days=day)
