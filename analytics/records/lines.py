"""The lines of a file that may be larger than memory, and of which one may be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BUFFER_BYTES = 128 << 10  # stays in the processor's cache: a large one is fetched from memory twice


# Where a line starts and where the next one does, its bytes as they stand (None for a line over the limit), and whether
# a newline ends it. A tuple without names: to give it some takes a third of what reading a line takes.
Line = tuple[int, int, bytes | None, bool]


def open_lines(path: Path) -> BinaryIO:
    """A file to be read by `iter_lines`, which is slow with the usual buffer."""
    return path.open("rb", buffering=BUFFER_BYTES)


def read_edges(opened: BinaryIO, offset: int, size: int) -> tuple[bytes, bytes]:
    """The first bytes of a file, and those before an offset, by which it is known again: at most so many each.

    Read past the buffer, which would take in far more.
    """
    file, count = opened.fileno(), min(size, offset)
    return os.pread(file, count, 0), os.pread(file, count, offset - count)


def iter_lines(opened: BinaryIO, offset: int, max_line_bytes: int) -> Iterator[Line]:
    """Lines from an offset on, the last of which may lack its newline. The limit does not count that.

    Memory holds two lines, or twice the limit where a longer one is passed over.
    """
    opened.seek(offset)
    start = offset
    while content := opened.readline(max_line_bytes + 1):
        end = start + len(content)
        is_terminated = content.endswith(b"\n")
        if is_terminated or len(content) <= max_line_bytes:
            yield start, end, content, is_terminated
        else:
            while not is_terminated and (content := opened.readline(BUFFER_BYTES)):
                end += len(content)
                is_terminated = content.endswith(b"\n")
            yield start, end, None, is_terminated
        if not is_terminated:
            return  # what is written from now on is the rest of this line
        start = end
