from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from analytics.sample import SAMPLE_DIR
from analytics.sample.generator import DEFAULT_SEED, build_sample, main


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return build_sample(DEFAULT_SEED)


@pytest.fixture(scope="module")
def truth(files: dict[str, str]) -> dict[str, Any]:
    return json.loads(files["truth.json"])


@pytest.fixture(scope="module")
def lines(files: dict[str, str]) -> list[dict[str, Any]]:
    """Every line that parses, of every transcript."""
    parsed = []
    for name, text in files.items():
        if name.startswith("projects/") and name.endswith(".jsonl"):
            for line in text.split("\n"):
                try:
                    parsed.append(json.loads(line))
                except ValueError:
                    continue
    return parsed


def largest_by_message(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rule of one response: by message id, the line with the largest output."""
    kept: dict[str, dict[str, Any]] = {}
    for line in lines:
        message = line.get("message", {})
        if line["type"] != "assistant" or message["model"] == "<synthetic>":
            continue
        known = kept.get(message["id"])
        if known is None or message["usage"]["output_tokens"] > known["usage"]["output_tokens"]:
            kept[message["id"]] = message
    return kept


def test_sample_is_the_same_for_the_same_seed(files: dict[str, str]) -> None:
    assert build_sample(DEFAULT_SEED) == files
    assert build_sample(DEFAULT_SEED + 1) != files


def test_committed_sample_is_what_the_generator_writes(files: dict[str, str]) -> None:
    committed = {
        path.relative_to(SAMPLE_DIR).as_posix(): path.read_bytes().decode()
        for path in SAMPLE_DIR.rglob("*")
        if path.is_file()
    }
    assert sorted(committed) == sorted(files), "run: python -m analytics.sample --out data/sample"
    assert [name for name, text in files.items() if committed[name] != text] == []


def test_truth_agrees_with_the_rule_of_one_response(truth: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    messages = largest_by_message(lines).values()
    tokens: Counter[str] = Counter()
    for message in messages:
        usage = message["usage"]
        tokens["input"] += usage["input_tokens"]
        tokens["output"] += usage["output_tokens"]
        tokens["cache_read"] += usage["cache_read_input_tokens"]
        tokens["cache_creation_5m"] += usage["cache_creation"]["ephemeral_5m_input_tokens"]
        tokens["cache_creation_1h"] += usage["cache_creation"]["ephemeral_1h_input_tokens"]
    assert truth["tokens"] == dict(tokens)
    assert truth["requests"] == len(messages)
    assert truth["requests_by_model"] == Counter(message["model"] for message in messages)
    for group in ("requests_by_project", "requests_by_date", "usage_quality"):
        assert sum(truth[group].values()) == truth["requests"]


def test_truth_agrees_with_the_blocks(truth: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    uses, added, removed = {}, 0, 0
    for line in {line["uuid"]: line for line in lines if "uuid" in line}.values():
        content = line.get("message", {}).get("content")
        for block in content if isinstance(content, list) else []:
            if block["type"] == "tool_use":
                uses[block["id"]] = block["name"]
        result = line.get("toolUseResult")
        if isinstance(result, dict) and "structuredPatch" in result:
            patched = [text for hunk in result["structuredPatch"] for text in hunk["lines"]]
            added += sum(text[0] == "+" for text in patched) + result.get("content", "").count("\n")
            removed += sum(text[0] == "-" for text in patched)
    assert truth["tool_calls"] == len(uses) == sum(truth["tool_calls_by_outcome"].values())
    assert truth["tool_calls_by_tool"] == Counter(uses.values())
    assert (truth["added_lines"], truth["removed_lines"]) == (added, removed)


def test_truth_agrees_with_prompts_and_sessions(truth: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    said = {
        line["uuid"]
        for line in lines
        if line["type"] == "user"
        and not line["isSidechain"]
        and isinstance(line["message"]["content"], str)
        and not line.get("isMeta")
        and not line.get("isCompactSummary")
        and "<" not in line["message"]["content"]
    }
    assert truth["prompts"] == len(said)
    assert truth["sessions"] == len({line["sessionId"] for line in lines})


def test_one_line_is_malformed_and_one_is_unfinished(files: dict[str, str], truth: dict[str, Any]) -> None:
    malformed, unfinished = 0, 0
    for name, text in files.items():
        if name.endswith(".jsonl"):
            *whole, last = text.split("\n")
            unfinished += last != ""
            for line in whole:
                try:
                    json.loads(line)
                except ValueError:
                    malformed += 1
    assert (malformed, unfinished) == (1, 1)
    assert (truth["rejected_lines"], truth["unfinished_lines"]) == (1, 1)


def test_sample_shows_every_feature(truth: dict[str, Any]) -> None:
    shown = ("compactions", "api_errors", "interrupts", "pull_requests", "slash_commands", "copied_lines",
             "subagent_files", "fast_requests")  # fmt: skip
    assert [name for name in shown if not truth[name]] == []
    assert {"success", "error", "rejected", "unanswered"} == set(truth["tool_calls_by_outcome"])
    assert {"final", "grown", "placeholder"} == set(truth["usage_quality"])
    assert {"Agent", "ExitPlanMode", "Skill"} <= set(truth["tool_calls_by_tool"])
    assert any(name.startswith("mcp__") for name in truth["tool_calls_by_tool"])


def test_hook_events_agree_with_the_transcripts(
    files: dict[str, str], truth: dict[str, Any], lines: list[dict[str, Any]]
) -> None:
    events = [json.loads(line) for line in files["hooks/events.jsonl"].splitlines()]
    used = {
        block["id"]
        for line in lines
        if line["type"] == "assistant"
        for block in line["message"]["content"]
        if block["type"] == "tool_use"
    }
    told = {event["data"]["tool_use_id"] for event in events if "tool_use_id" in event["data"]}
    assert told
    assert told <= used
    assert truth["hook_events"] == len(events) == sum(truth["hook_events_by_type"].values())
    ended = [event["data"] for event in events if event["event"] in {"post-tool-use", "post-tool-use-failure"}]
    assert all(data["duration_ms"] > 0 for data in ended)


def test_command_writes_what_it_says(tmp_path: Any, files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--seed", str(DEFAULT_SEED)]) == 0
    assert (tmp_path / "truth.json").read_text(encoding="utf-8") == files["truth.json"]
    assert f"{len(files)} files" in capsys.readouterr().out
