"""Processes beside the run: what they return, what becomes of failures, and that none outlives its run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from analytics import workers
from analytics.errors import AnalyticsError, ChecksFailed
from analytics.validator import AuditFailed, ValidateResult
from analytics.workers import Worker, open_pool

PATIENCE_S = 20
PROJECT = Path(__file__).parents[1]
# Two workers: one at work for ever, one that waits for work.
BUSY_POOL = """
import time
from analytics.workers import open_pool
if __name__ == "__main__":
    with open_pool("transcripts", 2) as pool:
        pool.submit(time.sleep, 600)
        pool.submit(int).result()
        print("busy", flush=True)
        time.sleep(600)
"""


BUSY_WORKER = """
import time
from analytics.workers import Worker
if __name__ == "__main__":
    worker = Worker("transform", int)
    worker.call(int)
    print("busy", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def worker():
    with Worker("transform", int) as started:
        yield started


def fail(error: Exception) -> None:
    raise error


def make_what_cannot_be_sent() -> object:
    return lambda: None


def look_up(secret: str) -> str:
    return {}[secret]


def draws_progress_bars() -> bool:
    import duckdb

    with duckdb.connect() as connection:
        [(answer,)] = connection.execute("select current_setting('enable_progress_bar')").fetchall()
    return answer


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


def test_a_call_returns_what_the_function_returns_there(worker):
    assert worker.call(divmod, 7, 2) == (3, 1)
    assert worker.call(os.getpid) == worker.call(os.getpid) != os.getpid()


def test_what_was_warmed_up_is_there_at_the_call(tmp_path):
    with Worker("transform", partial(os.chdir, tmp_path)) as warmed:
        assert warmed.call(os.getcwd) == str(tmp_path)


def test_a_warm_up_that_fails_leaves_the_failure_to_the_call():
    with Worker("transform", partial(look_up, "x")) as worker:
        assert worker.call(abs, -1) == 1


def test_an_expected_failure_comes_back_as_it_is(worker):
    with pytest.raises(ChecksFailed, match="two tests failed") as caught:
        worker.call(fail, ChecksFailed("two tests failed"))
    assert caught.value.exit_code == 3
    assert "in fail" in caught.value.remote_traceback


def test_a_failed_audit_comes_back_with_its_result(worker):
    with pytest.raises(AuditFailed) as caught:
        worker.call(fail, AuditFailed("validate: 1 check failed", ValidateResult(check_count=58)))
    assert (str(caught.value), caught.value.result.check_count) == ("validate: 1 check failed", 58)


def test_a_full_disk_comes_back_as_the_system_told_it(worker):
    with pytest.raises(OSError, match="No space left"):
        worker.call(fail, OSError(28, "No space left on device"))


def test_a_result_that_no_process_can_send_is_a_bug_like_any_other(worker):
    """It was told as a process that was killed, with a traceback beside it."""
    with pytest.raises(AnalyticsError, match="a bug"):
        worker.call(make_what_cannot_be_sent)
    assert worker.call(abs, -1) == 1


def test_want_of_memory_is_no_bug(worker):
    """It was told as one, with nothing to do about it."""
    with pytest.raises(AnalyticsError, match=r"memory: .*run again\."):
        worker.call(fail, pa.ArrowMemoryError("malloc of size 64 failed"))


def test_a_worker_that_is_closed_in_the_middle_of_a_call_ends_it(worker):
    with ThreadPoolExecutor(1) as thread:
        called = thread.submit(worker.call, time.sleep, 600)
        while not called.running():
            time.sleep(0.01)
        time.sleep(0.1)
        worker.close()
        with pytest.raises(AnalyticsError, match="killed"):
            called.result(PATIENCE_S)


def test_a_bug_comes_back_without_what_it_quotes(worker):
    with pytest.raises(AnalyticsError, match=r"KeyError in test_workers\.py, line \d+: a bug") as caught:
        worker.call(look_up, "my secret")
    assert "my secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "my secret" in caught.value.remote_traceback


def test_a_process_that_is_killed_is_told_with_what_to_do(worker):
    pid = worker.call(os.getpid)
    with pytest.raises(AnalyticsError, match="transform: its process was killed, perhaps for its memory"):
        worker.call(os.kill, pid, signal.SIGKILL)


def test_closing_ends_the_process_in_the_middle_of_its_work(worker):
    pid = worker.call(os.getpid)
    with ThreadPoolExecutor() as pool:
        call = pool.submit(worker.call, time.sleep, 3_600)
        time.sleep(0.2)
        worker.close()
        worker.close()
        assert wait_until_gone(pid)
        with pytest.raises((AnalyticsError, OSError)):
            call.result()


def test_what_is_ended_in_the_middle_of_its_work_has_nothing_to_say(tmp_path):
    """Where nothing can be raised, as while an object is deleted, Python told of the exit itself."""
    (tmp_path / "slow.py").write_text(
        "import time\nclass Slow:\n    def __del__(self): time.sleep(600)\ndef delete(): Slow()\n"
    )
    script = """
import os, threading, time, slow
from analytics.workers import Worker
worker = Worker("transform", int)
worker.call(int)
threading.excepthook = lambda _: None
threading.Thread(target=worker.call, args=(slow.delete,), daemon=True).start()
time.sleep(0.5)
worker.close()
os._exit(0)
"""
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT}:{tmp_path}"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=PATIENCE_S)
    assert done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize(("program", "count"), [(BUSY_POOL, 2), (BUSY_WORKER, 1)])
def test_workers_end_with_a_parent_that_is_killed(
    tmp_path: Path, number: signal.Signals, program: str, count: int
) -> None:
    """Both waited for ever for the next piece of work of a run that had been killed, half a gigabyte each."""
    script = tmp_path / "busy.py"
    script.write_text(program)
    command = [sys.executable, str(script)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(PROJECT)}
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "busy\n"
        workers = psutil.Process(parent.pid).children(recursive=True)
        assert len(workers) >= count
        parent.send_signal(number)
    gone, alive = psutil.wait_procs(workers, timeout=30)
    for process in alive:
        process.kill()
    assert len(gone) == len(workers)


def test_error_drops_work_that_has_not_begun() -> None:
    with pytest.raises(ValueError, match="told"), open_pool("transcripts", 1) as pool:  # noqa: PT012 - the futures are looked at after it
        futures = [pool.submit(sorted, range(100)) for _ in range(200)]
        raise ValueError("told")
    assert any(future.cancelled() for future in futures)


@pytest.mark.parametrize(
    ("name", "own"),
    [("GLIBC_TUNABLES", "glibc.malloc.top_pad=65536"), ("ARROW_DEFAULT_MEMORY_POOL", "mimalloc")],
)
def test_pool_sets_how_its_processes_handle_memory_unless_the_user_has(monkeypatch, worker, name, own):
    def setting_there() -> str | None:
        with open_pool("transcripts", 1) as pool:
            return pool.submit(os.getenv, name).result()

    monkeypatch.delenv(name, raising=False)
    assert setting_there()
    assert name not in os.environ
    monkeypatch.setenv(name, own)
    assert setting_there() == worker.call(os.getenv, name) == os.environ[name] == own


def test_duckdb_draws_no_progress_bar_into_our_output(worker):
    """A model or a check of more than two seconds did: `run --json` was no JSON then. Found in a run over 3 GB."""
    with open_pool("transcripts", 1) as pool:
        assert not pool.submit(draws_progress_bars).result()
    assert not worker.call(draws_progress_bars)


def test_peak_memory_counts_what_was_held_and_starts_anew(worker):
    workers.reset_peak_memory()
    before = workers.peak_memory_bytes()
    held = bytearray(64 << 20)
    assert workers.peak_memory_bytes() >= before + (len(held) >> 1)
    worker.call(bytearray, 64 << 20)
    assert worker.peak_memory_bytes > 64 << 20


def test_a_script_without_a_guard_is_not_run_again(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        """
from analytics.workers import Worker, open_pool
print("run", flush=True)
with Worker("transform", int) as worker, open_pool("transcripts", 1) as pool:
    print(worker.call(abs, -1), pool.submit(abs, -2).result(), flush=True)
"""
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, done.stderr) == ("run\n1 2\n", "")
