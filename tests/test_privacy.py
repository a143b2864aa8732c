"""What people and models wrote stays in the lake: a marker in every kind of text, a whole run, and a search.

The lake (`data/raw`), what was refused and kept for its owner (`data/dead_letter`) and the warehouse
file, which is private to the pipeline, may hold text. Nothing else may.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analytics.cli import main
from analytics.config import DBT_DIR, PREPARED_DIR, Settings
from analytics.lake import Lake
from analytics.sources.annotations import write_events
from analytics.transformer import _without_data
from tests.builders import iter_contents, make_answer, make_prompt, make_settings, write_transcript

MARKER = "quixotic-marmalade"
# Below the data folder. Everything else is searched.
MAY_HOLD_TEXT = re.compile(r"/(raw|dead_letter|queue|annotations)/|/warehouse\.duckdb")


def write_markers(settings: Settings) -> None:
    """Transcript, hook and annotation with the marker wherever a person, a model or a tool writes freely."""
    use = {
        "type": "tool_use",
        "id": "t1",
        "name": "Bash",
        "input": {"command": f"echo {MARKER}", "description": MARKER},
    }
    edit = {"file_path": "/home/dev/app/a.py", "old_string": MARKER, "new_string": f"{MARKER} it's"}
    results: list[dict[str, Any]] = [
        {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": f"Exit code 1\n{MARKER}"},
        {"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": MARKER}]},
    ]
    write_transcript(
        settings,
        make_prompt(f"please don't tell {MARKER}"),
        make_answer("m1", content=[{"type": "thinking", "thinking": MARKER}, {"type": "text", "text": MARKER}, use]),
        make_answer(
            "m2",
            at="2026-01-02T10:00:03.000Z",
            content=[{"type": "tool_use", "id": "t2", "name": "Edit", "input": edit}],
        ),
        *(
            make_prompt(
                f"result {number}",
                at=f"2026-01-02T10:00:0{4 + number}.000Z",
                message={"role": "user", "content": [result]},
                toolUseResult={"stdout": MARKER, "stderr": MARKER},
            )
            for number, result in enumerate(results)
        ),
        make_prompt(
            f"<command-name>/{'x'}</command-name><command-args>{MARKER}</command-args>", "2026-01-02T10:00:07Z"
        ),
        {"type": "summary", "summary": MARKER, "leafUuid": "u"},
        {"type": "ai-title", "aiTitle": MARKER, "sessionId": "s1"},
        {"type": "queue-operation", "operation": "enqueue", "content": MARKER, "sessionId": "s1"},
        {"type": "a-kind-of-tomorrow", "sessionId": "s1", "timestamp": "2026-01-02T10:00:08Z", "words": MARKER},
        f'{{"type":"user","broken": "{MARKER}", '.encode(),
    )
    events = settings.data_dir / "queue" / "incoming"
    events.mkdir(parents=True)
    payload = {"hook_event_name": "UserPromptSubmit", "session_id": "s1", "cwd": "/home/dev/app", "prompt": MARKER}
    (events / "1767348000000000000-1.json").write_text(json.dumps(payload), encoding="utf-8")
    (events / "1767348000000000001-2.json").write_text(f'{{"prompt": "{MARKER}', encoding="utf-8")
    note = {"event_type": "noted", "session_id": "s1", "note": MARKER}
    write_events(settings, Lake(settings.data_dir, settings.host_id), [note])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = make_settings(tmp_path_factory.mktemp("privacy"))
    write_markers(settings)
    return settings


@pytest.fixture
def flags(world: Settings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("HOME", str(world.home_dir))
    monkeypatch.setenv("ANALYTICS_HOST_ID", "test")
    monkeypatch.setenv("ANALYTICS_VALIDATE", "always")
    monkeypatch.chdir(world.data_dir.parent)
    return ["--data-dir", str(world.data_dir), "--transcript-dirs", str(world.transcript_dirs[0]), "--timezone", "UTC"]


def contents_outside_the_lake(folder: Path) -> Iterator[tuple[str, bytes]]:
    for where, content in iter_contents(folder):
        if not MAY_HOLD_TEXT.search(f"/{content.decode()}" if where == "name" else where):
            yield where, content


def test_no_text_is_said_or_published(
    world: Settings, flags: list[str], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["run", "--json", *flags]) == 0
    for verb in (["status", "--json"], ["doctor"], ["load"]):
        main([*verb, *flags])
    said = capfd.readouterr()
    assert '"rows_rejected": 1' in said.out, "the markers were read"
    assert MARKER not in said.out + said.err + caplog.text
    held = {where for where, content in iter_contents(world.data_dir / "raw") if MARKER.encode() in content}
    assert held, "the lake keeps what was written: otherwise this test looks for nothing"
    places = dict(contents_outside_the_lake(world.data_dir))
    for left_behind in (DBT_DIR / "target", DBT_DIR / "logs", PREPARED_DIR):
        places |= dict(iter_contents(left_behind))
    for expected in ("report.html", "fct_messages.parquet decoded", "validation"):
        assert any(expected in where for where in places), expected
    assert [where for where, content in places.items() if MARKER.encode() in content] == []


def test_a_failed_build_says_no_value(world: Settings, flags: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """A value with a quote of its own ended the quoting, and its rest was said."""
    for message in (
        f"Conversion Error: Could not convert string 'I don't say {MARKER}' to INT32",
        f'Constraint Error: Duplicate key "a: {MARKER}" violates it',
        f'Conversion Error: invalid date field format: "{MARKER}", it\'s wrong',
    ):
        assert MARKER not in _without_data(message)
    assert _without_data('Catalog Error: Table with name "x" does not exist') == (
        "Catalog Error: Table with name '...' does not exist"
    )


def test_what_nobody_expected_is_told_by_its_kind(
    world: Settings, flags: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An engine's own error quotes the row that it stumbled over."""

    def stumble(*_: Any, **__: Any) -> None:
        raise ValueError(f"Could not convert {MARKER!r} with type str")

    monkeypatch.setattr("analytics.status.read_status", stumble)
    assert main(["status", *flags]) == 1
    said = capfd.readouterr().err
    assert "ValueError" in said
    assert "test_privacy.py" in said
    assert MARKER not in said
    with pytest.raises(ValueError, match=MARKER):
        main(["status", "--debug", *flags])
