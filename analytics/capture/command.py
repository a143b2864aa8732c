"""`analytics capture install | uninstall | status | replay`: the part of the command line that belongs to capture."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from analytics.capture import installer
from analytics.capture.claude_version import find_version
from analytics.capture.status import CaptureStatus, describe_rejection, read_status
from analytics.printer import Printer

if TYPE_CHECKING:
    import argparse

    from analytics.config import Settings


DISABLED = "capture    warning    disableAllHooks is set in this file: nothing is captured"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows `analytics capture`; `--json` and `--quiet` are every verb's and come from there."""
    parser.add_argument(
        "action",
        choices=("install", "uninstall", "status", "replay"),
        help="put the hook command into Claude Code's settings; take it out; show it and its queue; "
        "put events that could not be read back in the queue",
    )
    parser.add_argument(
        "--scope", choices=installer.SCOPES, default="user", help="whose settings file: user (default), project, local"
    )
    parser.add_argument(
        "--events", metavar="A,B", help="hook events to register, separated by commas; default all safe"
    )
    parser.add_argument(
        "--settings-file", type=Path, metavar="PATH", help="settings file to use in place of the scope's"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Do one action and print what came of it. Raises ConfigError for a settings file it must not touch."""
    path: Path = arguments.settings_file or installer.find_settings_file(
        arguments.scope, claude_dir=settings.claude_dir, project_dir=Path.cwd()
    )
    printer = Printer(settings, is_json=arguments.json, is_quiet=arguments.quiet)
    version = find_version(settings.claude_dir)
    if arguments.action == "status":
        status = read_status(path, data_dir=settings.data_dir, version=version)
        printer.facts(status.as_json(), _describe_status(status))
    elif arguments.action == "replay":
        from analytics.sources.hooks import queue_of

        count = queue_of(settings).replay()
        printer.facts(
            {"file_count": count},
            [f"capture    replay     {count:>6,} files   back in the queue, for the next run to read"],
        )
    elif arguments.action == "install":
        chosen = [name.strip() for name in arguments.events.split(",") if name.strip()] if arguments.events else None
        change = installer.install(path, data_dir=settings.data_dir, events=chosen, version=version)
        printer.facts(change.as_json(), _describe_change("install", change))
    else:
        change = installer.uninstall(path)
        printer.facts(change.as_json(), _describe_change("uninstall", change))
    return 0


def _describe_change(action: str, result: installer.InstallResult) -> list[str]:
    verdict = "changed" if result.is_changed else "unchanged"
    lines = [f"capture    {action:<10} {len(result.events):>3} events   {verdict}   {result.settings_file}"]
    if result.backup_file:
        lines.append(f"capture    backup     {result.backup_file}")
    if result.is_disabled:
        lines.append(DISABLED)
    if result.left_out_events:
        lines.append(
            f"capture    left out   {len(result.left_out_events):>3} events   for which Claude Code "
            f"{result.claude_version} would ignore the whole file: update it, then run this again"
        )
    if replacing := sorted(installer.REPLACING_EVENTS.intersection(result.events)):
        lines.append(
            f"capture    warning    {', '.join(replacing)}: Claude Code now waits for this hook to do the work"
        )
    return lines


def _describe_age(seconds: int | None) -> str:
    if seconds is None:
        return ""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"oldest {seconds // size} {unit}"
    return f"oldest {seconds} s"


def _describe_status(status: CaptureStatus) -> list[str]:
    known = len(status.registered_events) + len(status.missing_events)
    lines = [f"capture    registered {len(status.registered_events):>6,} of {known} events   {status.settings_file}"]
    if status.registered_events and status.missing_events:
        lines.append(f"capture    missing    {', '.join(status.missing_events)}")
    if status.rejected_events:
        lines.append(f"capture    warning    {describe_rejection(status)}")
    if status.is_disabled:
        lines.append(DISABLED)
    if status.hook_file and not status.is_hook_present:
        lines.append(f"capture    warning    {status.hook_file} is missing: run capture install again")
    lines.extend(
        f"capture    {folder.folder:<10} {folder.file_count:>6,} files   {_describe_age(folder.oldest_age_s)}".rstrip()
        for folder in status.folders
    )
    newest = status.last_event_at
    age = "" if newest is None else f"   {(datetime.now(UTC) - newest).total_seconds():,.0f} s ago"
    lines.append(
        f"capture    last event {newest.isoformat(timespec='seconds') if newest else 'none in the queue'}{age}"
    )
    if status.last_error:
        lines.append(f"capture    last error {status.last_error}")
    return lines
