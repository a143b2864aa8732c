"""The installer: what is not ours keeps its bytes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.capture import installer
from analytics.capture.settings_text import build_handler, build_installed, build_uninstalled, is_ours
from analytics.capture.status import read_status
from analytics.contracts.hook_events import EVENTS
from analytics.errors import ConfigError

HOOK = Path("/data/capture/hook.pl")
DATA = Path("/data")

handlers = st.fixed_dictionaries(
    {"type": st.sampled_from(["command", "http"]), "command": st.text(max_size=8)},
    optional={"timeout": st.integers(1, 600), "args": st.lists(st.text(max_size=4), max_size=3)},
)
groups = st.fixed_dictionaries(
    {"hooks": st.lists(handlers, max_size=2)}, optional={"matcher": st.sampled_from(["", "*", "Bash"])}
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(st.text(max_size=6).filter(lambda key: key != "hooks"), values, max_size=4).flatmap(
    lambda base: st.one_of(
        st.just(base),
        st.dictionaries(st.sampled_from([*EVENTS[:8], "Future"]), st.lists(groups, max_size=2), max_size=4).map(
            lambda hooks: {**base, "hooks": hooks}
        ),
    )
)
texts = st.builds(
    lambda document, indent, is_ascii, ending, newline: (
        json.dumps(document, indent=indent, ensure_ascii=is_ascii) + ending
    ).replace("\n", newline),
    documents,
    st.sampled_from([None, 1, 2, 4, "\t"]),
    st.booleans(),
    st.sampled_from(["", "\n", "\n\n"]),
    st.sampled_from(["\n", "\r\n"]),
)
chosen_events = st.lists(st.sampled_from(EVENTS), min_size=1, unique=True).map(
    lambda names: tuple(name for name in EVENTS if name in names)
)


def build(text: str, events: tuple[str, ...] = EVENTS) -> str:
    return build_installed(text, events, hook_file=HOOK, data_dir=DATA)


def without_ours(document: dict) -> dict:
    """The same settings, ours taken out of the parsed object, what that empties dropped."""
    hooks = {}
    for event, entries in document.get("hooks", {}).items():
        kept = [group for group in entries if not any(is_ours(handler) for handler in group.get("hooks", []))]
        hooks[event] = kept
    return {**document, "hooks": hooks}


@given(texts, chosen_events)
@settings(max_examples=150)
def test_install_adds_one_entry_an_event_and_leaves_the_rest(text, events):
    before, after = json.loads(text), json.loads(build(text, events))
    assert [key for key in after if key in before] == list(before)
    for event in events:
        ours = [handler for group in after["hooks"][event] for handler in group["hooks"] if is_ours(handler)]
        assert ours == [build_handler(event, hook_file=HOOK, data_dir=DATA)]
    stripped = without_ours(after)
    for event, entries in before.get("hooks", {}).items():
        assert stripped["hooks"][event] == entries
    assert {key: value for key, value in after.items() if key != "hooks"} == {
        key: value for key, value in before.items() if key != "hooks"
    }


@given(texts, chosen_events)
@settings(max_examples=150)
def test_install_twice_is_install_once(text, events):
    once = build(text, events)
    assert build(once, events) == once


def test_install_mends_an_event_that_has_lost_its_entry_to_another():
    """As many entries as events were taken for one each, also two for Stop and none for PreToolUse."""
    installed = json.loads(build("{}", ("PreToolUse", "Stop")))
    del installed["hooks"]["PreToolUse"]
    installed["hooks"]["Stop"] *= 2
    mended = json.loads(build(json.dumps(installed), ("PreToolUse", "Stop")))
    assert {event: len(groups) for event, groups in mended["hooks"].items()} == {"PreToolUse": 1, "Stop": 1}


@pytest.mark.parametrize(
    "text",
    [
        '{"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "x"}]}]}, "hooks": {}}',
        '{"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "x"}]}], "Stop": []}}',
    ],
)
def test_uninstall_revives_nothing_that_a_repeated_key_hid(text):
    """Of two equal keys the last counts; with it gone the hooks of the first came to life."""
    assert build_uninstalled(build(text, ("Stop",))) == text


@given(texts, chosen_events, chosen_events)
@settings(max_examples=100)
def test_install_of_another_choice_replaces_ours(text, first, second):
    assert json.loads(build(build(text, first), second)) == json.loads(
        build(build_uninstalled(build(text, first)), second)
    )


@given(texts, chosen_events)
@settings(max_examples=150)
def test_uninstall_leaves_the_bytes_where_no_list_was_empty(text, events):
    document = json.loads(text)
    is_plain = document and all(document.get("hooks", {"x": [1]}).values()) and document.get("hooks") != {}
    removed = build_uninstalled(build(text, events))
    if is_plain:
        assert removed == text
    else:
        emptied = {event: entries for event, entries in document.get("hooks", {}).items() if entries}
        assert {k: v for k, v in json.loads(removed).items() if k != "hooks"} == {
            k: v for k, v in document.items() if k != "hooks"
        }
        assert {event: entries for event, entries in json.loads(removed).get("hooks", {}).items() if entries} == emptied


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@given(text=texts, events=chosen_events)
@settings(max_examples=60)
def test_install_and_uninstall_restore_every_byte(tmp_path_factory, text, events):
    folder = tmp_path_factory.mktemp("claude")
    path = folder / "settings.json"
    path.write_bytes(text.encode())
    assert installer.install(path, data_dir=folder / "data", events=events).is_changed
    assert not installer.install(path, data_dir=folder / "data", events=events).is_changed
    assert installer.uninstall(path).is_changed
    assert path.read_bytes() == text.encode()
    assert not installer.uninstall(path).is_changed


@pytest.mark.parametrize("content", ["", "  \n", "{}", "{\n}", '{"hooks":{}}', '{"hooks": {"Stop": [ ]}}', "\ufeff{}"])
def test_install_and_uninstall_restore_odd_files(tmp_path, data_dir, content):
    path = tmp_path / "settings.json"
    path.write_bytes(content.encode())
    installer.install(path, data_dir=data_dir)
    assert set(read_status(path, data_dir=data_dir).registered_events) == set(installer.default_events())
    installer.uninstall(path)
    assert path.read_bytes() == content.encode()


def test_install_makes_a_missing_file_and_uninstall_takes_it_away(tmp_path, data_dir):
    path = tmp_path / "claude" / "settings.json"
    installer.install(path, data_dir=data_dir)
    assert path.stat().st_mode & 0o777 == 0o600
    installer.uninstall(path)
    assert not path.exists()


def test_uninstall_after_other_edits_keeps_them(tmp_path, data_dir):
    path = tmp_path / "settings.json"
    path.write_text('{"model": "opus"}')
    installer.install(path, data_dir=data_dir)
    document = json.loads(path.read_text())
    document["hooks"]["Stop"].insert(0, {"hooks": [{"type": "command", "command": "mine"}]})
    document["theme"] = "dark"
    path.write_text(json.dumps(document, indent=2))
    installer.uninstall(path)
    assert json.loads(path.read_text()) == {
        "model": "opus",
        "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "mine"}]}]},
        "theme": "dark",
    }


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"null",
        b'{"a": 1} x',
        b'{"a": 1,}',
        b'{// comment\n"a": 1}',
        b'{"a": NaN}',
        b'{"hooks": []}',
        b'{"hooks": {"Stop": {}}}',
        b"\xff\xfe{}",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_install_refuses_what_it_cannot_parse(tmp_path, data_dir, content):
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    for action in (lambda: installer.install(path, data_dir=data_dir), lambda: installer.uninstall(path)):
        with pytest.raises(ConfigError):
            action()
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["settings.json"]


def test_install_follows_a_link_and_keeps_the_mode(tmp_path, data_dir):
    target = tmp_path / "dotfiles" / "claude.json"
    target.parent.mkdir()
    target.write_text('{\n  "model": "opus"\n}\n')
    target.chmod(0o640)
    path = tmp_path / "settings.json"
    path.symlink_to(target)
    installer.install(path, data_dir=data_dir)
    assert path.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert "hooks" in json.loads(target.read_text())
    assert (target.parent / "claude.json.analytics-backup").read_text() == '{\n  "model": "opus"\n}\n'


def test_install_refuses_an_unknown_event(tmp_path, data_dir):
    with pytest.raises(ConfigError, match="Nonsense"):
        installer.install(tmp_path / "settings.json", data_dir=data_dir, events=["Stop", "Nonsense"])
    assert not (tmp_path / "settings.json").exists()


def test_install_leaves_out_events_that_a_silent_hook_would_break(tmp_path, data_dir):
    """Claude Code takes the path of a new worktree from the output of a WorktreeCreate hook."""
    result = installer.install(tmp_path / "settings.json", data_dir=data_dir)
    assert set(EVENTS) - set(result.events) == {"WorktreeCreate"}


def test_only_session_end_is_synchronous():
    built = {event: build_handler(event, hook_file=HOOK, data_dir=DATA) for event in EVENTS}
    assert [event for event in EVENTS if "async" not in built[event]] == ["SessionEnd"]
    assert all(handler["timeout"] == 5 for handler in built.values())


def test_registered_command_captures_an_event(tmp_path, data_dir):
    path = tmp_path / "settings.json"
    installer.install(path, data_dir=data_dir, events=["Stop"])
    [group] = json.loads(path.read_text())["hooks"]["Stop"]
    [handler] = group["hooks"]
    payload = b'{"session_id": "s", "hook_event_name": "Stop"}'
    done = subprocess.run([handler["command"], *handler["args"]], input=payload, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
    status = read_status(path, data_dir=data_dir)
    assert status.registered_events == ("Stop",)
    assert status.is_hook_present
    assert {folder.folder: folder.file_count for folder in status.folders}["incoming"] == 1
    assert status.last_event_at is not None
    [file] = (data_dir / "queue" / "incoming").iterdir()
    os.utime(file, (0, 0))
    oldest = read_status(path, data_dir=data_dir).folders[0].oldest_age_s
    assert oldest is not None
    assert oldest > 1_000_000


def test_status_of_nothing(tmp_path, data_dir):
    status = read_status(tmp_path / "settings.json", data_dir=data_dir)
    assert status.registered_events == ()
    assert status.last_event_at is None
    assert [folder.file_count for folder in status.folders] == [0, 0, 0, 0]


def test_status_says_that_hooks_are_disabled(tmp_path, data_dir):
    path = tmp_path / "settings.json"
    path.write_text('{"disableAllHooks": true}')
    assert read_status(path, data_dir=data_dir).is_disabled


def test_an_old_version_gets_only_events_that_it_knows(tmp_path, data_dir):
    """Claude Code up to 2.1.100 ignores all its settings, permissions too, for one hook event that it does not know."""
    path = tmp_path / "settings.json"
    installer.install(path, data_dir=data_dir)
    before = read_status(path, data_dir=data_dir, version=(2, 0, 30))
    assert before.missing_events == ()
    assert "PostCompact" in before.rejected_events
    result = installer.install(path, data_dir=data_dir, version=(2, 0, 30))
    assert set(result.events) == set(json.loads(path.read_text())["hooks"])
    assert set(result.left_out_events) == set(before.rejected_events)
    assert set(result.events).isdisjoint(result.left_out_events)
    after = read_status(path, data_dir=data_dir, version=(2, 0, 30))
    assert (after.registered_events, after.missing_events, after.rejected_events) == (result.events, (), ())


def test_an_event_that_an_old_version_would_reject_is_refused(tmp_path, data_dir):
    path = tmp_path / "settings.json"
    with pytest.raises(ConfigError, match=r"2\.1\.75 does not know PostCompact .* Update Claude Code to 2\.1\.101"):
        installer.install(path, data_dir=data_dir, events=["Stop", "PostCompact"], version=(2, 1, 75))
    assert not path.exists()
    chosen = installer.install(path, data_dir=data_dir, events=["Stop"], version=(2, 1, 75))
    assert (chosen.events, chosen.left_out_events) == (("Stop",), ())
