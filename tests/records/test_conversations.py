from __future__ import annotations

from datetime import date, datetime

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from analytics.contracts import load_contract
from analytics.records.conversations import agent_id_of_path, error_marker, flatten_line, transcript_name
from analytics.records.writer import build_table, split_evenly
from tests.builders import make_answer, make_prompt

SCHEMA = load_contract("conversations").schema


def flatten(line, *, keep_text=True):
    return flatten_line(line, keep_text=keep_text)


def as_row(line):
    """Through Arrow and back, as the lake stores it."""
    table = build_table([flatten(line)], [b"{}"], SCHEMA, {"record_date": date(2026, 1, 2), "source": "transcripts"})
    return table.to_pylist()[0]


def test_flatten_line_types_the_envelope_and_the_usage():
    row = as_row(make_answer(cache_read_input_tokens=7, server_tool_use={"web_search_requests": 2}))
    assert row["occurred_at"] == datetime(2026, 1, 2, 10, 0, 1)  # noqa: DTZ001 - naive UTC is the contract
    assert (row["model"], row["message_id"], row["request_id"]) == ("claude-sonnet-4-6", "m1", "r-m1")
    assert (row["input_tokens"], row["output_tokens"], row["cache_read_tokens"], row["web_search_count"]) == (10, 20, 7, 2)


@pytest.mark.parametrize(
    ("usage", "total", "short", "long"),
    [
        ({"cache_creation_input_tokens": 5}, 5, None, None),
        ({"cache_creation_input_tokens": 0, "cache_creation": {"ephemeral_1h_input_tokens": 9}}, 9, None, 9),
        ({"cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_5m_input_tokens": 7}}, 7, 7, None),
        ({"cache_creation": {"ephemeral_5m_input_tokens": 2**63 - 1, "ephemeral_1h_input_tokens": 1}}, None, 2**63 - 1, 1),
    ],
)
def test_flatten_line_takes_the_larger_of_flat_and_split_cache_writes(usage, total, short, long):
    row = as_row(make_answer(**usage))
    got = [row[f"cache_creation{part}_tokens"] for part in ("", "_5m", "_1h")]
    assert got == [total, short, long]


@pytest.mark.parametrize(("cost", "expected"), [(0.0123, 12_300_000), (1, 1_000_000_000), (1e300, None), ("1", None), (True, None)])
def test_flatten_line_keeps_a_reported_cost_in_nano_dollars(cost, expected):
    """A cost of 1e300 overflowed its column and ended every run. Found by fuzzing."""
    assert as_row({**make_answer(), "costUSD": cost})["reported_cost_nusd"] == expected


def test_flatten_line_keeps_the_prompt_of_a_person_only():
    assert flatten(make_prompt("hello"))["prompt_text"] == "hello"
    assert "prompt_text" not in flatten(make_prompt("hello"), keep_text=False)
    result = make_prompt(message={"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]})
    assert "prompt_text" not in flatten(result)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["assistant", "user", "system", "progress", "tool_use", "tool_result", "text", "advisor_message"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "message", "content", "usage", "id", "timestamp", "costUSD", "toolUseResult", "durationSeconds", "structuredPatch",
             "lines", "data", "attachment", "subtype", "input", "edits", "new_string", "file_path", "cache_creation", "iterations",
             "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens", "input_tokens", "compactMetadata", "preTokens", "prNumber",
             "is_error", "model", "effort", "origin", "kind", "name", "text", "thinking", "durationMs", "sessionId", "file"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["message", "toolUseResult", "data", "attachment", "costUSD", "timestamp", "compactMetadata"]), JUNK),
       st.sampled_from(["user", "assistant", "system", "progress", "pr-link", None, 3]))  # fmt: skip
@example({"toolUseResult": {"durationSeconds": 1e300}}, "user")
@example({"toolUseResult": {"durationSeconds": True}}, "user")
@example({"message": {"content": [{"type": "text", "text": "usage limit reached|99999999999999999"}]}}, "assistant")
@hypothesis_settings(max_examples=300, deadline=None)
def test_any_object_gives_a_row_that_the_lake_can_hold(fields, line_type):
    as_row({"type": line_type, **fields})


def test_an_unknown_kind_of_line_passes_through():
    assert as_row({"type": "brand-new", "sessionId": "s", "future": {"a": 1}})["line_type"] == "brand-new"


@pytest.mark.parametrize(
    ("text", "marker"),
    [
        ("The user doesn't want to proceed with this tool use.", "user_rejected"),
        ("[Request interrupted by user for tool use]", "interrupted"),
        ("Exit code 1\nboom", "exit_code"),
        ("<tool_use_error>File has not been read yet.</tool_use_error>", "tool_use_error"),
        ("Command timed out after 2m", "timeout"),
        ("something else", "other"),
        ("", "other"),
    ],
)
def test_error_marker_names_the_phrase(text, marker):
    assert error_marker(text) == marker


@pytest.mark.parametrize(
    ("path", "agent"),
    [
        ("-a/s/subagents/agent-x1.jsonl", "x1"),
        ("-a\\s\\subagents\\agent-x1.meta.json", "x1"),
        ("-a/agent-x1.jsonl", "x1"),
        ("-a/s1.jsonl", None),
        ("agent-x1/s1.jsonl", None),
    ],
)
def test_agent_id_of_path_reads_the_file_name(path, agent):
    assert agent_id_of_path(path) == agent


@pytest.mark.parametrize(
    ("path", "root", "name"),
    [
        ("/home/me/.claude/projects/-a/s.jsonl", "/home/me/.claude/projects", "-a/s.jsonl"),
        ("/mnt/copy/projects/-a/s.jsonl", "/mnt/copy", "-a/s.jsonl"),
        ("C:\\Users\\me\\.claude\\projects\\C--a\\s.jsonl", "", "C--a/s.jsonl"),
        ("/data/x/s.jsonl", "/data", "x/s.jsonl"),
        ("/data/x/s.jsonl", "", "x/s.jsonl"),
    ],
)
def test_transcript_name_is_the_same_wherever_the_file_lies(path, root, name):
    assert transcript_name(path, root) == name


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 100))
def test_split_evenly_loses_nothing_and_stays_near_its_target(sizes, target):
    runs = split_evenly(sizes, target)
    assert [index for run in runs for index in run] == list(range(len(sizes)))
    for run in runs:
        held = [sizes[index] for index in run]
        assert sum(held) <= target or sum(held) == max(held)  # one item larger than the target, and empty ones


def test_build_table_refuses_a_column_that_the_contract_lacks():
    with pytest.raises(KeyError):
        build_table([{"no_such_column": 1}], [b"{}"], SCHEMA, {})


def test_contract_types_are_scalars_or_lists_of_structs():
    assert {str(kind) for kind in SCHEMA.types if not pa.types.is_nested(kind)} <= {
        "string", "bool", "int32", "int64", "timestamp[us]", "date32[day]",
    }  # fmt: skip
