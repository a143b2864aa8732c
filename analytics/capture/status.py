"""What is registered with Claude Code, and what has arrived in the queue."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from analytics.capture.claude_version import Version, find_rejected, show_version
from analytics.capture.installer import default_events, events_of, read_settings
from analytics.capture.settings_text import disables_hooks, list_ours
from analytics.result import Result
from analytics.sources.hooks.queue import REASON_SUFFIX

QUEUE_FOLDERS = ("incoming", "processing", "archive", "failed")


@dataclass(frozen=True)
class FolderStatus:
    """How many files wait in one folder of the queue, and how long the oldest has."""

    folder: str
    file_count: int
    oldest_age_s: int | None


@dataclass(frozen=True)
class CaptureStatus(Result):
    """What is registered and what has arrived."""

    settings_file: Path
    registered_events: tuple[str, ...]
    missing_events: tuple[str, ...]
    rejected_events: tuple[str, ...]
    claude_version: str | None
    is_disabled: bool
    hook_file: Path | None
    is_hook_present: bool
    last_event_at: datetime | None
    folders: tuple[FolderStatus, ...]
    last_error: str | None


def read_folder_status(folder: Path, *, now: datetime) -> tuple[FolderStatus, float | None]:
    """Count and oldest age of the event files below a folder, and the time of its newest."""
    count, oldest, newest = 0, None, None
    for root, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") or name.endswith(REASON_SUFFIX):
                continue
            try:
                modified = os.lstat(os.path.join(root, name)).st_mtime  # noqa: PTH118 - 100,000 files
            except FileNotFoundError:
                continue
            count += 1
            oldest = modified if oldest is None else min(oldest, modified)
            newest = modified if newest is None else max(newest, modified)
    age = None if oldest is None else max(0, int(now.timestamp() - oldest))
    return FolderStatus(folder=folder.name, file_count=count, oldest_age_s=age), newest


def describe_rejection(status: CaptureStatus) -> str:
    """Why a version of Claude Code reads nothing of its settings, and what to do."""
    return (
        f"Claude Code {status.claude_version} ignores all of {status.settings_file}, since it does not know "
        f"{', '.join(status.rejected_events)}: update Claude Code, or run capture install again"
    )


def read_status(
    settings_file: Path, *, data_dir: Path, now: datetime | None = None, version: Version | None = None
) -> CaptureStatus:
    """What is registered in a settings file, and what has arrived in the queue.

    `version` is that of the Claude Code that reads the file, where it is known. `last_event_at` is the newest capture
    that is still in the queue; the lake knows of older ones.

    Raises:
        ConfigError: the settings file cannot be parsed.
    """
    moment = now or datetime.now(UTC)
    settings = read_settings(settings_file)
    ours = list_ours(settings)
    registered = events_of(ours)
    hook_file = Path(ours[0][3]["command"]) if ours else None
    queue = data_dir / "queue"
    found = [read_folder_status(queue / name, now=moment) for name in QUEUE_FOLDERS]
    newest = max((instant for _, instant in found if instant is not None), default=None)
    last_error = None
    for log in (queue / "errors.log", data_dir / "capture-errors.log"):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
        last_error = max([line for line in (last_error, *lines[-1:]) if line], default=None)
    return CaptureStatus(
        settings_file=settings_file,
        registered_events=registered,
        missing_events=tuple(event for event in default_events(version) if event not in registered),
        rejected_events=find_rejected(registered, version),
        claude_version=show_version(version) if version else None,
        is_disabled=disables_hooks(settings),
        hook_file=hook_file,
        is_hook_present=hook_file is not None and os.access(hook_file, os.X_OK),
        last_event_at=None if newest is None else datetime.fromtimestamp(newest, tz=UTC),
        folders=tuple(status for status, _ in found),
        last_error=last_error,
    )
