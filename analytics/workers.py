"""Processes beside the run's own: for the heavy libraries, and for every core during extraction.

dbt and Great Expectations each cost seconds to import and hundreds of megabytes to hold. In a process
of their own they load while the run reads its sources, and give the memory back when they are done.
All of these processes end with the run, even when it is killed.
"""

from __future__ import annotations

import atexit
import gc
import importlib.abc
import multiprocessing
import os
import resource
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

from analytics.errors import AnalyticsError, SourceUnavailable, describe_bug

PATIENCE_S = 3.0
# Rows and imports are many objects and no cycles: with Python's own, importing dbt takes half as long again.
GC_THRESHOLD = (200_000, 50, 50)
# Extraction fills and frees the same memory over and over. For glibc, and for others no more than a name: large pages,
# and what a unit of work frees is kept for the next one. Arrow's allocator of its own gives memory back, and has it
# cleared again: 60 MB more. Either is a fiftieth of the time.
_POOL_MEMORY = {
    "GLIBC_TUNABLES": (
        "glibc.malloc.hugetlb=1:glibc.malloc.trim_threshold=1073741824:glibc.malloc.mmap_threshold=33554432"
    ),
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}

P = ParamSpec("P")
T = TypeVar("T")


class _Process(SpawnProcess):
    """A process that does not import the program's main module again.

    Nothing of this package is defined there. It may be Prefect's engine, which is large, or a script
    that calls `run` without a guard, which would run it once more.

    Ctrl-C reaches all processes of a terminal; from its first moment this one leaves it to the run, which decides.
    """

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        _start_tracker()  # by itself it would start below, and unblock the signal
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which a process inherits
        try:
            return SpawnProcess._Popen(process_obj)  # noqa: SLF001
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            sys.modules["__main__"] = main


def _start_tracker() -> None:
    """Have what killed processes leave cleared away without the warning about it, which is nobody's to act on."""
    with set_environment(PYTHONWARNINGS="ignore:resource_tracker"):
        resource_tracker.ensure_running()


class _Context(SpawnContext):
    """Spawned, for a forked child would inherit the run's locks and half of its threads' state."""

    Process = _Process


class _PoolProcess(_Process):
    """A process whose memory is handled as suits an extraction, which only its start can ask for."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
        with set_environment(**{name: os.environ.get(name, value) for name, value in _POOL_MEMORY.items()}):
            return _Process._Popen(process_obj)  # noqa: SLF001


class _PoolContext(_Context):
    Process = _PoolProcess


_CONTEXT = _Context()
_POOL_CONTEXT = _PoolContext()


@contextmanager
def open_pool(
    source: str, count: int, prepare: Callable[..., Any] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """A pool of so many processes for a source's extraction; each calls `prepare(*arguments)` first.

    Work that has not begun is dropped when the context is left by an error. Raises SourceUnavailable
    when one of the processes was killed.
    """
    _start_tracker()  # a pool makes semaphores before it has processes
    pool = ProcessPoolExecutor(count, _POOL_CONTEXT, initializer=_begin_pool_worker, initargs=(prepare, *arguments))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise SourceUnavailable(
            f"{source}: a worker was killed, perhaps for its memory. Set ANALYTICS_WORKERS=1, and run again: "
            "what was committed stays."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


class Worker:
    """One process that is warmed up ahead, called, and closed. Not for two calls at once.

    What a function raises is raised by `call`, without the traceback from over there: its lines may
    quote data.
    """

    def __init__(self, name: str, warm_up: Callable[[], object]) -> None:
        self._name = name
        self._warm_up = warm_up
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._is_busy = False
        self.peak_memory_bytes = 0

    def start(self) -> Connection:
        """Begin to warm up, if that was not done before. Returns at once."""
        if self._connection is None:
            self._connection, theirs = _CONTEXT.Pipe()
            self._process = _CONTEXT.Process(target=_serve, args=(theirs, self._warm_up), name=self._name, daemon=True)
            self._process.start()
            theirs.close()
        return self._connection

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function returns there; it and its arguments must be picklable.

        Raises AnalyticsError when the process was killed.
        """
        connection = self.start()
        self._is_busy = True
        try:
            connection.send((function, args, kwargs))
            is_success, outcome, self.peak_memory_bytes = connection.recv()
        except (EOFError, ConnectionError) as error:
            raise AnalyticsError(
                f"{self._name}: its process was killed, perhaps for its memory. Run again: what was done stays."
            ) from error
        self._is_busy = False
        if not is_success:
            raise outcome
        result: T = outcome
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the process end, if there is one; in the middle of its work, make it. May be called twice.

        One that is idle ends by itself.
        """
        if self._connection is None or self._process is None:
            return
        if self._is_busy:
            self._process.terminate()
            self._process.join(PATIENCE_S)
            self._process.kill()
        self._connection.close()
        self._connection = None


def _serve(connection: Connection, warm_up: Callable[[], object]) -> None:
    _begin()
    signal.signal(signal.SIGTERM, _end_quietly)
    gc.set_threshold(*GC_THRESHOLD)
    # What is loaded stays: to look through it for garbage, now and at the end, takes a sixth as long as loading it.
    gc.disable()
    # What fails to load fails again, and is told, at the call.
    with suppress(Exception):
        warm_up()
    gc.freeze()
    gc.enable()
    while True:
        try:
            function, args, kwargs = connection.recv()
        except (EOFError, OSError):
            os._exit(0)  # nothing is left to do, and to take down what is frozen would be told as leaks by DuckDB 2
        try:
            connection.send((True, function(*args, **kwargs), peak_memory_bytes()))
        except Exception as error:  # noqa: BLE001 - whatever it is, also that no process can send: the run has to hear of it
            connection.send((False, _portable(error), peak_memory_bytes()))


def _end_quietly(*_: object) -> None:
    """End in the middle of the work, tidying up, but without a word: where it is, the exit may show as a traceback."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    sys.exit(1)


def _portable(error: Exception) -> Exception:
    """The error as the run's own process may show it; where it came from is for `--debug` alone."""
    if isinstance(error, OSError):
        return error
    told = error if isinstance(error, AnalyticsError) else AnalyticsError(describe_bug(error))
    told.remote_traceback = "".join(traceback.format_exception(error))
    return told


def _begin_pool_worker(prepare: Callable[..., Any] | None, *arguments: Any) -> None:
    _begin()
    # Many small objects and no cycles: collecting garbage would cost a tenth, and at the end the run waits for it.
    gc.disable()
    atexit.register(gc.freeze)
    sys.meta_path.insert(0, _NoPandas())
    if prepare:
        prepare(*arguments)


@contextmanager
def set_environment(**values: str) -> Iterator[None]:
    """Have this process, and those that it starts meanwhile, see these variables; put back what was there."""
    previous = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in previous.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _NoPandas(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ImportError(name=fullname)


@contextmanager
def without_pandas() -> Iterator[None]:
    """Have Arrow and DuckDB do without pandas, which their conversions would import.

    They import it only to know its kinds of null, for 0.4 s and 60 MB. Not for code that needs it:
    from here on this process's Arrow takes pandas for absent.
    """
    refusal = _NoPandas()
    sys.meta_path.insert(0, refusal)
    try:
        yield
    finally:
        sys.meta_path.remove(refusal)


def _begin() -> None:
    _end_with_parent()
    # Where the main module has no file DuckDB takes a person to be there, and draws progress bars into standard output.
    vars(sys.modules["__main__"])["__file__"] = __file__


def _end_with_parent() -> None:
    """Have this process end as soon as the one that started it is gone, however that came."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def reset_peak_memory() -> None:
    """Begin a new peak, where the kernel lets a process do so (Linux); elsewhere it is the whole run's."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_bytes() -> int:
    """The most memory that this process held since the peak was reset."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
