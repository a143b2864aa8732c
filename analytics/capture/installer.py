"""Registers the hook command in a Claude Code settings file, and takes it out again."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from analytics.capture.claude_version import TOLERANT_SINCE, Version, find_rejected, show_version
from analytics.capture.settings_text import (
    Entry,
    build_installed,
    build_uninstalled,
    disables_hooks,
    list_ours,
    parse_settings,
)
from analytics.contracts.hook_events import EVENTS
from analytics.errors import ConfigError
from analytics.files import create_private_file, make_private_folder
from analytics.result import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

Scope = Literal["user", "project", "local"]
SCOPES: tuple[Scope, ...] = ("user", "project", "local")

# A hook on these takes the place of what Claude Code would do itself (it must print the path of the
# worktree it made), so a silent one breaks it: they are registered only when asked for by name.
REPLACING_EVENTS = frozenset({"WorktreeCreate"})

BACKUP_SUFFIX = ".analytics-backup"


@dataclass(frozen=True)
class InstallResult(Result):
    """One change of a settings file, or none."""

    settings_file: Path
    events: tuple[str, ...]
    is_changed: bool
    backup_file: Path | None = None
    is_disabled: bool = False
    left_out_events: tuple[str, ...] = ()
    claude_version: str | None = None


def check_events(events: Iterable[str]) -> tuple[str, ...]:
    """The events in the order of `EVENTS`. Raises ConfigError for one that Claude Code does not have."""
    chosen = set(events)
    if unknown := sorted(chosen.difference(EVENTS)):
        raise ConfigError(f"capture: {', '.join(unknown)} is no hook event. Known are {', '.join(EVENTS)}.")
    return tuple(event for event in EVENTS if event in chosen)


def default_events(version: Version | None = None) -> tuple[str, ...]:
    """All events that can be listened to without changing what that version of Claude Code does."""
    safe = tuple(event for event in EVENTS if event not in REPLACING_EVENTS)
    rejected = find_rejected(safe, version)
    return tuple(event for event in safe if event not in rejected)


def install(
    settings_file: Path, *, data_dir: Path, events: Iterable[str] | None = None, version: Version | None = None
) -> InstallResult:
    """Register the hook command; running it again changes nothing, another choice of events replaces ours.

    `version` is that of the Claude Code that is to read the file, where it is known.

    Raises:
        ConfigError: the file cannot be parsed, or is not ours to write, or that version would ignore it for an event
            that was asked for by name. It is then as it was.
    """
    if os.name == "nt":
        raise ConfigError("capture: the hook command needs a POSIX system. Run Claude Code and this in WSL.")
    chosen = default_events(version) if events is None else check_events(events)
    if version and (rejected := find_rejected(chosen, version)):
        raise ConfigError(
            f"capture: Claude Code {show_version(version)} does not know {', '.join(rejected)} and would ignore the "
            f"whole settings file for it. Update Claude Code to {show_version(TOLERANT_SINCE)} or newer first."
        )
    left_out = find_rejected(default_events(), version) if events is None else ()
    target = Path(os.path.realpath(settings_file))
    text = _read_text(target)
    data_dir = data_dir.absolute()
    hook_file = data_dir / "capture" / _hook_source().name
    changed = _change(target, lambda: build_installed(text or "", chosen, hook_file=hook_file, data_dir=data_dir))
    result = InstallResult(
        settings_file=settings_file,
        events=chosen,
        is_changed=False,
        is_disabled=disables_hooks(parse_settings(changed)),
        left_out_events=left_out,
        claude_version=show_version(version) if version else None,
    )
    try:
        _install_hook(hook_file, data_dir)
        if changed == text:
            return result
        backup = target.with_name(target.name + BACKUP_SUFFIX)
        if text is not None and not list_ours(parse_settings(text)):
            backup.unlink(missing_ok=True)
            shutil.copyfile(target, backup)
            shutil.copymode(target, backup)
        _replace_file(target, changed, expected=text)
    except OSError as error:
        raise ConfigError(f"capture: {error.filename or target} cannot be written ({error.strerror}).") from error
    return replace(result, is_changed=True, backup_file=backup if backup.exists() else None)


def uninstall(settings_file: Path) -> InstallResult:
    """Take out what `install` put in: the file as it was, or without our entries where it changed since.

    Raises:
        ConfigError: the file cannot be parsed or written. It is then as it was.
    """
    target = Path(os.path.realpath(settings_file))
    text = _read_text(target)
    unchanged = InstallResult(settings_file=settings_file, events=(), is_changed=False)
    ours = _change(target, lambda: list_ours(parse_settings(text or "")))
    if text is None or not ours:
        return unchanged
    events = events_of(ours)
    backup = target.with_name(target.name + BACKUP_SUFFIX)
    original = _read_text(backup)
    command = ours[0][3]

    def is_only_installed(before: str) -> bool:
        """Nothing but our entries tells the file from what it was."""
        try:
            again = build_installed(
                before, events, hook_file=Path(command["command"]), data_dir=Path(command["args"][0])
            )
        except (ValueError, RecursionError):
            return False
        return again == text

    try:
        if original is None and is_only_installed(""):
            target.unlink()
        elif original is not None and is_only_installed(original):
            _replace_file(target, original, expected=text)
            backup.unlink()
        else:
            _replace_file(target, _change(target, lambda: build_uninstalled(text)), expected=text)
    except OSError as error:
        raise ConfigError(f"capture: {error.filename or target} cannot be written ({error.strerror}).") from error
    return InstallResult(
        settings_file=settings_file,
        events=events,
        is_changed=True,
        backup_file=backup if backup.exists() else None,
    )


def events_of(ours: Iterable[Entry]) -> tuple[str, ...]:
    """The events of entries, in the order of `EVENTS`; those that Claude Code no longer has come last."""
    places = {event: place for place, event in enumerate(EVENTS)}
    return tuple(sorted({event for event, *_ in ours}, key=lambda event: (places.get(event, len(places)), event)))


# ---------------------------------------------------------------- files


def find_settings_file(scope: Scope, *, claude_dir: Path, project_dir: Path) -> Path:
    """The settings file of a scope: the user's, the project's, or the project's that git ignores."""
    if scope == "user":
        return claude_dir / "settings.json"
    return project_dir / ".claude" / ("settings.json" if scope == "project" else "settings.local.json")


def _read_text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"capture: {path} cannot be read as text. Nothing was changed.") from error


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a file; a missing or empty one has none. Raises ConfigError for one that does not parse."""
    text = _read_text(path)
    return {} if text is None else _change(path, lambda: parse_settings(text))


def _change(path: Path, build: Callable[[], T]) -> T:
    try:
        return build()
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise ConfigError(
            f"capture: {path} is not a settings file we can edit safely ({reason}). Mend it; nothing was changed."
        ) from error


def _replace_file(path: Path, text: str, *, expected: str | None) -> None:
    """Put `text` in place of the file at once, with the mode it had. The file must still hold `expected`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        create_private_file(unfinished, text.encode("utf-8"))
        if expected is not None:
            unfinished.chmod(stat.S_IMODE(path.stat().st_mode))
        if _read_text(path) != expected:
            raise ConfigError(f"capture: {path} was changed by another program meanwhile. Run it again.")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _hook_source() -> Path:
    """The hook command that this machine can run best."""
    return Path(__file__).with_name("hook.pl" if os.access("/usr/bin/perl", os.X_OK) else "hook.sh")


def _install_hook(target: Path, data_dir: Path) -> None:
    """Copy the hook command beside the queue, where no upgrade or removed checkout takes it away."""
    for folder in (target.parent, data_dir / "queue" / "tmp", data_dir / "queue" / "incoming"):
        make_private_folder(folder)
    content = _hook_source().read_bytes()
    if not (target.is_file() and target.read_bytes() == content and os.access(target, os.X_OK)):
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        create_private_file(unfinished, content)
        unfinished.chmod(0o700)
        unfinished.replace(target)
