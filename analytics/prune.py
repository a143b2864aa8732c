"""Deleting what is past its keep. Nothing the user wrote goes without being asked for by date or by setting.

Always: files that count no more and that are older than a day, published versions beyond `ANALYTICS_KEEP_VERSIONS`,
and what killed runs left of one. With `before`, or by `ANALYTICS_KEEP_DAYS`: the lake's days before a date, the dead
letters committed before it, quarantined files of these days, what compaction replaced of them, and what sources keep of
them (the archived and failed files of the hook queue), for good. Pruned lines do not come back with the next run
although their transcripts may still exist; only a full backfill reads them again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from analytics.config import Settings
from analytics.contracts import iter_contracts
from analytics.errors import ConfigError
from analytics.lake import Lake, new_run_id
from analytics.lake.log import date_of_part
from analytics.lake.upkeep import remove_parts, sweep_orphans
from analytics.sources import iter_sources
from analytics.targets.snapshot import old_versions


def prune(settings: Settings, *, before: date | None = None, is_dry_run: bool = False) -> dict[str, int]:
    """Delete what is past its keep and return the counts by kind; with `is_dry_run` only the counts.

    A date holds for all datasets; without one the settings say how many days of which are kept. The marts show the
    remaining days after the next run.

    Raises:
        ConfigError: `before` is later than tomorrow, which no wish to forget is, or the settings name a dataset
            that there is not.
        LockHeld: a run is using the data folder.
    """
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    if before is not None and before > tomorrow:
        raise ConfigError(
            f"prune: --before {before} is in the future. It is the first day that stays; {tomorrow} leaves none."
        )
    lake = Lake(settings.data_dir, settings.host_id)
    firsts = _first_days(settings, lake, before)
    if not settings.data_dir.is_dir():
        return {}
    with lake.lock():
        removed = {
            "orphan_files": sweep_orphans(lake, before=firsts, is_dry_run=is_dry_run),
            "published_versions": _prune_versions(settings, is_dry_run=is_dry_run),
        }
        if firsts:
            removed |= _prune_days(lake, firsts, is_dry_run=is_dry_run)
            for source in iter_sources():
                if source.prune and source.dataset in firsts:
                    removed |= source.prune(settings, firsts[source.dataset], is_dry_run)
    return removed


def _first_days(settings: Settings, lake: Lake, before: date | None) -> dict[str, date]:
    """By dataset, the first day that stays. Of one that is not in it, all do."""
    datasets = sorted({contract.dataset for contract in iter_contracts()}.union(lake.datasets()))
    if before is not None:
        return dict.fromkeys(datasets, before)
    keeps = dict(settings.keep_days)
    of_all = keeps.pop("", None)
    unknown = sorted(keeps.keys() - set(datasets))
    if unknown:
        raise ConfigError(f"ANALYTICS_KEEP_DAYS: no such dataset: {', '.join(unknown)}. One of {', '.join(datasets)}.")
    if of_all is not None:
        keeps = dict.fromkeys(datasets, of_all) | keeps
    today = datetime.now(UTC).date()
    # More days than the calendar has keep all there can be.
    return {dataset: today - timedelta(days=min(days, today.toordinal() - 1)) for dataset, days in keeps.items()}


def _prune_versions(settings: Settings, *, is_dry_run: bool) -> int:
    versions = old_versions(settings.published_dir, settings.keep_versions)
    for version in versions:
        if not is_dry_run:
            shutil.rmtree(version, ignore_errors=True)
    return len(versions)


def _prune_days(lake: Lake, firsts: Mapping[str, date], *, is_dry_run: bool) -> dict[str, int]:
    run_id = new_run_id()
    removed = {"lake_rows": 0, "lake_files": 0, "dead_letter_files": 0, "quarantined_files": 0}
    for dataset in (dataset for dataset in lake.datasets() if dataset in firsts):
        before = firsts[dataset]
        parts = [part for part in lake.snapshot(dataset).parts.values() if part.record_date < before]
        letters = _dead_letters_before(lake, dataset, before)
        removed["lake_rows"] += sum(part.row_count for part in parts)
        removed["lake_files"] += len(parts)
        removed["dead_letter_files"] += len(letters)
        if not is_dry_run:
            remove_parts(
                lake,
                dataset,
                [part.path for part in parts],
                run_id=run_id,
                kind="prune",
                forget_positions=False,
                keep_in=None,
            )
            for letter in letters:
                letter.unlink(missing_ok=True)
    for file in sorted(lake.quarantine_dir.glob("*_date=*.parquet")):
        before = firsts.get(file.name.partition("_date=")[0], date.min)
        if date_of_part(file.name.replace("_date=", "/date=", 1)) < before:
            removed["quarantined_files"] += 1
            if not is_dry_run:
                file.unlink(missing_ok=True)
    return removed


def _dead_letters_before(lake: Lake, dataset: str, before: date) -> list[Path]:
    """Dead letters that exist and that only commits before a day named."""
    last_named: dict[str, date] = {}
    for commit in lake.iter_commits(dataset):
        if commit.dead_letter is not None:
            day = datetime.fromisoformat(commit.committed_at).date()
            last_named[commit.dead_letter] = max(day, last_named.get(commit.dead_letter, day))
    files = [lake.data_dir / name for name, day in last_named.items() if day < before]
    return [file for file in files if file.exists()]
