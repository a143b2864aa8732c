"""The JSON of values too deep for a JSON writer: what is parsed may be 1,024 levels deep, what is written 254."""

from __future__ import annotations

from typing import Any

import orjson


def spell(value: Any) -> bytes:
    """A parsed value as JSON again, for a dead letter, however deep it is nested."""
    try:
        return orjson.dumps(value)
    except TypeError:
        pieces: list[bytes] = []
    waiting = [value]  # from the last to the first; bytes are spelt already
    while waiting:
        item = waiting.pop()
        if isinstance(item, bytes):
            pieces.append(item)
        elif isinstance(item, list):
            parts = [part for member in item for part in (b",", member)]
            waiting += [b"]", *reversed(parts[1:]), b"["]
        elif isinstance(item, dict):
            parts = [part for name, member in item.items() for part in (b",", orjson.dumps(name), b":", member)]
            waiting += [b"}", *reversed(parts[1:]), b"{"]
        else:
            pieces.append(orjson.dumps(item))
    return b"".join(pieces)
