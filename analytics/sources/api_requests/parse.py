"""A JSON value to the request events inside it, and an event to a row. Pure: nothing here opens anything.

Forms that are read: a proxy's event; OpenTelemetry's `claude_code.api_request` and `.api_error`, whose
fields lie in `attributes`; and any of them in lists and wrappers, as in snapshots of recent activity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics.records import Row, parse_cost, parse_count, parse_instant, parse_word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analytics.records.writer import Place

NO_EVENT = "no api_request event"

_TYPES = {
    "api_request": "api_request",
    "claude_code.api_request": "api_request",
    "api_error": "api_error",
    "claude_code.api_error": "api_error",
}
_TYPE_KEYS = ("type", "event.name", "event_name", "event_type", "event", "name", "body")
_TIME_KEYS = ("timestamp", "event.timestamp", "time", "ts", "timeUnixNano", "observedTimeUnixNano")
_COST_KEYS = ("cost", "cost_usd")
_LATENCY_KEYS = ("latency_ms", "duration_ms")
_ERROR_KEYS = ("error_message", "error")
_STATUS_CODE_KEYS = ("status_code", "http_status", "http.status_code")
_COUNTS = {
    "input_tokens": ("input_tokens",),
    "output_tokens": ("output_tokens",),
    "cache_creation_tokens": ("cache_write_tokens", "cache_creation_tokens"),
    "cache_read_tokens": ("cache_read_tokens",),
    "latency_ms": _LATENCY_KEYS,
    "status_code": _STATUS_CODE_KEYS,
    "attempt_number": ("attempt", "attempt_number"),
}
_WORDS = {
    "request_id": ("request_id", "requestId"),
    "session_id": ("session_id", "session.id", "sessionId"),
    "model": ("model",),
    "provider": ("provider",),
}
_STATUS_WORDS = {"ok": "success", "succeeded": "success", "failed": "error", "failure": "error"}
_STATUS_LIMIT = 40
_DEPTH = 4


def iter_events(value: Any, depth: int = _DEPTH) -> Iterator[dict[str, Any]]:
    """The request events of a value: itself, or those in its lists and members, however a snapshot wraps them."""
    if isinstance(value, list):
        for item in value if depth >= 0 else ():
            yield from iter_events(item, depth - 1)
    elif isinstance(value, dict):
        if find_type(value) is not None:
            yield value
        elif depth > 0:
            for member in value.values():
                if isinstance(member, list | dict):
                    yield from iter_events(member, depth - 1)


def find_type(record: dict[str, Any]) -> str | None:
    """api_request or api_error; None for anything else. Without any type, a model with tokens is a request."""
    fields = _fields(record)
    for key in _TYPE_KEYS:
        word = fields.get(key)
        if isinstance(word, str) and (known := _TYPES.get(word)) is not None:
            return known
    is_typeless = not any(isinstance(fields.get(key), str) for key in _TYPE_KEYS)
    is_request = isinstance(fields.get("model"), str) and "input_tokens" in fields and "output_tokens" in fields
    return "api_request" if is_typeless and is_request else None


def flatten_event(record: dict[str, Any], place: Place | None = None) -> Row:  # noqa: ARG001 - what a writer calls
    """The typed columns of an event, absent ones left out. A value of an unexpected type counts as absent."""
    fields = _fields(record)
    row: Row = {"event_type": find_type(record)}
    row["occurred_at"] = _first(fields, _TIME_KEYS, parse_instant)
    for column, keys in _WORDS.items():
        row[column] = _first(fields, keys, parse_word)
    for column, keys in _COUNTS.items():
        row[column] = _first(fields, keys, parse_count)
    row["reported_cost_nusd"] = _first(fields, _COST_KEYS, parse_cost)
    row["error_char_count"] = _first(fields, _ERROR_KEYS, _length)
    row["status"] = _status(fields, row)
    return {name: value for name, value in row.items() if value is not None}


def identity_of(record: dict[str, Any]) -> Row:
    """What the record id is made of: the event's meaning in one spelling."""
    fields = _fields(record)
    row = flatten_event(record)
    error = next((fields[key] for key in _ERROR_KEYS if isinstance(fields.get(key), str)), None)
    return row if error is None else {**row, "error": error}


def _fields(record: dict[str, Any]) -> dict[str, Any]:
    """The record's members, with those of OpenTelemetry's `attributes`, which may be a list of key and value."""
    attributes = record.get("attributes")
    if isinstance(attributes, dict):
        return {**record, **attributes}
    if isinstance(attributes, list):
        pairs = {
            item["key"]: _unwrap(item.get("value"))
            for item in attributes
            if isinstance(item, dict) and isinstance(item.get("key"), str)
        }
        return {**record, "body": _unwrap(record.get("body")), **pairs}
    return record


def _unwrap(value: Any) -> Any:
    """The value inside {"stringValue": ...}, {"intValue": "5"}, {"doubleValue": 0.1}."""
    if isinstance(value, dict) and len(value) == 1:
        ((kind, inner),) = value.items()
        return inner if kind.endswith("Value") else value
    return value


def _first(fields: dict[str, Any], keys: tuple[str, ...], parse: Any) -> Any:
    for key in keys:
        if (found := parse(fields.get(key))) is not None:
            return found
    return None


def _status(fields: dict[str, Any], row: Row) -> str | None:
    word = fields.get("status")
    if isinstance(word, str) and 0 < len(word.strip()) <= _STATUS_LIMIT:
        lowered = word.strip().lower()
        return _STATUS_WORDS.get(lowered) or lowered
    if row["event_type"] == "api_error" or row["error_char_count"]:
        return "error"
    return None


def _length(value: Any) -> int | None:
    return len(value) if isinstance(value, str) and value else None
