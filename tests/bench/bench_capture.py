"""What a capture costs, and how fast the queue empties: `python tests/bench/bench_capture.py` prints JSON.

Every figure is taken side by side with an empty `sh` script, because only the ratio survives a change of
machine. "Fifty sessions" fire twice a second each at moments of chance; "burst" is fifty hooks at the same instant,
where the cores and not the hook set the pace.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from analytics.config import load_settings
from analytics.lake import Lake
from analytics.sources import ExtractContext
from analytics.sources.hooks import extract

FOLDER = Path(__file__).parents[2] / "analytics" / "capture"
PAYLOAD = json.dumps({"session_id": "s", "hook_event_name": "PostToolUse", "tool_response": "x" * 2_000}).encode()


def run_once(arguments: list[str], payload: bytes) -> float:
    """Milliseconds from start to end of one process that reads a payload."""
    read_end, write_end = os.pipe()
    os.set_inheritable(read_end, True)
    actions = [(os.POSIX_SPAWN_DUP2, read_end, 0), (os.POSIX_SPAWN_CLOSE, write_end)]
    started = time.perf_counter()
    child = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=actions)
    os.close(read_end)
    with contextlib.suppress(BrokenPipeError):  # an empty script does not read
        os.write(write_end, payload)
    os.close(write_end)
    os.waitpid(child, 0)
    return (time.perf_counter() - started) * 1_000


def describe(samples: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(samples, n=100, method="inclusive")
    return {"p50": round(cuts[49], 3), "p95": round(cuts[94], 3), "p99": round(cuts[98], 3), "count": len(samples)}


def measure_single(commands: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """One after the other, in turn, so that a slow moment falls on all alike."""
    samples: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 5):
        for name, command in commands.items():
            elapsed = run_once(command, PAYLOAD)
            if number >= 5:
                samples[name].append(elapsed)
    return samples


def measure_sessions(command: list[str], *, writers: int, interval_s: float, seconds: float) -> list[float]:
    """`writers` sessions that each fire a hook every `interval_s` on average, at moments of chance."""
    samples: list[float] = []
    chance = random.Random(7)
    moments = sorted(chance.uniform(0, seconds) for _ in range(int(writers * seconds / interval_s)))
    slots = threading.Semaphore(writers)
    lock = threading.Lock()

    def fire() -> None:
        elapsed = run_once(command, PAYLOAD)
        with lock:
            samples.append(elapsed)
        slots.release()

    started = time.monotonic()
    threads = []
    for moment in moments:
        time.sleep(max(0.0, started + moment - time.monotonic()))
        slots.acquire()
        thread = threading.Thread(target=fire)
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    return samples


def measure_burst(command: list[str], *, writers: int, rounds: int) -> list[float]:
    """All writers at the same instant: how long the slowest waits for a core."""
    samples = []
    for _ in range(rounds):
        started = time.perf_counter()
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) for _ in range(writers)
        ]
        for process in processes:
            process.communicate(PAYLOAD)
        samples.append((time.perf_counter() - started) * 1_000 / writers)
    return samples


def measure_write(folder: Path, rounds: int) -> list[float]:
    """The file work alone: create, write, close, rename."""
    samples = []
    for number in range(rounds):
        started = time.perf_counter()
        descriptor = os.open(folder / f"t{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, PAYLOAD)
        os.close(descriptor)
        (folder / f"t{number}").rename(folder / f"f{number}.json")
        samples.append((time.perf_counter() - started) * 1_000)
    return samples


def measure(*, rounds: int, seconds: float) -> dict[str, object]:
    """All figures, in a folder of their own that is removed afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty = folder / "empty.sh"
        empty.write_text("#!/bin/sh\n")
        empty.chmod(0o700)
        commands = {"empty_sh": [str(empty)]}
        for script in ("hook.pl", "hook.sh"):
            if script == "hook.sh" or shutil.which("perl"):
                commands[script] = [str(FOLDER / script), str(folder / script), "claude-code-analytics"]
                (folder / script / "queue" / "tmp").mkdir(parents=True)
                (folder / script / "queue" / "incoming").mkdir()
        single = measure_single(commands, rounds)
        installed = "hook.pl" if "hook.pl" in commands else "hook.sh"
        base = statistics.median(single["empty_sh"])
        (folder / "write").mkdir()
        sessions = measure_sessions(commands[installed], writers=50, interval_s=0.5, seconds=seconds)
        facts: dict[str, object] = {
            "unit": "ms",
            "cores": os.cpu_count(),
            "installed": installed,
            "write_itself": describe(measure_write(folder / "write", rounds)),
            "single": {key: describe(samples) for key, samples in single.items()},
            "ratio_to_empty_sh": {key: round(statistics.median(found) / base, 2) for key, found in single.items()},
            "fifty_sessions_100_a_second": describe(sessions),
            "burst_of_fifty_ms_each": describe(measure_burst(commands[installed], writers=50, rounds=5)),
        }
        written = len(list((folder / installed / "queue" / "incoming").iterdir()))
        facts["lost"] = rounds + 5 + len(sessions) + 5 * 50 - written
        return facts


def fill_queue(folder: Path, events: int) -> None:
    """Events like those of a working day: calls and their results, 1.6 kB on average."""
    folder.mkdir(parents=True)
    chance = random.Random(7)
    for number in range(events):
        payload = {
            "session_id": f"00000000-0000-0000-0000-{number // 500:012d}",
            "transcript_path": "/home/user/.claude/projects/-work/session.jsonl",
            "cwd": "/home/dev/project",
            "permission_mode": "default",
            "hook_event_name": "PostToolUse" if number % 2 else "PreToolUse",
            "tool_name": chance.choice(["Bash", "Read", "Edit", "Grep", "mcp__server__tool"]),
            "tool_use_id": f"toolu_{number:020d}",
            "tool_input": {"file_path": f"/home/dev/project/src/module_{number % 97}.py", "command": "make test"},
        }
        if number % 2:
            payload["tool_response"] = {"stdout": "line of output\n" * chance.randrange(20, 300), "interrupted": False}
            payload["duration_ms"] = chance.randrange(5, 5_000)
        name = f"1763722375-{number % 30_000}-{number:016x}.json"
        (folder / name).write_text(json.dumps(payload))


def measure_queue(events: int) -> dict[str, object]:
    """One run over a full queue, from files to committed Parquet, files deleted."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        fill_queue(data / "queue" / "incoming", events)
        settings = load_settings({"data_dir": str(data)}, environment={"HOME": name}, dotenv=Path(name) / ".env")
        context = ExtractContext(
            settings=settings, lake=Lake(data), run_id="bench", extracted_at=datetime(2026, 1, 2, tzinfo=UTC)
        )
        started = time.perf_counter()
        result = extract(context)
        elapsed = time.perf_counter() - started
        peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return {
            "events": result.rows_loaded,
            "elapsed_ms": round(elapsed * 1_000),
            "events_a_second": round(result.rows_loaded / elapsed),
            "peak_mb_of_this_and_the_largest_worker": peak >> (20 if sys.platform == "darwin" else 10),
            "lost": events - result.rows_loaded,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--events", type=int, default=100_000, help="files in the queue")
    arguments = parser.parse_args()
    facts = {
        "capture": measure(rounds=arguments.rounds, seconds=arguments.seconds),
        "queue": measure_queue(arguments.events),
    }
    json.dump(facts, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
