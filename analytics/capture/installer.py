"""Registers the hook command in a Claude Code settings file, and takes it out again.

The file belongs to the user. So the text is spliced, never written anew from a parsed object: what we
did not put in keeps its bytes, its order and its indentation. A file that is not the JSON we expect is
refused, not mended.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

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
# A background process may die with its session.
SYNCHRONOUS_EVENTS = frozenset({"SessionEnd"})

MARK = "claude-code-analytics"
TIMEOUT_S = 5
BACKUP_SUFFIX = ".analytics-backup"
QUEUE_FOLDERS = ("incoming", "processing", "archive", "failed")

_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True)
class InstallResult(Result):
    """One change of a settings file, or none."""

    settings_file: Path
    events: tuple[str, ...]
    is_changed: bool
    backup_file: Path | None = None


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
    is_disabled: bool
    hook_file: Path | None
    is_hook_present: bool
    last_event_at: datetime | None
    folders: tuple[FolderStatus, ...]
    last_error: str | None


# ---------------------------------------------------------------- text of a JSON document


@dataclass(frozen=True)
class _Member:
    """One member of an object, or element of an array: where it stands in the text."""

    key: str
    start: int
    value_start: int
    end: int


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _members(text: str, start: int) -> list[_Member]:
    """The parts of the object or array that begins at `start` in a text known to be JSON."""
    is_object = text[start] == "{"
    closing = "}" if is_object else "]"
    position = _skip_space(text, start + 1)
    found = []
    while text[position] != closing:
        first, key = position, ""
        if is_object:
            key, position = _DECODER.raw_decode(text, position)
            position = _skip_space(text, _skip_space(text, position) + 1)
        _, end = _DECODER.raw_decode(text, position)
        found.append(_Member(key=key, start=first, value_start=position, end=end))
        position = _skip_space(text, end)
        if text[position] == ",":
            position = _skip_space(text, position + 1)
    return found


def _find(text: str, start: int, key: str) -> _Member | None:
    """The member that counts: of a repeated key the last, as Claude Code's own parser has it."""
    return next((member for member in reversed(_members(text, start)) if member.key == key), None)


def _parse(text: str) -> tuple[int, dict[str, Any]]:
    """Where the root object begins, and the object. Raises ValueError for anything else."""
    start = _skip_space(text, 0)
    value, end = _DECODER.raw_decode(text, start)
    if text[_skip_space(text, end) :]:
        raise ValueError("there is text after the JSON")
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - one kind for all that does not parse
    hooks = value.get("hooks", {})
    if not isinstance(hooks, dict) or any(not isinstance(groups, list) for groups in hooks.values()):
        raise ValueError("its hooks are not lists by event")
    return start, value


@dataclass(frozen=True)
class _Style:
    newline: str
    unit: str

    def break_line(self, depth: int) -> str:
        return self.newline + self.unit * depth if self.newline else ""

    @property
    def gap(self) -> str:
        return "" if self.newline else " "


def _find_style(text: str, start: int) -> _Style:
    """How the file is laid out; one without a line break inside stays on one line."""
    match = re.compile(r"\{[ \t]*(\r?\n)([ \t]*)").match(text, start)
    if match:
        return _Style(newline=match[1], unit=match[2] or "  ")
    return _Style(newline="\n", unit="  ") if not _members(text, start) else _Style(newline="", unit="")


def _append(text: str, start: int, depth: int, part: str, style: _Style) -> str:
    """The text with `part` as the last one of the object or array at `start`."""
    members = _members(text, start)
    if members:
        last = members[-1]
        before = text[start + 1 : members[0].start]
        gap = before if len(members) == 1 or "\n" in before else text[members[-2].end : last.start].replace(",", "", 1)
        # An array on one line of a file with many stays on one line.
        return f"{text[: last.end]},{gap if gap or not style.newline else ' '}{part}{text[last.end :]}"
    closing = _skip_space(text, start + 1)
    inner = text[start + 1 : closing]
    tail = inner if "\n" in inner else style.break_line(depth - 1)
    return f"{text[: start + 1]}{style.break_line(depth)}{part}{tail}{text[closing:]}"


def _remove(text: str, start: int, index: int) -> str:
    """The text without one part of the object or array at `start`."""
    members = _members(text, start)
    member = members[index]
    if len(members) == 1:
        closing = _skip_space(text, member.end)
        return text[: start + 1] + text[closing:]
    if index:
        return text[: members[index - 1].end] + text[member.end :]
    return text[: member.start] + text[members[1].start :]


# ---------------------------------------------------------------- our entries


def build_handler(event: str, *, hook_file: Path, data_dir: Path) -> dict[str, Any]:
    """What Claude Code is told to run for an event.

    Exec form: `args` keeps a shell, and so its quoting, out of it. The script itself is the command: a
    version that does not know `args` must not start an interpreter that reads the payload as its program.
    """
    handler: dict[str, Any] = {"type": "command", "command": str(hook_file), "args": [str(data_dir), MARK]}
    if event not in SYNCHRONOUS_EVENTS:
        handler["async"] = True
    return {**handler, "timeout": TIMEOUT_S}


def is_ours(handler: object) -> bool:
    """Only what `build_handler` made carries the mark."""
    if not isinstance(handler, dict) or handler.get("type") != "command":
        return False
    arguments = handler.get("args")
    return (
        isinstance(handler.get("command"), str)
        and isinstance(arguments, list)
        and len(arguments) >= 2
        and isinstance(arguments[0], str)
        and arguments[1] == MARK
    )


def _iter_ours(settings: dict[str, Any]) -> list[tuple[str, int, int, dict[str, Any]]]:
    """Event, group, place in the group, and handler of each entry of ours."""
    found = []
    for event, groups in settings.get("hooks", {}).items():
        for group_index, group in enumerate(groups):
            handlers = group.get("hooks") if isinstance(group, dict) else None
            for index, handler in enumerate(handlers if isinstance(handlers, list) else []):
                if is_ours(handler):
                    found.append((event, group_index, index, handler))
    return found


def _strip_bom(text: str) -> tuple[str, str]:
    return ("\ufeff", text[1:]) if text.startswith("\ufeff") else ("", text)


def build_installed(text: str, events: Iterable[str], *, hook_file: Path, data_dir: Path) -> str:
    """The settings text with our entry for each event, and no other entry of ours.

    Raises:
        ValueError: the text is not a settings file; nothing can be said about it.
    """
    chosen = list(events)
    bom, body = _strip_bom(text)
    body = body if body.strip() else "{}\n"
    _, settings = _parse(body)
    wanted = {event: build_handler(event, hook_file=hook_file, data_dir=data_dir) for event in chosen}
    present = _iter_ours(settings)
    if len(present) == len(wanted) and all(wanted.get(event) == handler for event, _, _, handler in present):
        return text
    body = _strip_bom(build_uninstalled(body))[1] if present else body
    for event in chosen:
        start, settings = _parse(body)
        style = _find_style(body, start)
        group = json.dumps({"hooks": [wanted[event]]}, ensure_ascii=False)
        name = json.dumps(event)
        hooks = _find(body, start, "hooks")
        if hooks is None:
            value = f"{{{style.break_line(2)}{name}: [{group}]{style.break_line(1)}}}"
            body = _append(body, start, 1, f'"hooks": {value}', style)
            continue
        groups = _find(body, hooks.value_start, event)
        if groups is None:
            body = _append(body, hooks.value_start, 2, f"{name}: [{group}]", style)
        else:
            body = _append(body, groups.value_start, 3, group, style)
    return bom + body


def build_uninstalled(text: str) -> str:
    """The settings text without our entries, and without the lists and objects that this leaves empty.

    Raises:
        ValueError: the text is not a settings file.
    """
    bom, body = _strip_bom(text)
    while True:
        start, settings = _parse(body)
        ours = _iter_ours(settings)
        if not ours:
            return bom + body
        event, group_index, index, _ = ours[-1]
        hooks = _find(body, start, "hooks")
        groups = _find(body, hooks.value_start, event) if hooks else None
        if hooks is None or groups is None:
            raise ValueError("its hooks cannot be found again")
        # From the inside out: whatever holds nothing but our entry goes with it.
        group = _members(body, groups.value_start)[group_index]
        handlers = _find(body, group.value_start, "hooks")
        if handlers is None:
            raise ValueError("a group of its hooks cannot be found again")
        if len(_members(body, handlers.value_start)) > 1:
            body = _remove(body, handlers.value_start, index)
        elif len(_members(body, groups.value_start)) > 1:
            body = _remove(body, groups.value_start, group_index)
        elif len(members := _members(body, hooks.value_start)) > 1:
            body = _remove(body, hooks.value_start, members.index(groups))
        else:
            body = _remove(body, start, _members(body, start).index(hooks))


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


def _install_hook(data_dir: Path) -> Path:
    """Copy the hook command beside the queue, where no upgrade or removed checkout takes it away."""
    source = Path(__file__).parent / ("hook.pl" if os.access("/usr/bin/perl", os.X_OK) else "hook.sh")
    target = data_dir / "capture" / source.name
    for folder in (target.parent, data_dir / "queue" / "tmp", data_dir / "queue" / "incoming"):
        make_private_folder(folder)
    content = source.read_bytes()
    if not (target.is_file() and target.read_bytes() == content and os.access(target, os.X_OK)):
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        create_private_file(unfinished, content)
        unfinished.chmod(0o700)
        unfinished.replace(target)
    return target


def check_events(events: Iterable[str]) -> tuple[str, ...]:
    """The events in the order of `EVENTS`. Raises ConfigError for one that Claude Code does not have."""
    chosen = set(events)
    if unknown := sorted(chosen.difference(EVENTS)):
        raise ConfigError(f"capture: {', '.join(unknown)} is no hook event. Known are {', '.join(EVENTS)}.")
    return tuple(event for event in EVENTS if event in chosen)


def default_events() -> tuple[str, ...]:
    """All events that can be listened to without changing what Claude Code does."""
    return tuple(event for event in EVENTS if event not in REPLACING_EVENTS)


def install(settings_file: Path, *, data_dir: Path, events: Iterable[str] | None = None) -> InstallResult:
    """Register the hook command; running it again changes nothing, another choice of events replaces ours.

    Raises:
        ConfigError: the file cannot be parsed, or is not ours to write. It is then as it was.
    """
    if os.name == "nt":
        raise ConfigError("capture: the hook command needs a POSIX system. Run Claude Code and this in WSL.")
    chosen = default_events() if events is None else check_events(events)
    target = Path(os.path.realpath(settings_file))
    text = _read_text(target)
    data_dir = data_dir.absolute()
    hook_name = "hook.pl" if os.access("/usr/bin/perl", os.X_OK) else "hook.sh"
    hook_file = data_dir / "capture" / hook_name
    changed = _change(target, lambda: build_installed(text or "", chosen, hook_file=hook_file, data_dir=data_dir))
    try:
        _install_hook(data_dir)
        if changed == text:
            return InstallResult(settings_file=settings_file, events=chosen, is_changed=False)
        backup = target.with_name(target.name + BACKUP_SUFFIX)
        had_ours = text is not None and bool(_iter_ours(_parse(_strip_bom(text)[1] or "{}")[1]) if text.strip() else [])
        if text is not None and not had_ours:
            backup.unlink(missing_ok=True)
            shutil.copyfile(target, backup)
            shutil.copymode(target, backup)
        _replace_file(target, changed, expected=text)
    except OSError as error:
        raise ConfigError(f"capture: {error.filename or target} cannot be written ({error.strerror}).") from error
    return InstallResult(
        settings_file=settings_file, events=chosen, is_changed=True, backup_file=backup if backup.exists() else None
    )


def uninstall(settings_file: Path) -> InstallResult:
    """Take out what `install` put in: the file as it was, or without our entries where it changed since.

    Raises:
        ConfigError: the file cannot be parsed or written. It is then as it was.
    """
    target = Path(os.path.realpath(settings_file))
    text = _read_text(target)
    unchanged = InstallResult(settings_file=settings_file, events=(), is_changed=False)
    if text is None or not text.strip():
        return unchanged
    ours = _change(target, lambda: _iter_ours(_parse(_strip_bom(text)[1])[1]))
    if not ours:
        return unchanged
    events = tuple(sorted({event for event, _, _, _ in ours}, key=_event_order))
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


def _event_order(event: str) -> tuple[int, str]:
    return (EVENTS.index(event) if event in EVENTS else len(EVENTS), event)


# ---------------------------------------------------------------- status


def read_folder_status(folder: Path, *, now: datetime) -> tuple[FolderStatus, float | None]:
    """Count and oldest age of the event files below a folder, and the time of its newest."""
    count, oldest, newest = 0, None, None
    for root, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") or name.endswith(".reason.json"):
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


def read_status(settings_file: Path, *, data_dir: Path, now: datetime | None = None) -> CaptureStatus:
    """What is registered in a settings file, and what has arrived in the queue.

    `last_event_at` is the newest capture that is still in the queue; the lake knows of older ones.

    Raises:
        ConfigError: the settings file cannot be parsed.
    """
    moment = now or datetime.now(UTC)
    text = _read_text(settings_file)
    settings: dict[str, Any] = {}
    if text is not None and text.strip():
        settings = _change(settings_file, lambda: _parse(_strip_bom(text)[1])[1])
    ours = _iter_ours(settings)
    registered = tuple(sorted({event for event, _, _, _ in ours}, key=_event_order))
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
        missing_events=tuple(event for event in default_events() if event not in registered),
        is_disabled=settings.get("disableAllHooks") is True,
        hook_file=hook_file,
        is_hook_present=hook_file is not None and os.access(hook_file, os.X_OK),
        last_event_at=None if newest is None else datetime.fromtimestamp(newest, tz=UTC),
        folders=tuple(status for status, _ in found),
        last_error=last_error,
    )
