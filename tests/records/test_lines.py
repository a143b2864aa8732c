from __future__ import annotations

import io

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from analytics.records.lines import iter_lines


@given(
    st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=8),
    st.booleans(),
    st.integers(1, 9),
    st.integers(1, 14),
)
@hypothesis_settings(max_examples=200)
def test_iter_lines_finds_the_same_lines_whatever_the_buffer(lines, is_terminated, buffer_size, limit):
    """A line just over the limit was read or refused by where a chunk ended."""
    content = b"\n".join(lines) + (b"\n" if is_terminated and lines else b"")
    expected = io.BytesIO(content).readlines()
    found = list(iter_lines(io.BufferedReader(io.BytesIO(content), buffer_size), 0, limit))
    position = 0
    for (start, end, content, is_terminated), text in zip(found, expected, strict=True):
        assert (start, end) == (position, position + len(text))
        assert content == (text if len(text.removesuffix(b"\n")) <= limit else None)
        assert is_terminated == text.endswith(b"\n")
        position = end
