"""The lock of a data folder. The kernel frees it when the process that holds it ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from analytics.errors import LockHeld
from analytics.files import claim_folder, open_private

LOCK_FILE = "run.lock"
RETRY_S = 0.1


@contextlib.contextmanager
def hold_lock(data_dir: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Be the one writer of a data folder.

    Raises LockHeld, with the holder's process id, when it is not free within `wait_s` seconds, and ConfigError where
    the folder is another user's.
    """
    claim_folder(data_dir)
    with open_private(data_dir / LOCK_FILE, "a+") as file:
        deadline = time.monotonic() + wait_s
        while (holder := _try_lock(file)) is not None:
            if time.monotonic() >= deadline:
                raise LockHeld(f"lock: {holder} is running the pipeline in {data_dir}. Wait for it, or stop it.")
            time.sleep(RETRY_S)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()}")
        file.flush()
        yield


@contextlib.contextmanager
def probe_lock(data_dir: Path) -> Iterator[str | None]:
    """Who holds the lock, or None while this context keeps runs away. Writes nothing."""
    try:
        file = (data_dir / LOCK_FILE).open(encoding="utf-8")
    except FileNotFoundError:
        yield None
        return
    with file:
        yield _try_lock(file)


def _try_lock(file: IO[str]) -> str | None:
    """Take the lock, or tell who has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        return file.read(40).strip() or "another process"
    return None
