"""Dataset `hook_events`: hook firings, as the capture command or somebody's archive kept them.

A hook payload has neither an id nor a time of its own. So the id of a firing is made of what the hook
was given and when: `record_id` is the hash of `{"payload": <the payload>, "at": <nanoseconds>}` in
canonical JSON, before the content policy. Two firings with equal payloads at different times are two
records; one firing delivered twice (same payload, same time) is one. Where an archive of many events
carries no time, `at` is null and `repeat` counts the equal payloads before it in the file, so that an
archive read again, or grown, gives the same ids.

Text never has a column here: sizes and Claude Code's own closed words do. The rest is in `payload`,
which holds the delivered object whole, with its wrapper where it had one.
"""

from __future__ import annotations

import pyarrow as pa

from analytics.contracts import COMMON_FIELDS, INSTANT, Contract, describe

# Event -> the version of Claude Code from which on it can be relied on, as of 2.1.330: what the releases list, or the
# first that is known to. Newer events pass through under their own names.
EVENT_SINCE: dict[str, tuple[int, int, int]] = {
    "SessionStart": (1, 0, 62),
    "Setup": (2, 1, 10),
    "UserPromptSubmit": (1, 0, 54),
    "UserPromptExpansion": (2, 1, 101),
    "PreToolUse": (1, 0, 41),
    "PermissionRequest": (2, 0, 45),
    "PermissionDenied": (2, 1, 89),
    "PostToolUse": (1, 0, 41),
    "PostToolUseFailure": (2, 0, 56),
    "PostToolBatch": (2, 1, 101),
    "Notification": (1, 0, 41),
    "MessageDisplay": (2, 1, 152),
    "SubagentStart": (2, 0, 43),
    "SubagentStop": (1, 0, 41),
    "TaskCreated": (2, 1, 84),
    "TaskCompleted": (2, 1, 33),
    "Stop": (1, 0, 41),
    "StopFailure": (2, 1, 78),
    "TeammateIdle": (2, 1, 33),
    "InstructionsLoaded": (2, 1, 69),
    "ConfigChange": (2, 1, 49),
    "PreModelSwitch": (2, 1, 241),
    "PostModelSwitch": (2, 1, 241),
    "CwdChanged": (2, 1, 83),
    "DirectoryAdded": (2, 1, 219),
    "FileChanged": (2, 1, 83),
    "WorktreeCreate": (2, 1, 50),
    "WorktreeRemove": (2, 1, 50),
    "PreCompact": (1, 0, 54),
    "PostCompact": (2, 1, 76),
    "Elicitation": (2, 1, 69),
    "ElicitationResult": (2, 1, 69),
    "SessionEnd": (1, 0, 85),
}
EVENTS: tuple[str, ...] = tuple(EVENT_SINCE)

CONTRACT = Contract(
    dataset="hook_events",
    grain="One row per hook firing.",
    schema=pa.schema(
        [
            *COMMON_FIELDS,
            # ---- event
            describe(
                "event_name",
                pa.string(),
                "`hook_event_name` in Claude Code's spelling (PreToolUse, ...); an unknown event keeps its own.",
            ),
            describe(
                "event_detail",
                pa.string(),
                "The event's own closed word: source of SessionStart, ConfigChange, DirectoryAdded, PreModelSwitch, "
                "PostModelSwitch; reason of SessionEnd; trigger of PreCompact, PostCompact, Setup; notification_type "
                "of Notification; error of StopFailure; load_reason of InstructionsLoaded; expansion_type of "
                "UserPromptExpansion; event of FileChanged; mode of Elicitation; action of ElicitationResult. Null on "
                "other events.",
            ),
            describe(
                "producer",
                pa.string(),
                "Tool that fired the hook: claude-code, or another that sends Claude-compatible payloads "
                "(codex, gemini-cli, qwen-code, cursor).",
            ),
            describe(
                "source_app", pa.string(), "`source_app` of a wrapper: the name somebody's collector gave the agent."
            ),
            describe(
                "captured_at", INSTANT, "When the payload was put down, naive UTC; null in archives that do not say."
            ),
            describe(
                "time_source",
                pa.string(),
                "Where occurred_at is from: file_name (timestamp_ns in it), wrapper, payload (a field beside Claude "
                "Code's), mtime (of a file with one event: the time of capture); null where nothing tells the time.",
            ),
            describe(
                "prompt_id", pa.string(), "`prompt_id`: the prompt being processed, as in transcripts; since 2.1.196."
            ),
            describe("cwd", pa.string(), "Working directory of the session."),
            describe("transcript_path", pa.string(), "Transcript of the session; null in some other tools."),
            describe("permission_mode", pa.string(), "default, plan, acceptEdits, auto, dontAsk, bypassPermissions."),
            describe("effort", pa.string(), "`effort.level`: low to max; on tool events."),
            describe("agent_id", pa.string(), "Subagent inside which, or about which, the hook fired."),
            describe(
                "agent_type",
                pa.string(),
                "Type of that subagent; empty of what Claude Code asks beside a conversation, as for a compaction.",
            ),
            describe("agent_transcript_path", pa.string(), "Of SubagentStop, the subagent's own transcript."),
            describe("model", pa.string(), "`model`: on SessionStart, and on every event of some other tools."),
            describe("turn_id", pa.string(), "`turn_id`, on MessageDisplay and in other tools."),
            # ---- session
            describe("session_source", pa.string(), "Of SessionStart: startup, resume, clear, compact, fork."),
            describe("end_reason", pa.string(), "Of SessionEnd: clear, resume, logout, prompt_input_exit, other."),
            describe("compact_trigger", pa.string(), "Of PreCompact and PostCompact: manual or auto."),
            describe("notification_type", pa.string(), "Of Notification: permission_prompt, idle_prompt, ..."),
            describe("error_type", pa.string(), "Of StopFailure: rate_limit, overloaded, billing_error, ..."),
            describe("stop_hook_active", pa.bool_(), "Of Stop and SubagentStop: a stop hook already made it go on."),
            describe("background_task_count", pa.int64(), "Of Stop and SubagentStop, tasks still in the background."),
            describe("session_cron_count", pa.int64(), "Of Stop and SubagentStop, schedules of the session."),
            # ---- tool call
            describe("tool_name", pa.string(), "Tool of the call."),
            describe("tool_use_id", pa.string(), "Id of the call, as in transcripts; PermissionRequest has none."),
            describe(
                "mcp_server_name", pa.string(), "MCP server: as the event says, or of a tool `mcp__<server>__<tool>`."
            ),
            describe("subagent_type", pa.string(), "Of a Task or Agent call, the subagent type it asks for."),
            describe("file_path", pa.string(), "File that the tool input, or the event itself, names."),
            describe(
                "duration_ms", pa.int64(), "Run time of the tool without permission wait and hooks; since 2.1.119."
            ),
            describe("is_interrupt", pa.bool_(), "`is_interrupt` of a failure, or `interrupted` of a tool response."),
            describe(
                "error_marker",
                pa.string(),
                "Of PostToolUseFailure, which of Claude Code's phrases the error carries, in the words of "
                "`conversations.blocks.error_marker`.",
            ),
            describe("exit_code", pa.int64(), "Of an error that begins 'Exit code N', N."),
            describe("tool_call_count", pa.int64(), "Of PostToolBatch, calls in the batch."),
            describe("permission_suggestion_count", pa.int64(), "Of PermissionRequest, suggested rules."),
            # ---- other events
            describe("command_name", pa.string(), "Of UserPromptExpansion, the command."),
            describe("memory_type", pa.string(), "Of InstructionsLoaded: User, Project, Local, Managed."),
            describe("task_id", pa.string(), "Of TaskCreated and TaskCompleted."),
            describe("team_name", pa.string(), "Agent team of task and teammate events."),
            describe("teammate_name", pa.string(), "Teammate of task and teammate events."),
            describe("message_id", pa.string(), "Of MessageDisplay, a UUID of its own, not the API's message id."),
            describe("message_index", pa.int64(), "Of MessageDisplay, the position of the piece."),
            describe("is_final", pa.bool_(), "Of MessageDisplay, whether the piece is the last one."),
            describe("old_cwd", pa.string(), "Of CwdChanged, the directory left."),
            describe("new_cwd", pa.string(), "Directory that CwdChanged, DirectoryAdded or WorktreeRemove names."),
            # ---- sizes
            describe("prompt_char_count", pa.int64(), "Characters of the prompt."),
            describe("tool_input_char_count", pa.int64(), "Characters of the tool input as compact JSON."),
            describe(
                "tool_response_char_count",
                pa.int64(),
                "Characters of the tool response: of its text, or as compact JSON.",
            ),
            describe("error_char_count", pa.int64(), "Characters of a tool failure's error."),
            describe("last_message_char_count", pa.int64(), "Characters of last_assistant_message."),
            describe("message_char_count", pa.int64(), "Characters of a notification's message or a displayed piece."),
        ]
    ),
)
