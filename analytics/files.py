"""Files that only this user can read, that are there whole or not at all, and what may be written of their names."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from analytics.errors import AnalyticsError, ConfigError, reason_of

PRIVATE_UMASK = 0o077
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_DIGEST_BYTES = hashlib.sha256().digest_size


@contextlib.contextmanager
def private_umask() -> Iterator[None]:
    """Whatever this process creates meanwhile is for this user only, also by libraries, which name no rights."""
    previous = os.umask(PRIVATE_UMASK)
    try:
        yield
    finally:
        os.umask(previous)


def make_private_folder(path: Path) -> None:
    """The folder and its missing parents, for this user only."""
    if path.is_dir():
        return
    if path.parent != path:
        make_private_folder(path.parent)
    path.mkdir(exist_ok=True, mode=0o700)  # `parents` would make them with the umask's rights


def claim_folder(path: Path) -> None:
    """The folder, where only this user can write. Raises ConfigError where it is not ours to write into.

    A clone under umask 002 has one that its group can write to. Root may write where it likes: in a container the
    folder is the host's user's.
    """
    make_private_folder(path)
    status = path.stat()
    if belongs_to_another(status):
        raise ConfigError(f"{path} belongs to another user. Set ANALYTICS_DATA_DIR to a folder of yours.")
    if status.st_mode & OTHERS_WRITE and status.st_uid == os.getuid():
        try:
            path.chmod(stat.S_IMODE(status.st_mode) & ~OTHERS_WRITE)
        except OSError as error:
            raise ConfigError(
                f"others can write to {path}, and it cannot be changed ({reason_of(error)}). "
                "Set ANALYTICS_DATA_DIR to a folder that is yours alone."
            ) from error


def belongs_to_another(status: os.stat_result) -> bool:
    """Whether a file is another user's. To root none is."""
    return os.getuid() not in (0, status.st_uid)


def open_private(path: Path, mode: str) -> Any:
    """Open a file that, where it is created, only this user can read."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))


def create_private_file(path: Path, content: bytes) -> None:
    """A file that was not there, durable, 0600. Raises FileExistsError, or the OSError of a disk that refuses."""
    with open_private(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_private_file(path: Path, content: bytes) -> None:
    """The file with this content, whole or not at all, durable, 0600."""
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with whole_or_not(unfinished):
        create_private_file(unfinished, content)
        unfinished.replace(path)
        sync(path.parent)


def keep_file(path: Path, content: bytes) -> None:
    """Keep what takes long to make, behind its digest, for `read_kept_file`."""
    make_private_folder(path.parent)
    write_private_file(path, hashlib.sha256(content).digest() + content)


def read_kept_file(path: Path) -> bytes | None:
    """What was kept; None where nothing is, where it cannot be read, or where it is no longer what was written."""
    try:
        kept = path.read_bytes()
    except OSError:
        return None
    content = kept[_DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == kept[:_DIGEST_BYTES] else None


@contextlib.contextmanager
def whole_or_not(unfinished: Path) -> Iterator[None]:
    """Write a file under a temporary name that is gone if the disk refuses, as it needs the room.

    Raises AnalyticsError then, as `explain_refusal` does.
    """
    with explain_refusal(unfinished.parent):
        try:
            yield
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def explain_refusal(folder: Path) -> Iterator[None]:
    """Raise AnalyticsError where the disk refuses: an OSError would look like one of the source being read."""
    try:
        yield
    except OSError as error:
        raise AnalyticsError(
            f"disk: {folder} cannot be written ({reason_of(error)}). Nothing is lost: mend that, then run again."
        ) from error


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file, or renamed in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def only_files(paths: Iterable[Path]) -> list[Path]:
    """Those that are files, in order. A link may lead anywhere, and a FIFO never ends."""
    return sorted(path for path in paths if _is_regular(path))


def is_folder(path: Path, *, otherwise: bool = False) -> bool:
    """Whether a folder is there; `otherwise` where that cannot be seen, since who reads it will tell why.

    `Path.is_dir` raises then: below a closed folder, on a lost network drive, for a name that no system takes.
    """
    try:
        return path.is_dir()
    except OSError:
        return otherwise


def list_files(folder: Path, problems: Counter[str]) -> list[Path]:
    """The files below a folder, in order. `problems` counts why folders cannot be listed."""
    walk = os.walk(folder, onerror=lambda error: problems.update([reason_of(error)]))
    return only_files(Path(root, name) for root, _, names in walk for name in names)


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def shown_name(name: str) -> str:
    """A file name or another string of the system's as text; bytes that are not UTF-8 become U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


def file_key(name: str) -> str:
    """What a file is known by where its name must not be written: it may be no UTF-8, or hold a secret."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:24]


def shown_path(path: Path) -> str:
    """The path as a person in the working directory would type it."""
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)
