"""Processes that share the work of an extraction and never outlive it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any


@contextmanager
def open_pool(count: int, prepare: Callable[..., Any] | None = None, *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """A pool of so many processes; each calls `prepare(*arguments)` first.

    Work that has not begun is dropped when the context is left by an error.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, initializer=_start, initargs=(prepare, *arguments))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _start(prepare: Callable[..., Any] | None, *arguments: Any) -> None:
    # Ctrl-C reaches all processes of a terminal; the one that shares out the work decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    if prepare:
        prepare(*arguments)


def _end_with_parent() -> None:
    """A parent that is killed cannot tell its workers, and they would wait for its next word for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
