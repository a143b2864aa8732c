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
REMINDER = "<system-reminder>\nToday's date is a secret.\n</system-reminder>"
EDITOR = "<ide_opened_file>The user opened a.py</ide_opened_file>"


def flatten(line, *, keep_text=True):
    return flatten_line(line, keep_text=keep_text)


def make_blocks(*texts):
    return {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def as_row(line):
    """Through Arrow and back, as the lake stores it."""
    constants = {"record_date": date(2026, 1, 2), "source": "transcripts"}
    table = build_table([flatten(line)], {"payload": [b"{}"]}, SCHEMA, constants)
    return table.to_pylist()[0]


def test_flatten_line_types_the_envelope_and_the_usage():
    row = as_row(make_answer(cache_read_input_tokens=7, server_tool_use={"web_search_requests": 2}))
    assert row["occurred_at"] == datetime(2026, 1, 2, 10, 0, 1)  # noqa: DTZ001 - naive UTC is the contract
    assert (row["model"], row["message_id"], row["request_id"]) == ("claude-sonnet-4-6", "m1", "r-m1")
    assert (row["input_tokens"], row["output_tokens"], row["cache_read_tokens"], row["web_search_count"]) == (
        10,
        20,
        7,
        2,
    )


@pytest.mark.parametrize(
    ("usage", "total", "short", "long"),
    [
        ({"cache_creation_input_tokens": 5}, 5, None, None),
        ({"cache_creation_input_tokens": 0, "cache_creation": {"ephemeral_1h_input_tokens": 9}}, 9, None, 9),
        ({"cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_5m_input_tokens": 7}}, 7, 7, None),
        (
            {"cache_creation": {"ephemeral_5m_input_tokens": 10**10 - 1, "ephemeral_1h_input_tokens": 1}},
            None,
            10**10 - 1,
            1,
        ),
    ],
)
def test_flatten_line_takes_the_larger_of_flat_and_split_cache_writes(usage, total, short, long):
    row = as_row(make_answer(**usage))
    got = [row[f"cache_creation{part}_tokens"] for part in ("", "_5m", "_1h")]
    assert got == [total, short, long]


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (0.0123, 12_300_000),
        (1, 1_000_000_000),
        ("1", 1_000_000_000),
        (2_000_000_000, None),
        (1e300, None),
        (-1, None),
        ("much", None),
        ("1e999999", None),
        ("NaN", None),
        (True, None),
    ],
)
def test_flatten_line_keeps_a_reported_cost_in_nano_dollars(cost, expected):
    """A cost of 1e300 overflowed its column and ended every run, and so did one of "1e999999". Found by fuzzing."""
    assert as_row({**make_answer(), "costUSD": cost})["reported_cost_nusd"] == expected


def test_flatten_line_keeps_what_claude_code_counted_for_the_session_and_whose_request_a_fork_copied():
    state = {"type": "cost-state", "sessionId": "s", "totalCostUSD": 0.1747958, "modelUsage": {"m": {"costUSD": 0.17}}}
    assert as_row(state)["session_cost_nusd"] == 174_795_800
    assert as_row({**make_answer(), "requestSessionId": "parent"})["request_session_id"] == "parent"


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (7, 7),
        (7.0, 7),
        ("7", 7),
        (-5, None),
        (-5.0, None),
        (10**10, None),
        (2**53 + 1, None),
        (1e18, None),
        ("9" * 17, None),
        ("seven", None),
        ("\u0667", None),
        (True, None),
    ],
)
def test_flatten_line_takes_no_count_that_cannot_be_one(count, expected):
    """One line that told of 2^53 tokens overflowed their price and ended every run; one of -5 made a response
    cost less than nothing. Found by mutating transcripts."""
    row = as_row(make_answer(input_tokens=count, iterations=[{"type": "advisor_message", "output_tokens": count}]))
    assert (row["input_tokens"], row["advisor_iterations"][0]["output_tokens"]) == (expected, expected)


def test_flatten_line_keeps_the_prompt_of_a_person_only():
    assert flatten(make_prompt("hello"))["prompt_text"] == "hello"
    assert "prompt_text" not in flatten(make_prompt("hello"), keep_text=False)
    result = make_prompt(
        message={"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]}
    )
    assert "prompt_text" not in flatten(result)


def test_flatten_line_takes_a_prompt_typed_while_claude_worked_for_a_message():
    """Since 2.1.90 it is an attachment, and stands in no user line; nor does what tells of a task that ended."""
    prompt = {"type": "queued_command", "commandMode": "prompt", "origin": {"kind": "human"}, "prompt": "and tests"}
    row = flatten({"type": "attachment", "attachment": prompt})
    told = ("line_type", "line_subtype", "message_role", "origin_kind", "text_char_count", "prompt_text")
    assert [row[name] for name in told] == ["attachment", "queued_command", "user", "human", 9, "and tests"]
    assert "prompt_text" not in flatten({"type": "attachment", "attachment": prompt}, keep_text=False)
    with_picture = {**prompt, "prompt": [{"type": "text", "text": "this"}, {"type": "image"}]}
    row = flatten({"type": "attachment", "attachment": with_picture})
    assert (row["prompt_text"], row["image_count"]) == ("this", 1)
    for other in ({**prompt, "commandMode": "task-notification"}, {"type": "todo_reminder", "prompt": "x"}):
        assert "message_role" not in flatten({"type": "attachment", "attachment": other})


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(
        ["assistant", "user", "system", "progress", "tool_use", "tool_result", "text", "advisor_message"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "message",
                    "content",
                    "usage",
                    "id",
                    "timestamp",
                    "costUSD",
                    "toolUseResult",
                    "durationSeconds",
                    "structuredPatch",
                    "lines",
                    "data",
                    "file",
                    "attachment",
                    "subtype",
                    "input",
                    "edits",
                    "new_string",
                    "file_path",
                    "cache_creation",
                    "iterations",
                    "ephemeral_5m_input_tokens",
                    "ephemeral_1h_input_tokens",
                    "input_tokens",
                    "compactMetadata",
                    "preTokens",
                    "prNumber",
                    "is_error",
                    "model",
                    "effort",
                    "origin",
                    "kind",
                    "name",
                    "text",
                    "thinking",
                    "durationMs",
                    "sessionId",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
TOP_LEVEL = ["message", "toolUseResult", "data", "attachment", "costUSD", "timestamp", "compactMetadata"]
LINE_TYPES = ["user", "assistant", "system", "progress", "pr-link", None, 3]


@given(st.dictionaries(st.sampled_from(TOP_LEVEL), JUNK), st.sampled_from(LINE_TYPES))
@example({"toolUseResult": {"durationSeconds": 1e300}}, "user")
@example({"toolUseResult": {"durationSeconds": True}}, "user")
@example({"message": {"content": [{"type": "text", "text": "usage limit reached|99999999999999999"}]}}, "assistant")
@hypothesis_settings(max_examples=300)
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
        ("<tool_use_error>Sibling tool call errored</tool_use_error>", "cancelled"),
        ("<tool_use_error>Cancelled: parallel tool call Bash(make) errored</tool_use_error>", "cancelled"),
        ("Command timed out after 2m", "timeout"),
        ("Exit code 143\nCommand timed out after 2m 0.0s", "timeout"),
        (f"Permission to use Bash with command {'ls ' * 50} has been denied.", "permission_denied"),
        ("Permission for this action was denied by the Claude Code auto mode classifier.", "permission_denied"),
        ("<tool_use_error>File is in a directory that is denied by your permission settings.", "permission_denied"),
        # What a command wrote is not what Claude Code says of it: these were counted as refusals, not failures.
        ("Exit code 126\nbash: ./run: Permission denied", "exit_code"),
        ("Exit code 1\nfatal: the rebase was interrupted", "exit_code"),
        ("Exit code 130\n[Request interrupted by user for tool use]", "interrupted"),
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
        build_table([{"no_such_column": 1}], {"payload": [b"{}"]}, SCHEMA, {})


def test_contract_types_are_scalars_or_lists_of_structs():
    assert {str(kind) for kind in SCHEMA.types if not pa.types.is_nested(kind)} <= {
        "string", "bool", "int32", "int64", "timestamp[us]", "date32[day]",
    }  # fmt: skip


def make_result(result: object, content: object = "ok", **block: object) -> dict[str, object]:
    item = {"type": "tool_result", "tool_use_id": "t1", "content": content, **block}
    return make_prompt("r", message={"role": "user", "content": [item]}, toolUseResult=result)


@pytest.mark.parametrize(
    ("name", "tool_input", "expected"),
    [
        ("Write", {"file_path": "/a.py", "content": "1\n2\n"}, {"file_path": "/a.py", "input_line_count": 2}),
        ("Edit", {"file_path": "/a.py", "old_string": "1", "new_string": "1\n2"},
         {"input_line_count": 2, "input_removed_line_count": 1, "input_edit_count": 1}),
        ("MultiEdit", {"file_path": "/a.py", "edits": [{"old_string": "a", "new_string": ""}, {"new_string": "b"}, 3]},
         {"input_line_count": 1, "input_removed_line_count": 1, "input_edit_count": 2}),
        ("NotebookEdit", {"notebook_path": "/n.ipynb", "new_source": "x"}, {"file_path": "/n.ipynb",
         "input_line_count": 1}),
        ("Task", {"subagent_type": "Explore"}, {"subagent_type": "Explore"}),
        ("Skill", {"skill": "pdf"}, {"skill_name": "pdf"}),
        ("SlashCommand", {"command": "/review 12"}, {"skill_name": "/review"}),
        ("Bash", {"command": "ls"}, {"input_char_count": 16, "file_path": None}),
        ("Odd", "text", {"input_char_count": 6}),
    ],
)  # fmt: skip
def test_a_tool_use_keeps_what_sql_asks_of_its_input(name, tool_input, expected):
    row = as_row(make_answer(content=[{"type": "tool_use", "id": "t1", "name": name, "input": tool_input}]))
    (block,) = row["blocks"]
    assert {**block, **expected, "tool_name": name, "tool_use_id": "t1"} == block


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (make_result({"type": "create", "filePath": "/a", "content": "1\n2", "structuredPatch": []}),
         {"result_operation": "create", "patch_hunk_count": 0, "result_content_line_count": 2,
          "result_file_path": "/a"}),
        (make_result({"filePath": "/a", "userModified": True, "structuredPatch": [{"lines": ["+a", "+b", "-c", " d",
         5]}, 7]}),
         {"patch_added_line_count": 2, "patch_removed_line_count": 1, "patch_hunk_count": 2, "is_user_modified": True}),
        (make_result({"file": {"filePath": "/r"}}), {"result_file_path": "/r", "result_shape": "object"}),
        (make_result({"durationSeconds": 1.5}), {"result_duration_ms": 1500}),
        (make_result({"totalDurationMs": 900, "agentId": "x", "agentType": "Plan", "status": "completed"}),
         {"result_duration_ms": 900, "result_agent_id": "x", "result_agent_type": "Plan",
          "result_status": "completed"}),
        (make_result({"interrupted": False}), {"is_result_interrupted": False}),
        (make_result("Error: no"), {"result_shape": "string"}),
        (make_result([1]), {"result_shape": "array"}),
        ({"type": "system", "subtype": "compact_boundary", "compactMetadata": {"trigger": "auto", "preTokens": 9,
         "postTokens": 2}},
         {"line_subtype": "compact_boundary", "compact_trigger": "auto", "compact_pre_tokens": 9,
          "compact_post_tokens": 2}),
        ({"type": "system", "subtype": "api_error", "retryAttempt": 2, "retryInMs": 500.4},
         {"retry_attempt": 2, "retry_in_ms": 500}),
        ({"type": "attachment", "attachment": {"type": "todo"}}, {"line_subtype": "todo"}),
        ({"type": "queue-operation", "operation": "enqueue"}, {"line_subtype": "enqueue"}),
        ({"type": "pr-link", "prNumber": 3, "prUrl": "u", "prRepository": "a/b"}, {"pr_number": 3, "pr_url": "u"}),
        ({"type": "progress", "data": {"type": "agent_progress", "agentId": "g", "message": make_answer("m9")}},
         {"agent_id": "g", "message_id": "m9", "output_tokens": 20, "progress_message_type": "assistant"}),
        (make_prompt("<command-name>/clear</command-name>"), {"leading_tag": "command-name", "command_name": "/clear"}),
        (make_prompt("[Request interrupted by user]"), {"leading_tag": "interrupt"}),
        (make_prompt('<teammate-message teammate_id="x" color="y">do it</teammate-message>'),
         {"leading_tag": "teammate-message"}),
        (make_prompt(f"{REMINDER}\n\nfix it"), {"leading_tag": None, "prompt_text": "fix it", "text_char_count": 6}),
        (make_prompt(message=make_blocks(REMINDER, "fix it")), {"leading_tag": None, "prompt_text": "fix it"}),
        (make_prompt(message=make_blocks(EDITOR, REMINDER, "fix it", "please")),
         {"leading_tag": None, "prompt_text": "fix it\nplease", "text_char_count": 13}),
        (make_prompt(message=make_blocks(EDITOR, "<command-name>/clear</command-name>")),
         {"leading_tag": "command-name", "command_name": "/clear"}),
        (make_prompt(REMINDER), {"leading_tag": "system-reminder", "prompt_text": REMINDER}),
        (make_prompt("<ide_selection>never closed"), {"leading_tag": None, "text_char_count": 27}),
    ],
)  # fmt: skip
def test_a_line_keeps_what_sql_asks_of_it(line, expected):
    row = as_row(line)
    assert {name: row[name] for name in expected} == expected


def test_a_failed_result_carries_its_marker_and_exit_code():
    (block,) = as_row(make_result("Error: x", [{"type": "text", "text": "Exit code 127\nno"}], is_error=True))["blocks"]
    assert (block["is_error"], block["error_marker"], block["exit_code"], block["text_char_count"]) == (
        True,
        "exit_code",
        127,
        16,
    )
