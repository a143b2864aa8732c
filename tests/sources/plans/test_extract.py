"""Manifests and archives become events: each once, in order, whatever a run saw in one step."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from datetime import UTC, datetime
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics import lake as lake_module
from analytics.sources.plans import extract, find_files, import_events, is_enabled
from analytics.sources.plans.manifest import (
    Manifest,
    PlanPlace,
    diff_plan,
    feature_key,
    normalise_status,
    parse_manifest,
)
from tests.builders import (
    committed_rows,
    dead_letters,
    die_at,
    encode,
    hostile_records,
    is_json,
    iter_contents,
    make_context,
)

MTIME_NS = 1_767_355_200_000_000_000  # 2026-01-02T12:00Z
PLACE = PlanPlace("/p", "login", "active")
DEEP = [b"[" * depth + b"]" * depth for depth in (300, 1000)]
STATUSES = ("pending", "in_progress", "completed", "failed")


@pytest.fixture
def project(tmp_path):
    return tmp_path / "repos" / "app"


def plan_context(tmp_path, **overrides):
    return make_context(tmp_path, **{"plan_dirs": str(tmp_path / "repos"), **overrides})


def make_feature(feature_id="F001", status="pending", **fields):
    return {
        "id": feature_id,
        "file": "prompts/01.md",
        "description": "a form",
        "depends_on": [],
        "status": status,
        **fields,
    }


def write_manifest(project, *features, plan="login", stage="active", mtime_ns=MTIME_NS):
    path = project / "dev" / stage / plan / "manifest.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in features)
    )
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def events(context):
    found = sorted(committed_rows(context.settings, "plan_events"), key=lambda row: row["sequence_number"])
    return [(row["event_type"], row["feature_id"]) for row in found]


def test_a_new_manifest_gives_its_plan_and_features(tmp_path, project):
    write_manifest(project, make_feature("F001"), make_feature("F002", "in_progress", depends_on=["F001"]))
    context = plan_context(tmp_path)
    result = extract(context)
    assert (result.rows_read, result.rows_loaded, result.unit_count) == (4, 4, 1)
    assert events(context) == [
        ("plan_created", None),
        ("feature_created", "F001"),
        ("feature_created", "F002"),
        ("feature_started", "F002"),
    ]
    row = committed_rows(context.settings, "plan_events")[3]
    assert (row["occurred_at"], row["time_source"]) == (datetime(2026, 1, 2, 12), "mtime")  # noqa: DTZ001 - naive UTC
    assert (row["plan_name"], row["plan_path"], row["project_path"]) == ("login", "dev/active/login", str(project))
    assert (row["dependency_count"], row["feature_description_char_count"], row["status"]) == (1, 6, "in_progress")
    assert json.loads(row["payload"])["feature_description"] == "a form"
    assert extract(context).rows_read == 0


def test_a_manifest_whose_clock_cannot_be_right_has_events_without_an_instant(tmp_path, project):
    write_manifest(project, make_feature(), b"broken\n", mtime_ns=2**33 * 10**9)
    context = plan_context(tmp_path)
    assert (extract(context).rows_loaded, extract(context).waiting_count) == (2, 0)
    rows = committed_rows(context.settings, "plan_events")
    assert {(row["occurred_at"], row["time_source"], row["record_date"]) for row in rows} == {
        (None, None, context.extracted_at.date())
    }


def test_only_files_are_imported(tmp_path):
    """A FIFO among archives was opened, which ends when somebody writes to it."""
    kept = tmp_path / "kept"
    write_archive(kept / "plan-events.jsonl", archived())
    os.mkfifo(kept / "fifo.jsonl")
    (kept / "folder.jsonl").mkdir()
    (kept / "link.jsonl").symlink_to(kept / "gone")
    result = import_events(plan_context(tmp_path), kept)
    assert (result.rows_loaded, result.unit_count, result.problems) == (1, 1, ())


def test_a_step_that_was_not_seen_is_filled_in(tmp_path, project):
    context = plan_context(tmp_path)
    write_manifest(project, make_feature("F001"), make_feature("F002"))
    extract(context)
    write_manifest(
        project, make_feature("F001", "completed"), make_feature("F002", "failed"), mtime_ns=MTIME_NS + 10**9
    )
    extract(context)
    assert events(context)[3:] == [
        ("feature_started", "F001"),
        ("feature_completed", "F001"),
        ("feature_started", "F002"),
        ("feature_failed", "F002"),
    ]


def test_the_move_to_complete_completes_once(tmp_path, project):
    context = plan_context(tmp_path)
    path = write_manifest(project, make_feature("F001", "completed"))
    extract(context)
    (project / "dev" / "complete").mkdir()
    path.parent.rename(project / "dev" / "complete" / "login")
    assert extract(context).rows_loaded == 1
    assert events(context)[-1] == ("orchestration_completed", None)
    assert extract(context).rows_loaded == 0


def test_a_plan_first_seen_complete_has_its_whole_history(tmp_path, project):
    write_manifest(project, make_feature("F001", "completed"), stage="complete")
    context = plan_context(tmp_path)
    extract(context)
    assert [kind for kind, _ in events(context)] == [
        "plan_created",
        "feature_created",
        "feature_started",
        "feature_completed",
        "orchestration_completed",
    ]


def test_a_retry_is_numbered(tmp_path, project):
    context = plan_context(tmp_path)
    for number, status in enumerate(("in_progress", "failed", "in_progress", "completed")):
        write_manifest(project, make_feature("F001", status), mtime_ns=MTIME_NS + number * 10**9)
        extract(context)
    rows = committed_rows(context.settings, "plan_events")
    starts = [row["occurrence_number"] for row in rows if row["event_type"] == "feature_started"]
    assert sorted(starts) == [1, 2]
    assert len({row["record_id"] for row in rows}) == len(rows) == 6


def test_a_half_written_manifest_waits_and_a_broken_one_is_read_around(tmp_path, project):
    context = plan_context(tmp_path)
    fresh_ns = int(context.extracted_at.timestamp()) * 10**9 - 10**9
    write_manifest(project, make_feature("F001"), b'{"id": "F0', mtime_ns=fresh_ns)
    assert (extract(context).rows_read, extract(context).waiting_count) == (0, 1)
    write_manifest(project, make_feature("F001"), b'{"id": "F0', mtime_ns=MTIME_NS)
    result = extract(context)
    assert (result.rows_read, result.rows_loaded, result.rows_rejected) == (3, 2, 1)
    assert [letter["reason"] for letter in dead_letters(context.settings, "plan_events")] == ["not JSON"]
    assert extract(context).rows_read == 0


def test_projects_are_those_that_were_published(tmp_path, project):
    context = plan_context(tmp_path, plan_dirs="")
    assert not is_enabled(context.settings)
    write_manifest(project, make_feature())
    version = context.settings.published_dir / "current"
    version.mkdir(parents=True)
    # The last is what a damaged line named, or a project whose folder was closed: it ended every later run.
    paths = ["unknown", str(project), "/nowhere/else", "C:/code/app", "/" + "x" * 300]
    pq.write_table(pa.table({"project_path": paths}), version / "dim_projects.parquet")
    assert is_enabled(context.settings)
    assert extract(context).rows_loaded == 2
    [[place, _]] = find_files(context.settings).manifests
    assert place == PlanPlace(str(project), "login", "active")


def test_a_named_folder_without_plans_is_told(tmp_path, project):
    project.mkdir(parents=True)
    context = plan_context(tmp_path)
    assert extract(context).nothing_found == (str(tmp_path / "repos"),)
    write_manifest(project, make_feature())
    assert extract(context).nothing_found == ()


def test_a_project_with_two_names_is_read_once(tmp_path, project):
    write_manifest(project, make_feature())
    (tmp_path / "link").symlink_to(project)
    context = plan_context(
        tmp_path, plan_dirs=f"{project}{os.pathsep}{tmp_path / 'link'}{os.pathsep}{tmp_path / 'repos'}"
    )
    assert len(find_files(context.settings).manifests) == 1


SECRET = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"


def test_names_that_are_not_utf8_are_read_all_the_same(tmp_path):
    """One such folder ended every run with a TypeError in the commit."""
    project = tmp_path / "repos" / os.fsdecode(b"app\xff")
    write_manifest(project, make_feature(), b"broken\n", plan=os.fsdecode(b"log\xffin"))
    write_archive(project / "dev" / "active" / os.fsdecode(b"log\xffin") / "plan-events.jsonl", archived())
    context = plan_context(tmp_path)
    first, second = extract(context), extract(context)
    assert (first.rows_loaded, first.rows_rejected, second.rows_read) == (3, 1, 0)
    created = committed_rows(context.settings, "plan_events")[0]
    assert created["project_path"] == f"{tmp_path}/repos/app\ufffd"
    assert {(row["plan_name"], row["plan_path"]) for row in committed_rows(context.settings, "plan_events")} == {
        ("log\ufffdin", "dev/active/log\ufffdin"),
        ("login", "dev/active/login"),
    }
    [letter] = dead_letters(context.settings, "plan_events")
    assert letter["file"] == "dev/active/log\ufffdin/manifest.jsonl"
    for name in ("a", os.fsdecode(b"\xfe")):
        write_archive(tmp_path / "kept" / f"{name}.jsonl", archived("plan_created", plan_name=f"kept in {len(name)}"))
    assert import_events(context, tmp_path / "kept").rows_loaded == 2


def test_secrets_in_names_are_written_nowhere(tmp_path):
    """Positions were filed under whole paths, and a dead letter named its manifest."""
    project = tmp_path / "repos" / SECRET
    write_manifest(project, make_feature(), b"broken\n", plan=f"use {SECRET}")
    write_manifest(project, make_feature(SECRET, status=SECRET))
    write_archive(project / "plan-events.jsonl", archived(), b"broken\n")
    context = plan_context(tmp_path)
    result = extract(context)
    assert (result.rows_loaded, result.rows_rejected, extract(context).rows_read) == (5, 2, 0)
    assert not [where for where, content in iter_contents(context.settings.data_dir) if SECRET.encode() in content]


def test_checkouts_on_two_hosts_of_one_lake_tell_nothing_twice(tmp_path, project):
    """Each took the other's state for what it saw last, and told of the difference in every run."""

    def run(host, status):
        write_manifest(project, make_feature(status=status))
        return extract(plan_context(tmp_path, host_id=host)).rows_loaded

    assert [run("a", "completed"), run("b", "pending"), run("a", "completed"), run("b", "pending")] == [4, 2, 0, 0]
    rows = committed_rows(plan_context(tmp_path).settings, "plan_events")
    assert len({row["record_id"] for row in rows}) == 4


def test_positions_of_earlier_versions_go_on_under_their_new_keys(tmp_path, project):
    """They were filed under paths, with the ids of features spelt out. An upgrade doubles and forgets nothing."""
    manifest = write_manifest(project, make_feature("F 1", "failed"), make_feature("F2", "blocked"))
    archive = project / "plan-events.jsonl"
    write_archive(archive, archived())
    context = plan_context(tmp_path)
    assert extract(context).rows_loaded == 6
    new = context.lake.read_state(source="plans", dataset="plan_events")
    counts = {"plan_created": 1, "feature_created F 1": 1, "feature_created F2": 1, "feature_started F 1": 1,
              "feature_failed F 1": 1, "events": 5}  # fmt: skip
    digests = [hashlib.sha256(path.read_bytes()).hexdigest()[:32] for path in (manifest, archive)]
    features = {"F 1": "failed", "F2": "blocked"}
    old = {
        f"{project}/dev/*/login": {"stage": "active", "features": features, "counts": counts, "digest": digests[0]},
        str(archive): {"size": archive.stat().st_size, "digest": digests[1]},
        f"{project}/dev/*/gone": {"stage": "active", "features": {}, "counts": {"events": 1}, "digest": ""},
    }
    context.lake.commit(source="plans", dataset="plan_events", run_id="old", state={**dict.fromkeys(new), **old})
    windowed = dataclasses.replace(context, since=datetime(2030, 1, 1, tzinfo=UTC))
    assert extract(windowed).rows_loaded == 0
    assert context.lake.read_state(source="plans", dataset="plan_events") == old
    assert [extract(context).rows_loaded for _ in range(2)] == [0, 0]
    state = context.lake.read_state(source="plans", dataset="plan_events")
    assert {key: state[key] for key in new} == new
    assert len(state) == len(old)
    write_manifest(project, make_feature("F 1", "completed"), make_feature("F2", "blocked"), mtime_ns=MTIME_NS + 10**9)
    write_archive(archive, archived(), archived("feature_failed"))
    assert extract(context).rows_loaded == 3
    rows = committed_rows(context.settings, "plan_events")
    assert len({row["record_id"] for row in rows}) == len(rows) == 9
    assert len(context.lake.read_state(source="plans", dataset="plan_events")) == len(old)


def archived(event_type="feature_started", at="2026-01-02T11:00:00Z", **fields):
    known = {"id": "e1", "timestamp": at, "session_id": "s1", "event_type": event_type, "plan_name": "login"}
    return {**known, "plan_path": "dev/active/login", "feature_id": "F001", "status": "in_progress", **fields}


def write_archive(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines))


def test_an_event_found_two_ways_has_one_id(tmp_path, project):
    write_manifest(project, make_feature("F001", "in_progress"))
    write_archive(project / "plan-events.jsonl", archived())
    context = plan_context(tmp_path)
    extract(context)
    starts = [row for row in committed_rows(context.settings, "plan_events") if row["event_type"] == "feature_started"]
    assert {row["detected_by"] for row in starts} == {"manifest", "archive"}
    assert len({row["record_id"] for row in starts}) == 1


def test_an_archive_gives_only_what_is_new(tmp_path, project):
    context = plan_context(tmp_path)
    path = project / "dev" / "plan-events.jsonl"
    write_archive(path, archived())
    assert extract(context).rows_loaded == 1
    write_archive(path, archived(), archived("feature_failed"), archived(at="2026-01-02T11:05:00Z"))
    with path.open("ab") as opened:
        opened.write(b'{"half')
    result = extract(context)
    assert (result.rows_loaded, result.waiting_count) == (2, 1)
    numbers = [row["occurrence_number"] for row in committed_rows(context.settings, "plan_events")]
    assert sorted(numbers) == [1, 1, 2]


@pytest.mark.parametrize("place", [".", "dev", ".claude", "dev/active/login", "dev/complete/old"])
def test_an_archive_is_read_once_for_its_own_project(tmp_path, project, place):
    """The folder it lies in was taken for a project too, so that each of its events counted twice. Found by a test."""
    write_manifest(project, make_feature())
    write_archive(project / place / "plan-events.jsonl", archived())
    context = plan_context(tmp_path)
    assert extract(context).rows_loaded == 3
    assert {row["project_path"] for row in committed_rows(context.settings, "plan_events")} == {str(project)}


def test_import_reads_absolute_plan_paths_and_rejects_what_is_no_event(tmp_path, project):
    path = tmp_path / "elsewhere.jsonl"
    write_archive(path, archived(plan_path="/home/dev/app/dev/active/login"), {"no": "type"}, [1])
    context = plan_context(tmp_path)
    result = import_events(context, path)
    assert (result.rows_read, result.rows_loaded, result.rows_rejected) == (3, 1, 2)
    [row] = committed_rows(context.settings, "plan_events")
    assert (row["project_path"], row["plan_path"], row["session_id"]) == ("/home/dev/app", "dev/active/login", "s1")
    import_events(context, path)
    assert len({row["record_id"] for row in committed_rows(context.settings, "plan_events")}) == 1


def test_a_pull_request_is_one_event_whoever_tells(tmp_path):
    path = tmp_path / "a.jsonl"
    url = "https://example.com/dev/app/pull/7"
    write_archive(path, archived("pr_created", pr_url=url), archived("pr_created", plan_name="x", pr_url=url + "/"))
    context = plan_context(tmp_path)
    import_events(context, path)
    assert len({row["record_id"] for row in committed_rows(context.settings, "plan_events")}) == 1


def test_a_window_reads_archives_again_and_leaves_positions(tmp_path, project):
    write_archive(project / "plan-events.jsonl", archived(), archived(at="2026-01-05T00:00:00Z"))
    write_manifest(project, make_feature())
    context = plan_context(tmp_path)
    extract(context)
    state = context.lake.read_state(source="plans", dataset="plan_events")
    windowed = dataclasses.replace(context, since=datetime(2026, 1, 4, tzinfo=UTC))
    assert extract(windowed).rows_loaded == 1
    assert context.lake.read_state(source="plans", dataset="plan_events") == state


def test_metadata_keeps_no_description(tmp_path, project):
    write_manifest(project, make_feature(description="a canary sings", verification="canary"))
    context = plan_context(tmp_path, content="metadata")
    extract(context)
    assert not [where for where, content in iter_contents(context.settings.data_dir) if b"canary" in content]
    assert (
        max(row["feature_description_char_count"] or 0 for row in committed_rows(context.settings, "plan_events")) == 14
    )


def test_secrets_in_a_description_are_redacted(tmp_path, project):
    write_manifest(project, make_feature(description=f"use {SECRET}"), b'{"broken": "' + SECRET.encode() + b'"\n')
    context = plan_context(tmp_path)
    extract(context)
    assert not [where for where, content in iter_contents(context.settings.data_dir) if SECRET.encode() in content]


def test_a_secret_in_an_events_own_id_is_redacted(tmp_path, project):
    """It stood in source_record_id, beside a payload without it."""
    project.mkdir(parents=True)
    happened = {
        "id": f"e {SECRET}",
        "event_type": "plan_created",
        "plan_name": "a",
        "timestamp": "2026-01-02T12:00:00Z",
    }
    (project / "plan-events.jsonl").write_bytes(encode(happened))
    context = plan_context(tmp_path)
    assert extract(context).rows_loaded == 1
    assert not [where for where, content in iter_contents(context.settings.data_dir) if SECRET.encode() in content]


@pytest.mark.parametrize(
    "point", ["part_written", "part_renamed", "dead_letter_written", "commit_written", "committed"]
)
def test_a_death_between_two_steps_repeats_work_and_doubles_nothing(tmp_path, project, monkeypatch, point):
    write_manifest(project, make_feature("F001", "completed"))
    context = plan_context(tmp_path)
    monkeypatch.setattr(lake_module, "step", die_at(point))
    with pytest.raises(KeyboardInterrupt):
        extract(context)
    monkeypatch.undo()
    extract(context)
    found = events(context)
    assert len(found) == len(set(found)) == 4


@given(st.lists(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=3), max_size=6))
def test_any_history_of_statuses_is_a_history_of_steps(snapshots):
    """However often a run looks, a feature is created once, starts before it ends, and ends where it stands."""
    state, seen = None, []
    for statuses in snapshots:
        features = tuple(make_feature(f"F{number}", status) for number, status in enumerate(statuses))
        found, state = diff_plan(state, PLACE, Manifest(features), "2026-01-02T12:00:00+00:00")
        seen += found
        repeated, same = diff_plan(state, PLACE, Manifest(features), "2026-01-02T12:00:00+00:00")
        assert (repeated, same) == ([], state)
    assert [event["sequence"] for event in seen] == list(range(1, len(seen) + 1))
    assert sum(event["event_type"] == "plan_created" for event in seen) == (1 if snapshots else 0)
    statuses = (state or {"features": {}})["features"]
    feature_ids = {event["feature_id"] for event in seen if "feature_id" in event}
    assert {feature_key(feature_id) for feature_id in feature_ids} == set(statuses)
    for feature_id in feature_ids:
        kinds, status = [], statuses[feature_key(feature_id)]
        kinds += [event["event_type"] for event in seen if event.get("feature_id") == feature_id]
        assert kinds[0] == "feature_created"
        assert kinds.count("feature_created") == 1
        for before, after in pairwise(kinds):
            assert after == "feature_started" or before == "feature_started"
        if status in ("completed", "failed"):
            assert kinds[-1] == f"feature_{status}"


def test_parse_manifest_takes_the_last_line_of_an_id():
    manifest = parse_manifest(b'{"id": 1}\n\n{"id": "1", "status": "Done"}\n{"status": "pending"}\nnull\n')
    assert [(feature["id"], feature["status"]) for feature in manifest.features] == [("1", "completed")]
    assert [reason for _, reason, _ in manifest.refusals] == ["no feature id", "no feature id"]


@pytest.mark.parametrize(
    ("word", "status"),
    [("in-progress", "in_progress"), (None, "pending"), ("blocked", "blocked"), (" Done ", "completed")],
)
def test_normalise_status(word, status):
    assert normalise_status(word) == status


def test_an_array_is_read_whatever_stands_before_it(project, tmp_path):
    """With a byte order mark and no final newline, an array was taken for lines, and waited."""
    project.mkdir(parents=True)
    happened = {"event_type": "plan_created", "plan_name": "a", "timestamp": "2026-01-02T12:00:00Z"}
    (project / "plan-events.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps([happened, happened]).encode())
    result = extract(plan_context(tmp_path))
    assert (result.rows_loaded, result.waiting_count) == (2, 0)
    assert extract(plan_context(tmp_path)).rows_read == 0


def test_one_odd_value_costs_only_itself(project, tmp_path):
    """One value nested too deeply, in a manifest or in an archive, stopped the source in every run."""
    odd = list(hostile_records(make_feature(depends_on=["F000"], verification={"command": "true"})))
    good = [make_feature(f"G{number}") for number in range(3)]
    write_manifest(project, good[0], *(line + b"\n" for line in odd), good[1])
    write_manifest(
        project, *(b'{"id": "D%d", "depends_on": %s}\n' % (n, text) for n, text in enumerate(DEEP)), plan="d"
    )
    happened = {
        "timestamp": "2026-01-02T12:00:00Z",
        "event_type": "plan_created",
        "project_path": "/p",
        "plan_name": "x",
        "plan_path": "dev/active/x",
        "feature_id": "F1",
        "status": "active",
        "pr_url": "https://h/1",
        "feature_description": "d",
        "data": {"verification": {"command": "true"}, "depends_on": ["F0"]},
    }
    lines = list(hostile_records(happened))
    (project / "plan-events.jsonl").write_bytes(b"\n".join([*lines, encode({**happened, "plan_name": "good"})]))
    valid = b", ".join(line for line in lines if is_json(line))
    (project / "dev" / "plan-events.jsonl").write_bytes(
        b"[%b, %b]" % (valid, encode({**happened, "plan_name": "last"}))
    )
    context = plan_context(tmp_path)
    result = extract(context)
    rows = committed_rows(context.settings, "plan_events")
    letters = dead_letters(context.settings, "plan_events")
    assert (result.rows_loaded, result.rows_rejected) == (len(rows), len(letters))
    assert "nested too deeply" in {letter["reason"] for letter in letters}
    assert all(letter.get("content") for letter in letters)
    assert {"G0", "G1"} < {row["feature_id"] for row in rows}
    assert {"good", "last"} < {row["plan_name"] for row in rows}
    assert extract(plan_context(tmp_path)).rows_read == 0
