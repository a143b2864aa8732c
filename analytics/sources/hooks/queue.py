"""The file queue between the hook command and the pipeline.

    <data>/queue/tmp         captures that are being written; swept after a day
    <data>/queue/incoming    one file a firing
    <data>/queue/processing/<claim>/   files that a run has taken; its lock tells whether the run lives
    <data>/queue/archive/<day>/        consumed files, if they are kept
    <data>/queue/failed      files that cannot be read, each with a `.reason.json` beside it

A file is taken by rename, so two runs never take one twice. A run that dies leaves its claim behind;
the lock of the claim is gone with the process, and the next run takes it back. Whether the claim was
committed before that, the lake says (`HookQueue.finish` repeats what is left to do, and twice is once).

Nothing in the queue is trusted: names come from listings, links are not followed, and only regular
files of this user, with one name and of a bounded size, are read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, NamedTuple

import orjson

from analytics.errors import ContractViolation, reason_of
from analytics.files import belongs_to_another, file_key, shown_name
from analytics.lake import step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

BATCH_FILES = 10_000
BATCH_BYTES = 64 << 20
LISTED_FILES = 500_000
UNFINISHED_AGE_S = 86_400
REASON_SUFFIX = ".reason.json"

_LOCK = ".lock"
_ATTEMPTS = ".attempts"
_UNLOCKED_PREFIX = ".new-"
_NAME_LIMIT = 180
_RETRY = re.compile(r"~([0-9]{1,4})\Z")


class QueuedFile(NamedTuple):
    """A file as the listing shows it. `mtime_ns` is the time of capture, which renames keep."""

    name: str
    mtime_ns: int
    size: int
    is_regular: bool = True


@dataclass
class Claim:
    """Files that this process has taken. While `lock` is open nobody takes them back."""

    id: str
    folder: Path
    lock: int
    files: list[QueuedFile] = field(default_factory=list)
    attempts: int = 0

    def release(self) -> None:
        """Let go of the lock; a claim that still has files is then anybody's."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1


class PassingFailure(Exception):
    """A file could not be read now; the reason is a system error."""


class HookQueue:
    """One queue folder. Safe for many runs at once and beside any number of captures."""

    def __init__(
        self, folder: Path, *, retry_limit: int = 3, max_bytes: int = 64 << 20, keeps_archive: bool = False
    ) -> None:
        self.folder = folder
        self.incoming = folder / "incoming"
        self.processing = folder / "processing"
        self.archive = folder / "archive"
        self.failed = folder / "failed"
        self.unfinished = folder / "tmp"
        self.retry_limit = retry_limit
        self.max_bytes = max_bytes
        self.keeps_archive = keeps_archive

    @property
    def was_used(self) -> bool:
        """Whether an event waits, or a run has ever taken some. Installing the command alone leaves empty folders."""
        return self.processing.is_dir() or any(True for _ in _iter_files(self.incoming))

    # ---- taking

    def list_incoming(self) -> list[QueuedFile]:
        """What waits, in the order of capture."""
        found = []
        for queued in _iter_files(self.incoming):
            found.append(queued)
            if len(found) >= LISTED_FILES:
                break
        found.sort(key=lambda queued: (queued.mtime_ns, queued.name))
        return found

    def claim(self, files: Iterable[QueuedFile]) -> Claim:
        """Take files out of incoming. Those that another run has taken meanwhile are left out."""
        claim = self._create_claim()
        source, target = os.fspath(self.incoming) + "/", os.fspath(claim.folder) + "/"
        for queued in files:
            try:
                os.rename(source + queued.name, target + queued.name)  # noqa: PTH104 - 100,000 files a run
            except FileNotFoundError:
                continue
            claim.files.append(queued)
        step("claimed")
        return claim

    def take_back(self) -> Iterator[Claim]:
        """The claims of dead runs, each locked for this one."""
        for entry in _list_folder(self.processing):
            if not entry.is_dir(follow_symlinks=False):
                continue
            folder = self.processing / entry.name
            lock = _try_lock(folder / _LOCK)
            if lock is None:
                continue
            claim = Claim(entry.name, folder, lock)
            if entry.name.startswith(_UNLOCKED_PREFIX):
                self._remove_claim(claim)
                continue
            claim.files = sorted(_iter_files(folder), key=lambda queued: (queued.mtime_ns, queued.name))
            claim.attempts = _read_attempts(folder)
            yield claim

    def _create_claim(self) -> Claim:
        _make_folders(self.processing)
        while True:
            # The folder gets its name once it is locked: an unlocked one looks like a dead run's.
            name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}"
            unnamed = self.processing / (_UNLOCKED_PREFIX + name)
            unnamed.mkdir(mode=0o700)
            lock = _try_lock(unnamed / _LOCK)
            if lock is None:
                continue  # another run took it for a dead one's in the moment before the lock, and removes it
            folder = self.processing / name
            unnamed.rename(folder)
            return Claim(name, folder, lock)

    # ---- reading

    def read(self, claim: Claim, queued: QueuedFile) -> bytes:
        """The bytes of a claimed file.

        Raises:
            ContractViolation: it will never be readable: not a regular file of ours with one name, or too large.
            PassingFailure: it may be another time.
        """
        if not queued.is_regular:
            raise ContractViolation("not a regular file")
        try:
            descriptor = os.open(f"{claim.folder}/{queued.name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise ContractViolation("not a regular file") from error
            raise PassingFailure(reason_of(error)) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ContractViolation("not a regular file")
            # Captures rename into place: their files have one name. Another could still write to what has two.
            if status.st_nlink > 1:
                raise ContractViolation("a hard link")
            if belongs_to_another(status):
                raise ContractViolation("of another user")
            if status.st_size > self.max_bytes:
                raise ContractViolation(f"larger than {self.max_bytes >> 20} MB")
            content = os.read(descriptor, status.st_size + 1)
            while len(content) < status.st_size and (more := os.read(descriptor, status.st_size - len(content))):
                content += more
        except OSError as error:
            raise PassingFailure(reason_of(error)) from error
        finally:
            os.close(descriptor)
        return content

    # ---- giving back

    def begin(self, claim: Claim) -> None:
        """Count an attempt before it is made, so that one that kills its process is counted too."""
        (claim.folder / _ATTEMPTS).write_text(str(claim.attempts + 1), encoding="ascii")

    def abandon(self, claim: Claim, *, counts_attempt: bool) -> None:
        """Leave a claim to the next run. `counts_attempt`: the failure may have been its files' doing."""
        if not counts_attempt:
            with contextlib.suppress(OSError):
                (claim.folder / _ATTEMPTS).write_text(str(claim.attempts), encoding="ascii")
        claim.release()

    def check_retry_limit(self, claim: Claim) -> None:
        """Raise ContractViolation when runs have died over this claim more often than the retry limit."""
        if claim.attempts > self.retry_limit:
            raise ContractViolation(f"{claim.attempts} runs died while they read it")

    def is_to_be_split(self, claim: Claim) -> bool:
        """Whether some file of a claim has killed too many runs, and which one is not known."""
        return claim.attempts > self.retry_limit and len(claim.files) > 1

    def split(self, claim: Claim) -> None:
        """Make each file of a claim a claim by itself, for `take_back`, so that only the one that kills is refused."""
        (claim.folder / _ATTEMPTS).write_text("0", encoding="ascii")  # a run that dies here counts against no file
        for queued in claim.files:
            single = self._create_claim()
            with contextlib.suppress(FileNotFoundError):
                (claim.folder / queued.name).rename(single.folder / queued.name)
            single.release()
        self._remove_claim(claim)

    def retry_later(self, claim: Claim, queued: QueuedFile) -> bool:
        """Put one file back for the next run. False when it has been tried often enough."""
        match = _RETRY.search(queued.name)
        attempts = int(match[1]) if match else 0
        if attempts >= self.retry_limit:
            return False
        name = _short_name(queued.name[: match.start()] if match else queued.name)
        while (self.incoming / f"{name}~{attempts + 1}").exists():  # another event's, under what was its name too
            attempts += 1
        with contextlib.suppress(FileNotFoundError):
            (claim.folder / queued.name).rename(self.incoming / f"{name}~{attempts + 1}")
        return True

    def finish(self, claim: Claim, failures: dict[str, str], *, redact: Callable[[bytes], bytes] | None = None) -> None:
        """After the commit: failed files to `failed/` with their reasons, the others to the archive or away.

        `failures` are reasons by `file_key`. Repeating it after a crash does what is left. `redact` is
        applied to what is kept of a failed file.
        """
        folder = os.fspath(claim.folder) + "/"
        days: set[str] = set()
        for queued in claim.files:
            reason = failures.get(file_key(queued.name)) if failures else None
            if reason is not None:
                self.fail(claim, queued, reason, redact=redact)
                continue
            with contextlib.suppress(FileNotFoundError):
                if not self.keeps_archive:
                    os.unlink(folder + queued.name)  # noqa: PTH108 - 100,000 files a run
                    continue
                day = datetime.fromtimestamp(queued.mtime_ns / 1e9, UTC).date().isoformat()
                if day not in days:
                    _make_folders(self.archive / day)
                    days.add(day)
                target = f"{self.archive}/{day}/{queued.name}"
                if os.path.lexists(target):
                    target = f"{self.archive}/{day}/{claim.id}-{queued.name}"
                os.rename(folder + queued.name, target)  # noqa: PTH104
        step("finished_files")
        self._remove_claim(claim)

    def fail(
        self, claim: Claim, queued: QueuedFile, reason: str, *, redact: Callable[[bytes], bytes] | None = None
    ) -> None:
        """Put one file aside, with why. Its secrets are taken out unless it is too large to be read."""
        source = claim.folder / queued.name
        target = self.failed / _short_name(queued.name)
        _make_folders(self.failed)
        if target.exists() and not source.exists():
            return
        if target.exists():
            target = self.failed / f"{claim.id}-{target.name}"
        note = {
            "file": shown_name(queued.name),
            "reason": reason,
            "captured_at": datetime.fromtimestamp(queued.mtime_ns / 1e9, UTC).isoformat(),
            "failed_at": datetime.now(UTC).isoformat(),
        }
        beside = target.with_name(target.name + REASON_SUFFIX)
        beside.write_bytes(orjson.dumps(note, option=orjson.OPT_INDENT_2))
        beside.chmod(0o600)
        if redact is not None and queued.is_regular and queued.size <= self.max_bytes:
            with contextlib.suppress(ContractViolation, PassingFailure):
                content = self.read(claim, queued)
                redacted = redact(content)
                if redacted != content:
                    _rewrite(source, redacted, queued.mtime_ns)
        step("reason_written")
        with contextlib.suppress(FileNotFoundError):
            source.rename(target)

    def replay(self) -> int:
        """Put every failed file back into incoming, once. Returns how many."""
        _make_folders(self.incoming)
        count = 0
        for queued in list(_iter_files(self.failed)):
            if queued.name.endswith(REASON_SUFFIX) or not queued.is_regular:
                continue
            target = self.incoming / _RETRY.sub("", queued.name)
            if target.exists():
                target = self.incoming / f"{uuid.uuid4().hex}-{target.name}"
            (self.failed / queued.name).rename(target)
            (self.failed / (queued.name + REASON_SUFFIX)).unlink(missing_ok=True)
            count += 1
        return count

    def prune(self, before: date, *, is_dry_run: bool = False) -> int:
        """Delete archived and failed files that were captured before a day, for good. Returns how many."""
        limit = datetime(before.year, before.month, before.day, tzinfo=UTC).timestamp() * 1e9
        archived = [entry for entry in _list_folder(self.archive) if entry.is_dir(follow_symlinks=False)]
        count = 0
        for folder in (*(self.archive / entry.name for entry in archived), self.failed):
            for queued in list(_iter_files(folder)):
                if queued.name.endswith(REASON_SUFFIX) or queued.mtime_ns >= limit:
                    continue
                count += 1
                if not is_dry_run:
                    for name in (queued.name, queued.name + REASON_SUFFIX):
                        (folder / name).unlink(missing_ok=True)
            if not is_dry_run:
                with contextlib.suppress(OSError):  # it holds younger files, or does not exist
                    folder.rmdir()
        return count

    def sweep(self, *, now: float | None = None) -> int:
        """Delete what captures that died left in `tmp` more than a day ago. Returns how many."""
        limit = ((time.time() if now is None else now) - UNFINISHED_AGE_S) * 1e9
        old = [queued for queued in _iter_files(self.unfinished) if queued.mtime_ns < limit]
        for queued in old:
            with contextlib.suppress(OSError):
                (self.unfinished / queued.name).unlink()
        return len(old)

    def _remove_claim(self, claim: Claim) -> None:
        # What a full disk or a kill left of a file being redacted is hidden too. The lock goes last.
        unfinished = [entry.name for entry in _list_folder(claim.folder) if entry.name.startswith(".")]
        for name in (*(name for name in unfinished if name != _LOCK), _LOCK):
            with contextlib.suppress(FileNotFoundError):
                (claim.folder / name).unlink()
        with contextlib.suppress(OSError):
            claim.folder.rmdir()
        claim.release()


def iter_batches(files: Iterable[QueuedFile]) -> Iterator[list[QueuedFile]]:
    """The files in order, in batches that one commit and one memory can hold."""
    batch: list[QueuedFile] = []
    size = 0
    for queued in files:
        if batch and (len(batch) >= BATCH_FILES or size + queued.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(queued)
        size += queued.size
    if batch:
        yield batch


def _list_folder(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def _iter_files(folder: Path) -> Iterator[QueuedFile]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield QueuedFile(entry.name, status.st_mtime_ns, status.st_size, stat.S_ISREG(status.st_mode))


def _try_lock(path: Path) -> int | None:
    """An open, locked descriptor; None if another process holds it or the folder is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder before us may have removed the file while we waited at its door: then we hold nothing.
        if os.fstat(descriptor).st_ino == path.stat(follow_symlinks=False).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _read_attempts(folder: Path) -> int:
    try:
        return int((folder / _ATTEMPTS).read_text(encoding="ascii") or 0)
    except (OSError, ValueError):
        return 0


def _make_folders(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)


def _rewrite(path: Path, content: bytes, mtime_ns: int) -> None:
    unfinished = path.with_name(f".{uuid.uuid4().hex}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    os.utime(unfinished, ns=(mtime_ns, mtime_ns))
    unfinished.replace(path)


def _short_name(name: str) -> str:
    """The name, or a hash where a suffix would make it too long for a file system."""
    return name if len(os.fsencode(name)) <= _NAME_LIMIT else f"{file_key(name)}.json"
