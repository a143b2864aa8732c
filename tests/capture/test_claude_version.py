"""Which Claude Code wrote the newest transcript, and what an old one cannot have in its settings."""

from __future__ import annotations

import json
import os

import pytest

from analytics.capture.claude_version import find_rejected, find_version
from analytics.contracts.hook_events import EVENTS

# What two releases list themselves.
EVENTS_OF_2_0_30 = {
    "PreToolUse", "PostToolUse", "Notification", "UserPromptSubmit", "SessionStart", "SessionEnd", "Stop",
    "SubagentStop", "PreCompact",
}  # fmt: skip
EVENTS_OF_2_1_75 = {
    "PreToolUse", "PostToolUse", "PostToolUseFailure", "Notification", "UserPromptSubmit", "SessionStart", "SessionEnd",
    "Stop", "SubagentStart", "SubagentStop", "PreCompact", "PermissionRequest", "Setup", "TeammateIdle",
    "TaskCompleted", "Elicitation", "ElicitationResult", "ConfigChange", "WorktreeCreate", "WorktreeRemove",
    "InstructionsLoaded",
}  # fmt: skip


@pytest.fixture
def claude_dir(tmp_path):
    """A Claude folder, and a function that writes one session's file in it."""

    def write(name, *lines, at):
        file = tmp_path / "projects" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(
            b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
        )
        os.utime(file, (at, at))

    return tmp_path, write


def test_the_last_line_of_the_newest_transcript_tells_the_version(claude_dir):
    folder, write = claude_dir
    write("p/old.jsonl", {"version": "2.0.1"}, at=1_000)
    write("p/newest.jsonl", {"version": "2.1.7"}, {"version": "2.1.75"}, {"type": "summary"}, at=3_000)
    write("q/older.jsonl", {"version": "2.1.330"}, at=2_000)
    write("q/notes.txt", {"version": "9.9.9"}, at=4_000)
    assert find_version(folder) == (2, 1, 75)


def test_a_version_inside_a_tool_result_is_none(claude_dir):
    folder, write = claude_dir
    nested = {"type": "user", "toolUseResult": {"version": "0.4.0"}, "text": '"version":"0.5.0"'}
    write("p/a.jsonl", {"version": "2.1.75"}, nested, ["version"], {"version": 3}, {"version": "beta"}, at=1_000)
    assert find_version(folder) == (2, 1, 75)


def test_what_cannot_be_read_is_passed_over(claude_dir):
    folder, write = claude_dir
    write("p/good.jsonl", {"version": "2.1.75-beta.1"}, at=1_000)
    write("p/deep.jsonl", b"[" * 200_000 + b"\n", b"\xff\x00\n", b'{"version": "2.', at=2_000)
    write("p/empty.jsonl", at=3_000)
    (folder / "projects" / "p" / "gone.jsonl").symlink_to(folder / "nothing")
    os.mkfifo(folder / "projects" / "p" / "pipe.jsonl")
    (folder / "projects" / "a-file").write_text("")
    assert find_version(folder) == (2, 1, 75)


def test_without_a_transcript_there_is_no_version(tmp_path):
    assert find_version(tmp_path / "missing") is None


@pytest.mark.parametrize(("version", "known"), [((2, 0, 30), EVENTS_OF_2_0_30), ((2, 1, 75), EVENTS_OF_2_1_75)])
def test_an_old_version_rejects_what_it_does_not_list(version, known):
    assert set(find_rejected(EVENTS, version)) == set(EVENTS) - known
    assert find_rejected(["Stop", "Future"], version) == ("Future",)


@pytest.mark.parametrize("version", [None, (2, 1, 101), (2, 1, 240), (3, 0, 0)])
def test_a_new_or_unknown_version_rejects_nothing(version):
    assert find_rejected([*EVENTS, "Future"], version) == ()
