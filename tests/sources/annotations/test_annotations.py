"""Ratings, tags and notes: put down by a verb, committed by the next run, never lost and never doubled."""

from __future__ import annotations

import errno
import json
import os
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analytics.cli import main
from analytics.contracts import load_contract
from analytics.lake import Lake
from analytics.sources.annotations import DATASET, extract, import_events, is_enabled
from tests.builders import committed_rows, dead_letters, die_at, encode, hostile_records, iter_contents, make_context

SESSION = "5a1e1a5c-0000-4000-8000-000000000001"
OTHER = "5a1e1a5c-0000-4000-8000-000000000002"


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("ANALYTICS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ANALYTICS_HOST_ID", "test")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def publish_sessions(data_dir, *sessions):
    folder = data_dir / "published" / "current"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"session_id": list(sessions)}), folder / "dim_sessions.parquet")


def rows(data_dir):
    found = committed_rows(make_context(data_dir.parent).settings, "annotations")
    return sorted(found, key=lambda row: (row["occurred_at"], row["_source_position"]))


def test_what_is_said_reaches_the_lake(data_dir, capsys):
    publish_sessions(data_dir, SESSION)
    assert main(["rate", SESSION, "4"]) == 0
    assert main(["tag", SESSION, "  flaky  tests", "good", "good"]) == 0
    assert main(["tag", SESSION, "good", "--remove"]) == 0
    assert main(["note", SESSION, "took the wrong turn"]) == 0
    printed = capsys.readouterr()
    assert "rated 4; in the marts after the next run" in printed.out
    assert printed.err == ""
    result = extract(make_context(data_dir.parent))
    assert (result.rows_loaded, result.unit_count) == (5, 4)
    said = [(row["event_type"], row["rating"] or row["tag_name"] or row["note_char_count"]) for row in rows(data_dir)]
    assert said == [
        ("rated", 4),
        ("tag_added", "flaky tests"),
        ("tag_added", "good"),
        ("tag_removed", "good"),
        ("noted", 19),
    ]
    assert {row["session_id"] for row in rows(data_dir)} == {SESSION}
    assert list((data_dir / "annotations").iterdir()) == []
    assert extract(make_context(data_dir.parent)).rows_read == 0


def test_an_unknown_session_is_kept_with_a_warning(data_dir, capsys):
    assert main(["rate", "nobody", "1", "--json"]) == 0
    printed = capsys.readouterr()
    assert "is no published session; kept" in printed.err
    assert json.loads(printed.out) == {"session_id": "nobody", "is_known": False, "event_count": 1}
    assert extract(make_context(data_dir.parent)).rows_loaded == 1


def test_what_could_not_be_kept_is_not_said_to_be(data_dir, capsys, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("analytics.sources.annotations.write_private_file", refuse)
    assert main(["rate", "nobody", "1"]) == 1
    assert capsys.readouterr().err == "error      No space left on device. Mend that, then run again.\n"


def test_a_beginning_stands_for_its_one_session(data_dir, capsys):
    publish_sessions(data_dir, SESSION, OTHER, "another")
    assert main(["rate", "anothe", "5"]) == 0
    assert main(["rate", "5a1e1a5c", "5"]) == 2
    assert "2 sessions begin with 5a1e1a5c" in capsys.readouterr().err
    extract(make_context(data_dir.parent))
    assert [row["session_id"] for row in rows(data_dir)] == ["another"]


@pytest.mark.parametrize(
    "arguments",
    [["tag", "s", " "], ["tag", "s", "x" * 65], ["tag", "s", "a\x1bb"], ["note", "s", " "], ["rate", "\n", "1"]],
)
def test_what_cannot_be_kept_is_refused(data_dir, arguments):
    assert main(arguments) == 2
    assert not (data_dir / "annotations").exists()


@pytest.mark.parametrize("rating", ["0", "6", "x"])
def test_a_rating_is_1_to_5(data_dir, rating):
    with pytest.raises(SystemExit) as stopped:
        main(["rate", "s", rating])
    assert stopped.value.code == 2


def test_a_note_follows_the_content_policy_from_the_start(data_dir):
    secret = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"
    assert main(["note", SESSION, f"used {secret}"]) == 0
    assert main(["note", SESSION, "a canary sings", "--content", "metadata"]) == 0
    kept_elsewhere = {"id": secret, "timestamp": "2026-01-02T12:00:00Z", "session_id": SESSION, "event_type": "noted"}
    (data_dir / "annotations" / "9.jsonl").write_bytes(encode(kept_elsewhere))
    extract(make_context(data_dir.parent))
    everything = list(iter_contents(data_dir))
    assert not [where for where, content in everything if secret.encode() in content or b"canary" in content]
    assert [row["note_char_count"] for row in rows(data_dir)] == [None, len(secret) + 5, 14]


def test_it_can_be_said_while_a_run_holds_the_lock(data_dir):
    with Lake(data_dir, "test").lock():
        assert main(["rate", SESSION, "3"]) == 0


@pytest.mark.parametrize("point", ["part_written", "commit_written", "committed", "annotation_deleted"])
def test_a_death_between_two_steps_loses_and_doubles_nothing(data_dir, monkeypatch, point):
    for rating in ("1", "5"):
        main(["rate", SESSION, rating])
    for module in ("analytics.lake", "analytics.sources.annotations"):
        monkeypatch.setattr(f"{module}.step", die_at(point))
    with pytest.raises(KeyboardInterrupt):
        extract(make_context(data_dir.parent))
    monkeypatch.undo()
    extract(make_context(data_dir.parent))
    assert len({row["record_id"] for row in rows(data_dir)}) == 2
    assert sorted({row["rating"] for row in rows(data_dir)}) == [1, 5]


def test_annotations_alone_do_not_take_the_place_of_the_sample(data_dir):
    main(["rate", SESSION, "3"])
    assert not is_enabled(make_context(data_dir.parent).settings)
    assert is_enabled(make_context(data_dir.parent, host_id="sample").settings)
    for host_id, is_own in (("sample", False), ("mine", True)):
        lake = Lake(data_dir, host_id)
        part = lake.write_part(load_contract("conversations").schema.empty_table(), "conversations", date(2026, 1, 1))
        lake.commit(source="transcripts", dataset="conversations", run_id="run", adds=[part])
        assert is_enabled(make_context(data_dir.parent).settings) is is_own


def test_a_file_name_that_is_not_utf8_is_read_all_the_same(tmp_path, data_dir):
    """It raised UnicodeEncodeError and ended every run."""
    path = tmp_path / os.fsdecode(b"\xff.jsonl")
    event = {"timestamp": "2026-01-01T00:00:00Z", "event_type": "rated", "session_id": "s", "rating": 2}
    path.write_text(json.dumps(event))
    assert import_events(make_context(data_dir.parent), path).rows_loaded == 1
    assert [row["_source_file"] for row in rows(data_dir)] == ["\ufffd.jsonl"]


def test_a_note_of_odd_bytes_is_kept_with_its_length(data_dir, capsys):
    """What the shell could not decode became a question mark, as if the person had asked."""
    assert main(["note", SESSION, os.fsdecode(b"a \xe2\x82\xff b")]) == 0
    extract(make_context(data_dir.parent))
    [row] = rows(data_dir)
    assert (json.loads(row["payload"])["note"], row["note_char_count"]) == ("a \ufffd\ufffd b", 6)
    assert "noted 6 characters" in capsys.readouterr().out


def test_import_checks_what_it_reads(tmp_path, data_dir):
    good = {"id": "1", "timestamp": "2026-01-01T00:00:00Z", "event_type": "rated", "session_id": "s", "rating": 2}
    bad = [
        {**good, "rating": 6},
        {**good, "session_id": ""},
        {**good, "event_type": "sung"},
        {**good, "timestamp": None},
        [1],
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, [good, *bad, {**good, "event_type": "tag_added", "tag": ""}])))
    for _ in range(2):
        result = import_events(make_context(data_dir.parent), path)
        assert (result.rows_read, result.rows_loaded, result.rows_rejected) == (7, 1, 6)
    assert len({row["record_id"] for row in rows(data_dir)}) == 1
    assert path.exists()
    assert {letter["reason"] for letter in dead_letters(make_context(data_dir.parent).settings, "annotations")} == {
        "no rating from 1 to 5",
        "no session id",
        "no annotation",
        "no time",
        "no tag",
    }


def test_a_file_as_windows_writes_it_is_read(tmp_path, data_dir):
    """The mark at its start made its first line no JSON."""
    event = {"timestamp": "2026-01-01T00:00:00Z", "event_type": "rated", "session_id": "s", "rating": 2}
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(event).encode() + b"\r\n\r\n")
    assert import_events(make_context(data_dir.parent), path).rows_loaded == 1


def test_what_is_no_annotation_is_kept_for_its_writer(data_dir):
    """A note with a comma too few was deleted with its file, and the dead letter may not repeat it."""
    folder = data_dir / "annotations"
    folder.mkdir(parents=True)
    broken = b'{"event_type": "noted", "note": "precious" "session_id": "s"}\n'
    for content in (broken, broken * 2):
        (folder / "1.jsonl").write_bytes(content)
        extract(make_context(data_dir.parent))
    assert {path.read_bytes() for path in folder.iterdir()} == {broken, broken * 2}
    assert all(path.suffix == ".rejected" for path in folder.iterdir())
    assert extract(make_context(data_dir.parent)).rows_read == 0


def test_one_odd_value_costs_only_itself(data_dir):
    """A note's count beyond 64 bits, or true in its place, kept everything said from the lake."""
    folder = data_dir / "annotations"
    folder.mkdir(parents=True)
    said = {"id": "x", "timestamp": "2026-01-02T12:00:00Z", "session_id": SESSION}
    details = {"rated": {"rating": 3}, "tag_added": {"tag": "t"}, "noted": {"note": "n", "note_char_count": 1}}
    odd = [line for kind, own in details.items() for line in hostile_records({**said, "event_type": kind, **own})]
    good = {**said, "event_type": "rated", "rating": 5}
    for number, line in enumerate(odd):
        (folder / f"{number}.jsonl").write_bytes(line + b"\n" + encode({**good, "id": f"good-{number}"}))
    context = make_context(data_dir.parent)
    result = extract(context)
    assert (result.rows_loaded, result.rows_rejected) == (
        len(rows(data_dir)),
        len(dead_letters(context.settings, DATASET)),
    )
    assert {f"good-{number}" for number in range(len(odd))} < {row["source_record_id"] for row in rows(data_dir)}
    assert extract(context).rows_read == 0
