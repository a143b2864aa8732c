from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from analytics.records.lines import iter_lines


@given(
    st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=8),
    st.booleans(),
    st.integers(1, 9),
    st.integers(1, 14),
    st.integers(0, 30),
)
@hypothesis_settings(max_examples=300)
def test_iter_lines_finds_the_same_lines_whatever_the_buffer(lines, ends_with_newline, buffer_size, limit, offset):
    """A line just over the limit was read or refused by where a chunk ended."""
    file = b"\n".join(lines) + (b"\n" if ends_with_newline and lines else b"")
    expected = io.BytesIO(file[offset:]).readlines()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analytics.records.lines.BUFFER_BYTES", buffer_size)
        found = list(iter_lines(io.BufferedReader(io.BytesIO(file), buffer_size), offset, limit))
    position = offset
    for (start, end, content, is_terminated), text in zip(found, expected, strict=True):
        assert (start, end) == (position, position + len(text))
        assert content == (text if len(text.removesuffix(b"\n")) <= limit else None)
        assert is_terminated == text.endswith(b"\n")
        position = end


@pytest.mark.parametrize("limit", [2, 100])
def test_what_is_written_while_a_file_is_read_makes_no_line_of_its_own(tmp_path, limit):
    """The rest of a half written line would be a line that nobody wrote."""
    path = tmp_path / "growing.jsonl"
    path.write_bytes(b'{}\n{"a":')
    found = []
    with path.open("rb") as opened:
        for line in iter_lines(opened, 0, limit):
            found.append(line)
            if not line[3]:
                with path.open("ab") as writing:
                    writing.write(b"1}\n")
    assert found == [(0, 3, b"{}\n", True), (3, 8, b'{"a":' if limit == 100 else None, False)]
