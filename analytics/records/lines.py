"""The lines of a file that may be larger than memory, and of which one may be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

CHUNK_BYTES = 4 << 20


class Line(NamedTuple):
    """The bytes of one line and where they start. `content` is None for a line over the limit."""

    position: int
    byte_count: int
    content: bytes | None
    is_terminated: bool = True

    @property
    def end(self) -> int:
        """Where the next line starts."""
        return self.position + self.byte_count + self.is_terminated


def iter_lines(opened: BinaryIO, offset: int, max_line_bytes: int) -> Iterator[Line]:
    """Lines from an offset on, without their newline. At most one line and one chunk are in memory.

    A line over the limit is passed over without being held.
    """
    opened.seek(offset)
    begun: list[bytes] = []  # pieces of a line that earlier chunks left unfinished
    size = 0
    position = offset
    while chunk := opened.read(CHUNK_BYTES):
        lines = chunk.split(b"\n")
        rest = lines.pop()
        for content in lines:
            size += len(content)
            if size > max_line_bytes:
                yield Line(position, size, None, is_terminated=True)
            elif begun:
                yield Line(position, size, b"".join((*begun, content)), is_terminated=True)
            else:
                yield Line(position, size, content)
            position += size + 1
            size = 0
            if begun:
                begun = []
        size += len(rest)
        if size > max_line_bytes:
            begun = []
        elif rest:
            begun.append(rest)
    if size > max_line_bytes:
        yield Line(position, size, None, is_terminated=False)
    elif size:
        yield Line(position, size, b"".join(begun), is_terminated=False)
