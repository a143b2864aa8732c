from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from analytics.workers import open_pool

PROJECT = Path(__file__).parents[1]
# Two workers: one at work for ever, one that waits for work.
BUSY = """
import time
from analytics.workers import open_pool
if __name__ == "__main__":
    with open_pool(2) as pool:
        pool.submit(time.sleep, 600)
        pool.submit(int).result()
        print("busy", flush=True)
        time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    """Both waited for ever for the next piece of work of a run that had been killed, half a gigabyte each."""
    script = tmp_path / "busy.py"
    script.write_text(BUSY)
    command = [sys.executable, str(script)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(PROJECT)}
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "busy\n"
        workers = psutil.Process(parent.pid).children(recursive=True)
        assert len(workers) >= 2
        parent.send_signal(number)
    gone, alive = psutil.wait_procs(workers, timeout=30)
    for process in alive:
        process.kill()
    assert len(gone) == len(workers)


def test_error_drops_work_that_has_not_begun() -> None:
    with pytest.raises(ValueError, match="told"), open_pool(1) as pool:  # noqa: PT012 - the futures are looked at after it
        futures = [pool.submit(sorted, range(100)) for _ in range(200)]
        raise ValueError("told")
    assert any(future.cancelled() for future in futures)
