"""`analytics capture`, as the command line calls it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from analytics.capture import command
from analytics.config import load_settings
from analytics.errors import ConfigError


@pytest.fixture
def run(tmp_path, capsys):
    settings = load_settings(
        {"data_dir": str(tmp_path / "data")}, environment={"HOME": str(tmp_path)}, dotenv=Path("/nonexistent")
    )

    def run(*words):
        parser = argparse.ArgumentParser()
        for flag in ("--json", "--quiet"):
            parser.add_argument(flag, action="store_true")
        command.add_arguments(parser)
        assert command.run(parser.parse_args(words), settings) == 0
        return capsys.readouterr().out

    return run


def test_install_status_uninstall(run, tmp_path):
    path = tmp_path / ".claude" / "settings.json"
    path.parent.mkdir()
    path.write_text('{"model": "opus"}\n')
    assert "32 events   changed" in run("install")
    assert "32 events   unchanged" in run("install")
    assert "registered     32 of 32 events" in run("status")
    assert json.loads(run("status", "--json"))["is_hook_present"] is True
    assert "32 events   changed" in run("uninstall")
    assert path.read_text() == '{"model": "opus"}\n'


def test_install_of_chosen_events_in_a_project(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("install", "--scope", "local", "--events", "Stop, SessionEnd")
    assert list(json.loads((tmp_path / ".claude" / "settings.local.json").read_text())["hooks"]) == [
        "Stop",
        "SessionEnd",
    ]
    assert "missing    SessionStart" in run("status", "--scope", "local")


def test_install_warns_of_an_event_that_it_replaces(run):
    assert "warning    WorktreeCreate" in run("install", "--events", "WorktreeCreate")


def test_install_and_status_warn_where_no_hook_is_run(run, tmp_path):
    path = tmp_path / ".claude" / "settings.json"
    path.parent.mkdir()
    path.write_text('{"disableAllHooks": true}\n')
    for action in ("install", "install", "status"):
        assert "disableAllHooks is set in this file: nothing is captured" in run(action)


def test_status_warns_of_a_missing_command(run, tmp_path):
    run("install", "--events", "Stop")
    for file in (tmp_path / "data" / "capture").iterdir():
        file.unlink()
    assert "is missing: run capture install again" in run("status")


def test_replay_counts_what_goes_back(run, tmp_path):
    failed = tmp_path / "data" / "queue" / "failed"
    failed.mkdir(parents=True)
    (failed / "a.json").write_text("{}")
    (failed / "a.json.reason.json").write_text("{}")
    assert "1 files   back in the queue" in run("replay")
    assert [path.name for path in (tmp_path / "data" / "queue" / "incoming").iterdir()] == ["a.json"]


def test_unknown_event_is_a_usage_error(run):
    with pytest.raises(ConfigError, match="Nope is no hook event"):
        run("install", "--events", "Nope")


def test_install_for_an_old_claude_code_says_what_it_leaves_out(run, tmp_path):
    projects = tmp_path / ".claude" / "projects" / "p"
    projects.mkdir(parents=True)
    run("install")
    (projects / "s.jsonl").write_text('{"type": "user", "version": "2.1.30"}\n')
    assert "Claude Code 2.1.30 ignores all of" in run("status")
    printed = run("install")
    assert "install     13 events   changed" in printed
    assert "left out    19 events   for which Claude Code 2.1.30 would ignore the whole file" in printed
    assert "left out    19 events" in run("install")
    assert "registered     13 of 13 events" in run("status")
    assert "ignores" not in run("status")
