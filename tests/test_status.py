from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from analytics import status
from analytics.journal import StageRecord, write_records
from analytics.lake import Lake
from analytics.lake.upkeep import ORPHAN_AGE_S, compact, sweep_orphans
from analytics.prune import prune
from analytics.status import read_status
from analytics.targets import snapshot
from tests.builders import make_gold, make_prompt, run_extract, write_transcript

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
REQUESTS = """
    select * from (values
        ('a', 'priced', 'final', 5, 5, 10), ('b', 'unpriced', 'placeholder', 19, 1, 20),
        ('b', 'unpriced', 'final', 20, 10, 30), (null, 'unpriced', 'final', 0, 40, 40),
        ('a', 'unpriced', 'unknown', 0, 0, 7)
    ) as rows(model_key, cost_status, usage_quality, input_tokens, output_tokens, total_tokens)
"""
MODELS = "select * from (values ('a', 'claude-sonnet-4-6'), ('b', 'glm-4.7')) as rows(model_key, model_name)"


def test_status_works_before_the_first_run_and_makes_nothing(settings):
    status = read_status(settings)
    assert "nothing yet" in status["published"]["run_id"]
    assert not settings.data_dir.exists()


def test_status_counts_the_lake(settings):
    write_transcript(settings, make_prompt(), make_prompt("b", at="2026-01-03T00:00:00Z"), b"bad")
    run_extract(settings)
    lake = read_status(settings)["lake"]
    assert (lake["conversations_rows"], lake["conversations_rejected"], lake["conversations_files"]) == (2, 1, 2)
    assert lake["conversations_bytes"] > 0
    assert lake["conversations_last_commit"].startswith("1 (extract, 2")


def test_status_tells_what_is_published_how_fresh_and_how_good(settings):
    make_gold(
        settings,
        # The later one is of a clock that is ahead.
        fct_messages="select unnest([timestamp '2026-01-02 10:00:00', timestamp '2090-01-01']) as occurred_at",
        fct_api_requests=REQUESTS,
        dim_models=MODELS,
    )
    snapshot.publish(settings, "20260101T000000000000Z")
    status = read_status(settings)
    assert status["published"]["run_id"] == "20260101T000000000000Z"
    assert (status["published"]["table_count"], status["published"]["version_count"]) == (4, 1)
    assert status["freshness"]["newest_message_at"] == "2026-01-02T10:00:00Z"
    assert status["usage"] == {
        "request_count": 5, "final_ratio": 0.6, "placeholder_ratio": 0.2, "unknown_ratio": 0.2, "uncounted_requests": 1,
    }  # fmt: skip
    assert status["unpriced"] == {
        "glm-4.7 requests": 2, "glm-4.7 tokens": 50, "unknown requests": 1, "unknown tokens": 40,
    }  # fmt: skip
    assert status["disk"]["published_bytes"] > 0
    json.dumps(status)


def test_status_tells_what_there_is_though_a_published_table_is_damaged(settings):
    make_gold(settings, fct_x="select 1 as n")
    snapshot.publish(settings, "20260101T000000000000Z")
    (settings.published_dir / "current" / "fct_x.parquet").write_bytes(b"PAR1")
    status = read_status(settings)
    assert "is damaged" in status["published"]["run_id"]
    assert status["disk"]["published_bytes"] > 0


def test_status_leaves_out_what_an_older_version_has_not(settings):
    make_gold(settings, fct_x="select 1 as n")
    snapshot.publish(settings, "20260101T000000000000Z")
    assert set(read_status(settings)) == {"published", "disk"}


def test_status_shows_the_last_runs_and_which_stage_failed(settings):
    lake = Lake(settings.data_dir, settings.host_id)
    for run_id, result in (("20260101T000000000000Z", "ok"), ("20260102T000000000000Z", "failed")):
        stages = [
            StageRecord("extract", NOON, elapsed_ms=1_500),
            StageRecord("load", NOON, result=result, elapsed_ms=500),
        ]
        write_records(lake, run_id=run_id, trigger="command", is_full_refresh=False, stages=stages)
    assert list(read_status(settings)["runs"].items()) == [
        ("20260102T000000000000Z", "failed in load, 2.0 s"),
        ("20260101T000000000000Z", "ok, 2.0 s"),
    ]


def write_run(settings, run_id: str, *stages: tuple[str, datetime, str]) -> None:
    lake = Lake(settings.data_dir, settings.host_id)
    records = [StageRecord(stage, at, result=result, elapsed_ms=1_000) for stage, at, result in stages]
    write_records(lake, run_id=run_id, trigger="command", is_full_refresh=False, stages=records)


def test_status_tells_compacted_runs_apart(settings):
    """The part that stood for ten runs was shown as one, with the verdict of any of them."""
    for number in range(10):
        result = "failed" if number == 9 else "ok"
        write_run(settings, f"2026010{number // 5 + 1}T0{number % 5}", ("extract", NOON, result), ("load", NOON, "ok"))
    lake = Lake(settings.data_dir, settings.host_id)
    shown = list(read_status(settings)["runs"].items())
    assert shown == [
        ("20260102T04", "failed in extract, 2.0 s"),
        ("20260102T03", "ok, 2.0 s"),
        ("20260102T02", "ok, 2.0 s"),
        ("20260102T01", "ok, 2.0 s"),
        ("20260102T00", "ok, 2.0 s"),
    ]
    assert compact(lake, "pipeline_runs", run_id="c", before=date(2026, 1, 2)) is not None
    assert list(read_status(settings)["runs"].items()) == shown
    assert sweep_orphans(lake, now=time.time() + 2 * ORPHAN_AGE_S) == 10
    assert list(read_status(settings)["runs"].items()) == shown


def test_status_shows_a_run_across_midnight_whole(settings):
    before, after = datetime(2026, 1, 1, 23, 59), datetime(2026, 1, 2, 0, 1)  # noqa: DTZ001 - naive UTC
    write_run(settings, "20260101T2359", ("extract", before, "failed"), ("load", after, "ok"))
    for number in range(4):
        write_run(settings, f"20260102T010{number}", ("extract", after, "ok"))
    runs = read_status(settings)["runs"]
    assert (len(runs), runs["20260101T2359"]) == (5, "failed in extract, 2.0 s")


def test_status_forgets_pruned_runs(settings):
    """It failed for good: the log still names what was deleted."""
    write_run(settings, "20260101T0000", ("extract", NOON, "ok"))
    write_run(settings, "20260103T0000", ("extract", NOON + timedelta(days=2), "ok"))
    prune(settings, before=date(2026, 1, 2))
    assert list(read_status(settings)["runs"]) == ["20260103T0000"]
    prune(settings, before=date(2026, 1, 4))
    assert "runs" not in read_status(settings)


def test_status_leaves_damage_to_the_next_run(settings):
    write_run(settings, "20260101T0000", ("extract", NOON, "ok"))
    (part,) = Lake(settings.data_dir).raw_dir.glob("pipeline_runs/**/*.parquet")
    part.write_bytes(part.read_bytes()[:-30])
    assert "runs" not in read_status(settings)


def test_status_goes_on_where_a_file_goes_away_meanwhile(settings, monkeypatch):
    """It takes no lock: a prune or a run may delete what was just listed."""
    write_run(settings, "20260101T0000", ("extract", NOON, "ok"))
    (settings.data_dir / "published").mkdir()
    (settings.data_dir / "published" / "old.parquet").write_text("x")
    snapshot_of, files_of = Lake.snapshot, status._iter_files

    def lose_parts(lake, dataset):
        found = snapshot_of(lake, dataset)
        for path in found.parts:
            lake.part_file(path).unlink(missing_ok=True)
        return found

    def lose_files(folder):
        for entry in files_of(folder):
            Path(entry.path).unlink()
            yield entry

    monkeypatch.setattr(Lake, "snapshot", lose_parts)
    monkeypatch.setattr(status, "_iter_files", lose_files)
    assert read_status(settings)["disk"]["published_bytes"] == 0


def test_status_counts_the_queue(settings):
    for folder, count in (("incoming", 3), ("failed", 1)):
        (settings.data_dir / "queue" / folder).mkdir(parents=True)
        for number in range(count):
            (settings.data_dir / "queue" / folder / f"{number}.json").write_text("{}")
    (settings.data_dir / "queue/failed/0.json.reason.json").write_text("{}")  # of the file, and none itself
    assert read_status(settings)["queue"] == {"waiting_files": 3, "failed_files": 1}


def test_status_is_fast_takes_no_lock_and_holds_no_content(settings):
    write_transcript(settings, make_prompt("quixotic-marmalade"), b"quixotic-marmalade")
    run_extract(settings)
    with Lake(settings.data_dir).lock():
        started = time.process_time()
        status = read_status(settings)
        assert time.process_time() - started < 1
    assert "quixotic-marmalade" not in repr(status)
