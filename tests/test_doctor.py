from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import time
from datetime import UTC, datetime

import pytest

from analytics import doctor
from analytics.capture.installer import install
from analytics.doctor import Finding, examine
from analytics.extractor import extract
from analytics.journal import StageRecord, write_records
from analytics.lake import Lake
from analytics.status import read_status
from analytics.targets import snapshot
from tests.builders import (
    make_answer,
    make_gold,
    make_prompt,
    make_settings,
    run_extract,
    run_load,
    try_extract,
    write_transcript,
)

DAY_S = 86_400
UNPRICED = "select 'k' as model_key, 'glm-4.7' as model_name"
REQUESTS = """
    select 'k' as model_key, 'unpriced' as cost_status, {tokens} as input_tokens, 0 as output_tokens,
        {tokens} as total_tokens
"""


def find(settings, subject: str):
    (found,) = [finding for finding in examine(settings) if finding.subject == subject]
    return found


def set_cleanup(settings, content: object) -> None:
    settings.claude_dir.mkdir(parents=True, exist_ok=True)
    (settings.claude_dir / "settings.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_a_new_machine_has_nothing_to_mend_but_transcripts(settings):
    findings = examine(settings)
    assert {finding.verdict for finding in findings if finding.subject != "transcripts"} == {"ok"}
    assert find(settings, "transcripts").verdict == "warning"
    assert not settings.data_dir.exists()


def test_a_working_world_is_ok(settings):
    write_transcript(settings, make_prompt())
    run_extract(settings)
    run_load(settings)
    make_gold(settings, fct_x="select 1 as n")
    snapshot.publish(settings, "20260101T000000000000Z")
    assert [finding for finding in examine(settings) if finding.verdict != "ok"] == []


def test_the_doctor_changes_nothing(settings):
    write_transcript(settings, make_prompt())
    run_extract(settings)
    with Lake(settings.data_dir).lock():
        pass
    before = {path: path.stat().st_mtime_ns for path in settings.data_dir.rglob("*")}
    examine(settings)
    assert {path: path.stat().st_mtime_ns for path in settings.data_dir.rglob("*")} == before


def test_an_unsupported_python_is_named(settings, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    found = find(settings, "python")
    assert (found.verdict, found.message[:3]) == ("failed", "3.9")


def test_missing_dbt_is_named(settings, monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _name: None)
    assert find(settings, "dbt").verdict == "failed"


@pytest.mark.parametrize(("mode", "verdict"), [(0o777, "warning"), (0o775, "warning"), (0o755, "ok"), (0o700, "ok")])
def test_a_data_folder_that_others_can_write_is_a_warning_that_a_run_ends(settings, mode, verdict):
    settings.data_dir.mkdir()
    settings.data_dir.chmod(mode)
    assert find(settings, "data folder").verdict == verdict
    with Lake(settings.data_dir).lock():
        pass
    assert find(settings, "data folder").verdict == "ok"


def test_content_that_others_can_read_is_a_warning(settings):
    write_transcript(settings, make_prompt())
    run_extract(settings)
    settings.data_dir.chmod(0o755)
    (settings.data_dir / "raw").chmod(0o755)
    assert "chmod -R go-rwx" in find(settings, "data folder").message


def test_a_data_folder_of_another_user_is_a_failure(settings, monkeypatch):
    settings.data_dir.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    assert "another user" in find(settings, "data folder").message


@pytest.mark.parametrize(
    ("content", "mode", "verdict"),
    [
        ("ANALYTICS_METABASE_PASSWORD=swordfish\n", 0o644, "warning"),
        ("ANALYTICS_METABASE_PASSWORD=swordfish\n", 0o640, "warning"),
        ("ANALYTICS_METABASE_PASSWORD=swordfish\n", 0o600, "ok"),
        ("ANALYTICS_METABASE_PASSWORD=\nANALYTICS_LANGUAGE=x\n", 0o644, "ok"),
    ],
)
def test_a_password_in_a_file_that_others_can_read_is_a_warning(settings, tmp_path, content, mode, verdict):
    """What a copy of .env.example is."""
    dotenv = tmp_path / ".env"  # the tests' project folder
    dotenv.write_text(content)
    dotenv.chmod(mode)
    found = find(settings, "dotenv")
    assert found.verdict == verdict
    assert "swordfish" not in found.message


@pytest.mark.parametrize(("free", "verdict"), [(10 << 20, "failed"), (1 << 30, "warning"), (1 << 40, "ok")])
def test_little_free_disk_is_told_in_time(settings, monkeypatch, free, verdict):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": free}))
    assert find(settings, "disk").verdict == verdict


def test_secret_rules_that_do_not_compile_are_named(settings, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\nname = "broken"\ndescription = "x"\nkind = "token"\npattern = "("\n')
    found = find(dataclasses.replace(settings, secret_rules_file=rules), "secret rules")
    assert found.verdict == "failed"
    assert "broken" in found.message
    assert find(dataclasses.replace(settings, content="full"), "secret rules").verdict == "warning"


@pytest.mark.parametrize(
    ("setting", "subject", "named"),
    [
        ("prices_file", "own rows", "ANALYTICS_PRICES_FILE"),
        ("alert_thresholds_file", "own rows", "ANALYTICS_ALERT_THRESHOLDS_FILE"),
        ("plan_dirs", "other folders", "ANALYTICS_PLAN_DIRS"),
        ("api_requests_dir", "other folders", "ANALYTICS_API_REQUESTS_DIR"),
    ],
)
def test_what_a_setting_names_and_is_not_there_is_a_failure(settings, tmp_path, setting, subject, named):
    """A run failed by it, and the doctor had nothing to say."""
    gone = tmp_path / "gone"
    found = find(dataclasses.replace(settings, **{setting: (gone,) if setting == "plan_dirs" else gone}), subject)
    assert (found.verdict, str(gone) in found.message, named in found.message) == ("failed", True, True)


def test_own_rows_are_counted(settings, tmp_path):
    file = tmp_path / "thresholds.csv"
    file.write_text("alert_name,threshold_value,severity\nalert_daily_cost_above_budget,10,high\n")
    found = find(dataclasses.replace(settings, alert_thresholds_file=file), "own rows")
    assert (found.verdict, found.message) == ("ok", "1 of alert_thresholds")


def test_a_mongodb_that_does_not_answer_is_a_failure(settings):
    uri = "mongodb://user:secret@127.0.0.1:9/?serverSelectionTimeoutMS=50"
    found = find(dataclasses.replace(settings, mongo_uri=uri), "mongodb")
    assert found.verdict == "failed"
    assert "no server answers at 127.0.0.1:9" in found.message
    assert "secret" not in found.message


def test_whether_the_sample_stands_in_is_told_as_a_run_will_see_it(settings):
    """It told of the sample where a folder was named, or was the user's own data's."""
    assert find(settings, "transcripts").message.startswith(f"none in {settings.transcript_dirs[0]}. Mend")
    by_itself = dataclasses.replace(settings, transcript_dirs=())
    assert "none found, runs use the sample" in find(by_itself, "transcripts").message
    write_transcript(settings, make_prompt())
    run_extract(settings)
    assert "none found, runs go on without" in find(by_itself, "transcripts").message


def test_a_missing_transcript_folder_is_a_failure(settings, tmp_path):
    found = find(dataclasses.replace(settings, transcript_dirs=(tmp_path / "gone",)), "transcripts")
    assert found.verdict == "failed"


@pytest.mark.parametrize(
    ("content", "hours", "verdict"),
    [
        ({}, 1, "ok"),
        ({"cleanupPeriodDays": 30}, 1, "ok"),
        ({"cleanupPeriodDays": 0}, 1, "warning"),
        ({"cleanupPeriodDays": 1}, 1, "warning"),
        ({"cleanupPeriodDays": 7}, 24 * 5, "warning"),
        ({"cleanupPeriodDays": "soon"}, 1, "warning"),
        ("{broken", 1, "warning"),
        ("[]", 1, "warning"),
    ],
)
def test_a_clean_up_shorter_than_the_run_interval_is_told(settings, content, hours, verdict):
    set_cleanup(settings, content)
    assert find(dataclasses.replace(settings, run_interval_hours=hours), "cleanup").verdict == verdict


def test_an_unread_transcript_that_is_about_to_go_is_told(settings):
    path = write_transcript(settings, make_prompt())
    os.utime(path, (time.time() - 28 * DAY_S,) * 2)
    assert "28 days old" in find(settings, "cleanup").message
    run_extract(settings)
    assert find(settings, "cleanup").verdict == "ok"


def test_a_last_run_older_than_the_clean_up_is_told(settings, monkeypatch):
    write_transcript(settings, make_prompt())
    run_extract(settings)
    write_transcript(settings, make_prompt("new"), name="p/new.jsonl")
    last = doctor._last_commit_at(settings)
    monkeypatch.setattr(doctor, "_last_commit_at", lambda _: last.replace(year=last.year - 1))
    assert "may be lost already" in find(settings, "cleanup").message


def test_a_hook_command_that_is_gone_is_named(settings, monkeypatch, tmp_path):
    """Who deleted or moved the data folder had a failing hook at every event, and a doctor that was content."""
    monkeypatch.chdir(tmp_path)
    assert find(settings, "capture") == Finding("ok", "capture", "no hook events, only transcripts")
    file = settings.claude_dir / "settings.json"
    install(file, data_dir=settings.data_dir, events=["Stop", "SessionEnd"])
    assert find(settings, "capture") == Finding("ok", "capture", "2 hook events")
    shutil.rmtree(settings.data_dir)
    found = find(settings, "capture")
    assert found.verdict == "warning"
    assert f"{settings.data_dir}/capture/hook" in found.message
    assert "analytics capture install --scope user" in found.message


def test_settings_that_an_old_claude_code_ignores_are_told(settings, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    install(settings.claude_dir / "settings.json", data_dir=settings.data_dir, events=["Stop", "PostCompact"])
    projects = settings.claude_dir / "projects" / "p"
    projects.mkdir(parents=True)
    (projects / "s.jsonl").write_text('{"type": "user", "version": "2.1.75"}\n')
    found = find(settings, "capture")
    assert found.verdict == "warning"
    assert "Claude Code 2.1.75 ignores all of" in found.message
    assert "PostCompact: update Claude Code, or run capture install again." in found.message


def test_hooks_that_are_switched_off_are_told(settings, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    set_cleanup(settings, {"disableAllHooks": True})
    assert find(settings, "capture").verdict == "ok"
    install(settings.claude_dir / "settings.json", data_dir=settings.data_dir)
    assert "disableAllHooks" in find(settings, "capture").message


def test_a_run_that_is_going_on_is_no_fault(settings):
    run_load(settings)
    with Lake(settings.data_dir).lock():
        assert find(settings, "lock") == doctor.Finding(
            "ok", "lock", f"process {os.getpid()} is running the pipeline now"
        )
        assert "in use" in find(settings, "warehouse").message


def test_a_lock_held_from_elsewhere_is_a_warning(settings, monkeypatch):
    with Lake(settings.data_dir).lock():
        monkeypatch.setattr(doctor, "_is_alive", lambda _: False)
        assert find(settings, "lock").verdict == "warning"


def test_a_damaged_commit_is_named_and_stops_no_other_finding(settings):
    write_transcript(settings, make_prompt())
    run_extract(settings)
    assert find(settings, "lake") == Finding("ok", "lake", "1 rows, 1 days")
    (commit,) = (settings.data_dir / "raw" / "_commits" / "conversations").glob("*.json")
    commit.write_bytes(commit.read_bytes()[:40])
    found = find(settings, "lake")
    assert found.verdict == "failed"
    assert f"{commit} is damaged" in found.message
    assert found.message in try_extract(settings).failures["transcripts"]


def test_a_damaged_commit_of_what_runs_tell_of_themselves_is_a_failure(settings):
    """It stopped every run, and was no finding."""
    write_transcript(settings, make_prompt())
    run_extract(settings)
    commits = settings.data_dir / "raw" / "_commits" / "pipeline_runs"
    commits.mkdir()
    (commits / "0000000001.json").write_bytes(bytes(100))
    assert find(settings, "lake").verdict == "failed"


@pytest.mark.parametrize("content", [b"", b"x" * 31])
def test_a_key_that_is_none_is_a_failure(settings, content):
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    (settings.data_dir / "local.key").write_bytes(content)
    found = find(settings, "secret rules")
    assert found.verdict == "failed"
    assert "local.key is no key of 32 bytes" in found.message


def test_files_that_are_gone_are_told_before_those_that_were_set_aside(settings):
    """Quarantined files stay until somebody deletes them, and hid for as long that data was lost."""
    write_transcript(settings, make_prompt("a"), make_prompt("b", at="2026-01-03T00:00:00Z"))
    run_extract(settings)
    damaged, gone = sorted((settings.data_dir / "raw" / "conversations").rglob("*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-16])
    settings.transcript_dirs[0].joinpath("-home-dev-app").rename(settings.data_dir / "elsewhere")
    run_load(settings)
    gone.unlink()
    assert (find(settings, "lake").verdict, find(settings, "lake").message[:20]) == ("failed", "the files of 1 rows,")


def test_damage_that_was_set_aside_is_told_until_its_files_are_deleted(settings):
    """Where the sources were gone, a run said that it would read them again, and nobody said that it could not."""
    write_transcript(settings, make_prompt("a"), make_prompt("b", at="2026-01-03T00:00:00Z"))
    run_extract(settings)
    for part in (settings.data_dir / "raw" / "conversations").rglob("*.parquet"):
        part.write_bytes(part.read_bytes()[:-16])
    run_load(settings)
    found = find(settings, "lake")
    assert found.verdict == "warning"
    assert found.message.startswith(f"2 rows, 2 days were damaged and lie in {settings.data_dir}/quarantine")
    assert read_status(settings)["lake"]["quarantined_rows"] == 2
    shutil.rmtree(settings.data_dir / "quarantine")
    assert find(settings, "lake").verdict == "ok"
    assert "quarantined_rows" not in read_status(settings)["lake"]


def test_a_part_that_somebody_deleted_is_told_and_comes_back_as_it_says(settings):
    """The lake was called well with all of its files gone, and runs had nothing new."""
    write_transcript(settings, make_prompt())
    run_extract(settings)
    run_load(settings)
    for file in (settings.data_dir / "raw" / "conversations").rglob("*.parquet"):
        file.unlink()
    found = find(settings, "lake")
    assert (found.verdict, found.message.split(" are gone")[0]) == ("failed", "the files of 1 rows, 1 days")
    settings.warehouse_file.unlink()
    run_load(settings)
    run_extract(settings)
    assert find(settings, "lake") == Finding("ok", "lake", "1 rows, 1 days")


@pytest.mark.parametrize(("kept", "verdict"), [("full", "warning"), ("redacted", "warning"), ("metadata", "ok")])
def test_text_from_before_the_setting_is_told(settings, kept, verdict):
    write_transcript(settings, make_prompt(), make_answer())
    run_extract(dataclasses.replace(settings, content=kept))
    assert find(dataclasses.replace(settings, content=kept), "content") == Finding("ok", "content", kept)
    assert find(dataclasses.replace(settings, content="metadata"), "content").verdict == verdict


def test_text_of_hooks_from_before_the_setting_is_told(settings):
    """Only prompts were looked for."""
    incoming = settings.data_dir / "queue" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / "a.json").write_text('{"session_id": "s1", "hook_event_name": "Stop"}')
    extract(settings, Lake(settings.data_dir, settings.host_id), run_id="run")
    assert find(dataclasses.replace(settings, content="metadata"), "content").verdict == "warning"


def test_a_last_run_that_failed_is_told_with_all_its_failures(settings):
    lake = Lake(settings.data_dir, settings.host_id)

    def record(run_id: str, stage: str, error: str | None = None) -> None:
        told = StageRecord(stage, datetime.now(UTC), result="failed" if error else "ok", error_type=error)
        write_records(lake, run_id=run_id, trigger="flow", is_full_refresh=False, stages=[told])

    assert find(settings, "last run") == Finding("ok", "last run", "none yet")
    record("20260101T000000000000Z", "extract", "SourceUnavailable")
    record("20260101T000000000000Z", "publish", "PublishError")
    told = "20260101T000000000000Z failed in extract (SourceUnavailable), publish (PublishError). "
    again = "Run again, and it says why: analytics run"
    assert find(settings, "last run") == Finding("warning", "last run", told + again)
    record("20260102T000000000000Z", "extract")
    assert find(settings, "last run") == Finding("ok", "last run", "20260102T000000000000Z did what it was to do")


def test_a_published_table_that_is_gone_is_named(settings):
    make_gold(settings, fct_x="select 1 as n", fct_y="select 1 as n")
    snapshot.publish(settings, "20260101T000000000000Z")
    assert find(settings, "published").verdict == "ok"
    (settings.published_dir / "current" / "fct_x.parquet").unlink()
    found = find(settings, "published")
    assert (found.verdict, found.message) == ("warning", "fct_x is missing or damaged. The next run publishes again.")
    (settings.published_dir / "marts.duckdb").write_bytes(b"garbage")
    assert find(settings, "published").message.startswith("marts.duckdb is missing or damaged.")


def test_a_broken_warehouse_may_be_deleted(settings):
    settings.data_dir.mkdir(mode=0o700)
    settings.warehouse_file.write_bytes(b"garbage" * 1_000)
    found = find(settings, "warehouse")
    assert (found.verdict, "delete it" in found.message) == ("warning", True)


def test_a_broken_published_table_is_a_failure(settings):
    make_gold(settings, fct_x="select 1 as n")
    snapshot.publish(settings, "20260101T000000000000Z")
    (settings.published_dir / "current" / "fct_x.parquet").write_bytes(b"PAR1")
    for subject in ("published", "prices"):
        found = find(settings, subject)
        assert (found.verdict, "analytics publish" in found.message) == ("failed", True)


def test_models_without_a_price_are_named(settings):
    make_gold(settings, fct_api_requests=REQUESTS.format(tokens=5), dim_models=UNPRICED)
    snapshot.publish(settings, "20260101T000000000000Z")
    assert "glm-4.7 (1 requests)" in find(settings, "prices").message


def test_requests_that_state_no_tokens_need_no_price(settings):
    make_gold(settings, fct_api_requests=REQUESTS.format(tokens=0), dim_models=UNPRICED)
    snapshot.publish(settings, "20260101T000000000000Z")
    found = find(settings, "prices")
    assert (found.verdict, found.message[:24]) == ("warning", "1 requests have no cost,")


def test_a_failure_without_a_number_is_told_by_its_kind(settings, monkeypatch):
    def fail(_path):
        raise OSError("quixotic")

    monkeypatch.setattr(doctor.shutil, "disk_usage", fail)
    assert find(settings, "disk").message == "OSError. Mend that first."


def test_findings_hold_no_content(tmp_path):
    settings = make_settings(tmp_path)
    write_transcript(settings, make_prompt("quixotic-marmalade"), b"quixotic-marmalade")
    run_extract(settings)
    assert "quixotic-marmalade" not in repr(examine(settings))
