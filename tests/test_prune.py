from __future__ import annotations

import dataclasses
import os
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from analytics.config import load_settings
from analytics.errors import ConfigError, LockHeld
from analytics.lake import Lake
from analytics.lake.upkeep import COMPACT_AT_FILES, compact, remove_parts
from analytics.prune import prune
from analytics.sources import transcripts
from analytics.targets import snapshot
from tests.builders import committed_rows, make_gold, make_prompt, raw_rows, run_extract, run_load, write_transcript

CUT = date(2026, 1, 3)
TOMORROW = datetime.now(UTC).date() + timedelta(days=1)


@pytest.fixture
def filled(settings):
    """Two days, a rejected line."""
    write_transcript(settings, make_prompt("old"), make_prompt("young", at="2026-01-03T00:00:00Z"), b"bad")
    run_extract(settings)
    return settings


def files_below(folder) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def test_prune_without_a_date_deletes_nothing_of_the_users(filled):
    before = files_below(filled.data_dir)
    assert prune(filled, before=None, is_dry_run=False) == {"orphan_files": 0, "published_versions": 0}
    assert files_below(filled.data_dir) - {str(filled.data_dir / "run.lock")} == before


def test_prune_takes_days_before_a_date_for_good(filled):
    run_load(filled)
    removed = prune(filled, before=CUT)
    assert (removed["lake_rows"], removed["lake_files"], removed["dead_letter_files"]) == (1, 1, 0)
    assert [row["prompt_text"] for row in committed_rows(filled)] == ["young"]
    assert not list((filled.data_dir / "raw").glob("*/date=2026-01-02/*/*"))
    assert run_extract(filled).rows_read == 0
    run_load(filled)
    assert len(raw_rows(filled)) == 1


def test_prune_keeps_the_days_that_the_settings_say(filled):
    """One date for all, by hand, was all there was."""
    today = datetime.now(UTC).date()
    age = (today - date(2026, 1, 2)).days  # of "old"; "young" is a day younger

    def keeping(text):
        days = load_settings({"keep_days": text}, environment={}, dotenv=Path("/nonexistent")).keep_days
        return dataclasses.replace(filled, keep_days=days)

    for text in (str(age), f"{age - 1},conversations={age}", f"hook_events={age - 1}", "999999"):
        assert prune(keeping(text))["lake_rows"] == 0, text
    assert prune(keeping(f"hook_events=1, conversations={age - 1}"), is_dry_run=True)["lake_rows"] == 1
    assert prune(keeping("1"), before=date(2026, 1, 2))["lake_rows"] == 0, "a date that is given goes before"
    assert prune(keeping(f"{age - 1}"))["lake_rows"] == 1
    assert [row["prompt_text"] for row in committed_rows(filled)] == ["young"]
    with pytest.raises(ConfigError, match=r"no such dataset: conversation\. One of annotations, "):
        prune(keeping("conversation=9"))
    for text in ("0", "-1", "x", "conversations", "conversations=", "1,2", "hook_events=1,hook_events=2", "1;2"):
        with pytest.raises(ConfigError, match="ANALYTICS_KEEP_DAYS must be a number of days"):
            keeping(text)


def test_pruned_days_are_gone_also_from_the_files_that_compaction_replaced(filled):
    """What a first run compacts right away stayed on the disk, prompts and all, until a prune a day later."""
    for number in range(COMPACT_AT_FILES):
        write_transcript(filled, make_prompt(f"more {number}"), name=f"-p/{number}.jsonl")
        run_extract(filled)
    lake = Lake(filled.data_dir, filled.host_id)
    compact(lake, "conversations", run_id="c", before=CUT)
    younger = lake.data_dir / "raw/conversations/date=2026-01-02/host=test/somebodys.parquet"
    younger.touch()  # about to be committed, by a listener say
    left = {str(younger)}
    assert prune(filled, before=CUT, is_dry_run=True)["orphan_files"] == COMPACT_AT_FILES + 1
    assert prune(filled, before=CUT)["orphan_files"] == COMPACT_AT_FILES + 1
    assert {str(path) for path in lake.raw_dir.glob("*/date=2026-01-02/*/*")} == left


def test_prune_takes_no_future_day_for_a_wish_to_forget_everything(filled):
    before = files_below(filled.data_dir)
    with pytest.raises(ConfigError, match=r"--before 9999-01-01 is in the future"):
        prune(filled, before=date(9999, 1, 1))
    assert files_below(filled.data_dir) == before


def test_pruned_days_come_back_with_a_full_backfill_only(filled):
    prune(filled, before=CUT)
    run_extract(filled, is_full_backfill=True)
    assert {row["prompt_text"] for row in committed_rows(filled)} == {"old", "young"}


def test_a_dry_run_counts_and_deletes_nothing(filled):
    orphan = filled.data_dir / "raw/conversations/date=2026-01-02/host=test/orphan.parquet"
    orphan.write_bytes(b"")
    os.utime(orphan, (time.time() - 200_000,) * 2)
    before = files_below(filled.data_dir) | {str(filled.data_dir / "run.lock")}
    dry = prune(filled, before=TOMORROW, is_dry_run=True)
    assert files_below(filled.data_dir) == before
    assert dry == prune(filled, before=TOMORROW)
    assert dry["orphan_files"] == 1
    assert dry["dead_letter_files"] == 1
    assert committed_rows(filled) == []


def test_dead_letters_and_quarantine_go_by_date_too(filled):
    part = next(iter(Lake(filled.data_dir).snapshot("conversations").parts))
    remove_parts(
        Lake(filled.data_dir, "test"),
        "conversations",
        [part],
        run_id="r",
        kind="quarantine",
        forget_positions=True,
        keep_in=filled.data_dir / "quarantine",
    )
    assert prune(filled, before=date(2026, 1, 2))["quarantined_files"] == 0
    removed = prune(filled, before=TOMORROW)
    assert removed["quarantined_files"] == 1
    assert removed["dead_letter_files"] == 1
    assert not list((filled.data_dir / "dead_letter").rglob("*.jsonl"))


def test_old_versions_go_beyond_those_to_keep(filled):
    make_gold(filled, fct_x="select 1 as n")
    snapshot.publish(filled, "20260101T000000000000Z")
    for day in range(2, 7):
        (filled.published_dir / f"2025010{day}T000000000000Z").mkdir()
        (filled.published_dir / f"2025010{day}T000000000000Z" / snapshot.COMPLETE).touch()
    assert prune(filled)["published_versions"] == 3
    assert snapshot.current_version(filled).name == "20260101T000000000000Z"
    assert len(snapshot.published_versions(filled.published_dir)) == 3


def test_what_killed_runs_left_of_a_version_goes(filled):
    make_gold(filled, fct_x="select 1 as n")
    snapshot.publish(filled, "20260101T000000000000Z")
    snapshot.stage(filled, "20260102T000000000000Z")
    assert prune(filled, is_dry_run=True)["published_versions"] == 1
    assert prune(filled)["published_versions"] == 1
    assert not (filled.published_dir / "20260102T000000000000Z").exists()
    assert snapshot.current_version(filled).name == "20260101T000000000000Z"


def test_prune_before_the_first_run_makes_nothing(settings):
    assert prune(settings) == {}
    assert not settings.data_dir.exists()


def test_prune_leaves_a_running_pipeline_alone(filled):
    with Lake(filled.data_dir).lock(), pytest.raises(LockHeld):
        prune(filled, before=TOMORROW)


def test_a_source_prunes_what_it_keeps_itself(filled, monkeypatch):
    keeper = dataclasses.replace(transcripts.SOURCE, prune=lambda _settings, before, _is_dry_run: {str(before): 7})
    monkeypatch.setattr("analytics.prune.iter_sources", lambda: iter([keeper]))
    assert prune(filled, before=CUT)[str(CUT)] == 7
    assert str(CUT) not in prune(filled)
