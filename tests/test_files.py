"""Files that are made once and kept: what is no longer whole counts as not there."""

from __future__ import annotations

import pytest

from analytics.files import keep_file, read_kept_file

CONTENT = bytes(range(256)) * 40


def test_what_was_kept_is_read_back(tmp_path):
    keep_file(tmp_path / "made" / "once", CONTENT)
    assert read_kept_file(tmp_path / "made" / "once") == CONTENT


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:10],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:9000] + b"?" + content[9001:],
    ],
)
def test_what_is_no_longer_whole_counts_as_missing(tmp_path, damage):
    keep_file(tmp_path / "once", CONTENT)
    (tmp_path / "once").write_bytes(damage((tmp_path / "once").read_bytes()))
    assert read_kept_file(tmp_path / "once") is None


def test_what_cannot_be_read_counts_as_missing(tmp_path):
    assert read_kept_file(tmp_path / "once") is None
    (tmp_path / "once").mkdir()
    assert read_kept_file(tmp_path / "once") is None
    assert read_kept_file(tmp_path / "once" / "more") is None
