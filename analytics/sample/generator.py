"""The sample data: a made-up developer's forty days, with the true totals beside them.

`python -m analytics.sample --out DIR --seed 7` writes `projects/` (transcripts as Claude Code keeps them),
`hooks/events.jsonl` (hook events of some of the sessions), `plans/plan-events.jsonl` (how three plans went)
and `truth.json` (what a correct pipeline must count). The same seed writes the same bytes, on any machine.
Nothing in it is anybody's.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import re
import string
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PureWindowsPath
from typing import Any

Line = dict[str, Any]

DEFAULT_SEED = 7
LAST_DAY = datetime(2026, 11, 20, tzinfo=UTC)
DAY_COUNT = 40
HOME = "/home/dev/code"

# Sessions started per hour of the day (UTC), as weights: two peaks, a lunch, some evenings.
HOUR_WEIGHTS = {8: 5, 9: 9, 10: 10, 11: 8, 12: 2, 13: 7, 14: 9, 15: 8, 16: 5, 19: 1, 20: 2, 21: 2}
SESSIONS_BY_WEEKDAY = ((1, 2), (1, 3), (2, 3), (1, 3), (1, 2), (0, 1), (0, 1))

CURRENT_VERSION = "2.1.246"
# Recorded only what a response started with, or the true output only on its last line.
PLACEHOLDER_VERSION, GROWING_VERSION = "2.1.19", "2.0.14"


@dataclass(frozen=True)
class Plan:
    """A plan of a project: the feature that failed and was tried again, and how far the work is."""

    name: str
    project: int
    start_day: int
    feature_count: int
    completed_count: int
    failed_number: int | None = None


PLANS = (
    Plan("refund-ledger", project=1, start_day=6, feature_count=5, completed_count=5, failed_number=3),
    Plan("offline-sync", project=3, start_day=17, feature_count=8, completed_count=3, failed_number=2),
    Plan("checkout-redesign", project=0, start_day=29, feature_count=6, completed_count=4),
)


@dataclass(frozen=True)
class Project:
    """A folder somebody works in, and what is in it."""

    path: str
    branch: str
    extension: str
    files: tuple[str, ...]
    test_command: str
    weight: int


PROJECTS = (
    Project(f"{HOME}/storefront", "main", "ts", ("src/cart", "src/checkout", "src/api/client"), "npm test", 6),
    Project(
        f"{HOME}/payments-api", "develop", "py", ("app/refunds", "app/ledger", "tests/test_refunds"), "pytest -q", 5
    ),
    Project(f"{HOME}/infra", "main", "tf", ("modules/queue/main", "modules/db/main", "envs/prod"), "terraform plan", 2),
    Project(f"{HOME}/notes-app", "main", "kt", ("app/NoteList", "app/Sync", "app/Search"), "./gradlew test", 3),
    Project("C:\\work\\desktop-client", "main", "cs", ("App/Window", "App/Updater"), "dotnet test", 1),
)
WORKTREE = dataclasses.replace(
    PROJECTS[1], path=f"{HOME}/payments-api/.claude/worktrees/retry-fix", branch="worktree-retry-fix"
)

MODELS = (("claude-opus-5-5", 5), ("claude-sonnet-5-5", 6), ("claude-haiku-5-5", 1), ("claude-opus-4-8", 1))
AGENT_MODEL, UNKNOWN_MODEL, FAST_MODEL = "claude-haiku-4-5-20251001", "glm-4.7", "claude-opus-4-8"

PROMPTS = (
    "Fix the failing test in {file}",
    "Why does {file} time out under load?",
    "Add input validation to {file}",
    "Refactor {file} into smaller functions",
    "Write tests for {file}",
    "Document how {file} works",
    "Review the last change to {file}",
    "Explain what {file} does in two sentences",
    "Upgrade the dependency that {file} uses",
    "Make {file} faster, it dominates the profile",
    "yes, go ahead",
    "Now do the same for the other module",
)
REPLIES = (
    "Done, and the tests pass.",
    "The cause is a missing null check.",
    "I changed two functions.",
    "Here is the plan.",
)

# What each session is there to show, in turn, so that every seed has all of it.
FEATURES = (
    "plain", "subagent", "plan_accepted", "mcp", "rejected", "web", "compaction", "plain", "slash_command", "fork",
    "api_error", "fast", "pull_request", "interrupted", "skill", "placeholder", "subagent", "plan_rejected",
    "unknown_model", "worktree", "growing", "parallel",
)  # fmt: skip


@dataclass
class Truth:
    """What a correct pipeline must count, added up while the data is written."""

    counts: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    requests_by_model: Counter[str] = field(default_factory=Counter)
    requests_by_project: Counter[str] = field(default_factory=Counter)
    requests_by_date: Counter[str] = field(default_factory=Counter)
    usage_quality: Counter[str] = field(default_factory=Counter)
    tool_calls_by_tool: Counter[str] = field(default_factory=Counter)
    tool_calls_by_outcome: Counter[str] = field(default_factory=Counter)
    hook_events_by_type: Counter[str] = field(default_factory=Counter)
    session_ids: set[str] = field(default_factory=set)

    def as_dict(self) -> dict[str, Any]:
        """As it stands in truth.json."""
        groups = {
            entry.name: dict(sorted(getattr(self, entry.name).items()))
            for entry in dataclasses.fields(self)
            if entry.name not in {"counts", "session_ids"}
        }
        return {**dict(sorted(self.counts.items())), "sessions": len(self.session_ids), **groups}


@dataclass
class World:
    """One run of the generator: its chance, what it has counted, what it will write."""

    chance: random.Random
    truth: Truth = field(default_factory=Truth)
    files: dict[str, str] = field(default_factory=dict)
    hook_events: list[Line] = field(default_factory=list)

    def new_uuid(self) -> str:
        """A random UUID that the seed decides."""
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))

    def new_id(self, prefix: str) -> str:
        """An id as the API makes them."""
        return prefix + "".join(self.chance.choices(string.ascii_letters + string.digits, k=22))

    def new_hex(self, length: int) -> str:
        """Lower-case hexadecimal digits."""
        return "".join(self.chance.choices("0123456789abcdef", k=length))


@dataclass(frozen=True)
class ToolRun:
    """A tool call as it will be told: what went in, what came out, how it ended and how long it took."""

    name: str
    arguments: Line
    content: str
    result: Line | str | None
    outcome: str = "success"
    duration_ms: int = 40
    added_lines: int = 0
    removed_lines: int = 0


@dataclass
class Transcript:
    """A transcript that grows line by line: a session's, or a subagent's when it has an agent id."""

    world: World
    project: Project
    session_id: str
    now: datetime
    model: str
    version: str = CURRENT_VERSION
    agent_id: str = ""
    agent_type: str = ""
    speed: str = "standard"
    permission_mode: str = "default"
    has_hooks: bool = False
    lines: list[Line] = field(default_factory=list)
    parent_uuid: str | None = None
    prompt_id: str = ""
    context_tokens: int = 18_000
    turn_ends: list[int] = field(default_factory=list)

    # ------------------------------------------------------------ time and envelope

    def wait(self, low_ms: int, high_ms: int) -> int:
        """Let time pass; returns how much."""
        elapsed_ms = self.world.chance.randint(low_ms, high_ms)
        self.now += timedelta(milliseconds=elapsed_ms)
        return elapsed_ms

    def add(self, kind: str, **fields: Any) -> Line:
        """Append one line of the conversation, linked to the one before."""
        line: Line = {
            "parentUuid": self.parent_uuid,
            "isSidechain": bool(self.agent_id),
            **({"agentId": self.agent_id} if self.agent_id else {}),
            **fields,
            "type": kind,
            "uuid": self.world.new_uuid(),
            "timestamp": timestamp(self.now),
            "userType": "external",
            "cwd": self.project.path,
            "sessionId": self.session_id,
            "version": self.version,
            "gitBranch": self.project.branch,
        }
        if self.version == CURRENT_VERSION:
            line["entrypoint"] = "cli"
        self.parent_uuid = line["uuid"]
        self.lines.append(line)
        return line

    def add_state(self, kind: str, **fields: Any) -> None:
        """Append one line of state: no uuid, no time."""
        self.lines.append({"type": kind, **fields, "sessionId": self.session_id})

    def fire(self, event: str, **data: Any) -> None:
        """Tell the hooks, where this session has any."""
        if not self.has_hooks:
            return
        payload = {"session_id": self.session_id, "cwd": self.project.path, "hook_event_name": event}
        if event not in {"SessionStart", "SessionEnd"}:
            payload |= {"permission_mode": self.permission_mode, "prompt_id": self.prompt_id}
        if self.agent_id:
            payload |= {"agent_id": self.agent_id, "agent_type": self.agent_type}
        self.world.hook_events.append(
            {
                "event": re.sub(r"(?<!^)(?=[A-Z])", "-", event).lower(),
                "timestamp": timestamp(self.now + timedelta(milliseconds=3)),
                "session_id": self.session_id,
                "data": {**payload, **data},
            }
        )
        self.world.truth.hook_events_by_type[event] += 1

    # ------------------------------------------------------------ what people and programs say

    def say(self, text: str) -> None:
        """A person types a prompt."""
        self.prompt_id = self.world.new_uuid()
        extra: Line = {"promptId": self.prompt_id} if self.version == CURRENT_VERSION else {}
        if self.version == CURRENT_VERSION and not self.agent_id:
            extra |= {"promptSource": "typed", "permissionMode": self.permission_mode, "origin": {"kind": "human"}}
        self.add("user", message={"role": "user", "content": text}, **extra)
        if not self.agent_id:
            self.world.truth.counts["prompts"] += 1
            self.fire("UserPromptSubmit", prompt=text)
        self.wait(900, 4_000)

    def add_meta(self, text: str, **fields: Any) -> None:
        """A user line that no person typed."""
        self.add("user", message={"role": "user", "content": text}, **fields)

    def respond(self, text: str, runs: list[ToolRun] | None = None) -> None:
        """One API response, a line for each of its blocks, and then the results of its tools."""
        runs = runs or []
        chance, truth = self.world.chance, self.world.truth
        blocks: list[Line] = []
        if chance.random() < 0.3:
            blocks.append({"type": "thinking", "thinking": "", "signature": self.world.new_id("Eq")})
        if text:
            blocks.append({"type": "text", "text": text})
        identified = [(self.world.new_id("toolu_01")[:30], run) for run in runs]
        blocks += [{"type": "tool_use", "id": key, "name": run.name, "input": run.arguments} for key, run in identified]

        usage, recorded_outputs, stop_reason, quality = self._measure(len(blocks), has_tools=bool(runs))
        message_id, request_id = self.world.new_id("msg_01"), self.world.new_id("req_011")
        first_at = self.now
        for number, block in enumerate(blocks):
            message = {
                "model": self.model,
                "id": message_id,
                "type": "message",
                "role": "assistant",
                "content": [block],
                "stop_reason": stop_reason,
                "stop_sequence": None,
                "usage": {**usage, "output_tokens": recorded_outputs[number]},
            }
            line = self.add("assistant", message=message, requestId=request_id)
            self.wait(200, 2_500)
            if block["type"] == "tool_use":
                run = identified[number - (len(blocks) - len(runs))][1]
                self.fire("PreToolUse", tool_name=run.name, tool_input=run.arguments, tool_use_id=block["id"])
        for key, run in identified:
            self._answer(key, run, line["uuid"])

        created = usage["cache_creation"]
        truth.counts["requests"] += 1
        truth.counts["fast_requests"] += self.speed == "fast"
        truth.tokens["input"] += usage["input_tokens"]
        truth.tokens["output"] += recorded_outputs[-1]
        truth.tokens["cache_creation_5m"] += created["ephemeral_5m_input_tokens"]
        truth.tokens["cache_creation_1h"] += created["ephemeral_1h_input_tokens"]
        truth.tokens["cache_read"] += usage["cache_read_input_tokens"]
        truth.requests_by_model[self.model] += 1
        truth.requests_by_project[self.project.path.split("/.claude/")[0]] += 1
        truth.requests_by_date[f"{first_at:%Y-%m-%d}"] += 1
        truth.usage_quality[quality] += 1

    def _measure(self, block_count: int, *, has_tools: bool) -> tuple[Line, list[int], str | None, str]:
        chance = self.world.chance
        written = chance.randint(300, 4_000) if self.context_tokens > 18_000 else 18_000
        is_short_lived = bool(self.agent_id) or self.version in {PLACEHOLDER_VERSION, GROWING_VERSION}
        usage: Line = {
            "input_tokens": chance.randint(2, 12),
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": max(0, self.context_tokens - 18_000),
            "cache_creation": {
                "ephemeral_5m_input_tokens": written if is_short_lived else 0,
                "ephemeral_1h_input_tokens": 0 if is_short_lived else written,
            },
            "service_tier": "standard",
        }
        if self.version == CURRENT_VERSION:
            usage["speed"] = self.speed
        output = chance.randint(60, 900) * (1 if has_tools else 2)
        self.context_tokens += written + output
        stop_reason = "tool_use" if has_tools else "end_turn"
        if self.version == PLACEHOLDER_VERSION:
            return usage, [chance.randint(1, 8)] * block_count, None, "placeholder"
        if self.version == GROWING_VERSION and block_count > 1:
            return usage, [*[chance.randint(1, 8)] * (block_count - 1), output], None, "grown"
        return usage, [output] * block_count, stop_reason, "final"

    def _answer(self, tool_use_id: str, run: ToolRun, asked_by: str) -> None:
        truth = self.world.truth
        truth.counts["tool_calls"] += 1
        truth.tool_calls_by_tool[run.name] += 1
        truth.tool_calls_by_outcome[run.outcome] += 1
        if run.outcome == "unanswered":
            return
        common = {"tool_name": run.name, "tool_input": run.arguments}
        if run.outcome == "rejected":
            self.fire("PermissionRequest", **common)
        self.now += timedelta(milliseconds=run.duration_ms)
        self.wait(20, 300)
        block: Line = {"tool_use_id": tool_use_id, "type": "tool_result", "content": run.content}
        if run.outcome != "success":
            block["is_error"] = True
        extra: Line = {} if run.result is None else {"toolUseResult": run.result}
        if self.version != GROWING_VERSION:
            extra["sourceToolAssistantUUID"] = asked_by
        self.add("user", message={"role": "user", "content": [block]}, **extra)
        if run.outcome == "success":
            truth.counts["added_lines"] += run.added_lines
            truth.counts["removed_lines"] += run.removed_lines
            response = run.result if isinstance(run.result, dict) and len(str(run.result)) < 200 else run.content[:120]
            self.fire(
                "PostToolUse", **common, tool_response=response, tool_use_id=tool_use_id, duration_ms=run.duration_ms
            )
        elif run.outcome == "error":
            self.fire(
                "PostToolUseFailure", **common, tool_use_id=tool_use_id, error=run.content, duration_ms=run.duration_ms
            )

    def end_turn(self, started_at: datetime) -> None:
        """Close a turn as Claude Code does, and note where a fork may cut."""
        self.add(
            "system",
            subtype="turn_duration",
            durationMs=int((self.now - started_at) / timedelta(milliseconds=1)),
            isMeta=False,
        )
        self.turn_ends.append(len(self.lines))
        self.fire("Stop", stop_hook_active=False)
        self.wait(15_000, 240_000)


# ---------------------------------------------------------------- tools


def make_patch(chance: random.Random, *, start: int) -> tuple[list[Line], int, int]:
    """A structured patch, and how many lines it adds and removes."""
    removed, added = chance.randint(0, 4), chance.randint(1, 7)
    lines = [" unchanged()", *[f"-old_{n}()" for n in range(removed)], *[f"+new_{n}()" for n in range(added)]]
    hunk = {"oldStart": start, "oldLines": removed + 1, "newStart": start, "newLines": added + 1, "lines": lines}
    return [hunk], added, removed


def make_run(world: World, project: Project, name: str) -> ToolRun:
    """An ordinary, successful call of a built-in tool."""
    chance = world.chance
    separator = "\\" if "\\" in project.path else "/"
    file = separator.join((project.path, f"{chance.choice(project.files)}.{project.extension}"))
    if name == "Read":
        count = chance.randint(3, 6)
        text = "\n".join(f"line_{n}()" for n in range(count))
        shown = {"filePath": file, "content": text, "numLines": count, "startLine": 1, "totalLines": count}
        numbered = "\n".join(f"{n}\tline_{n}()" for n in range(count))
        return ToolRun(
            name, {"file_path": file}, numbered, {"type": "text", "file": shown}, duration_ms=chance.randint(4, 30)
        )
    if name == "Edit":
        patch, added, removed = make_patch(chance, start=chance.randint(1, 90))
        old = "\n".join(line[1:] for line in patch[0]["lines"] if line[0] in " -")
        new = "\n".join(line[1:] for line in patch[0]["lines"] if line[0] in " +")
        arguments = {"file_path": file, "old_string": old, "new_string": new, "replace_all": False}
        result = {"filePath": file, "oldString": old, "newString": new, "structuredPatch": patch, "userModified": False}
        content = f"The file {file} has been updated successfully."
        return ToolRun(name, arguments, content, result, "success", chance.randint(8, 60), added, removed)
    if name == "Write":
        file = file.replace(f".{project.extension}", f"_{world.new_hex(4)}.{project.extension}")
        count = chance.randint(4, 14)
        text = "".join(f"created_{n}()\n" for n in range(count))
        result = {"type": "create", "filePath": file, "content": text, "structuredPatch": [], "originalFile": None}
        content = f"File created successfully at: {file}"
        return ToolRun(
            name, {"file_path": file, "content": text}, content, result, "success", chance.randint(8, 60), count
        )
    if name == "Grep":
        found = [f"{entry}.{project.extension}" for entry in project.files]
        result = {"mode": "files_with_matches", "filenames": found, "numFiles": len(found)}
        return ToolRun(name, {"pattern": "retry"}, "\n".join(found), result, duration_ms=chance.randint(15, 200))
    if name == "Glob":
        elapsed_ms = chance.randint(5, 90)
        result = {"filenames": [file], "durationMs": elapsed_ms, "numFiles": 1, "truncated": False}
        return ToolRun(name, {"pattern": f"**/*.{project.extension}"}, file, result, duration_ms=elapsed_ms)
    command = chance.choice((project.test_command, "git status --short", "git diff --stat"))
    result = {"stdout": "ok", "stderr": "", "interrupted": False, "isImage": False}
    return ToolRun(
        "Bash", {"command": command, "description": "Run it"}, "ok", result, duration_ms=chance.randint(80, 9_000)
    )


def make_failure(world: World, project: Project) -> ToolRun:
    """A call that runs and fails."""
    if world.chance.random() < 0.6:
        text = "Exit code 1\n2 tests failed"
        command = {"command": project.test_command, "description": "Run the tests"}
        return ToolRun("Bash", command, text, f"Error: {text}", "error", world.chance.randint(900, 20_000))
    ok = make_run(world, project, "Edit")
    text = "<tool_use_error>String to replace not found in file.</tool_use_error>"
    return dataclasses.replace(
        ok,
        content=text,
        result="Error: String to replace not found in file.",
        outcome="error",
        added_lines=0,
        removed_lines=0,
    )


def make_rejection(world: World, project: Project, name: str = "Edit") -> ToolRun:
    """A call that a person does not allow."""
    asked = ToolRun(name, {"plan": "1. Measure\n2. Change\n3. Test"}, "", None)
    if name != "ExitPlanMode":
        asked = make_run(world, project, name)
    text = (
        "The user doesn't want to proceed with this tool use. The tool use was rejected (eg. if it was a file edit,"
        " the new_string was NOT written to the file). STOP what you are doing and wait for the user to tell you how to"
        " proceed."
    )
    return dataclasses.replace(
        asked, content=text, result="User rejected tool use", outcome="rejected",
        duration_ms=world.chance.randint(2_000, 30_000), added_lines=0, removed_lines=0,
    )  # fmt: skip


def make_special(world: World, feature: str) -> ToolRun:
    """The tool call that a feature is about."""
    chance = world.chance
    if feature == "mcp":
        server, tool = chance.choice(
            (("tracker", "get_issue"), ("browser", "take_screenshot"), ("github", "list_pull_requests"))
        )
        return ToolRun(
            f"mcp__{server}__{tool}", {"id": "DEMO-42"}, "DEMO-42: open", None, duration_ms=chance.randint(200, 2_500)
        )
    if feature == "skill":
        result = {"success": True, "commandName": "release-notes"}
        return ToolRun("Skill", {"skill": "release-notes"}, "Launching skill: release-notes", result)
    if feature == "web":
        if chance.random() < 0.5:
            seconds = round(chance.uniform(1, 6), 3)
            result = {"query": "retry backoff jitter", "results": [], "durationSeconds": seconds}
            return ToolRun(
                "WebSearch", {"query": result["query"]}, "3 results", result, duration_ms=int(seconds * 1000)
            )
        elapsed_ms = chance.randint(300, 4_000)
        url = "https://docs.example.com/retry"
        result = {
            "bytes": 5120,
            "code": 200,
            "codeText": "OK",
            "result": "A page",
            "durationMs": elapsed_ms,
            "url": url,
        }
        return ToolRun("WebFetch", {"url": url, "prompt": "Summarise"}, "A page", result, duration_ms=elapsed_ms)
    plan = {"plan": "1. Measure\n2. Change\n3. Test"}
    return ToolRun(
        "ExitPlanMode", plan, "User has approved your plan. You can now start coding.", {**plan, "isAgent": False}
    )


# ---------------------------------------------------------------- sessions


def write_turn(transcript: Transcript, prompt: str, special: list[ToolRun] | None = None) -> None:
    """A prompt, some rounds of tools, an answer."""
    world, project = transcript.world, transcript.project
    chance = world.chance
    started_at = transcript.now
    transcript.say(prompt)
    if special:
        transcript.respond("", special)
    for _ in range(chance.randint(1, 4)):
        if chance.random() < 0.09:
            runs = [make_failure(world, project)]
        else:
            count = 2 if chance.random() < 0.25 else 1
            names = chance.choices(("Read", "Edit", "Bash", "Grep", "Glob", "Write"), (7, 6, 7, 3, 1, 1), k=count)
            runs = [make_run(world, project, name) for name in names]
        transcript.respond("On it." if chance.random() < 0.3 else "", runs)
        transcript.wait(500, 6_000)
    transcript.respond(chance.choice(REPLIES))
    transcript.end_turn(started_at)


def write_subagent(session: Transcript) -> None:
    """A turn that hands work to a subagent with a transcript of its own."""
    world = session.world
    chance = world.chance
    agent_type = chance.choice(("Explore", "code-reviewer", "general-purpose"))
    task = f"Find every caller in {chance.choice(session.project.files)}"
    agent = dataclasses.replace(
        session, model=AGENT_MODEL, agent_id=world.new_hex(17), agent_type=agent_type, lines=[], turn_ends=[],
        parent_uuid=None, context_tokens=18_000, now=session.now + timedelta(seconds=8),
    )  # fmt: skip
    agent.fire("SubagentStart")
    agent.add("user", message={"role": "user", "content": task})
    for _ in range(chance.randint(2, 4)):
        agent.respond("", [make_run(world, session.project, chance.choice(("Read", "Grep", "Glob")))])
        agent.wait(500, 3_000)
    agent.respond("Four callers, all in one module.")
    agent.fire("SubagentStop", stop_hook_active=False)
    elapsed_ms = int((agent.now - session.now) / timedelta(milliseconds=1))
    # The usage a result quotes is the subagent's last request, never a total: it is here to be ignored.
    quoted = {
        "input_tokens": 3,
        "output_tokens": 210,
        "cache_read_input_tokens": 9_000,
        "cache_creation_input_tokens": 120,
    }
    result = {
        "status": "completed", "agentId": agent.agent_id, "prompt": task,
        "content": [{"type": "text", "text": "Four callers."}],
        "totalDurationMs": elapsed_ms, "totalTokens": 9_333, "totalToolUseCount": 3, "usage": quoted,
    }  # fmt: skip
    arguments = {"description": "Find callers", "prompt": task, "subagent_type": agent_type}
    position = len(session.lines)
    write_turn(
        session, f"Who calls {chance.choice(session.project.files)}?",
        [ToolRun("Agent", arguments, "Four callers.", result, duration_ms=elapsed_ms)],
    )  # fmt: skip
    tool_use_id = next(
        block["id"]
        for line in session.lines[position:]
        if line["type"] == "assistant"
        for block in line["message"]["content"]
        if block.get("name") == "Agent"
    )
    meta = {"agentType": agent_type, "description": "Find callers", "toolUseId": tool_use_id, "spawnDepth": 1}
    stem = f"{folder_of(session)}/{session.session_id}/subagents/agent-{agent.agent_id}"
    world.files[f"{stem}.jsonl"] = to_jsonl(agent.lines)
    world.files[f"{stem}.meta.json"] = to_json(meta)
    world.truth.counts["subagent_files"] += 1


def write_compaction(session: Transcript) -> None:
    """The context is summarised and starts small again."""
    session.fire("PreCompact", trigger="auto", custom_instructions=None)
    session.wait(8_000, 25_000)
    before, session.parent_uuid = session.parent_uuid, None
    session.add(
        "system",
        subtype="compact_boundary",
        content="Conversation compacted",
        logicalParentUuid=before,
        compactMetadata={"trigger": "auto", "preTokens": 155_000, "postTokens": 22_000},
    )
    session.add_meta(
        "This session is being continued from a previous conversation. Summary: work went on.", isCompactSummary=True
    )
    session.context_tokens = 22_000
    session.world.truth.counts["compactions"] += 1


def write_api_error(session: Transcript) -> None:
    """Retries, then a message that no model wrote."""
    truth = session.world.truth
    session.say("Run the whole suite once more")
    for attempt in (1, 2):
        session.add(
            "system", subtype="api_error", level="error", retryInMs=600 * attempt, retryAttempt=attempt, maxRetries=10
        )
        session.wait(600, 2_000)
        truth.counts["api_retries"] += 1
    text = 'API Error: 529 {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    message = {
        "model": "<synthetic>",
        "id": session.world.new_uuid(),
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "stop_sequence",
        "usage": {
            "input_tokens": 0,
            "output_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
    }
    session.add("assistant", message=message, isApiErrorMessage=True, error="overloaded")
    truth.counts["api_errors"] += 1
    session.fire("StopFailure", error="overloaded")
    session.wait(20_000, 90_000)


def write_slash_command(session: Transcript) -> None:
    """A command: tags that look like a prompt but are none, with its output."""
    session.add_meta(
        "<local-command-caveat>Caveat: the messages below were made by a command.</local-command-caveat>", isMeta=True
    )
    session.add_meta(
        "<command-name>/context</command-name>\n<command-message>context</command-message>\n<command-args></command-args>"
    )
    session.add("system", subtype="local_command", content="<local-command-stdout>22k tokens</local-command-stdout>")
    session.world.truth.counts["slash_commands"] += 1
    session.wait(3_000, 9_000)


def write_feature(session: Transcript, feature: str, prompt: str) -> None:
    """The turn that a session is there to show."""
    world, project = session.world, session.project
    if feature == "subagent":
        write_subagent(session)
    elif feature == "compaction":
        write_compaction(session)
    elif feature == "api_error":
        write_api_error(session)
    elif feature == "slash_command":
        write_slash_command(session)
    elif feature == "rejected":
        write_turn(session, prompt, [make_rejection(world, project)])
    elif feature == "plan_rejected":
        write_turn(session, prompt, [make_rejection(world, project, "ExitPlanMode")])
    elif feature == "parallel":
        write_turn(session, prompt, [make_run(world, project, "Read") for _ in range(3)])
    elif feature in {"mcp", "skill", "web", "plan_accepted"}:
        write_turn(session, prompt, [make_special(world, feature)])
    elif feature == "interrupted":
        session.say(prompt)
        run = dataclasses.replace(make_run(world, project, "Bash"), outcome="unanswered")
        session.respond("Starting.", [run])
        session.add(
            "user", message={"role": "user", "content": [{"type": "text", "text": "[Request interrupted by user]"}]}
        )
        world.truth.counts["interrupts"] += 1
        session.wait(5_000, 20_000)
    elif feature == "pull_request":
        write_turn(session, prompt)
        number = world.chance.randint(10, 400)
        repository = f"example/{PureWindowsPath(project.path).name}"  # which knows the separators of both
        link = {
            "prNumber": number,
            "prUrl": f"https://github.com/{repository}/pull/{number}",
            "prRepository": repository,
        }
        session.add_state("pr-link", **link, timestamp=timestamp(session.now))
        world.truth.counts["pull_requests"] += 1


def write_session(
    world: World, started_at: datetime, feature: str, number: int, origin: Transcript | None
) -> Transcript:
    """One session from its start to its end; a fork continues a copy of its origin."""
    chance = world.chance
    project = chance.choices(PROJECTS, [entry.weight for entry in PROJECTS])[0]
    model = chance.choices([name for name, _ in MODELS], [weight for _, weight in MODELS])[0]
    session = Transcript(world, project, world.new_uuid(), started_at, model)
    if feature == "worktree":
        session.project = WORKTREE
    elif feature == "fast":
        session.model, session.speed = FAST_MODEL, "fast"
    elif feature == "unknown_model":
        session.model = UNKNOWN_MODEL
    elif feature == "placeholder":
        session.version, session.model = PLACEHOLDER_VERSION, "claude-opus-4-5-20251101"
    elif feature == "growing":
        session.version, session.model = GROWING_VERSION, "claude-sonnet-4-5-20250929"
    if feature.startswith("plan"):
        session.permission_mode = "plan"
    session.has_hooks = session.version == CURRENT_VERSION and number % 8 != 0

    session.add_state("permission-mode", permissionMode=session.permission_mode)
    is_fork = feature == "fork" and origin is not None
    if origin is not None and is_fork:
        copy_history(session, origin)
    session.fire("SessionStart", source="fork" if is_fork else "startup", model=session.model)
    for turn in range(chance.randint(2, 5)):
        prompt = chance.choice(PROMPTS).format(file=chance.choice(session.project.files))
        if turn == 1:
            write_feature(session, feature, prompt)
        else:
            write_turn(session, prompt)
    if chance.random() < 0.4:
        session.fire("Notification", message="Claude is waiting for your input", notification_type="idle_prompt")
    session.add_state(
        "ai-title", aiTitle=f"Session {number} in {Path(session.project.path.replace(chr(92), '/')).name}"
    )
    session.add_state("last-prompt", lastPrompt="yes, go ahead")
    session.fire("SessionEnd", reason="prompt_input_exit")
    world.truth.session_ids.add(session.session_id)
    world.truth.counts["session_files"] += 1
    return session


def copy_history(session: Transcript, origin: Transcript) -> None:
    """A fork starts with its origin's first turns, still under the origin's session id."""
    session.project, session.model = origin.project, origin.model
    copied = [line for line in origin.lines[: origin.turn_ends[0]] if "uuid" in line]
    session.lines += copied
    session.parent_uuid = copied[-1]["uuid"]
    session.context_tokens = 30_000
    session.world.truth.counts["copied_lines"] += len(copied)


# ---------------------------------------------------------------- plans


def write_plan(world: World, plan: Plan) -> list[Line]:
    """The events of a plan, as a project's archive keeps them: features one after the other, the last one under way."""
    now = LAST_DAY - timedelta(days=DAY_COUNT - 1 - plan.start_day) + timedelta(hours=9)
    is_done = plan.completed_count == plan.feature_count
    path = f"{PROJECTS[plan.project].path}/dev/{'complete' if is_done else 'active'}/{plan.name}"
    events: list[Line] = []

    def tell(event_type: str, status: str, number: int | None = None, **data: Any) -> None:
        event = {"id": world.new_uuid(), "timestamp": timestamp(now), "event_type": event_type,
                 "plan_name": plan.name, "plan_path": path, "status": status}  # fmt: skip
        if number is not None:
            event |= {"feature_id": f"F{number:03d}", "feature_description": f"part {number} of {plan.name}"}
        events.append({**event, "data": data})

    tell("plan_created", "active")
    for number in range(1, plan.feature_count + 1):
        tell("feature_created", "pending", number, depends_on=[f"F{number - 1:03d}"] if number > 1 else [])
    now += timedelta(hours=1)
    tell("orchestration_started", "active")
    for number in range(1, min(plan.completed_count + 1, plan.feature_count) + 1):
        now += timedelta(minutes=world.chance.randint(3, 600))
        tell("feature_started", "in_progress", number)
        if number == plan.failed_number:
            now += timedelta(minutes=world.chance.randint(5, 40))
            tell("feature_failed", "failed", number)
            now += timedelta(minutes=world.chance.randint(1, 20))
            tell("feature_started", "in_progress", number)
        if number <= plan.completed_count:
            now += timedelta(minutes=world.chance.randint(8, 90))
            tell("feature_completed", "completed", number)
    if is_done:
        tell("orchestration_completed", "completed")
    return events


# ---------------------------------------------------------------- the whole


def build_sample(seed: int) -> dict[str, str]:
    """Every file of the sample by its path. Pure: the seed decides every byte."""
    world = World(random.Random(seed))  # noqa: S311
    starts = sorted(iter_starts(world.chance))
    origin: Transcript | None = None
    for number, started_at in enumerate(starts):
        session = write_session(world, started_at, FEATURES[number % len(FEATURES)], number, origin)
        # Only a current session with a whole first turn can be forked.
        if session.version == CURRENT_VERSION and session.turn_ends and FEATURES[number % len(FEATURES)] == "plain":
            origin = session
        text = to_jsonl(session.lines)
        if number == len(starts) // 3:
            # A write that never ended, followed by others: the one line a pipeline must reject.
            text += '{"type":"progress","data":{"type":"hook_progress","hookEvent":"Stop\n' + to_jsonl(
                [session.lines[0]]
            )
            world.truth.counts["rejected_lines"] += 1
        if number == len(starts) - 1:
            # The session is still going on: its last line waits for its end.
            text += '{"type":"system","subtype":"turn_duration","durationMs":41'
            world.truth.counts["unfinished_lines"] += 1
        world.files[f"{folder_of(session)}/{session.session_id}.jsonl"] = text
    world.hook_events.sort(key=lambda event: str(event["timestamp"]))
    world.files["hooks/events.jsonl"] = to_jsonl(world.hook_events)
    plan_events = [event for plan in PLANS for event in write_plan(world, plan)]
    world.files["plans/plan-events.jsonl"] = to_jsonl(plan_events)
    transcripts = [
        text for name, text in world.files.items() if name.startswith("projects/") and name.endswith(".jsonl")
    ]
    world.truth.counts["transcript_lines"] = sum(text.count("\n") for text in transcripts)
    world.truth.counts["hook_events"] = len(world.hook_events)
    world.truth.counts["plan_events"] = len(plan_events)
    world.truth.counts["completed_plan_features"] = sum(plan.completed_count for plan in PLANS)
    first_day = LAST_DAY - timedelta(days=DAY_COUNT - 1)
    period = {"seed": seed, "first_date": f"{first_day:%Y-%m-%d}", "last_date": f"{LAST_DAY:%Y-%m-%d}"}
    world.files["truth.json"] = json.dumps({**period, **world.truth.as_dict()}, indent=2) + "\n"
    return world.files


def iter_starts(chance: random.Random) -> list[datetime]:
    """When sessions start: more on weekdays, by the weights of the hours."""
    starts = []
    for day_number in range(DAY_COUNT):
        day = LAST_DAY - timedelta(days=DAY_COUNT - 1 - day_number)
        count = chance.randint(*SESSIONS_BY_WEEKDAY[day.weekday()])
        hours = chance.choices(list(HOUR_WEIGHTS), list(HOUR_WEIGHTS.values()), k=count)
        starts += [day + timedelta(hours=hour, seconds=chance.randint(0, 3_599)) for hour in hours]
    return starts


def folder_of(session: Transcript) -> str:
    """The folder that Claude Code makes of a working directory."""
    return "projects/" + re.sub(r"[^A-Za-z0-9]", "-", session.project.path)


def timestamp(instant: datetime) -> str:
    """As transcripts write it: UTC, milliseconds, Z."""
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03d}Z"


def to_json(value: Line) -> str:
    """Compact JSON, as transcripts are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def to_jsonl(lines: list[Line]) -> str:
    """One JSON object a line."""
    return "".join(to_json(line) + "\n" for line in lines)


def write_sample(folder: Path, seed: int) -> dict[str, str]:
    """Write the sample into a folder and return its files. Files of another seed are not removed."""
    files = build_sample(seed)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return files


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m analytics.sample", description="Write the sample data.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into, for example data/sample")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help=f"decides every byte (default {DEFAULT_SEED})")
    options = parser.parse_args(arguments)
    files = write_sample(options.out, options.seed)
    size_kb = sum(len(text.encode()) for text in files.values()) // 1000
    print(f"sample     {len(files)} files   {size_kb:,} kB   {options.out}")
    return 0
