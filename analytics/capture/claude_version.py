"""The version of Claude Code on a machine, and the hook events for which it rejects its settings."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

from analytics.contracts.hook_events import EVENT_SINCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Version = tuple[int, int, int]

# Up to 2.1.100 Claude Code ignores a settings file whole, permissions too, for one hook event that it does not know.
# Tried: 2.0.30, 2.1.30, 2.1.75 and 2.1.100 do, 2.1.101, 2.1.120, 2.1.240 and 2.1.330 leave out the event alone.
TOLERANT_SINCE: Version = (2, 1, 101)

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_TAIL_BYTES = 1 << 20
_FILES_TO_ASK = 5


def find_version(claude_dir: Path) -> Version | None:
    """The version that wrote the newest transcript below a Claude folder; None where none tells one."""
    newest = sorted(_iter_transcripts(claude_dir / "projects"), reverse=True)[:_FILES_TO_ASK]
    return next((version for _, path in newest if (version := _read_version(path))), None)


def find_rejected(events: Iterable[str], version: Version | None) -> tuple[str, ...]:
    """Those of `events` for which a version ignores the settings that name them; of an unknown version, none."""
    if version is None or version >= TOLERANT_SINCE:
        return ()
    return tuple(event for event in events if EVENT_SINCE.get(event, TOLERANT_SINCE) > version)


def show_version(version: Version) -> str:
    """As Claude Code writes it: 2.1.330."""
    return ".".join(map(str, version))


def _iter_transcripts(projects: Path) -> Iterator[tuple[int, str]]:
    """The time of change and the path of each session's file."""
    for folder in _scan(projects):
        for file in _scan(folder.path):
            try:
                if file.name.endswith(".jsonl") and file.is_file():
                    yield file.stat().st_mtime_ns, file.path
            except OSError:
                continue


def _scan(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _read_version(path: str) -> Version | None:
    """The version that the last line with one names, within the end of a file."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            tail = file.read(_TAIL_BYTES)
    except OSError:
        return None
    for line in reversed(tail.splitlines()):
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if (
            isinstance(content, dict)
            and isinstance(stated := content.get("version"), str)
            and (match := _VERSION.match(stated))
        ):
            return int(match[1]), int(match[2]), int(match[3])
    return None
