"""Request events from archives and from a live stream: each once, in either spelling, however often it is told."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics import lake as lake_module
from analytics.errors import ConfigError
from analytics.sources.api_requests import extract, import_events, is_enabled
from analytics.sources.api_requests.parse import flatten_event, identity_of, iter_events, parse_cost
from tests.builders import (
    committed_rows,
    dead_letters,
    die_at,
    encode,
    hostile_records,
    is_json,
    iter_contents,
    make_context,
)
from tests.sources.api_requests.server import HOLD, serve, sse


class Clock:
    """Time that passes only when somebody sleeps, so that a bounded read ends at once."""

    def __init__(self):
        self.now = 0.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def make_event(number=0, **fields):
    return {
        "type": "api_request",
        "timestamp": f"2026-01-02T12:00:{number:02d}Z",
        "model": "claude-sonnet-4-6",
        "input_tokens": 1500,
        "output_tokens": 800,
        "cost": 0.00315,
        "cache_read_tokens": 0,
        "cache_write_tokens": 7,
        "provider": "anthropic",
        "status": "success",
        "latency_ms": 1250,
        **fields,
    }


def write_lines(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines))
    return path


def rows(context):
    return committed_rows(context.settings, "api_requests")


def listen(tmp_path, url, seconds=20, **overrides):
    clock = Clock()
    context = make_context(tmp_path, api_requests_url=url, api_requests_seconds=str(seconds), **overrides)
    return extract(context, clock=clock, sleep=clock.sleep), context, clock


# ---------------------------------------------------------------- archives


def test_a_folder_that_cannot_be_listed_is_told_and_the_others_are_read(tmp_path, monkeypatch):
    """What lay in it was left out without a word."""
    for name in ("open", "closed"):
        write_lines(tmp_path / "logs" / name / "a.jsonl", make_event())

    def scan(folder, scandir=os.scandir):
        if Path(folder).name == "closed":
            raise PermissionError(13, os.strerror(13))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scan)
    result = extract(make_context(tmp_path, api_requests_dir=str(tmp_path / "logs")))
    assert (result.rows_loaded, result.problems) == (1, ("1 files: Permission denied",))


def test_an_event_without_an_instant_is_filed_by_its_file_or_the_run(tmp_path):
    context = make_context(tmp_path, api_requests_dir=str(tmp_path / "logs"))
    for name, mtime in (("a.jsonl", 1_767_000_000), ("b.jsonl", 2**33)):
        os.utime(write_lines(tmp_path / "logs" / name, make_event(timestamp=None, model=name)), (mtime, mtime))
    extract(context)
    dates = {row["model"]: row["record_date"].isoformat() for row in rows(context)}
    assert dates == {"a.jsonl": "2025-12-29", "b.jsonl": "2026-01-03"}


def test_one_odd_value_costs_only_itself(tmp_path):
    """Lists 1,000 deep, and a time of other digits than ours, stopped the source in every run."""
    telemetry = {
        "body": {"stringValue": "claude_code.api_request"},
        "timeUnixNano": "1767355200000000000",
        "attributes": [
            {"key": "model", "value": {"stringValue": "m"}},
            {"key": "cost_usd", "value": {"doubleValue": 1}},
        ],
    }
    odd = [*hostile_records(make_event(request_id="r", error="e", status_code=500)), *hostile_records(telemetry)]
    write_lines(tmp_path / "proxy" / "a.jsonl", *(line + b"\n" for line in odd), make_event(1, request_id="good"))
    valid = b", ".join(line for line in odd if is_json(line))
    whole = b"[%b, %b]" % (valid, encode(make_event(2, request_id="last")))
    write_lines(tmp_path / "proxy" / "b.json", whole)
    context = make_context(tmp_path, api_requests_dir=str(tmp_path / "proxy"))
    result = extract(context)
    letters = dead_letters(context.settings, "api_requests")
    assert (result.rows_loaded, result.rows_rejected) == (len(rows(context)), len(letters))
    assert {"nested too deeply", "no api_request event"} < {letter["reason"] for letter in letters}
    assert all(letter.get("content") for letter in letters)
    assert {"good", "last"} < {row["request_id"] for row in rows(context)}
    assert extract(context).rows_read == 0


def test_a_folder_gives_only_what_is_new(tmp_path):
    path = write_lines(tmp_path / "proxy" / "requests.jsonl", make_event(0), make_event(1), b'{"type": "api_requ')
    context = make_context(tmp_path, api_requests_dir=str(tmp_path / "proxy"))
    assert is_enabled(context.settings)
    result = extract(context)
    assert (result.rows_read, result.rows_loaded, result.waiting_count, result.unit_count) == (2, 2, 1, 1)
    write_lines(path, make_event(0), make_event(1), make_event(2))
    assert extract(context).rows_loaded == 1
    assert extract(context).rows_loaded == 0
    write_lines(path, make_event(9))
    assert extract(context).rows_loaded == 1
    assert len({row["record_id"] for row in rows(context)}) == 4


def test_a_named_folder_without_archives_is_told(tmp_path):
    context = make_context(tmp_path, api_requests_dir=str(tmp_path / "proxy"))
    assert extract(context).problems == (f"{tmp_path}/proxy is missing",)
    write_lines(tmp_path / "proxy" / "notes.txt")
    assert extract(context).nothing_found == (f"{tmp_path}/proxy",)
    write_lines(tmp_path / "proxy" / "a.jsonl", make_event())
    assert [extract(context).nothing_found for _ in range(2)] == [(), ()]


def test_an_event_has_its_columns(tmp_path):
    write_lines(tmp_path / "proxy" / "a.jsonl", make_event(error_message="overloaded, try again", status="FAILED"))
    context = make_context(tmp_path, api_requests_dir=str(tmp_path / "proxy"))
    extract(context)
    [row] = rows(context)
    assert (row["occurred_at"], row["model"]) == (datetime(2026, 1, 2, 12), "claude-sonnet-4-6")  # noqa: DTZ001 - naive UTC
    assert (row["input_tokens"], row["cache_creation_tokens"], row["reported_cost_nusd"]) == (1500, 7, 3_150_000)
    assert (row["latency_ms"], row["status"], row["error_char_count"]) == (1250, "error", 21)
    assert (row["_source_file"], row["_source_position"]) == ("a.jsonl", 0)


def test_both_spellings_are_one_event():
    renamed = {"cost": "cost_usd", "latency_ms": "duration_ms", "cache_write_tokens": "cache_creation_tokens"}
    other = {renamed.get(name, name): value for name, value in make_event().items()}
    assert identity_of(other) == identity_of(make_event())


def test_opentelemetry_events_are_read():
    attributes = {
        "event.name": "api_request",
        "event.timestamp": "2026-01-02T12:00:00Z",
        "session.id": "s1",
        "request_id": "req_1",
        "model": "claude-sonnet-4-6",
        "input_tokens": "10",
        "output_tokens": 20,
        "cost_usd": "0.25",
        "duration_ms": 900,
    }
    [event] = iter_events({"body": "claude_code.api_request", "attributes": attributes})
    listed = [{"key": key, "value": {"stringValue": str(value)}} for key, value in attributes.items()]
    [exported] = iter_events({"resourceLogs": [{"logRecords": [{"attributes": listed}]}]})
    assert identity_of(event) == identity_of(exported)
    row = flatten_event(event)
    assert (row["session_id"], row["request_id"], row["input_tokens"]) == ("s1", "req_1", 10)
    assert (row["reported_cost_nusd"], row["latency_ms"]) == (250_000_000, 900)
    assert flatten_event({"name": "claude_code.api_error", "attributes": {"status_code": 529}})["status"] == "error"


def test_names_that_are_not_utf8_are_read_all_the_same(tmp_path, monkeypatch):
    """One such file ended every run with a UnicodeEncodeError."""
    folder = tmp_path / "proxy"
    write_lines(folder / os.fsdecode(b"\xff.jsonl"), make_event(0), b"broken\n")
    context = make_context(tmp_path, api_requests_dir=str(folder))
    first, second = extract(context), extract(context)
    assert (first.rows_loaded, first.rows_rejected, second.rows_read) == (1, 1, 0)
    assert [row["_source_file"] for row in rows(context)] == ["\ufffd.jsonl"]
    assert import_events(context, folder).rows_loaded == 1

    def refuse(path, *arguments, real_open=Path.open, **named):
        if path.parent == folder:
            raise PermissionError(13, "Permission denied")
        return real_open(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refuse)
    assert extract(context).problems == ("\ufffd.jsonl: Permission denied",)


def test_a_secret_in_a_name_is_written_nowhere(tmp_path):
    secret = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"
    write_lines(tmp_path / "proxy" / secret / f"{secret}.jsonl", make_event(0), b"broken\n")
    context = make_context(tmp_path, api_requests_dir=str(tmp_path / "proxy"))
    assert extract(context).rows_read == 2
    assert not [where for where, content in iter_contents(context.settings.data_dir) if secret.encode() in content]


def test_hosts_of_one_lake_keep_positions_of_their_own(tmp_path):
    """Equal names on two machines took each other's positions, and each run read all of its file."""
    hosts = {}
    for number, host in enumerate(("a", "b")):
        write_lines(tmp_path / host / "requests.jsonl", make_event(number))
        hosts[host] = make_context(tmp_path, api_requests_dir=str(tmp_path / host), host_id=host)
    assert [extract(hosts[host]).rows_loaded for host in "abab"] == [1, 1, 0, 0]


def test_positions_of_earlier_versions_go_on_under_their_new_keys(tmp_path):
    """They were filed under the names of files. An upgrade reads nothing again, and forgets no position."""
    path = write_lines(tmp_path / "proxy" / "day" / "a.jsonl", make_event(0))
    context = make_context(tmp_path, api_requests_dir=str(tmp_path / "proxy"))
    assert extract(context).rows_loaded == 1
    new = context.lake.read_state(source="api_requests", dataset="api_requests")
    [position] = new.values()
    stream = {"stream": {"last_id": "41"}}
    old = {"day/a.jsonl": position, "gone.ndjson": {"offset": 1, "head": "x"}, **stream}
    context.lake.commit(
        source="api_requests", dataset="api_requests", run_id="old", state={**dict.fromkeys(new), **old}
    )
    assert [extract(context).rows_loaded for _ in range(2)] == [0, 0]
    state = context.lake.read_state(source="api_requests", dataset="api_requests")
    assert state == {**state, **new, "test:stream": stream["stream"]}
    assert (len(state), set(old) & set(state)) == (len(old), set())
    write_lines(path, make_event(0), make_event(1))
    assert extract(context).rows_loaded == 1
    assert len({row["record_id"] for row in rows(context)}) == len(rows(context)) == 2


def test_every_ending_that_is_taken_is_found(tmp_path):
    """Files that end in .ndjson were passed over without a word."""
    for number, ending in enumerate((".json", ".jsonl", ".ndjson")):
        write_lines(tmp_path / "proxy" / f"a{ending}", make_event(number))
    write_lines(tmp_path / "proxy" / "notes.txt", make_event(9))
    assert extract(make_context(tmp_path, api_requests_dir=str(tmp_path / "proxy"))).rows_loaded == 3
    assert import_events(make_context(tmp_path / "other"), tmp_path / "proxy").rows_loaded == 3


def test_a_rotated_file_loses_nothing_and_is_not_read_twice(tmp_path):
    """Lines written after the last run were lost when their file became requests.jsonl.1."""
    folder = tmp_path / "proxy"
    path = write_lines(folder / "requests.jsonl", make_event(0))
    context = make_context(tmp_path, api_requests_dir=str(folder))
    extract(context)
    for number in (1, 3):
        write_lines(path, make_event(number - 1), make_event(number))
        for older in (1, 0):
            source = folder / f"requests.jsonl{'.1' if older else ''}"
            if source.exists():
                source.rename(folder / f"requests.jsonl.{older + 1}")
        write_lines(path, make_event(number + 1))
        assert [extract(context).rows_loaded for _ in range(2)] == [2, 0]
    assert sorted(row["occurred_at"].second for row in rows(context)) == [0, 1, 2, 3, 4]


def test_a_snapshot_repeats_and_counts_once(tmp_path):
    snapshot = {"type": "snapshot", "recent": {"requests": [make_event(0), make_event(1)]}}
    write_lines(tmp_path / "a.jsonl", make_event(0), snapshot, snapshot, make_event(1))
    context = make_context(tmp_path)
    result = import_events(context, tmp_path / "a.jsonl")
    assert (result.rows_read, result.rows_loaded) == (2, 2)
    import_events(context, tmp_path / "a.jsonl")
    assert len({row["record_id"] for row in rows(context)}) == 2


def test_what_is_no_event_is_rejected_from_an_archive(tmp_path):
    write_lines(tmp_path / "a.jsonl", b"{\n", {"type": "heartbeat"}, make_event(), b"\n")
    context = make_context(tmp_path)
    result = import_events(context, tmp_path / "a.jsonl")
    assert (result.rows_read, result.rows_loaded, result.rows_rejected) == (3, 1, 2)
    assert sorted(letter["reason"] for letter in dead_letters(context.settings, "api_requests")) == [
        "no api_request event",
        "not JSON",
    ]


def test_a_json_file_of_many_events_is_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([make_event(0), make_event(1)], indent=2))
    assert import_events(make_context(tmp_path), tmp_path).rows_loaded == 2


def test_a_line_too_long_is_rejected_and_the_next_is_read(tmp_path):
    write_lines(tmp_path / "a.jsonl", make_event(0, note="x" * (2 << 20)), make_event(1))
    context = make_context(tmp_path, max_line_mb="1")
    result = import_events(context, tmp_path / "a.jsonl")
    assert (result.rows_loaded, result.rejected_by_reason) == (1, {"longer than 1 MB": 1})


def test_a_window_reads_again_and_leaves_positions(tmp_path):
    write_lines(tmp_path / "proxy" / "a.jsonl", make_event(0), make_event(30))
    context = make_context(tmp_path, api_requests_dir=str(tmp_path / "proxy"))
    extract(context)
    state = context.lake.read_state(source="api_requests", dataset="api_requests")
    windowed = dataclasses.replace(context, since=datetime(2026, 1, 2, 12, 0, 10, tzinfo=UTC))
    assert extract(windowed).rows_loaded == 1
    assert context.lake.read_state(source="api_requests", dataset="api_requests") == state


def test_error_texts_follow_the_content_policy(tmp_path):
    write_lines(tmp_path / "a.jsonl", make_event(error_message="a canary sings"), b'{"broken": "canary"\n')
    context = make_context(tmp_path, content="metadata")
    import_events(context, tmp_path / "a.jsonl")
    assert not [where for where, content in iter_contents(context.settings.data_dir) if b"canary" in content]


@pytest.mark.parametrize("point", ["part_written", "part_renamed", "commit_written", "committed"])
def test_a_death_between_two_steps_loses_and_doubles_nothing(tmp_path, monkeypatch, point):
    write_lines(tmp_path / "proxy" / "a.jsonl", make_event(0), make_event(1))
    context = make_context(tmp_path, api_requests_dir=str(tmp_path / "proxy"))
    monkeypatch.setattr(lake_module, "step", die_at(point))
    with pytest.raises(KeyboardInterrupt):
        extract(context)
    monkeypatch.undo()
    extract(context)
    assert len(rows(context)) == 2


@given(st.integers(0, 10**12))
def test_a_cost_of_whole_nano_dollars_is_exact(nano):
    text = f"{nano // 10**9}.{nano % 10**9:09d}"
    assert parse_cost(text) == nano
    assert parse_cost(nano // 10**6 / 1000) == nano // 10**6 * 10**6


@pytest.mark.parametrize("value", [True, None, "much", "NaN", [], 1e300])
def test_a_cost_that_is_none_is_null(value):
    assert parse_cost(value) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*make_event(), "attributes"]), inner),
    max_leaves=20,
)


@given(_JSON)
def test_no_value_breaks_the_parser(value):
    for event in iter_events(value):
        assert flatten_event(event)["event_type"] in ("api_request", "api_error")


# ---------------------------------------------------------------- the live stream


def test_a_stream_is_read_until_the_server_ends_it(tmp_path):
    heartbeat = b": ping\n\n" + sse({"type": "heartbeat"}) + b"data: not JSON\n\n"
    with serve(
        [sse(make_event(0)), heartbeat, sse({"type": "snapshot", "recent": [make_event(0), make_event(1)]})]
    ) as (
        url,
        script,
    ):
        result, context, _ = listen(tmp_path, url)
    assert (result.rows_loaded, result.rows_rejected, result.problems) == (2, 1, ())
    assert script.requests[0] == {"path": "/api/sse/analytics", "last_id": None}
    assert {row["_source_file"] for row in rows(context)} == {"stream"}


def test_a_restarted_proxy_is_read_on_after_a_growing_wait(tmp_path):
    torn = sse(make_event(0), event_id="41") + b'data: {"type": "api_request", "inp'
    with serve([torn], 503, 502, 500, [sse(make_event(0), make_event(1))]) as (url, script):
        result, context, clock = listen(tmp_path, url)
    assert len({row["record_id"] for row in rows(context)}) == result.rows_loaded == 2
    assert clock.slept == [1, 1 * 2, 4, 8, 1]
    assert [request["last_id"] for request in script.requests] == [None, *["41"] * 5]
    assert result.problems == ()


def test_the_wait_doubles_to_thirty_seconds_and_the_time_is_bounded(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        result, _, clock = listen(tmp_path, url, seconds=100)
    assert clock.slept == [1, 2, 4, 8, 16, 30, 30, 9]
    assert clock.now == 100
    assert result.problems == ("the stream: nothing listens there",)
    assert (result.rows_read, result.unit_count) == (0, 0)


def test_a_proxy_that_starts_late_is_found(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    clock = Clock()
    servers = []

    def sleep(seconds):
        clock.sleep(seconds)
        if len(clock.slept) == 2:
            servers.append(serve([sse(make_event())], port=port))
            servers[0].__enter__()

    context = make_context(tmp_path, api_requests_url=f"http://127.0.0.1:{port}/api/stream", api_requests_seconds="20")
    result = extract(context, clock=clock, sleep=sleep)
    servers[0].__exit__(None, None, None)
    assert (result.rows_loaded, result.problems) == (1, ())


def test_a_silent_stream_ends_when_its_time_is_up(tmp_path):
    with serve([sse(make_event()), HOLD]) as (url, script):
        context = make_context(tmp_path, api_requests_url=url, api_requests_seconds="1")
        result = extract(context)
    assert (result.rows_loaded, result.problems, len(script.requests)) == (1, (), 1)
    assert 900 < result.elapsed_ms < 5_000


@pytest.mark.parametrize(("status", "reason"), [(404, "the server answers 404"), (302, "the server answers 302")])
def test_a_refusal_is_a_problem_and_is_not_repeated(tmp_path, status, reason):
    with serve(status) as (url, script):
        result, _, clock = listen(tmp_path, url)
    assert (result.problems, clock.slept, len(script.requests)) == ((f"the stream: {reason}",), [], 1)


def test_a_message_that_the_connection_cut_off_is_asked_for_again(tmp_path):
    """Its id was remembered although its end never came, and so the server did not send it again."""
    cut = sse(make_event(1), event_id="2").removesuffix(b"\n")
    with serve([sse(make_event(0), event_id="1"), cut], [sse(make_event(1), event_id="2")]) as (url, script):
        result, _, _ = listen(tmp_path, url)
    assert [request["last_id"] for request in script.requests] == [None, "1", "2"]
    assert result.rows_loaded == 2


def test_an_id_that_no_header_can_carry_is_ignored(tmp_path):
    """A carriage return in an id ended the run with an error of the HTTP client."""
    with serve([sse(make_event(0), event_id="1"), sse(make_event(1), event_id="a\rb")], []) as (url, script):
        result, _, _ = listen(tmp_path, url)
    assert [request["last_id"] for request in script.requests] == [None, "1", "1"]
    assert result.rows_loaded == 2


def test_the_next_run_resumes_after_the_last_id(tmp_path):
    with serve([sse(make_event(0), event_id="7")]) as (url, _):
        listen(tmp_path, url)
    with serve([sse(make_event(1))]) as (url, script):
        _, context, _ = listen(tmp_path, url)
    assert script.requests[0]["last_id"] == "7"
    assert len(rows(context)) == 2


def test_a_message_without_end_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("analytics.sources.api_requests.STREAM_MESSAGE_BYTES", 1_000)
    endless = b"data: " + b"x" * 5_000 + b"\n\n"
    with serve([endless, sse(make_event())]) as (url, _):
        result, _, _ = listen(tmp_path, url)
    assert (result.rows_loaded, result.problems) == (1, ("1 messages of the stream: too large",))


def test_many_events_are_committed_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr("analytics.sources.api_requests.STREAM_COMMIT_EVENTS", 10)
    with serve([sse(*(make_event(number) for number in range(35)))]) as (url, _):
        result, context, _ = listen(tmp_path, url)
    assert (result.rows_loaded, context.lake.last_number("api_requests")) == (35, 4)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://user:secret@127.0.0.1/", "127.0.0.1:4000"])
def test_an_address_that_is_none_is_a_setting_to_mend(tmp_path, url):
    with pytest.raises(ConfigError, match="ANALYTICS_API_REQUESTS_URL must begin"):
        make_context(tmp_path, api_requests_url=url)
