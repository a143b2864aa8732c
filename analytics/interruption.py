"""Ctrl-C. It may come at any moment, and libraries make of it what they like: a wrong import, a bug of theirs."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

EXIT_CODE = 130
PATIENCE_S = 5.0
STOPPED = "stopped; what was committed stays, the next run goes on from there"

_is_in_order = False
_is_pending = False
_told = threading.Lock()


def take_interrupts() -> None:
    """Have Ctrl-C end this process with one line in place of a traceback, unless its parent had it ignored."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _on_interrupt)


@contextlib.contextmanager
def stop_in_order() -> Iterator[None]:
    """Have the first Ctrl-C raise KeyboardInterrupt, so that what is unfinished is put away, which takes seconds."""
    global _is_in_order  # noqa: PLW0603 - a process has one handler
    _is_in_order = True
    try:
        yield
    finally:
        _is_in_order = False


def is_interrupted() -> bool:
    """Whether Ctrl-C is what the error at hand comes from: DuckDB, for one, tells it as an error of its own."""
    return _is_pending


def _on_interrupt(_: int, frame: FrameType | None) -> None:
    """Stop in order, if that is asked for and does not take long; at once the second time, or within an import.

    A library could take its broken import for something that is not installed, and go on without. To end
    at once loses nothing that a kill would not lose.
    """
    global _is_pending  # noqa: PLW0603
    if not _is_in_order or _is_pending or _is_importing(frame):
        _stop()
    _is_pending = True
    limit = threading.Timer(PATIENCE_S, _stop)  # DuckDB may not close before the query that it broke off has ended
    limit.daemon = True
    limit.start()
    raise KeyboardInterrupt


def tell_stopped() -> None:
    """Say that the command was stopped, once, whoever comes to it first: the command itself or its time limit."""
    if _told.acquire(blocking=False):
        with contextlib.suppress(OSError):
            os.write(2, f"{STOPPED}\n".encode())


def _stop() -> None:
    tell_stopped()
    os._exit(EXIT_CODE)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
