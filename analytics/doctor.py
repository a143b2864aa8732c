"""Checking the set-up: one finding per thing that can be wrong, each saying what to do about it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from analytics.capture.claude_version import find_version
from analytics.capture.installer import SCOPES, find_settings_file
from analytics.capture.status import describe_rejection
from analytics.capture.status import read_status as read_capture_status
from analytics.config import Settings, find_exposed_dotenv
from analytics.contracts import PAYLOAD
from analytics.errors import AnalyticsError, ConfigError, describe_refusal
from analytics.extractor import needs_sample
from analytics.files import OTHERS_WRITE, belongs_to_another, is_folder
from analytics.journal import read_last_outcome
from analytics.lake import Lake, Part
from analytics.lake.lock import probe_lock
from analytics.lake.upkeep import quarantined_parts
from analytics.local_key import KEY_BYTES, KEY_NAME, load_or_create_key
from analytics.overrides import OVERRIDES, read_override
from analytics.redactor import Redactor
from analytics.result import Result
from analytics.sources.transcripts import DATASET, NAME
from analytics.sources.transcripts.discovery import find_files, plan_tasks, transcript_roots
from analytics.status import count_uncounted, read_unpriced_models
from analytics.targets.snapshot import current_version, find_missing, gold_tables, open_current

Verdict = Literal["ok", "warning", "failed"]

PYTHON_VERSIONS = ((3, 11), (3, 14))
LEAST_FREE_BYTES, LOW_FREE_BYTES = 200 << 20, 2 << 30
DEFAULT_CLEANUP_DAYS = 30
SECONDS_A_DAY = 86_400
PRIVATE_NAMES = ("raw", "dead_letter", "quarantine", "published", "queue", "warehouse.duckdb", KEY_NAME)


@dataclass(frozen=True)
class Finding(Result):
    """One thing that was examined. `failed` stops the pipeline or endangers data; `warning` may, later."""

    verdict: Verdict
    subject: str
    message: str


def examine(settings: Settings) -> list[Finding]:
    """Every finding, in a fixed order. Changes nothing, and never waits for a run that is going on."""
    checks: tuple[Callable[[Settings], Finding], ...] = (
        _check_python,
        _check_dbt,
        _check_data_folder,
        _check_disk,
        _check_secret_rules,
        _check_dotenv,
        _check_own_rows,
        _check_transcripts,
        _check_other_folders,
        _check_mongodb,
        _check_cleanup,
        _check_capture,
        _check_lock,
        _check_lake,
        _check_content,
        _check_warehouse,
        _check_last_run,
        _check_published,
        _check_prices,
    )
    return [_examine_one(check, settings) for check in checks]


def _examine_one(check: Callable[[Settings], Finding], settings: Settings) -> Finding:
    """One finding, even where the check itself meets what it cannot read."""
    subject = check.__name__.removeprefix("_check_").replace("_", " ")
    try:
        return check(settings)
    except AnalyticsError as error:
        return Finding("failed", subject, str(error))
    except OSError as error:
        return Finding("failed", subject, f"{describe_refusal(error)}. Mend that first.")


def _check_python(_: Settings) -> Finding:
    version = sys.version_info[:2]
    shown = ".".join(map(str, version))
    if PYTHON_VERSIONS[0] <= version < PYTHON_VERSIONS[1]:
        return Finding("ok", "python", shown)
    return Finding("failed", "python", f"{shown} is not supported. Use 3.11, 3.12 or 3.13: make PYTHON=python3.11 run")


def _check_dbt(_: Settings) -> Finding:
    for module in ("dbt.cli", "dbt.adapters.duckdb"):
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            return Finding("failed", "dbt", f"{module} cannot be imported. Remove .venv, then: make run")
    return Finding("ok", "dbt", "installed")


def _check_data_folder(settings: Settings) -> Finding:
    folder = settings.data_dir
    if not folder.exists():
        parent = next(parent for parent in folder.parents if parent.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return Finding("ok", "data folder", f"{folder} is made by the first run")
        return Finding("failed", "data folder", f"{parent} is not writable. Set ANALYTICS_DATA_DIR.")
    status = folder.stat()
    if belongs_to_another(status):
        return Finding("failed", "data folder", f"{folder} belongs to another user. Set ANALYTICS_DATA_DIR.")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding("failed", "data folder", f"{folder} is not writable. Run: chmod u+rwx {folder}")
    if status.st_mode & OTHERS_WRITE:
        # So does a clone under umask 002 leave it; a run takes the right away before it writes.
        return Finding("warning", "data folder", f"others can write to {folder}. Run: chmod go-rwx {folder}")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        # A clone's own data/ is readable; what the pipeline makes below it is not.
        for path in (folder / name for name in PRIVATE_NAMES):
            if path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                return Finding("warning", "data folder", f"others can read {path}. Run: chmod -R go-rwx {path}")
    return Finding("ok", "data folder", f"{folder} is writable by you alone")


def _check_disk(settings: Settings) -> Finding:
    folder = next(path for path in (settings.data_dir, *settings.data_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    shown = f"{free / 1e9:,.1f} GB free"
    if free < LEAST_FREE_BYTES:
        return Finding("failed", "disk", f"{shown}: too little for a run. Free some, or run: analytics prune")
    if free < LOW_FREE_BYTES:
        return Finding("warning", "disk", f"{shown}. Free some soon; analytics prune removes what is past its keep.")
    return Finding("ok", "disk", shown)


def _check_secret_rules(settings: Settings) -> Finding:
    key_file = settings.data_dir / KEY_NAME
    key = load_or_create_key(key_file) if key_file.exists() else bytes(KEY_BYTES)  # the first run makes it
    redactor = Redactor.load(settings.secret_rules_file, key)
    if settings.content == "full":
        return Finding("warning", "secret rules", "not applied: ANALYTICS_CONTENT is full, secrets are kept.")
    return Finding("ok", "secret rules", f"{len(redactor.rules)} compile, content is {settings.content}")


def _check_dotenv(_: Settings) -> Finding:
    if exposed := find_exposed_dotenv():
        path, name = exposed
        return Finding("warning", "dotenv", f"others can read {path}, and {name} in it. Run: chmod 600 {path}")
    return Finding("ok", "dotenv", "no secret in it that others can read")


def _check_own_rows(settings: Settings) -> Finding:
    named = [(override, file) for override in OVERRIDES if (file := override.file(settings)) is not None]
    counts = [f"{len(read_override(override, file)):,} of {override.seed}" for override, file in named]
    return Finding("ok", "own rows", ", ".join(counts) or "none, prices and thresholds are those of dbt/seeds")


def _check_transcripts(settings: Settings) -> Finding:
    roots = transcript_roots(settings)
    missing = [root for root in roots if not is_folder(root, otherwise=True)]
    if missing:
        return Finding("failed", "transcripts", f"{missing[0]} is missing. Mend ANALYTICS_TRANSCRIPT_DIRS.")
    problems: list[str] = []
    count = len(find_files(roots, problems))
    if problems:
        return Finding(
            "warning", "transcripts", f"{count:,} files; {len(problems)} cannot be read. Check their rights."
        )
    if not count and settings.transcript_dirs:
        named = ", ".join(map(str, roots))
        return Finding("warning", "transcripts", f"none in {named}. Mend ANALYTICS_TRANSCRIPT_DIRS, or unset it.")
    if not count:
        is_sample = needs_sample(settings, Lake(settings.data_dir, settings.host_id))
        return Finding(
            "warning",
            "transcripts",
            f"none found, runs {'use the sample' if is_sample else 'go on without'}. "
            "Use Claude Code on this machine, or set ANALYTICS_TRANSCRIPT_DIRS.",
        )
    return Finding("ok", "transcripts", f"{count:,} files")


def _check_other_folders(settings: Settings) -> Finding:
    named = dict.fromkeys(settings.plan_dirs, "ANALYTICS_PLAN_DIRS")
    if settings.api_requests_dir is not None:
        named[settings.api_requests_dir] = "ANALYTICS_API_REQUESTS_DIR"
    for folder, setting in named.items():
        if not is_folder(folder, otherwise=True):
            return Finding("failed", "other folders", f"{folder} is missing. Mend {setting}, or unset it.")
    return Finding("ok", "other folders", f"{len(named)} named" if named else "none named")


def _check_mongodb(settings: Settings) -> Finding:
    if not settings.mongo_uri:
        return Finding("ok", "mongodb", "none named")
    from analytics.sources.mongo.connection import open_server  # which imports the driver

    with open_server(settings) as server:
        return Finding("ok", "mongodb", f"{server.name} at {server.address} can be read")


def _check_cleanup(settings: Settings) -> Finding:
    """Whether Claude Code deletes transcripts before a run has read them."""
    subject = "cleanup"
    days = _read_cleanup_days(settings)
    if days is None:
        file = settings.claude_dir / "settings.json"
        return Finding("warning", subject, f"cleanupPeriodDays in {file} cannot be read. Mend the file.")
    if days <= 1:
        return Finding(
            "warning",
            subject,
            f"Claude Code deletes transcripts after {days} days (cleanupPeriodDays). Set it to 30 or more.",
        )
    if settings.run_interval_hours * 2 > days * 24:
        return Finding(
            "warning",
            subject,
            f"runs every {settings.run_interval_hours} h are too rare for cleanupPeriodDays {days}. Run more often.",
        )
    waiting = plan_tasks(
        find_files(transcript_roots(settings), []),
        Lake(settings.data_dir, settings.host_id).read_state(source=NAME, dataset=DATASET),
        is_from_start=False,
    )
    last_run_at = _last_commit_at(settings)
    idle_days = 0.0 if last_run_at is None else (datetime.now(UTC) - last_run_at).total_seconds() / SECONDS_A_DAY
    if waiting and idle_days > days:
        return Finding(
            "warning",
            subject,
            f"nothing was extracted for {idle_days:.0f} days and Claude Code deletes after {days}: transcripts may be "
            "lost already. Run now, then schedule it: make schedule",
        )
    oldest_days = max((time.time() - task.file.mtime_ns / 1e9 for task in waiting), default=0.0) / SECONDS_A_DAY
    if oldest_days > days * 0.8:
        return Finding(
            "warning",
            subject,
            f"an unread transcript is {oldest_days:.0f} days old and Claude Code deletes after {days}. Run now.",
        )
    return Finding("ok", subject, f"Claude Code keeps transcripts {days} days")


def _read_cleanup_days(settings: Settings) -> int | None:
    """Claude Code's `cleanupPeriodDays`, its default where it is not set, None where it cannot be read."""
    try:
        content = json.loads((settings.claude_dir / "settings.json").read_bytes())
    except FileNotFoundError:
        return DEFAULT_CLEANUP_DAYS
    except (OSError, ValueError):
        return None
    days = content.get("cleanupPeriodDays", DEFAULT_CLEANUP_DAYS) if isinstance(content, dict) else None
    return days if isinstance(days, int) and not isinstance(days, bool) else None


def _last_commit_at(settings: Settings) -> datetime | None:
    lake = Lake(settings.data_dir, settings.host_id)
    newest = list(lake.iter_commits(DATASET, after=lake.last_number(DATASET) - 1))
    return datetime.fromisoformat(newest[-1].committed_at) if newest else None


def _check_capture(settings: Settings) -> Finding:
    """Whether the hook command that Claude Code was given exists. If not, every hook of it reports an error."""
    event_count = 0
    version = find_version(settings.claude_dir)
    for scope in SCOPES:
        file = find_settings_file(scope, claude_dir=settings.claude_dir, project_dir=Path.cwd())
        try:
            status = read_capture_status(file, data_dir=settings.data_dir, version=version)
        except ConfigError as error:
            return Finding("warning", "capture", str(error).removeprefix("capture: "))
        if status.registered_events and not status.is_hook_present:
            return Finding(
                "warning",
                "capture",
                f"{file} names {status.hook_file}, which is missing: each hook of Claude Code fails. Run: "
                f"analytics capture install --scope {scope} (or uninstall)",
            )
        if status.rejected_events:
            return Finding("warning", "capture", f"{describe_rejection(status)}.")
        if status.registered_events and status.is_disabled:
            return Finding(
                "warning", "capture", f"disableAllHooks in {file} keeps the hook from being run. Take it out."
            )
        event_count += len(status.registered_events)
    return Finding("ok", "capture", f"{event_count} hook events" if event_count else "no hook events, only transcripts")


def _check_lock(settings: Settings) -> Finding:
    with probe_lock(settings.data_dir) as holder:
        if holder is None:
            return Finding("ok", "lock", "free")
    number = holder.removeprefix("process ")
    if number.isdigit() and not _is_alive(int(number)):
        return Finding(
            "warning",
            "lock",
            f"held, but {holder} is not on this machine: another one, or a child of it, uses {settings.data_dir}. "
            "Give each machine its own ANALYTICS_DATA_DIR.",
        )
    return Finding("ok", "lock", f"{holder} is running the pipeline now")


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _check_lake(settings: Settings) -> Finding:
    lake = Lake(settings.data_dir, settings.host_id)
    snapshots = {dataset: lake.snapshot(dataset) for dataset in lake.datasets()}
    parts = [part for dataset in lake.input_datasets() for part in snapshots[dataset].parts.values()]
    if missing := [part for part in parts if not lake.part_file(part.path).is_file()]:
        return Finding(
            "failed",
            "lake",
            f"the files of {_size(missing)} are gone. Restore a backup or, for what sources still have, delete "
            f"{settings.warehouse_file} and run twice.",
        )
    if quarantined := quarantined_parts(lake):
        return Finding(
            "warning",
            "lake",
            f"{_size(quarantined)} were damaged and lie in {lake.quarantine_dir}. They are back if their sources were "
            "still there for the run after that; see docs/runbook.md, then delete the files.",
        )
    if not parts:
        return Finding("ok", "lake", "empty, the next run fills it")
    return Finding("ok", "lake", _size(parts))


def _size(parts: Sequence[Part]) -> str:
    days = {part.record_date for part in parts}
    return f"{sum(part.row_count for part in parts):,} rows, {len(days):,} days"


def _check_content(settings: Settings) -> Finding:
    """Whether text is kept that the setting, which may be younger than the lake, says is not."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if settings.content == "metadata":
        lake = Lake(settings.data_dir, settings.host_id)
        for part in (part for name in lake.input_datasets() for part in lake.snapshot(name).parts.values()):
            try:
                payloads = pq.ParquetFile(lake.part_file(part.path)).read([PAYLOAD])
            except (FileNotFoundError, pa.ArrowException):
                continue  # damage is the next run's to tell
            if payloads[PAYLOAD].null_count < part.row_count:
                return Finding(
                    "warning",
                    "content",
                    "ANALYTICS_CONTENT is metadata, and the lake holds text of before. To forget it: docs/runbook.md.",
                )
    return Finding("ok", "content", settings.content)


def _check_warehouse(settings: Settings) -> Finding:
    import duckdb

    file = settings.warehouse_file
    if not file.exists():
        return Finding("ok", "warehouse", "not built yet, the next run does")
    with probe_lock(settings.data_dir) as holder:
        if holder is not None:
            return Finding("ok", "warehouse", f"in use by {holder}")
        try:
            with duckdb.connect(str(file), read_only=True) as connection:
                connection.execute("select count(*) from information_schema.tables").fetchall()
        except duckdb.Error:
            return Finding(
                "warning",
                "warehouse",
                f"{file} cannot be opened. Close other programs that use it, or delete it: the next run rebuilds it.",
            )
    return Finding("ok", "warehouse", f"{file.stat().st_size / 1e6:,.0f} MB")


def _check_last_run(settings: Settings) -> Finding:
    last = read_last_outcome(Lake(settings.data_dir, settings.host_id))
    if last is None:
        return Finding("ok", "last run", "none yet")
    if not last.failures:
        return Finding("ok", "last run", f"{last.run_id} did what it was to do")
    shown = ", ".join(f"{stage} ({error})" for stage, error in last.failures.items())
    return Finding("warning", "last run", f"{last.run_id} failed in {shown}. Run again, and it says why: analytics run")


def _check_published(settings: Settings) -> Finding:
    if current_version(settings) is None:
        return Finding("ok", "published", "nothing yet, the next run does")
    with open_current(settings) as connection:
        tables = gold_tables(connection)
        for name in tables:
            connection.execute(f"select count(*) from gold.{name}").fetchall()
    if missing := find_missing(settings):
        message = f"{', '.join(missing)} is missing or damaged. The next run publishes again."
        return Finding("warning", "published", message)
    return Finding("ok", "published", f"{len(tables)} tables can be read")


def _check_prices(settings: Settings) -> Finding:
    if current_version(settings) is None:
        return Finding("ok", "prices", "no requests to price yet")
    with open_current(settings) as connection:
        unpriced = read_unpriced_models(connection)
        uncounted = count_uncounted(connection)
    if not unpriced and uncounted:
        return Finding(
            "warning",
            "prices",
            f"{uncounted:,} requests have no cost, since their usage states neither input nor output tokens. "
            "Claude Code may have changed its shape: update this pipeline, or report what the check "
            "usage_has_an_output says.",
        )
    if not unpriced:
        return Finding("ok", "prices", "every model seen has a price")
    shown = ", ".join(f"{model} ({count:,} requests)" for model, count, _ in unpriced[:5])
    more = f" and {len(unpriced) - 5} more" if len(unpriced) > 5 else ""
    return Finding(
        "warning",
        "prices",
        f"no price for {shown}{more}. Add rows to a file of the shape of dbt/seeds/model_prices.csv and set "
        "ANALYTICS_PRICES_FILE.",
    )
