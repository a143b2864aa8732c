from __future__ import annotations

import io

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from analytics.records import lines as lines_module
from analytics.records.lines import iter_lines


@given(
    st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=8),
    st.booleans(),
    st.integers(1, 9),
    st.integers(1, 14),
)
@hypothesis_settings(max_examples=200)
def test_iter_lines_finds_the_same_lines_whatever_the_chunks(lines, is_terminated, chunk, limit):
    """A line just over the limit was read or refused by where a chunk ended."""
    content = b"\n".join(lines) + (b"\n" if is_terminated and lines else b"")
    expected = content.split(b"\n")
    last = expected.pop()
    previous, lines_module.CHUNK_BYTES = lines_module.CHUNK_BYTES, chunk
    try:
        found = list(iter_lines(io.BytesIO(content), 0, limit))
    finally:
        lines_module.CHUNK_BYTES = previous
    position = 0
    for line, text in zip(found, [*expected, *([last] if last else [])], strict=True):
        assert (line.position, line.byte_count) == (position, len(text))
        assert line.content == (text if len(text) <= limit else None)
        position = line.end
    assert all(line.is_terminated for line in found[: len(expected)])
    assert not any(line.is_terminated for line in found[len(expected) :])
