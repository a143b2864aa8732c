"""Our entries in the text of a Claude Code settings file: text in, text out.

The file belongs to the user. So the text is spliced, never written anew from a parsed object: what we
did not put in keeps its bytes, its order and its indentation. A file that is not the JSON we expect is
refused, not mended.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analytics.capture.splice import append, find, find_style, list_members, parse_object, remove

if TYPE_CHECKING:
    from collections.abc import Iterable

# A background process may die with its session.
SYNCHRONOUS_EVENTS = frozenset({"SessionEnd"})

# Event, group, place in the group, and handler.
Entry = tuple[str, int, int, dict[str, Any]]

MARK = "claude-code-analytics"
TIMEOUT_S = 5


def parse_settings(text: str) -> dict[str, Any]:
    """The settings in a text; an empty one has none. Raises ValueError for what is no settings file."""
    body = _strip_bom(text)[1]
    return _parse(body)[1] if body.strip() else {}


def _parse(body: str) -> tuple[int, dict[str, Any]]:
    start, settings = parse_object(body)
    hooks = settings.get("hooks", {})
    if not isinstance(hooks, dict) or any(not isinstance(groups, list) for groups in hooks.values()):
        raise ValueError("its hooks are not lists by event")
    return start, settings


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


def disables_hooks(settings: dict[str, Any]) -> bool:
    """Whether Claude Code runs no hook at all by these settings."""
    return settings.get("disableAllHooks") is True


def list_ours(settings: dict[str, Any]) -> list[Entry]:
    """Our entries, in the order of the file."""
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
    present = list_ours(settings)
    found = {event: handler for event, _, _, handler in present}
    if len(present) == len(wanted) and found == wanted:
        return text
    body = _strip_bom(build_uninstalled(body))[1] if present else body
    for event in chosen:
        start, settings = _parse(body)
        style = find_style(body, start)
        group = json.dumps({"hooks": [wanted[event]]}, ensure_ascii=False)
        name = json.dumps(event)
        hooks = find(body, start, "hooks")
        if hooks is None:
            value = f"{{{style.break_line(2)}{name}: [{group}]{style.break_line(1)}}}"
            body = append(body, start, 1, f'"hooks": {value}', style)
            continue
        groups = find(body, hooks.value_start, event)
        if groups is None:
            body = append(body, hooks.value_start, 2, f"{name}: [{group}]", style)
        else:
            body = append(body, groups.value_start, 3, group, style)
    return bom + body


def build_uninstalled(text: str) -> str:
    """The settings text without our entries, and without the lists and objects that this leaves empty.

    Raises:
        ValueError: the text is not a settings file.
    """
    bom, body = _strip_bom(text)
    while True:
        start, settings = _parse(body)
        ours = list_ours(settings)
        if not ours:
            return bom + body
        event, group_index, index, _ = ours[-1]
        hooks = find(body, start, "hooks")
        groups = find(body, hooks.value_start, event) if hooks else None
        if hooks is None or groups is None:
            raise ValueError("its hooks cannot be found again")
        # From the inside out: whatever holds nothing but our entry goes with it.
        group = list_members(body, groups.value_start)[group_index]
        handlers = find(body, group.value_start, "hooks")
        if handlers is None:
            raise ValueError("a group of its hooks cannot be found again")
        if len(list_members(body, handlers.value_start)) > 1:
            body = remove(body, handlers.value_start, index)
        elif len(list_members(body, groups.value_start)) > 1 or _is_repeated(body, hooks.value_start, event):
            body = remove(body, groups.value_start, group_index)
        elif len(members := list_members(body, hooks.value_start)) > 1 or _is_repeated(body, start, "hooks"):
            body = remove(body, hooks.value_start, members.index(groups))
        else:
            body = remove(body, start, list_members(body, start).index(hooks))


def _is_repeated(text: str, start: int, key: str) -> bool:
    """Whether taking the member that counts out would let an earlier one of its key count."""
    return sum(member.key == key for member in list_members(text, start)) > 1
