"""The sample data, where it stands in for data of one's own.

It goes into the lake under a host name of its own, and leaves it in the first run that finds real data
(docs/decisions/0005). `generator` makes it: `python -m analytics.sample`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from analytics.config import PROJECT_DIR, Settings
from analytics.lake import Lake
from analytics.lake.upkeep import remove_parts

SAMPLE_DIR = PROJECT_DIR / "data" / "sample"
SAMPLE_HOST = "sample"


def stand_in(settings: Settings) -> Settings:
    """The settings, pointed at the sample."""
    return dataclasses.replace(settings, transcript_dirs=(SAMPLE_DIR / "projects",), host_id=SAMPLE_HOST)


def archive_folders() -> list[Path]:
    """What comes with the sample's transcripts: a folder per source that has an archive, named as the source is."""
    return sorted(path for path in SAMPLE_DIR.iterdir() if path.is_dir() and path.name != "projects")


def has_own_data(lake: Lake) -> bool:
    """Whether the lake ever held anything beside the sample and what runs wrote about themselves."""
    return any(
        commit.adds and commit.host_id != SAMPLE_HOST
        for dataset in lake.input_datasets()
        for commit in lake.iter_commits(dataset)
    )


def is_synthetic(settings: Settings) -> bool:
    """Whether what is published comes from the sample."""
    is_named = any(folder.absolute().is_relative_to(SAMPLE_DIR) for folder in settings.transcript_dirs)
    return is_named or SAMPLE_HOST in Lake(settings.data_dir, settings.host_id).hosts()


def remove_sample(lake: Lake, run_id: str) -> int:
    """Take the sample out of a lake that has data of its own. Returns how many rows went."""
    if not has_own_data(lake):
        return 0
    removed, told = 0, lake.input_datasets()
    for dataset in lake.datasets():
        parts = [part for part in lake.snapshot(dataset).parts.values() if part.host_id == SAMPLE_HOST]
        if dataset in told:
            removed += sum(part.row_count for part in parts)
        remove_parts(
            lake,
            dataset,
            [part.path for part in parts],
            run_id=run_id,
            kind="sample",
            forget_positions=True,
            keep_in=None,
        )
    return removed
