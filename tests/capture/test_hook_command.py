"""The hook command as Claude Code runs it: real processes, real files."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "analytics" / "capture"
COMMANDS = [
    pytest.param(
        [str(FOLDER / "hook.pl")], id="perl", marks=pytest.mark.skipif(not shutil.which("perl"), reason="no perl")
    ),
    pytest.param([str(FOLDER / "hook.sh")], id="sh"),
    pytest.param(["bash", "--posix", str(FOLDER / "hook.sh")], id="bash"),
]
EVENT = {"session_id": "s-1", "hook_event_name": "Stop", "cwd": "/srv/app", "stop_hook_active": False}

pytestmark = pytest.mark.parametrize("command", COMMANDS)


def capture(
    command: list[str], data: Path | str, payload: bytes, **options: object
) -> subprocess.CompletedProcess[bytes]:
    arguments = [*command, str(data), "claude-code-analytics"]
    return subprocess.run(arguments, input=payload, capture_output=True, timeout=30, check=False, **options)


def captured(data: Path) -> list[Path]:
    return sorted((data / "queue" / "incoming").iterdir())


def assert_silent(result: subprocess.CompletedProcess[bytes]) -> None:
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_capture_puts_the_payload_down_as_it_came(command, tmp_path):
    payload = json.dumps({**EVENT, "last_assistant_message": "çà 🎉 \u2028 'quoted' $(x) `y` \\n"}).encode()
    before = time.time_ns()
    assert_silent(capture(command, tmp_path / "data", payload))
    [file] = captured(tmp_path / "data")
    assert file.read_bytes() == payload
    assert before - 20_000_000 <= file.stat().st_mtime_ns <= time.time_ns()  # clocks of file systems tick coarsely
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data" / "queue" / "incoming").stat().st_mode & 0o077 == 0
    assert list((tmp_path / "data" / "queue" / "tmp").iterdir()) == []


def test_capture_keeps_a_large_payload_whole(command, tmp_path):
    payload = json.dumps({**EVENT, "tool_response": "x" * 5_000_000}).encode()
    assert_silent(capture(command, tmp_path, payload))
    [file] = captured(tmp_path)
    assert file.read_bytes() == payload


@pytest.mark.parametrize("session", ["../../etc/x", "/abs", "a\\b", "a\nb", "$(touch pwned)", "; rm -rf .", "x" * 3000])
def test_capture_keeps_foreign_text_out_of_paths(command, tmp_path, session):
    payload = json.dumps({"session_id": session, "hook_event_name": session}).encode()
    assert_silent(capture(command, tmp_path / "data", payload, cwd=tmp_path))
    [file] = captured(tmp_path / "data")
    assert file.read_bytes() == payload
    assert set(file.name) <= set("0123456789abcdef-.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]


def test_capture_works_in_a_folder_with_an_awkward_name(command, tmp_path):
    data = tmp_path / "a b'c\"$(x) -n"
    assert_silent(capture(command, data, b"{}"))
    assert len(captured(data)) == 1


def test_capture_refuses_what_is_larger_than_the_limit(command, tmp_path):
    arguments = [*command, str(tmp_path), "mark", "1"]
    result = subprocess.run(arguments, input=b"x" * 2_200_000, capture_output=True, timeout=30, check=False)
    assert_silent(result)
    assert captured(tmp_path) == []
    assert list((tmp_path / "queue" / "tmp").iterdir()) == []
    assert len((tmp_path / "queue" / "errors.log").read_text().splitlines()) == 1


def test_capture_drops_an_empty_payload_with_a_line(command, tmp_path):
    assert_silent(capture(command, tmp_path, b""))
    assert captured(tmp_path) == []
    assert "empty" in (tmp_path / "queue" / "errors.log").read_text()


def test_capture_stays_silent_when_the_data_folder_cannot_be_made(command, tmp_path):
    """A disk that is not mounted must not be filled behind its mount point."""
    assert_silent(capture(command, tmp_path / "missing" / "data", json.dumps(EVENT).encode()))
    assert list(tmp_path.iterdir()) == []


def test_capture_stays_silent_when_the_queue_is_a_file(command, tmp_path):
    (tmp_path / "queue").write_text("in the way")
    assert_silent(capture(command, tmp_path, json.dumps(EVENT).encode()))
    assert len((tmp_path / "capture-errors.log").read_text().splitlines()) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_capture_leaves_a_line_when_incoming_is_read_only(command, tmp_path):
    assert_silent(capture(command, tmp_path, b"{}"))
    incoming = tmp_path / "queue" / "incoming"
    incoming.chmod(0o500)
    assert_silent(capture(command, tmp_path, b"{}"))
    incoming.chmod(0o700)
    assert len(captured(tmp_path)) == 1
    assert list((tmp_path / "queue" / "tmp").iterdir()) == []
    assert "incoming" in (tmp_path / "queue" / "errors.log").read_text()


def test_capture_publishes_nothing_half_when_incoming_is_in_the_way(command, tmp_path):
    (tmp_path / "queue" / "tmp").mkdir(parents=True)
    (tmp_path / "queue" / "incoming").write_text("in the way")
    assert_silent(capture(command, tmp_path, b"{}"))
    assert list((tmp_path / "queue" / "tmp").iterdir()) == []
    assert "incoming" in (tmp_path / "queue" / "errors.log").read_text()


def test_capture_publishes_nothing_half_when_the_disk_is_full(command, tmp_path):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    assert_silent(capture(command, tmp_path, b"x" * 1_000_000, preexec_fn=limit))
    assert captured(tmp_path) == []
    assert list((tmp_path / "queue" / "tmp").iterdir()) == []
    assert len((tmp_path / "queue" / "errors.log").read_text().splitlines()) == 1


def test_capture_does_nothing_without_a_folder(command, tmp_path):
    result = subprocess.run(command, input=b"x" * 200_000, capture_output=True, timeout=30, check=False, cwd=tmp_path)
    assert_silent(result)
    assert list(tmp_path.iterdir()) == []
    assert not (FOLDER.parent / "queue").exists()


def test_capture_finds_its_folder_when_an_old_version_gives_no_arguments(command, tmp_path):
    (tmp_path / "capture").mkdir()
    (tmp_path / "queue").mkdir()
    script = tmp_path / "capture" / Path(command[-1]).name
    shutil.copy(command[-1], script)
    result = subprocess.run([*command[:-1], str(script)], input=b"{}", capture_output=True, timeout=30, check=False)
    assert_silent(result)
    assert len(captured(tmp_path)) == 1


def test_capture_publishes_whole_files_only_when_it_is_killed(command, tmp_path):
    """kill -9 at any moment: a published file is whole; at most one in `tmp` is not."""
    payload = json.dumps({**EVENT, "tool_response": "x" * 300_000}).encode()
    for attempt in range(15):
        process = subprocess.Popen([*command, str(tmp_path)], stdin=subprocess.PIPE, start_new_session=True)
        try:
            process.stdin.write(payload[: (attempt + 1) * 20_000])
            process.stdin.flush()
            if attempt % 2:
                process.stdin.write(payload[(attempt + 1) * 20_000 :])
                process.stdin.close()
        except BrokenPipeError:
            pass
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if not process.stdin.closed:
            process.stdin.close()
    published = captured(tmp_path) if (tmp_path / "queue" / "incoming").exists() else []
    assert all(file.read_bytes() == payload for file in published)


def run_rounds(command: list[str], data: Path, *, rounds: int) -> None:
    payloads = [json.dumps({**EVENT, "number": number}).encode() for number in range(200 * rounds)]
    with ThreadPoolExecutor(100) as pool:
        results = list(pool.map(lambda payload: capture(command, data, payload), payloads))
    assert {(result.returncode, result.stdout, result.stderr) for result in results} == {(0, b"", b"")}
    numbers = [json.loads(file.read_bytes())["number"] for file in captured(data)]
    assert sorted(numbers) == list(range(200 * rounds))
    assert list((data / "queue" / "tmp").iterdir()) == []


def test_captures_at_once_lose_nothing(command, tmp_path):
    run_rounds(command, tmp_path, rounds=1)


@pytest.mark.torture
def test_ten_thousand_captures_at_once_lose_nothing(command, tmp_path):
    run_rounds(command, tmp_path, rounds=50)
