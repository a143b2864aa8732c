"""Bytes of a file to hook events, and an event to a row. Pure: nothing here opens a file.

Forms that are read: the payload as Claude Code gives it; the same in a wrapper of somebody's
collector; many of either as JSON lines, as an array, or as a member `events`. Unknown events and
fields pass through. What no name can be found for is rejected.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from analytics.contracts.hook_events import EVENTS
from analytics.errors import ContractViolation
from analytics.records import (
    BLANKS,
    BOM,
    NOT_AN_OBJECT,
    Refusal,
    Row,
    canonical_json,
    char_count,
    parse_count,
    parse_instant,
    parse_json,
    parse_lines,
    plausible_instant,
    record_id,
    split_lines,
)
from analytics.records.conversations import error_marker, exit_code
from analytics.records.spelling import spell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date

NO_EVENT_NAME = "no event name"
LISTS_TOO_DEEP = "lists nested too deeply"

_EVENT_KEYS = ("hook_event_name", "hook_event_type", "hook_event", "event_name", "event_type", "hook_type", "event")
_PAYLOAD_KEYS = ("payload", "data", "raw_input", "input", "hook_data", "event")
_WRAPPER_TIME_KEYS = ("timestamp", "logged_at", "captured_at", "received_at", "ts")
_PAYLOAD_TIME_KEYS = ("captured_at", "logged_at", "timestamp")
_CAPTURE_KEYS = ("captured_at", "logged_at", "received_at")

# What the capture command calls its files: nothing but a clock and chance, so never a secret.
OWN_NAME = re.compile(r"(?:[0-9]{9,11}-[0-9]{1,10}-[0-9a-f]{16}|[0-9a-f]{8}-[0-9a-f-]{27})[.]json(?:~[0-9]{1,4})?")
# The user's documented name; ours and others have no 18 digits in front.
_FILE_NAME = re.compile(r"(?P<at>[0-9]{18,19})-(?P<rest>.+)")
_RETRY_SUFFIX = re.compile(r"~[0-9]+\Z")
_WORD_BREAKS = re.compile(r"[-_ .]")
_EVENT_BY_WORDS = {name.lower(): name for name in EVENTS}
_MCP_TOOL = re.compile(r"mcp__(.+?)__")
_LIST_DEPTH = 8


class HookEvent(NamedTuple):
    """One firing: the object as delivered, what the hook was given inside it, and when it was.

    `at_ns` is the time of the event, None where nothing tells it; `repeat` then counts the equal
    payloads before it in the same file.
    """

    record: dict[str, Any]
    payload: dict[str, Any]
    position: int
    at_ns: int | None
    captured_us: int | None
    time_source: str | None
    repeat: int = 0

    @property
    def identity(self) -> dict[str, Any]:
        """What the record id is made of."""
        if self.at_ns is None:
            return {"payload": self.payload, "at": None, "repeat": self.repeat}
        return {"payload": self.payload, "at": self.at_ns}


class HookPlace(NamedTuple):
    """A `Place` for the writer, with what only the file, not the record, can tell."""

    file: str
    position: int | None
    fallback_date: date
    source_record_id: str | None = None
    occurred_us: int | None = None
    captured_us: int | None = None
    time_source: str | None = None
    file_event: str | None = None
    file_session: str | None = None


@dataclass(frozen=True)
class FileName:
    """What a file's name says: all None for a name that says nothing."""

    at_ns: int | None = None
    session_id: str | None = None
    event_name: str | None = None


_NAMELESS = FileName()


@dataclass
class EventParser:
    """Turns the values of one file into events. `refusals` are those that are none."""

    name: FileName
    mtime_ns: int | None
    is_archive: bool
    refusals: list[Refusal] = field(default_factory=list)
    _seen: Counter[str] = field(default_factory=Counter)

    def parse_value(self, value: Any, position: int, depth: int = _LIST_DEPTH) -> Iterator[HookEvent]:
        """The event or events of one JSON value, in lists of lists up to a depth."""
        if isinstance(value, list):
            if depth == 0:
                self._refuse(position, LISTS_TOO_DEEP, value)
                return
            for index, item in enumerate(value):
                yield from self.parse_value(item, index, depth - 1)
            return
        if not isinstance(value, dict):
            self._refuse(position, NOT_AN_OBJECT, value)
            return
        events = value.get("events")
        if (
            depth > 0
            and isinstance(events, list)
            and events
            and all(isinstance(item, dict) for item in events)
            and not find_event(value)
        ):
            for index, item in enumerate(events):
                yield from self.parse_value(item, index, depth - 1)
            return
        payload = unwrap(value)
        is_named = find_event(payload) or (payload is not value and find_event(value))
        if not is_named and not (self.name.event_name and "session_id" in payload):
            self._refuse(position, NO_EVENT_NAME, value)
            return
        try:
            event = self._build(value, payload, position)
        except ContractViolation as violation:
            self._refuse(position, str(violation), value)
        else:
            yield event

    def parse_lines(self, lines: Iterable[tuple[int, bytes]]) -> Iterator[HookEvent]:
        """The events of JSON lines, each given with its byte offset."""
        for position, value in parse_lines(lines, self.refusals):
            yield from self.parse_value(value, position)

    def _build(self, record: dict[str, Any], payload: dict[str, Any], position: int) -> HookEvent:
        is_wrapped = payload is not record
        captured = (
            _find_instant(record, _CAPTURE_KEYS) or (is_wrapped and _find_instant(payload, _CAPTURE_KEYS)) or None
        )
        if captured is None and not self.is_archive and self.mtime_ns is not None:
            captured = self.mtime_ns // 1_000
        if self.name.at_ns is not None and not self.is_archive:
            return HookEvent(record, payload, position, self.name.at_ns, captured, "file_name")
        if is_wrapped and (instant := _find_instant(record, _WRAPPER_TIME_KEYS)) is not None:
            return HookEvent(record, payload, position, instant * 1_000, captured, "wrapper")
        if (instant := _find_instant(payload, _PAYLOAD_TIME_KEYS)) is not None:
            return HookEvent(record, payload, position, instant * 1_000, captured, "payload")
        if not self.is_archive and self.mtime_ns is not None:
            return HookEvent(record, payload, position, self.mtime_ns, captured, "mtime")
        content_id = record_id(canonical_json(payload))
        repeat = self._seen[content_id]
        self._seen[content_id] += 1
        return HookEvent(record, payload, position, None, captured, None, repeat)

    def _refuse(self, position: int, reason: str, value: Any) -> None:
        self.refusals.append(Refusal(position, reason, spell(value)))


def parse_file(content: bytes, *, file_name: str, mtime_ns: int | None) -> tuple[list[HookEvent], list[Refusal]]:
    """The events of one file, whatever its form, and what is none.

    A file with one object was written at the time of capture; one with a list of them is an archive,
    whose own times tell nothing about its events.
    """
    stripped = content.removeprefix(BOM).strip(BLANKS)
    name = parse_file_name(file_name)
    if not stripped:
        return [], [Refusal(0, "empty")]
    try:
        value = parse_json(stripped)
    except ContractViolation as violation:
        lines = list(split_lines(stripped))
        if len(lines) == 1 and not file_name.endswith(".jsonl"):
            return [], [Refusal(0, str(violation), stripped)]
        parser = EventParser(name, mtime_ns, is_archive=True)
        if file_name.endswith(".jsonl") or any(_is_object(line) for _, line in lines[:2]):
            return list(parser.parse_lines(lines)), parser.refusals
        return [], [Refusal(0, str(violation), stripped)]
    parser = EventParser(name, mtime_ns, is_archive=isinstance(value, list) or file_name.endswith(".jsonl"))
    return list(parser.parse_value(value, 0)), parser.refusals


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(parse_json(line.strip()), dict)
    except ContractViolation:
        return False


def check_time(at_ns: int) -> int | None:
    """A time that no field told, if it can be one."""
    return None if plausible_instant(at_ns // 1_000) is None else at_ns


def parse_file_name(name: str) -> FileName:
    """What a name tells: `{timestamp_ns}-{session-id}-{hook-type}.json`, or `<event>.json` of an archive."""
    if OWN_NAME.fullmatch(name):
        return _NAMELESS
    stem = _RETRY_SUFFIX.sub("", name.rpartition("/")[2]).rpartition(".")[0]
    if (known := _EVENT_BY_WORDS.get(_WORD_BREAKS.sub("", stem).lower())) is not None:
        return FileName(event_name=known)
    match = _FILE_NAME.fullmatch(stem)
    if match is None:
        return FileName()
    at_ns = check_time(int(match["at"]))
    pieces = match["rest"].split("-")
    # The session id and the hook type both hold hyphens: the longest known type at the end wins.
    for start in range(1, len(pieces)):
        if (known := _EVENT_BY_WORDS.get("".join(pieces[start:]).lower())) is not None:
            return FileName(at_ns, "-".join(pieces[:start]), known)
    return FileName(at_ns, "-".join(pieces[:-1]) or None, pieces[-1])


def normalise_event(name: str) -> str:
    """The event in Claude Code's spelling: pre-tool-use and pre_tool_use are PreToolUse. Unknown ones stay."""
    return _EVENT_BY_WORDS.get(name.lower()) or _EVENT_BY_WORDS.get(_WORD_BREAKS.sub("", name).lower(), name)


def find_event(record: Mapping[str, Any]) -> str | None:
    """The event that an object names; None where it names none."""
    for key in _EVENT_KEYS:
        value = record.get(key)
        if isinstance(value, str) and value:
            return normalise_event(value)
    return None


def unwrap(record: dict[str, Any]) -> dict[str, Any]:
    """What the hook was given: the record itself, or the payload inside a wrapper."""
    if isinstance(record.get("hook_event_name"), str) and not _holds_payload(record.get("payload")):
        return record
    for key in _PAYLOAD_KEYS:
        inner = record.get(key)
        if isinstance(inner, str) and key == "raw_input" and inner.lstrip().startswith("{"):
            try:
                inner = parse_json(inner.encode())
            except (ContractViolation, UnicodeEncodeError):
                continue
        if isinstance(inner, dict) and (_holds_payload(inner) or key in ("payload", "data", "raw_input")):
            return inner
    return record


def _holds_payload(value: Any) -> bool:
    return isinstance(value, dict) and ("hook_event_name" in value or "session_id" in value)


def _find_instant(record: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    for key in keys:
        value = record.get(key)
        if value is not None and (instant := parse_instant(value)) is not None:
            return instant
    return None


# ---------------------------------------------------------------- rows

_TEXT_COLUMNS = {
    "session_id": "session_id",
    "prompt_id": "prompt_id",
    "cwd": "cwd",
    "transcript_path": "transcript_path",
    "permission_mode": "permission_mode",
    "agent_id": "agent_id",
    "agent_type": "agent_type",
    "agent_transcript_path": "agent_transcript_path",
    "model": "model",
    "turn_id": "turn_id",
    "notification_type": "notification_type",
    "tool_name": "tool_name",
    "tool_use_id": "tool_use_id",
    "mcp_server_name": "mcp_server_name",
    "command_name": "command_name",
    "memory_type": "memory_type",
    "task_id": "task_id",
    "team_name": "team_name",
    "teammate_name": "teammate_name",
    "message_id": "message_id",
    "file_path": "file_path",
    "old_cwd": "old_cwd",
    "new_cwd": "new_cwd",
    "directory": "new_cwd",
    "worktree_path": "new_cwd",
}
_FLAG_COLUMNS = {"is_interrupt": "is_interrupt", "stop_hook_active": "stop_hook_active", "final": "is_final"}
_LENGTH_COLUMNS = {
    "prompt": "prompt_char_count",
    "last_assistant_message": "last_message_char_count",
    "message": "message_char_count",
    "delta": "message_char_count",
}
_LIST_COLUMNS = {
    "background_tasks": "background_task_count",
    "session_crons": "session_cron_count",
    "tool_calls": "tool_call_count",
    "permission_suggestions": "permission_suggestion_count",
}
_DETAIL_KEYS = {
    "SessionStart": ("source", "session_source"),
    "SessionEnd": ("reason", "end_reason"),
    "PreCompact": ("trigger", "compact_trigger"),
    "PostCompact": ("trigger", "compact_trigger"),
    "Notification": ("notification_type", None),
    "StopFailure": ("error", "error_type"),
    "Setup": ("trigger", None),
    "ConfigChange": ("source", None),
    "DirectoryAdded": ("source", None),
    "PreModelSwitch": ("source", None),
    "PostModelSwitch": ("source", None),
    "InstructionsLoaded": ("load_reason", None),
    "UserPromptExpansion": ("expansion_type", None),
    "FileChanged": ("event", None),
    "Elicitation": ("mode", None),
    "ElicitationResult": ("action", None),
}
_DETAIL_LIMIT = 100

# Judged by what Claude Code never writes; a Claude transcript path settles it, whatever the model.
_PRODUCER_BY_PATH = (
    ("/.claude/", "claude-code"),
    ("/.codex/", "codex"),
    ("/.gemini/", "gemini-cli"),
    ("/.qwen/", "qwen-code"),
    ("/.cursor/", "cursor"),
)
_PRODUCER_BY_MODEL = (
    ("gpt-", "codex"),
    ("codex", "codex"),
    ("o3", "codex"),
    ("o4", "codex"),
    ("gemini-", "gemini-cli"),
    ("qwen", "qwen-code"),
)


def flatten_event(record: dict[str, Any], place: HookPlace) -> Row:
    """The typed columns of a delivered object, absent ones left out.

    A value of an unexpected type counts as absent; the payload keeps it.
    """
    payload = unwrap(record)
    row = _flatten_fields(payload)
    event = find_event(payload) or find_event(record) or place.file_event
    if payload is not record:
        _put_text(row, "source_app", record.get("source_app"))
        if "session_id" not in row:
            _put_text(row, "session_id", record.get("session_id"))
    if "session_id" not in row:
        _put_text(row, "session_id", place.file_session)
    _put(row, "occurred_at", place.occurred_us)
    _put(row, "captured_at", place.captured_us)
    _put(row, "time_source", place.time_source)
    if event is not None:
        row["event_name"] = event
        if (detail := _DETAIL_KEYS.get(event)) is not None:
            _put_detail(row, payload.get(detail[0]), detail[1])
    effort = payload.get("effort")
    _put_text(row, "effort", effort.get("level") if isinstance(effort, dict) else effort)
    _put(row, "duration_ms", parse_count(payload.get("duration_ms")))
    if event == "MessageDisplay":
        _put(row, "message_index", parse_count(payload.get("index")))
    if "tool_input" in payload or "tool_response" in payload or "tool_name" in row:
        _flatten_tool(row, payload, event)
    row["producer"] = find_producer(payload, event)
    return row


def _flatten_fields(payload: Mapping[str, Any]) -> Row:
    """The columns that are a field of the payload as it stands, or its length."""
    row: Row = {}
    for key, value in payload.items():
        if isinstance(value, str):
            if (column := _TEXT_COLUMNS.get(key)) is not None:
                # Empty is a type of its own: what Claude Code asks beside a conversation, as for a compaction.
                if value or key == "agent_type":
                    row[column] = value
            elif (column := _LENGTH_COLUMNS.get(key)) is not None:
                row[column] = len(value)
        elif isinstance(value, bool):
            if (column := _FLAG_COLUMNS.get(key)) is not None:
                row[column] = value
        elif isinstance(value, list) and (column := _LIST_COLUMNS.get(key)) is not None:
            row[column] = len(value)
    return row


def _flatten_tool(row: Row, payload: Mapping[str, Any], event: str | None) -> None:
    if (tool_input := payload.get("tool_input")) is not None:
        row["tool_input_char_count"] = char_count(tool_input)
        if isinstance(tool_input, dict):
            for key in ("file_path", "notebook_path"):
                _put_text(row, "file_path", tool_input.get(key))
            _put_text(row, "subagent_type", tool_input.get("subagent_type"))
    if (response := payload.get("tool_response")) is not None:
        row["tool_response_char_count"] = char_count(response)
        if isinstance(response, dict) and isinstance(interrupted := response.get("interrupted"), bool):
            row.setdefault("is_interrupt", interrupted)
    tool_name = row.get("tool_name")
    if tool_name is not None and (match := _MCP_TOOL.match(tool_name)) is not None:
        row.setdefault("mcp_server_name", match[1])
    error = payload.get("error")
    if event == "PostToolUseFailure" and isinstance(error, str):
        row["error_char_count"] = len(error)
        row["error_marker"] = error_marker(error)
        _put(row, "exit_code", exit_code(error))


def find_producer(payload: Mapping[str, Any], event: str | None) -> str:
    """Which tool fired the hook; Claude Code where nothing speaks against it."""
    path = payload.get("transcript_path")
    if isinstance(path, str):
        path = path.replace("\\", "/")
        for fragment, producer in _PRODUCER_BY_PATH:
            if fragment in path:
                return producer
    if "cursor_version" in payload:
        return "cursor"
    model = payload.get("model")
    if isinstance(model, str):
        for prefix, producer in _PRODUCER_BY_MODEL:
            if model.startswith(prefix):
                return producer
    if "turn_id" in payload and event != "MessageDisplay":
        return "codex"
    return "claude-code"


def _put(row: Row, column: str, value: Any) -> None:
    if value is not None:
        row[column] = value


def _put_text(row: Row, column: str, value: Any) -> None:
    if isinstance(value, str) and value:
        row[column] = value


def _put_detail(row: Row, value: Any, column: str | None) -> None:
    """A closed word. A longer text in its place, as some tools send, is content and stays in the payload."""
    if isinstance(value, str) and 0 < len(value) <= _DETAIL_LIMIT:
        row["event_detail"] = value
        if column is not None:
            row[column] = value
