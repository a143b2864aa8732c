"""Every form in which hook events come."""

from __future__ import annotations

import json
from datetime import date

import pytest

from analytics.contracts.hook_events import CONTRACT
from analytics.sources.hooks.parse import (
    _FLAG_COLUMNS,
    _LENGTH_COLUMNS,
    _LIST_COLUMNS,
    _TEXT_COLUMNS,
    FileName,
    HookPlace,
    find_producer,
    flatten_event,
    normalise_event,
    parse_file,
    parse_file_name,
)

MTIME_NS = 1_760_000_000_123_456_789
AT_NS = 1_750_000_000_000_000_001
CAPTURE_NAME = "1763722375-4242-0123456789abcdef.json"


def make_payload(**fields):
    return {"session_id": "s-1", "hook_event_name": "PreToolUse", "cwd": "/srv/app", **fields}


def parse(value, name=CAPTURE_NAME):
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return parse_file(content, file_name=name, mtime_ns=MTIME_NS)


def parse_one(value, name=CAPTURE_NAME):
    [event], refused = parse(value, name)
    assert refused == []
    return event


def flatten(value, **place):
    return flatten_event(value, HookPlace("f.json", 0, date(2025, 1, 2), **place))


def test_parse_raw_payload_takes_the_time_of_capture():
    event = parse_one(make_payload())
    assert (event.at_ns, event.captured_us, event.time_source) == (MTIME_NS, MTIME_NS // 1000, "mtime")
    assert event.payload is event.record


@pytest.mark.parametrize(
    ("name", "session", "event"),
    [
        (
            f"{AT_NS}-0b5c7d9e-1111-2222-3333-444455556666-pre-tool-use.json",
            "0b5c7d9e-1111-2222-3333-444455556666",
            "PreToolUse",
        ),
        (f"{AT_NS}-s1-PostToolUseFailure.json", "s1", "PostToolUseFailure"),
        (f"{AT_NS}-s1-post-tool-use-failure.json~2", "s1", "PostToolUseFailure"),
        (f"{AT_NS}-s1-brandnew.json", "s1", "brandnew"),
    ],
)
def test_parse_documented_file_name(name, session, event):
    assert parse_file_name(name) == FileName(AT_NS, session, event)
    parsed = parse_one(make_payload(), name)
    assert (parsed.at_ns, parsed.time_source) == (AT_NS, "file_name")


@pytest.mark.parametrize(
    "name", [CAPTURE_NAME, CAPTURE_NAME + "~1", "0b5c7d9e-1111-2222-3333-444455556666.json", "notes.json", "x", ""]
)
def test_parse_other_file_names_say_nothing(name):
    assert parse_file_name(name) == FileName()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda payload: {
            "event": "pre-tool-use",
            "timestamp": "2025-06-15T12:00:00Z",
            "session_id": "s-1",
            "data": payload,
        },
        lambda payload: {
            "source_app": "app",
            "session_id": "s-1",
            "hook_event_type": "PreToolUse",
            "payload": payload,
            "timestamp": 1_749_988_800_000,
        },
        lambda payload: {"logged_at": "2025-06-15T14:00:00+02:00", "raw_input": json.dumps(payload)},
        lambda payload: {"captured_at": 1_749_988_800, "payload": payload},
        lambda payload: {"ts": "2025-06-15T12:00:00", "payload": payload},
    ],
)
def test_parse_wrapped_payload_takes_the_wrapper_time(wrap):
    event = parse_one(wrap(make_payload(tool_name="Read")))
    assert (event.at_ns, event.time_source) == (1_749_988_800_000_000_000, "wrapper")
    assert event.payload == make_payload(tool_name="Read")
    row = flatten(event.record)
    assert (row["event_name"], row["session_id"], row["tool_name"]) == ("PreToolUse", "s-1", "Read")


def test_parse_wrapped_payload_without_a_name_of_its_own_takes_the_wrapper_name():
    record = {"event": "session-start", "timestamp": 1_749_988_800, "session_id": "s-9", "data": {"source": "startup"}}
    row = flatten(parse_one(record).record)
    assert (row["event_name"], row["session_id"], row["event_detail"]) == ("SessionStart", "s-9", "startup")


def test_parse_payload_time_fields():
    event = parse_one(make_payload(captured_at=1_749_988_800))
    assert (event.at_ns, event.time_source) == (1_749_988_800_000_000_000, "payload")


def test_parse_archive_of_equal_payloads_keeps_them_apart():
    """An array that a hook appends to has no times: the second equal Stop is a second firing."""
    stop = make_payload(hook_event_name="Stop")
    events, _ = parse([stop, make_payload(hook_event_name="Other"), stop], "stop.json")
    assert [(event.at_ns, event.repeat, event.time_source) for event in events] == [
        (None, 0, None),
        (None, 0, None),
        (None, 1, None),
    ]
    grown, _ = parse([stop, make_payload(hook_event_name="Other"), stop, stop], "stop.json")
    assert [event.identity for event in grown[:3]] == [event.identity for event in events]


def test_parse_json_lines_with_a_bad_one():
    lines = [json.dumps(make_payload()).encode(), b'{"half', b"", b"[1]", json.dumps(make_payload(n=2)).encode()]
    events, refused = parse(b"\n".join(lines), "events.jsonl")
    assert [event.payload.get("n") for event in events] == [None, 2]
    assert [reason for _, reason, _ in refused] == ["not JSON", "not a JSON object"]


def test_parse_file_with_a_list_of_events():
    events, _ = parse({"description": "d", "events": [make_payload(), make_payload(n=1)]})
    assert len(events) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b" \n\0", "empty"),
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "invalid UTF-8"),
        (b"3", "not a JSON object"),
        (b"{}", "no event name"),
        (b'{"test": "data"}', "no event name"),
        (b'{"hook_event_name": ""}', "no event name"),
        (b'{"hook_event_name": 5}', "no event name"),
    ],
)
def test_parse_rejects(content, reason):
    events, refused = parse(content)
    assert events == []
    assert [entry[1] for entry in refused] == [reason]


def test_parse_every_cut_of_a_payload_is_rejected_or_whole():
    content = json.dumps(make_payload(tool_input={"command": "é 🎉"}), ensure_ascii=False).encode()
    for end in range(len(content)):
        events, refused = parse(content[:end])
        assert events == []
        assert len(refused) == 1


def test_parse_takes_the_event_from_the_name_of_an_archive():
    [event], _ = parse([{"session_id": "s", "source": "startup"}], "session_start.json")
    row = flatten(event.record, file_event="SessionStart")
    assert (row["event_name"], row["session_source"]) == ("SessionStart", "startup")


def test_parse_keeps_a_payload_field_named_data():
    record = {"hook_event_name": "SomeFutureEventV2", "session_id": "s", "data": {"session_id": "other"}, "new": 1}
    event = parse_one(record)
    assert event.payload is event.record
    assert flatten(record)["event_name"] == "SomeFutureEventV2"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pre-tool-use", "PreToolUse"),
        ("pre_tool_use", "PreToolUse"),
        ("PreToolUse", "PreToolUse"),
        ("pretooluse", "PreToolUse"),
        ("stop", "Stop"),
        ("some-new-thing", "some-new-thing"),
    ],
)
def test_normalise_event(name, expected):
    assert normalise_event(name) == expected


@pytest.mark.parametrize(
    ("payload", "producer"),
    [
        ({}, "claude-code"),
        ({"model": "claude-opus-4-6"}, "claude-code"),
        ({"model": "gpt-5.5", "turn_id": "t"}, "codex"),
        ({"turn_id": "t"}, "codex"),
        ({"transcript_path": "/home/u/.codex/sessions/x.jsonl"}, "codex"),
        ({"transcript_path": "/home/u/.claude/projects/x.jsonl", "model": "gpt-5.5"}, "claude-code"),
        ({"transcript_path": "C:\\Users\\u\\.gemini\\x"}, "gemini-cli"),
        ({"cursor_version": "2"}, "cursor"),
    ],
)
def test_find_producer(payload, producer):
    assert find_producer(payload, "PreToolUse") == producer


def test_find_producer_of_a_displayed_message():
    assert find_producer({"turn_id": "t"}, "MessageDisplay") == "claude-code"


def test_flatten_tool_failure():
    row = flatten(
        make_payload(
            hook_event_name="PostToolUseFailure",
            tool_name="mcp__git_hub__search",
            tool_input={"file_path": "/a.py", "content": "x"},
            tool_use_id="toolu_1",
            error="Exit code 2\nboom",
            is_interrupt=False,
            duration_ms=12.4,
            effort={"level": "high"},
            agent_type="",
        )
    )
    assert row == {
        "session_id": "s-1",
        "event_name": "PostToolUseFailure",
        "cwd": "/srv/app",
        "tool_name": "mcp__git_hub__search",
        "mcp_server_name": "git_hub",
        "tool_use_id": "toolu_1",
        "file_path": "/a.py",
        "tool_input_char_count": 35,
        "error_char_count": 16,
        "error_marker": "exit_code",
        "exit_code": 2,
        "is_interrupt": False,
        "duration_ms": 12,
        "effort": "high",
        "agent_type": "",
        "producer": "claude-code",
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"hook_event_name": "SessionEnd", "reason": "clear"}, {"event_detail": "clear", "end_reason": "clear"}),
        (
            {"hook_event_name": "PreModelSwitch", "source": "command", "to_model": "claude-x"},
            {"event_detail": "command"},
        ),
        ({"hook_event_name": "PreCompact", "trigger": "auto"}, {"event_detail": "auto", "compact_trigger": "auto"}),
        (
            {"hook_event_name": "StopFailure", "error": "rate_limit"},
            {"event_detail": "rate_limit", "error_type": "rate_limit"},
        ),
        (
            {"hook_event_name": "Notification", "notification_type": "idle_prompt", "message": "hé"},
            {"event_detail": "idle_prompt", "notification_type": "idle_prompt", "message_char_count": 2},
        ),
        (
            {"hook_event_name": "Stop", "stop_hook_active": True, "background_tasks": [{}, {}], "session_crons": []},
            {"stop_hook_active": True, "background_task_count": 2, "session_cron_count": 0},
        ),
        ({"hook_event_name": "PermissionDenied", "reason": "a text"}, {}),
        ({"hook_event_name": "PostToolBatch", "tool_calls": [{}, {}, {}]}, {"tool_call_count": 3}),
        (
            {"hook_event_name": "MessageDisplay", "index": 3, "final": True, "delta": "abc", "message_id": "m"},
            {"message_index": 3, "is_final": True, "message_char_count": 3, "message_id": "m"},
        ),
        ({"hook_event_name": "CwdChanged", "old_cwd": "/a", "new_cwd": "/b"}, {"old_cwd": "/a", "new_cwd": "/b"}),
        ({"tool_response": "text"}, {"tool_response_char_count": 4}),
        ({"tool_response": [{"type": "text"}]}, {"tool_response_char_count": 17}),
        ({"tool_response": {"interrupted": True}}, {"tool_response_char_count": 20, "is_interrupt": True}),
    ],
)
def test_flatten_event_specific_fields(fields, expected):
    row = flatten(make_payload(**fields))
    base = {"session_id", "event_name", "cwd", "producer"}
    assert {key: value for key, value in row.items() if key not in base} == expected


def test_flatten_survives_any_type_and_names_only_columns():
    odd = [None, True, -1, 1e300, 2**63, "x", [], [1], {}, {"level": 1}]
    names = set(CONTRACT.schema.names)
    keys = [*_TEXT_COLUMNS, *_FLAG_COLUMNS, *_LENGTH_COLUMNS, *_LIST_COLUMNS, "tool_input", "tool_response", "effort"]
    keys += ["duration_ms", "error", "index", "payload", "data", "source", "reason", "trigger"]
    for event in ("PreToolUse", "PostToolUseFailure", "MessageDisplay", "SessionStart", "Nothing"):
        for value in odd:
            row = flatten({"hook_event_name": event, **dict.fromkeys(keys, value)})
            assert set(row) <= names
