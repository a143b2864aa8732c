"""Which transcript files there are, and where reading each of them goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from analytics.config import Settings
from analytics.errors import reason_of
from analytics.files import file_key, is_folder, shown_name
from analytics.lake import State
from analytics.records.conversations import transcript_name
from analytics.records.lines import read_edges

EDGE_BYTES = 1_024
META_SUFFIX = ".meta.json"
# Spilled tool outputs and notes that live among transcripts and are none, whatever their ending.
_SKIPPED_FOLDERS = frozenset({"tool-results", "memory"})


@dataclass(frozen=True)
class TranscriptFile:
    """A file as the directory listing shows it. `name` is its path below its `projects` folder."""

    path: Path
    name: str
    size: int
    mtime_ns: int
    identity: str

    @property
    def key(self) -> str:
        """What its position is filed under."""
        return file_key(str(self.path))

    @property
    def is_meta(self) -> bool:
        return self.name.endswith(META_SUFFIX)


@dataclass(frozen=True)
class Task:
    """One file to read, from `offset`. `last_at` is the last instant before it, in microseconds.

    `former_key` is what its position was filed under while it had another name.
    """

    file: TranscriptFile
    offset: int = 0
    last_at: int | None = None
    foreign_reason: str | None = None
    former_key: str | None = None

    @property
    def byte_count(self) -> int:
        return max(self.file.size - self.offset, 0)


def transcript_roots(settings: Settings) -> list[Path]:
    """The folders to search: the setting, or where Claude Code keeps its projects."""
    if settings.transcript_dirs:
        return [path.absolute() for path in settings.transcript_dirs]
    candidates = [settings.claude_dir / "projects"]
    if settings.claude_config_dir is None:
        candidates.append(settings.home_dir / ".config" / "claude" / "projects")
    return [path for path in candidates if is_folder(path, otherwise=True)]


def find_files(roots: Iterable[Path], problems: list[str]) -> list[TranscriptFile]:
    """Every transcript below the roots, once, by path. Folders that cannot be listed become problems."""
    found: dict[str, TranscriptFile] = {}
    for file in _iter_files(roots, problems):
        found.setdefault(file.identity, file)
    return sorted(found.values(), key=lambda file: file.path)


def has_files(roots: Iterable[Path]) -> bool:
    """Whether there is a transcript below the roots, or a folder that may hold some and cannot be listed."""
    problems: list[str] = []
    return any(True for _ in _iter_files(roots, problems)) or bool(problems)


def _iter_files(roots: Iterable[Path], problems: list[str]) -> Iterator[TranscriptFile]:
    for root in roots:
        for entry in _walk(str(root), problems):
            if not entry.name.endswith((".jsonl", META_SUFFIX)):
                continue
            try:
                status = entry.stat()
            except OSError as error:
                problems.append(_problem(entry.path, root, error))
                continue
            if stat.S_ISREG(status.st_mode):
                name = shown_name(transcript_name(entry.path, str(root)))
                identity = f"{status.st_dev}:{status.st_ino}"
                yield TranscriptFile(Path(entry.path), name, status.st_size, status.st_mtime_ns, identity)


def _walk(root: str, problems: list[str]) -> Iterator[os.DirEntry[str]]:
    folders = [root]
    visited: set[tuple[int, int]] = set()  # people link project folders, and links can go in circles
    while folders:
        folder = folders.pop()
        try:
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    try:
                        is_folder = entry.is_dir()
                    except OSError as error:  # a link to itself, or to where we may not look
                        problems.append(_problem(entry.path, root, error))
                        continue
                    if not is_folder:
                        yield entry
                    elif entry.name not in _SKIPPED_FOLDERS:
                        folders.append(entry.path)
        except OSError as error:
            problems.append(_problem(folder, root, error))


def _problem(path: str, root: Path | str, error: OSError) -> str:
    return f"{shown_name(transcript_name(path, str(root)))}: {reason_of(error)}"


def plan_tasks(files: Iterable[TranscriptFile], state: State, *, is_from_start: bool) -> list[Task]:
    """What there is to read: a file as new, from its last position, or not at all.

    A file is known by its path or, once renamed, by its inode; it goes on from its position only if
    its first bytes and the bytes before the position are still the ones seen. Replaced, rewritten and
    truncated files are read again from the start, which doubles nothing: equal lines are one record.
    """
    known = {} if is_from_start else state
    by_identity = {entry["identity"]: key for key, entry in known.items()}
    tasks = []
    for file in files:
        key = file.key if file.key in known else by_identity.get(file.identity)
        if key is None:
            tasks.append(Task(file))
        elif key != file.key:
            # Its inode may be another file's, on another machine of the lake or after that was deleted.
            task = _resume(file, known[key])
            tasks.append(dataclasses.replace(task, former_key=key) if task.offset else task)
        elif any(getattr(file, name) != known[key][name] for name in ("size", "mtime_ns", "identity")):
            tasks.append(_resume(file, known[key]))
    return tasks


def _resume(file: TranscriptFile, entry: Mapping[str, Any]) -> Task:
    offset: int = entry["offset"]
    if file.size >= offset:
        try:
            with file.path.open("rb") as opened:
                if hash_edges(opened, offset) == entry["edges"]:
                    return Task(file, offset, entry["last_at"], entry.get("refused"))
        except OSError:
            pass  # the reader meets the same error and reports it
    return Task(file)


def hash_edges(opened: BinaryIO, offset: int) -> str:
    """A hash of the first bytes of what was consumed and of the last ones."""
    return hashlib.sha256(b"".join(read_edges(opened, offset, EDGE_BYTES))).hexdigest()[:24]
