"""The source as a whole: real files in, committed rows out."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from analytics import sources
from analytics.errors import AnalyticsError
from analytics.lake import Lake
from analytics.redactor import Redactor
from analytics.sources import transcripts
from tests.builders import (
    committed_rows,
    dead_letters,
    distinct_rows,
    encode,
    hostile_records,
    iter_contents,
    make_answer,
    make_prompt,
    make_settings,
    run_extract,
    try_extract,
    write_transcript,
)

# Assembled here so that no scanner takes this file for a leak.
CANARIES = {
    "anthropic": "sk-ant-" + "api03-" + "Zq7Xw2Lk9Vb4Nc6M" * 5 + "-AA",
    "github": "ghp_" + "a8Kd02LmQ7xZ4vB1nC6tR9yU3wE5sD7fG0hJ",
    "aws": "AKIA" + "Q7XW2LK9VB4NC6MP",
    "slack": "xoxb-" + "123456789012-123456789012-" + "aB3dE5fG7hI9jK1lM3nO5pQ7",
    "password": "hunter2" + "Canary9Zz",
    "jwt": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiJjYW5hcnkifQ." + "c2lnbmF0dXJlY2FuYXJ5MTIz",
}


@pytest.fixture(scope="module", autouse=True)
def compile_rules_once():
    """Rules compile in 0.1 s, and a property extracts a hundred times."""
    load = Redactor.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources.Redactor, "load", staticmethod(functools.cache(lambda file, _key: load(file, b"k" * 32))))
        yield


def assert_counted(result) -> None:
    assert result.rows_read == result.rows_loaded + result.rows_rejected
    assert sum(result.rejected_by_reason.values()) == result.rows_rejected


def test_one_odd_value_costs_only_itself(tmp_path):
    """Whatever stands in any field of a line, its neighbours arrive, and the next run is quiet."""
    settings = make_settings(tmp_path)
    tool_use = {"type": "tool_use", "id": "t", "name": "Read", "input": {"file_path": "a"}}
    result_block = {"type": "tool_result", "tool_use_id": "t", "content": "x", "is_error": False}
    odd = [
        *hostile_records({**make_answer(content=[tool_use], cache_read_input_tokens=1), "costUSD": 0.1}),
        *hostile_records(
            make_prompt(toolUseResult={"durationMs": 1}, message={"role": "user", "content": [result_block]})
        ),
    ]
    write_transcript(settings, make_answer("first"), *odd, make_answer("last"))
    result = run_extract(settings)
    letters = dead_letters(settings)
    assert (result.rows_loaded, result.rows_rejected) == (len(committed_rows(settings)), len(letters))
    assert "nested too deeply" in {letter["reason"] for letter in letters}
    assert all(letter.get("content") for letter in letters)
    assert {"first", "last"} < {row["message_id"] for row in committed_rows(settings)}
    assert run_extract(settings).rows_read == 0


# ---- torn, appended, repeated


def test_a_last_record_cut_at_every_byte_waits_and_is_taken_once_when_whole(tmp_path):
    """Every complete line loads, the tail waits and comes once: for all cuts at once, a file each."""
    first, last = encode(make_prompt("first é")), encode(make_answer("m-last"))[:-1]
    settings = make_settings(tmp_path)
    for cut in range(len(last) + 1):
        write_transcript(settings, name=f"p/{cut:04d}.jsonl").write_bytes(first + last[:cut])
    result = run_extract(settings)
    assert_counted(result)
    assert result.rows_rejected == 0
    assert result.waiting_count == len(last) - 1
    files = [row["_source_file"] for row in committed_rows(settings) if row["message_id"] == "m-last"]
    assert files == [f"p/{len(last):04d}.jsonl"]

    for cut in range(len(last) + 1):
        path = settings.transcript_dirs[0] / f"p/{cut:04d}.jsonl"
        with path.open("ab") as file:
            file.write(last[cut:] + b"\n")
    result = run_extract(settings)
    assert_counted(result)
    assert (result.waiting_count, result.rows_rejected, result.rows_loaded) == (0, 0, len(last))
    rows = committed_rows(settings)
    assert len(rows) == 2 * (len(last) + 1)
    assert len({row["record_id"] for row in rows}) == 2


def test_extracting_twice_changes_nothing(settings):
    write_transcript(settings, make_prompt(), make_answer(), b"broken")
    run_extract(settings)
    number = Lake(settings.data_dir).last_number("conversations")
    result = run_extract(settings)
    assert (result.rows_read, result.unit_count) == (0, 0)
    assert Lake(settings.data_dir).last_number("conversations") == number


LINES = [
    encode(make_prompt("one")),
    encode({"type": "permission-mode", "mode": "plan", "sessionId": "s1"}),
    encode({"type": "permission-mode", "mode": "plan", "sessionId": "s1"}),
    encode(make_answer("m1", output_tokens=1)),
    encode(make_answer("m1", at="2026-01-03T00:00:00.000Z", output_tokens=90)),
    b"\n",
    b"broken\n",
    encode(make_prompt("two", at="2026-01-01T10:00:00.000Z"))[:-1] + encode({"type": "summary", "summary": "x"}),
    encode(make_prompt("cut \ud83d emoji \u2028 and é")),
    b'{"type":"user","a":"\xff"}\n',
]


@given(st.permutations(LINES[1:]), st.lists(st.integers(0, sum(map(len, LINES))), max_size=6))
@hypothesis_settings(max_examples=20)
def test_any_split_of_the_input_gives_the_rows_of_one_go(lines, cuts):
    content = LINES[0] + b"".join(lines)
    with tempfile.TemporaryDirectory() as folder:
        at_once, in_pieces = make_settings(Path(folder, "a")), make_settings(Path(folder, "b"))
        write_transcript(at_once).write_bytes(content)
        whole = run_extract(at_once)
        path = write_transcript(in_pieces)
        results = []
        for cut in [*sorted(cuts), len(content)]:
            path.write_bytes(content[:cut])
            results.append(run_extract(in_pieces))
        for result in results:
            assert_counted(result)
        assert distinct_rows(in_pieces) == distinct_rows(at_once)
        assert len(committed_rows(in_pieces)) == len(committed_rows(at_once))
        assert sum(result.rows_rejected for result in results) == whole.rows_rejected == 2


@given(st.permutations(range(4)), st.integers(1, 3))
@hypothesis_settings(max_examples=10)
def test_any_order_of_arrival_gives_the_rows_of_one_go(order, batch):
    with tempfile.TemporaryDirectory() as folder:
        at_once, in_batches = make_settings(Path(folder, "a")), make_settings(Path(folder, "b"))
        files = [(f"p/{n}.jsonl", [make_prompt(f"p{n}"), make_answer(f"m{n % 2}", output_tokens=n)]) for n in range(4)]
        for name, lines in files:
            write_transcript(at_once, *lines, name=name)
        run_extract(at_once)
        for start in range(0, 4, batch):
            for index in order[start : start + batch]:
                write_transcript(in_batches, *files[index][1], name=files[index][0])
            run_extract(in_batches)
        hidden = ("_source_file", "_source_position")
        assert distinct_rows(in_batches, without=hidden) == distinct_rows(at_once, without=hidden)


def test_copies_of_a_line_are_one_record(settings):
    for name in ("a/s.jsonl", "b/s.jsonl"):
        write_transcript(settings, make_prompt(), name=name)
    run_extract(settings)
    assert len(committed_rows(settings)) == 2
    assert len(distinct_rows(settings)) == 1


def test_a_full_backfill_adds_no_record(settings):
    write_transcript(settings, make_prompt(), make_answer())
    run_extract(settings)
    before = distinct_rows(settings)
    assert run_extract(settings, is_full_backfill=True).rows_loaded == 2
    assert distinct_rows(settings) == before


def test_a_window_takes_what_lies_in_it_and_leaves_the_positions(settings):
    days = [make_prompt(f"p{day}", at=f"2026-01-0{day}T00:00:00Z") for day in range(1, 6)]
    write_transcript(settings, *days)
    window = {"since": datetime(2026, 1, 2, tzinfo=UTC), "until": datetime(2026, 1, 4, tzinfo=UTC)}
    assert run_extract(settings, **window).rows_loaded == 2
    assert sorted(row["prompt_text"] for row in committed_rows(settings)) == ["p2", "p3"]
    assert run_extract(settings).rows_loaded == 5


# ---- odd input


@pytest.mark.parametrize(
    "text", ["cut \ud83d", "a\u2028b", "nul \0", "\u202eright to left", "x" * 3_000_000, "{{ 1 }} ${x} '; drop table"]
)
def test_a_text_of_any_kind_is_readable_by_sql(settings, text):
    write_transcript(settings, make_prompt(text))
    run_extract(settings)
    files = str(settings.data_dir / "raw/conversations/*/*/*.parquet")
    with duckdb.connect() as connection:
        sql = "select json_extract_string(payload, '$.message.content') from read_parquet(?)"
        assert connection.execute(sql, [files]).fetchall()[0][0] == text.replace("\ud83d", "\ufffd")


def test_a_line_over_the_limit_is_a_dead_letter_and_its_neighbours_load(tmp_path):
    settings = make_settings(tmp_path, max_line_mb=1)
    write_transcript(settings, make_prompt("a"), make_prompt("x" * (6 << 20)), make_prompt("b"))
    result = run_extract(settings)
    assert_counted(result)
    assert result.rejected_by_reason == {"longer than 1 MB": 1}
    before, long = len(encode(make_prompt("a"))), len(encode(make_prompt("x" * (6 << 20))))
    rows = committed_rows(settings)
    assert [(row["prompt_text"], row["_source_position"]) for row in rows] == [("a", 0), ("b", before + long)]
    (letter,) = dead_letters(settings)
    assert (letter["file"], letter["position"]) == ("-home-dev-app/s1.jsonl", before)


def test_deep_nesting_with_half_an_emoji_is_rejected_and_the_run_goes_on(settings):
    """The repair ran out of stack and ended every run. Found by fault injection."""
    write_transcript(settings, b'{"a":' * 500 + b'"\\ud83d"' + b"}" * 500, make_prompt("after"))
    result = run_extract(settings)
    assert result.rejected_by_reason == {"nested too deeply": 1}
    assert len(committed_rows(settings)) == 1


def test_look_alikes_are_refused_with_a_reason(settings):
    write_transcript(settings, {"type": "session_meta", "payload": {}}, {"type": "x"}, name="p/codex.jsonl")
    write_transcript(settings, {"type": "user", "message": {"role": "user", "parts": []}}, name="p/qwen.jsonl")
    write_transcript(settings, make_prompt(), name="p/own.jsonl")
    result = run_extract(settings)
    assert_counted(result)
    assert (result.rows_loaded, result.rows_rejected) == (1, 3)
    assert {(letter["file"], letter["row_count"]) for letter in dead_letters(settings)} == {
        ("p/codex.jsonl", 2),
        ("p/qwen.jsonl", 1),
    }


def test_a_look_alike_that_began_like_a_transcript_is_refused_from_where_it_shows(settings):
    """It was judged at its first read only, which may have seen one line of state."""
    neutral, foreign = {"type": "summary", "summary": "x"}, {"type": "session_meta", "payload": {}}
    write_transcript(settings, neutral)
    assert run_extract(settings).rows_loaded == 1
    write_transcript(settings, neutral, foreign, {"type": "x"})
    result = run_extract(settings)
    assert_counted(result)
    assert (result.rows_loaded, result.rows_rejected) == (0, 2)
    write_transcript(settings, neutral, foreign, {"type": "x"}, {"type": "y"})
    assert run_extract(settings).rows_rejected == 1


def test_a_half_written_line_of_a_look_alike_is_counted_once_when_it_is_whole(settings):
    """Each half counted as a line: more was read in five runs than in one. Found by a run over files that grow."""
    foreign = encode({"type": "session_meta", "payload": {}}, {"type": "x"}).removesuffix(b"\n")
    path = write_transcript(settings, b"", name="p/codex.jsonl")
    for part, refused, waiting in ((foreign[:-5], 1, 1), (foreign, 1, 0), (foreign + b"\n \n", 0, 0)):
        path.write_bytes(part)
        result = run_extract(settings)
        assert_counted(result)
        assert (result.rows_rejected, result.waiting_count) == (refused, waiting)


def test_a_secret_in_a_file_name_is_not_written_and_the_file_stays_the_same_to_us(settings, capfd):
    """`api_key=<value>.jsonl` passed for code and was written as it was."""
    path = write_transcript(settings, make_prompt("a"), b"broken", name=f"p/api_key={CANARIES['github']}.jsonl")
    other = write_transcript(settings, make_prompt("b"), name=f"p/password={CANARIES['password']}.jsonl")
    assert run_extract(settings).rows_loaded == 2
    files = {row["_source_file"] for row in committed_rows(settings)}
    assert len(files) == 2
    assert all(file.startswith("p/") and file.endswith("].jsonl") for file in files)
    with path.open("ab") as file:
        file.write(encode(make_prompt("c")))
    other.rename(other.with_name("renamed.jsonl"))
    assert run_extract(settings).rows_loaded == 1
    said = "".join(capfd.readouterr())
    for where, content in [("said", said.encode()), *iter_contents(settings.data_dir)]:
        for name in ("github", "password"):
            assert CANARIES[name].encode() not in content, where


def test_a_file_name_that_is_not_utf8_is_read_all_the_same(settings):
    """It raised UnicodeEncodeError and ended every run."""
    folder = os.fsencode(settings.transcript_dirs[0]) + b"/-a\xff"
    Path(os.fsdecode(folder)).mkdir()
    for name in (b"\xfe.jsonl", b"agent-\xfe.meta.json"):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(encode(make_prompt()) + b"broken\n" * (b"meta" not in name))
    Path(os.fsdecode(folder + b"/dangling\xfe.jsonl")).symlink_to("gone")
    result = run_extract(settings)
    assert_counted(result)
    assert result.rows_loaded == 2
    assert result.problems == ("-a\ufffd/dangling\ufffd.jsonl: No such file or directory",)


@pytest.mark.parametrize("fault", ["vanished", "unreadable"])
def test_a_file_that_cannot_be_opened_is_reported_and_read_when_it_can(settings, monkeypatch, fault):
    write_transcript(settings, make_prompt("good"), name="p/good.jsonl")
    bad = write_transcript(settings, make_prompt("bad"), name="p/bad.jsonl")
    error = FileNotFoundError(2, "gone") if fault == "vanished" else PermissionError(13, "denied")
    real_open = Path.open

    def open_or_fail(self, *arguments, **named):
        if self == bad:
            raise error
        return real_open(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", open_or_fail)
    result = run_extract(settings)
    assert_counted(result)
    assert result.problems == (f"p/bad.jsonl: {os.strerror(error.errno)}",)
    assert [row["prompt_text"] for row in committed_rows(settings)] == ["good"]
    monkeypatch.undo()
    assert run_extract(settings).rows_loaded == 1


def test_an_extraction_that_fails_leaves_no_parts_behind(settings, monkeypatch):
    write_transcript(settings, make_prompt())

    def refuse(*_, **__):
        raise AnalyticsError("disk: full")

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "commit", refuse)
        assert try_extract(settings).failures == {"transcripts": "disk: full"}
    assert list((settings.data_dir / "raw").rglob("*.parquet")) == []
    assert run_extract(settings).rows_loaded == 1


def test_a_missing_configured_folder_is_a_failure_that_names_it(settings):
    settings.transcript_dirs[0].rmdir()
    extraction = try_extract(settings)
    assert str(settings.transcript_dirs[0]) in extraction.failures["transcripts"]


def test_a_missing_folder_among_others_is_told_and_the_others_are_read(settings, tmp_path):
    write_transcript(settings, make_prompt())
    both = dataclasses.replace(settings, transcript_dirs=(tmp_path / "gone", *settings.transcript_dirs))
    result = run_extract(both)
    assert (result.rows_loaded, result.problems) == (1, (f"{tmp_path}/gone: No such file or directory",))


def test_a_folder_that_cannot_be_looked_into_among_others_is_told_and_the_others_are_read(settings, tmp_path):
    """As below a folder that is closed, it ended the whole extraction."""
    write_transcript(settings, make_prompt())
    closed = tmp_path / ("x" * 300)
    both = dataclasses.replace(settings, transcript_dirs=(closed, *settings.transcript_dirs))
    result = run_extract(both)
    assert (result.rows_loaded, result.problems) == (1, (f"{closed}: File name too long",))


def test_meta_files_are_rows_and_are_read_again_when_rewritten(settings):
    name = "-a/s9/subagents/agent-7.meta.json"
    path = write_transcript(settings, name=name)
    path.write_text('{"agentType": "Explore", "description": "x"}')
    run_extract(settings)
    path.write_text('{"agentType": "Plan"}')
    run_extract(settings)
    assert {(row["session_id"], row["agent_id"], row["result_agent_type"]) for row in committed_rows(settings)} == {
        ("s9", "7", "Explore"),
        ("s9", "7", "Plan"),
    }


def test_a_file_whose_clock_cannot_be_right_is_filed_by_the_run(settings):
    """A file from the year 2242, as copies leave some, had a day of the lake to itself in that year."""
    for name in ("-a/s.jsonl", "-a/s/subagents/agent-7.meta.json"):
        os.utime(write_transcript(settings, {"type": "summary"}, name=name), (2**33, 2**33))
    run_extract(settings)
    assert {row["record_date"] for row in committed_rows(settings)} == {
        row["_extracted_at"].date() for row in committed_rows(settings)
    }


# ---- many units, many processes


def test_every_unit_is_committed_when_several_processes_read(tmp_path, monkeypatch):
    """One unit of 32 MB was lost by zip() in _run_units, seen at 1 GB only. Rows read must be lines."""
    monkeypatch.setattr(transcripts, "UNIT_BYTES", 2_000)
    monkeypatch.setattr(transcripts, "INLINE_BYTES", 0)
    monkeypatch.setattr(transcripts, "COMMIT_BYTES", 10_000)
    settings = make_settings(tmp_path, workers=2)
    for number in range(60):
        write_transcript(
            settings, *(make_prompt(f"{number}-{line}") for line in range(3)), b"bad", name=f"p/{number}.jsonl"
        )
    result = run_extract(settings)
    assert (result.rows_read, result.rows_loaded, result.rows_rejected) == (240, 180, 60)
    assert len(distinct_rows(settings)) == 180
    assert Lake(settings.data_dir).last_number("conversations") > 1


@pytest.mark.parametrize(("files_a_day", "parts_a_day"), [(3, 1), (12, 3)])
def test_a_day_is_one_part_of_the_lake_unless_it_is_more_than_a_unit(settings, monkeypatch, files_a_day, parts_a_day):
    """Cut by size alone, most units ended within a day: 241 parts of 120 days, each with a cost of its own."""
    size = len(encode(make_prompt()))
    monkeypatch.setattr(transcripts, "UNIT_BYTES", 5 * size)
    for number in range(5 * files_a_day):
        at = f"2026-01-{number % 5 + 10}T10:00:{number:02}.000Z"
        write_transcript(settings, make_prompt(at=at), name=f"p/{number}.jsonl")
    run_extract(settings)
    days = Counter(part.record_date for part in Lake(settings.data_dir).snapshot("conversations").parts.values())
    assert set(days.values()) == {parts_a_day}
    assert len(days) == 5


# ---- full disks


def test_a_full_lake_is_no_problem_of_the_transcript_and_nothing_counts_as_read(settings, monkeypatch):
    """ENOSPC while flushing was reported as an unreadable transcript. Found by fault injection."""
    write_transcript(settings, make_prompt())
    real_fsync = os.fsync
    assert Lake(settings.data_dir).key

    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("analytics.records.writer.FLUSH_BYTES", 1)
    monkeypatch.setattr("analytics.records.writer.REDACT_BYTES", 1)
    monkeypatch.setattr("os.fsync", refuse)
    extraction = try_extract(settings)
    assert "No space left on device" in extraction.failures["transcripts"]
    monkeypatch.setattr("os.fsync", real_fsync)
    assert committed_rows(settings) == []
    assert run_extract(settings).rows_loaded == 1


# ---- content policy


def plant(settings, secret: str) -> None:
    """A secret wherever a transcript may hold one."""
    # A password without its name beside it is a word like any other: no rule can know it.
    spoken = f"password={secret}" if secret == CANARIES["password"] else f"my key is {secret}, so password={secret}"
    use = {
        "type": "tool_use",
        "id": "t1",
        "name": "Bash",
        "input": {"command": f"curl -H 'Authorization: Bearer {secret}' x"},
    }
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": f"API_KEY={secret}\n"}]}
    write_transcript(
        settings,
        make_prompt(spoken, cwd=f"/home/dev/token={secret}"),
        make_answer("m1", content=[{"type": "text", "text": spoken}, use]),
        make_prompt("r", message={"role": "user", "content": [result]}, toolUseResult={"stdout": f"password={secret}"}),
        {"type": "custom-title", "customTitle": spoken, "sessionId": "s1"},
        f'{{"type":"user","broken": "password={secret}", '.encode(),
        name="p/s1.jsonl" if secret == CANARIES["password"] else f"p/{secret}.jsonl",
    )


@pytest.mark.parametrize("kind", CANARIES)
def test_no_secret_is_written_or_said(settings, capfd, kind):
    secret = CANARIES[kind]
    plant(settings, secret)
    result = run_extract(settings)
    assert (result.rows_loaded, result.rows_rejected) == (4, 1)
    needle = secret.encode()
    for where, content in iter_contents(settings.data_dir):
        assert needle not in content, where
    assert secret not in repr(result)
    assert secret not in "".join(capfd.readouterr())


def test_full_keeps_the_text_as_it_was(tmp_path):
    settings = make_settings(tmp_path, content="full")
    write_transcript(settings, make_prompt(f"key {CANARIES['github']}"))
    run_extract(settings)
    (row,) = committed_rows(settings)
    assert CANARIES["github"] in row["prompt_text"]
    assert CANARIES["github"] in row["payload"]


def test_metadata_writes_no_text_at_all(tmp_path):
    settings = make_settings(tmp_path, content="metadata")
    marker = "quixotic-marmalade"
    use = {"type": "tool_use", "id": "t1", "name": "Write", "input": {"file_path": "/x/a.py", "content": marker}}
    result = {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": f"Exit code 2 {marker}"}
    write_transcript(
        settings,
        make_prompt(marker),
        make_answer("m1", content=[{"type": "text", "text": marker}, {"type": "thinking", "thinking": marker}, use]),
        make_prompt("r", uuid="u-r", message={"role": "user", "content": [result]}, toolUseResult=f"Error: {marker}"),
        {"type": "summary", "summary": marker},
        {"type": "last-prompt", "lastPrompt": marker, "sessionId": "s1"},
        {"type": "ai-title", "aiTitle": marker, "sessionId": "s1"},
        {"type": "queue-operation", "operation": "enqueue", "content": marker},
        {"type": "system", "subtype": "away_summary", "content": marker},
        f'{{"broken":"{marker}"'.encode(),
    )
    result = run_extract(settings)
    assert (result.rows_loaded, result.rows_rejected) == (8, 1)
    for where, content in iter_contents(settings.data_dir):
        assert marker.encode() not in content, where
    answer = next(row for row in committed_rows(settings) if row["message_id"] == "m1")
    assert answer["text_char_count"] == len(marker)
    assert answer["output_tokens"] == 20


def test_record_ids_do_not_depend_on_the_content_policy(tmp_path):
    found = []
    for content in ("full", "redacted", "metadata"):
        settings = make_settings(tmp_path / content, content=content)
        write_transcript(settings, make_prompt(f"key {CANARIES['github']}"))
        run_extract(settings)
        found.append(list(distinct_rows(settings)))
    assert found[0] == found[1] == found[2]


def test_an_error_inside_the_source_is_never_swallowed(settings, monkeypatch):
    write_transcript(settings, make_prompt())
    monkeypatch.setattr(transcripts, "find_files", lambda *_: (_ for _ in ()).throw(AnalyticsError("boom")))
    assert try_extract(settings).failures == {"transcripts": "boom"}


def test_extraction_is_json_for_the_command_line(settings):
    write_transcript(settings, make_prompt(), b"bad")
    assert json.loads(json.dumps(run_extract(settings).__dict__))["rejected_by_reason"] == {"not JSON": 1}
