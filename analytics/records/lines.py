"""The lines of a file that may be larger than memory, and of which one may be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

BUFFER_BYTES = 128 << 10  # stays in the processor's cache: a large one is fetched from memory twice


class Line(NamedTuple):
    """One line as it stands, its newline too, from `position` to `end`. `content` is None for a line over the limit."""

    position: int
    end: int
    content: bytes | None
    is_terminated: bool


def open_lines(path: Path) -> BinaryIO:
    """A file to be read by `iter_lines`, which is slow with the usual buffer."""
    return path.open("rb", buffering=BUFFER_BYTES)


def iter_lines(opened: BinaryIO, offset: int, max_line_bytes: int) -> Iterator[Line]:
    """Lines from an offset on. At most one of them is in memory; the limit does not count its newline.

    A line over the limit is passed over without being held.
    """
    opened.seek(offset)
    position = offset
    while content := opened.readline(max_line_bytes + 1):
        end = position + len(content)
        is_terminated = content.endswith(b"\n")
        if is_terminated or len(content) <= max_line_bytes:
            yield Line(position, end, content, is_terminated)
        else:
            while not is_terminated and (passed := opened.readline(BUFFER_BYTES)):
                end += len(passed)
                is_terminated = passed.endswith(b"\n")
            yield Line(position, end, None, is_terminated)
        position = end
