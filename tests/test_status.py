from __future__ import annotations

import json
import time
from datetime import UTC, datetime

from analytics.journal import StageRecord, write_records
from analytics.lake import Lake
from analytics.status import read_status
from analytics.targets import snapshot
from tests.builders import make_gold, make_prompt, run_extract, write_transcript

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
REQUESTS = """
    select * from (values
        ('a', 'priced', 'final', 10), ('b', 'unpriced', 'placeholder', 20), ('b', 'unpriced', 'final', 30),
        (null, 'unpriced', 'final', 40)
    ) as rows(model_key, cost_status, usage_quality, total_tokens)
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
        fct_messages="select timestamp '2026-01-02 10:00:00' as occurred_at",
        fct_api_requests=REQUESTS,
        dim_models=MODELS,
    )
    snapshot.publish(settings, "20260101T000000000000Z")
    status = read_status(settings)
    assert status["published"]["run_id"] == "20260101T000000000000Z"
    assert status["published"]["version_count"] == 1
    assert status["freshness"]["newest_message_at"] == "2026-01-02T10:00:00Z"
    assert status["usage"] == {"request_count": 4, "final_ratio": 0.75, "placeholder_ratio": 0.25}
    assert status["unpriced"] == {
        "glm-4.7 requests": 2, "glm-4.7 tokens": 50, "unknown requests": 1, "unknown tokens": 40,
    }  # fmt: skip
    assert status["disk"]["published_bytes"] > 0
    json.dumps(status)


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


def test_status_counts_the_queue(settings):
    for folder, count in (("incoming", 3), ("failed", 1)):
        (settings.data_dir / "queue" / folder).mkdir(parents=True)
        for number in range(count):
            (settings.data_dir / "queue" / folder / f"{number}.json").write_text("{}")
    assert read_status(settings)["queue"] == {"waiting_files": 3, "failed_files": 1}


def test_status_is_fast_takes_no_lock_and_holds_no_content(settings):
    write_transcript(settings, make_prompt("quixotic-marmalade"), b"quixotic-marmalade")
    run_extract(settings)
    with Lake(settings.data_dir).lock():
        started = time.process_time()
        status = read_status(settings)
        assert time.process_time() - started < 1
    assert "quixotic-marmalade" not in repr(status)
