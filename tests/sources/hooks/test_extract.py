"""From the queue into the lake: nothing lost, nothing doubled, wherever a run dies."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analytics.capture import installer
from analytics.lake import Lake
from analytics.prune import prune
from analytics.records.lines import iter_lines
from analytics.sources.hooks import archive, extract, import_events, queue_of
from analytics.sources.hooks.parse import parse_file
from tests.builders import dead_letters, encode, hostile_records, is_json, make_context

T0_NS = 1_760_000_000_000_000_000
ROOT = Path(__file__).parents[3]


def hook_context(data_dir, **overrides):
    return make_context(data_dir, **{"data_dir": str(data_dir), **overrides})


def put(data_dir, content, *, name=None, at_ns=T0_NS):
    folder = data_dir / "queue" / "incoming"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name or f"1763722375-{at_ns % 10**9}-{abs(hash(str(content))) % 16**16:016x}.json")
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    os.utime(path, ns=(at_ns, at_ns))
    return path


def make_payload(**fields):
    return {"session_id": "s-1", "hook_event_name": "PreToolUse", "tool_name": "Read", **fields}


def fill(data_dir, count, start=0):
    for number in range(start, start + count):
        put(data_dir, make_payload(n=number), name=f"1763722375-{number}-{number:016x}.json", at_ns=T0_NS + number)


def rows(data_dir):
    lake = Lake(data_dir, "host")
    found = []
    for path in lake.snapshot("hook_events").parts:
        found += pq.read_table(lake.part_file(path)).to_pylist()
    return found


def numbers(data_dir):
    return sorted(json.loads(row["payload"])["n"] for row in rows(data_dir))


def names_in(data_dir, folder):
    root = data_dir / "queue" / folder
    return sorted(path.name for path in root.rglob("*") if path.is_file()) if root.is_dir() else []


def test_extract_empties_the_queue(tmp_path):
    fill(tmp_path, 5)
    result = extract(hook_context(tmp_path))
    assert (result.rows_read, result.rows_loaded, result.rows_rejected, result.unit_count) == (5, 5, 0, 5)
    assert numbers(tmp_path) == [0, 1, 2, 3, 4]
    assert [row["payload"] and json.loads(row["payload"])["n"] for row in rows(tmp_path)] == [0, 1, 2, 3, 4]
    assert names_in(tmp_path, "") == []
    assert list((tmp_path / "queue" / "processing").iterdir()) == []
    assert extract(hook_context(tmp_path)).rows_read == 0


def test_extract_dates_an_event_by_its_capture(tmp_path):
    put(tmp_path, make_payload(), at_ns=T0_NS)
    extract(hook_context(tmp_path))
    [row] = rows(tmp_path)
    assert row["occurred_at"] == row["captured_at"] == datetime(2025, 10, 9, 8, 53, 20)  # noqa: DTZ001 - naive UTC
    assert (row["time_source"], str(row["record_date"]), row["event_name"]) == ("mtime", "2025-10-09", "PreToolUse")


def test_times_that_no_clock_can_have_told_are_none(tmp_path):
    """A file's name or its time of change filed events under 1970, 2128 and 2286."""
    put(tmp_path, make_payload(n=1), name="9999999999999999999-abc-stop.json")
    for number, at_ns in ((2, 0), (3, 5 * 10**18), (4, -(10**18))):
        put(tmp_path, make_payload(n=number), name=f"{number}.json", at_ns=at_ns)
    put(tmp_path, make_payload(n=5, timestamp="2025-10-08T00:00:00Z"), name="5.json", at_ns=0)
    extract(hook_context(tmp_path))
    found = {json.loads(row["payload"])["n"]: (row["time_source"], str(row["record_date"])) for row in rows(tmp_path)}
    unknown = (None, "2026-01-03")  # the day of the run
    assert found == {1: ("mtime", "2025-10-09"), 2: unknown, 3: unknown, 4: unknown, 5: ("payload", "2025-10-08")}


def test_extract_archives_when_told_to(tmp_path):
    fill(tmp_path, 3)
    extract(hook_context(tmp_path, hook_files="archive"))
    assert len(names_in(tmp_path, "archive/2025-10-09")) == 3


def test_extract_reads_the_archive_again_on_a_full_backfill(tmp_path):
    fill(tmp_path, 3)
    context = hook_context(tmp_path, hook_files="archive")
    extract(context)
    before = {row["record_id"] for row in rows(tmp_path)}
    again = extract(dataclasses.replace(context, is_full_backfill=True))
    assert again.rows_loaded == 3
    assert {row["record_id"] for row in rows(tmp_path)} == before


def test_full_backfill_without_an_archive_is_no_problem(tmp_path):
    """Every `run --full-backfill` warned of a file that could not be read: the folder that only `archive` makes."""
    fill(tmp_path, 1)
    assert extract(dataclasses.replace(hook_context(tmp_path), is_full_backfill=True)).problems == ()


def test_one_event_delivered_twice_is_one_record_and_two_firings_are_two(tmp_path):
    for at_ns in (T0_NS, T0_NS + 1):
        put(tmp_path, make_payload(), name=f"{at_ns}.json", at_ns=at_ns)
    extract(hook_context(tmp_path))
    put(tmp_path, make_payload(), name="copy.json", at_ns=T0_NS)
    extract(hook_context(tmp_path))
    assert len(rows(tmp_path)) == 3
    assert len({row["record_id"] for row in rows(tmp_path)}) == 2


def test_extract_puts_bad_files_aside_with_a_reason(tmp_path):
    put(tmp_path, b"{", name="torn.json")
    put(tmp_path, b"{}", name="nameless.json")
    put(tmp_path, make_payload(n=1), name="good.json")
    put(tmp_path, b"[" + b" " * 2_000_000, name="large.json")
    os.mkfifo(tmp_path / "queue" / "incoming" / "pipe")
    (tmp_path / "queue" / "incoming" / "folder").mkdir()
    (tmp_path / "queue" / "incoming" / "link.json").symlink_to("/etc/passwd")
    (tmp_path / "elsewhere.json").write_bytes(b"{}")
    (tmp_path / "queue" / "incoming" / "hard.json").hardlink_to(tmp_path / "elsewhere.json")
    result = extract(hook_context(tmp_path, max_hook_mb="1"))
    assert (result.rows_read, result.rows_loaded, result.rows_rejected) == (8, 1, 7)
    failed = tmp_path / "queue" / "failed"
    reasons = {path.name: json.loads(path.read_bytes())["reason"] for path in failed.glob("*.reason.json")}
    assert reasons == {
        "torn.json.reason.json": "not JSON",
        "nameless.json.reason.json": "no event name",
        "large.json.reason.json": "larger than 1 MB",
        "pipe.reason.json": "not a regular file",
        "folder.reason.json": "not a regular file",
        "link.json.reason.json": "not a regular file",
        "hard.json.reason.json": "a hard link",
    }
    assert len(result.dead_letters) == 1
    assert names_in(tmp_path, "incoming") == []


def test_files_of_another_user_are_put_aside(tmp_path, monkeypatch):
    put(tmp_path, make_payload(), name="1.json")
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    result = extract(hook_context(tmp_path))
    assert (result.rows_loaded, result.rows_rejected) == (0, 1)
    (note,) = (tmp_path / "queue" / "failed").glob("*.reason.json")
    assert json.loads(note.read_bytes())["reason"] == "of another user"


def test_replay_brings_failed_files_back(tmp_path):
    put(tmp_path, b"{}", name="1.json", at_ns=T0_NS)
    context = hook_context(tmp_path)
    extract(context)
    failed = tmp_path / "queue" / "failed" / "1.json"
    failed.write_text(json.dumps(make_payload(n=1)))
    os.utime(failed, ns=(T0_NS, T0_NS))
    assert queue_of(context.settings).replay() == 1
    assert names_in(tmp_path, "failed") == []
    assert extract(context).rows_loaded == 1
    assert numbers(tmp_path) == [1]


def test_secrets_reach_neither_the_lake_nor_what_is_put_aside(tmp_path):
    secret = "ghp_" + "Zq7" * 12
    put(tmp_path, make_payload(prompt=f"use {secret} now"), name="a.json")
    put(tmp_path, f'{{"token": "{secret}", '.encode(), name="torn.json")
    put(tmp_path, make_payload(), name=f"{T0_NS}-{secret}-stop.json")
    extract(hook_context(tmp_path))
    for path in tmp_path.rglob("*"):
        assert secret not in path.name
        if path.is_file() and path.suffix == ".parquet":
            assert secret not in str(pq.read_table(path).to_pylist())
        elif path.is_file():
            assert secret.encode() not in path.read_bytes()


def test_metadata_policy_writes_no_payload(tmp_path):
    put(tmp_path, make_payload(prompt="marker-text"))
    extract(hook_context(tmp_path, content="metadata"))
    [row] = rows(tmp_path)
    assert row["payload"] is None
    assert row["prompt_char_count"] == 11
    assert "marker-text" not in str(row)


def test_extract_retries_what_cannot_be_read_now_and_then_gives_up(tmp_path, monkeypatch):
    put(tmp_path, make_payload(n=1), name="a.json")
    real_open = os.open

    def failing(path, *args, **kwargs):
        if "a.json" in str(path) and "processing" in str(path):
            raise OSError(5, "Input/output error")
        return real_open(path, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr("analytics.sources.hooks.queue.os.open", failing)
        for attempt in (1, 2):
            result = extract(hook_context(tmp_path, hook_retry_limit="2"))
            assert (result.rows_read, result.waiting_count) == (0, 1)
            assert names_in(tmp_path, "incoming") == [f"a.json~{attempt}"]
        assert extract(hook_context(tmp_path, hook_retry_limit="2")).rows_rejected == 1
    assert queue_of(hook_context(tmp_path).settings).replay() == 1
    assert extract(hook_context(tmp_path)).rows_loaded == 1


def test_a_file_that_is_put_back_takes_the_place_of_no_other(tmp_path):
    """Under the name that a retry makes another event may wait, and was overwritten."""
    queue = queue_of(hook_context(tmp_path).settings)
    put(tmp_path, make_payload(n=1), name="e.json")
    claim = queue.claim(queue.list_incoming())
    put(tmp_path, make_payload(n=2), name="e.json~1")
    assert queue.retry_later(claim, claim.files[0])
    claim.release()
    extract(hook_context(tmp_path))
    assert numbers(tmp_path) == [1, 2]


def test_a_disk_that_was_full_once_leaves_no_claim_for_ever(tmp_path, monkeypatch):
    """What was written of a redacted file stayed in its claim, which each run then ended anew."""
    put(tmp_path, f'{{"token": "ghp_{"Zq7" * 12}", '.encode(), name="torn.json")
    with monkeypatch.context() as patched:
        patched.setattr(
            "analytics.sources.hooks.queue.os.utime", lambda *_, **__: (_ for _ in ()).throw(OSError(28, ""))
        )
        with pytest.raises(OSError, match="28"):
            extract(hook_context(tmp_path))
    assert extract(hook_context(tmp_path)).rows_read == 0
    assert names_in(tmp_path, "failed") == ["torn.json", "torn.json.reason.json"]
    assert list((tmp_path / "queue" / "processing").iterdir()) == []


def test_names_of_any_bytes_are_read(tmp_path):
    folder = tmp_path / "queue" / "incoming"
    folder.mkdir(parents=True)
    for name in (b"\xff\xfe.json", b"a\nb.json", b"x" * 250, "é".encode()):
        (Path(os.fsdecode(os.fsencode(folder) + b"/" + name))).write_text(json.dumps(make_payload(name=len(name))))
    (folder / os.fsdecode(b"\xff" * 240)).write_text("{")
    result = extract(hook_context(tmp_path))
    assert (result.rows_loaded, result.rows_rejected) == (4, 1)
    assert len(names_in(tmp_path, "failed")) == 2


FORMS = {
    "raw.json": make_payload(n=1),
    "notification.json": [make_payload(hook_event_name="Notification", n=2)] * 2,
    "all.jsonl": None,
    "unknown.json": {"hook_event_name": "SomeFutureEventV2", "n": 5},
    f"{T0_NS}-s1-stop.json": {"session_id": "s1", "stop_hook_active": False},
    "bad.json": {"test": 1},
}


def test_import_reads_every_form_and_adds_nothing_the_second_time(tmp_path):
    source = tmp_path / "archive" / "deep"
    source.mkdir(parents=True)
    for name, value in FORMS.items():
        if value is not None:
            (source / name).write_text(json.dumps(value))
    lines = [
        {
            "source_app": "a",
            "hook_event_type": "PostToolUse",
            "payload": make_payload(n=3),
            "timestamp": 1_760_000_000_000,
        },
        {"event": "session-end", "timestamp": "2025-10-09T10:00:00Z", "session_id": "s", "data": {"reason": "clear"}},
        {"nothing": 1},
    ]
    (source / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    context = hook_context(tmp_path / "data")
    first = import_events(context, tmp_path / "archive")
    assert (first.rows_read, first.rows_loaded, first.rows_rejected) == (9, 7, 2)
    assert Counter(row["event_name"] for row in rows(tmp_path / "data")) == {
        "PreToolUse": 2,
        "Notification": 2,
        "SomeFutureEventV2": 1,
        "Stop": 1,
        "SessionEnd": 1,
    }
    ids = {row["record_id"] for row in rows(tmp_path / "data")}
    assert len(ids) == 7
    import_events(context, tmp_path / "archive")
    assert {row["record_id"] for row in rows(tmp_path / "data")} == ids
    assert sorted(path.name for path in source.iterdir()) == sorted(FORMS)


def test_an_archive_that_breaks_off_is_told_and_what_was_read_counts(tmp_path, monkeypatch):
    def break_off(opened, offset, limit):
        yield from list(iter_lines(opened, offset, limit))[:1]
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(archive, "iter_lines", break_off)
    (tmp_path / "a.jsonl").write_bytes(encode(make_payload(n=1), make_payload(n=2)))
    result = import_events(hook_context(tmp_path / "data"), tmp_path / "a.jsonl")
    assert (result.rows_read, result.rows_loaded, result.problems) == (1, 1, ("1 files: Input/output error",))


# ---------------------------------------------------------------- dying

RUN = """
import os, sys
sys.path[:0] = [{root!r}, {tests!r}]
import analytics.lake, analytics.sources.hooks.queue
from pathlib import Path
import test_extract as helpers

def run(data_dir, at):
    seen = 0
    def step(name):
        nonlocal seen
        seen += 1
        if seen == at:
            os.kill(os.getpid(), 9)
    analytics.lake.step = analytics.sources.hooks.queue.step = step
    helpers.extract(helpers.hook_context(Path(data_dir), **{overrides!r}))
    return seen

for data_dir, at in {runs!r}:
    if (child := os.fork()) == 0:
        os._exit(run(data_dir, at))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def run_dying(runs, **overrides):
    """Extract in a process of its own for each (data folder, step to die at); 0 lives and exits with its steps."""
    pairs = [(str(data_dir), at) for data_dir, at in runs]
    script = RUN.format(root=str(ROOT), tests=str(Path(__file__).parent), runs=pairs, overrides=overrides)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.parametrize("files", ["delete", "archive"])
def test_a_run_killed_at_any_step_loses_and_doubles_nothing(tmp_path, files):
    def prepare(name):
        fill(tmp_path / name, 3)
        put(tmp_path / name, b"{", name="torn.json")
        return tmp_path / name

    [steps] = run_dying([(prepare("dry"), 0)], hook_files=files)
    assert steps >= 8
    runs = [(prepare(str(at)), at) for at in range(1, steps + 1)]
    assert run_dying(runs, hook_files=files) == [-9] * steps
    for data_dir, at in runs:
        fill(data_dir, 2, start=3)  # captures go on meanwhile
        extract(hook_context(data_dir, hook_files=files))
        assert numbers(data_dir) == [0, 1, 2, 3, 4], f"step {at}"
        assert names_in(data_dir, "failed") == ["torn.json", "torn.json.reason.json"], f"step {at}"
        assert names_in(data_dir, "processing") == names_in(data_dir, "incoming") == []
        assert len(names_in(data_dir, "archive")) == (5 if files == "archive" else 0)
        assert Lake(data_dir, "host").snapshot("hook_events").rows_rejected == 1


def test_a_file_that_kills_every_run_is_put_aside(tmp_path):
    fill(tmp_path, 1)
    assert run_dying([(tmp_path, 2)] * 2, hook_retry_limit="1") == [-9, -9]
    result = extract(hook_context(tmp_path, hook_retry_limit="1"))
    assert (result.rows_loaded, result.rows_rejected) == (0, 1)
    assert len(names_in(tmp_path, "failed")) == 2


def test_a_file_that_every_run_dies_over_takes_no_other_with_it(tmp_path, monkeypatch):
    """Four runs that died over one file put all of its claim aside, up to 10,000 good ones."""
    fill(tmp_path, 3)
    put(tmp_path, make_payload(n=9), name="b.json", at_ns=T0_NS + 1)

    def parse(content, *, file_name, mtime_ns):
        if file_name == "b.json":
            raise MemoryError
        return parse_file(content, file_name=file_name, mtime_ns=mtime_ns)

    monkeypatch.setattr("analytics.sources.hooks.parse_file", parse)
    rejected = 0
    for _ in range(5):
        with suppress(MemoryError):
            rejected += extract(hook_context(tmp_path, hook_retry_limit="1")).rows_rejected
    assert numbers(tmp_path) == [0, 1, 2]
    assert (rejected, names_in(tmp_path, "failed")) == (1, ["b.json", "b.json.reason.json"])
    assert names_in(tmp_path, "processing") == []


def test_one_odd_value_costs_only_itself(tmp_path):
    """Nesting beyond 254 levels stopped the source in every run, or put its neighbours aside."""
    full = make_payload(
        tool_input={"file_path": "a"}, tool_response={}, duration_ms=1, timestamp="2026-01-01T00:00:00Z"
    )
    wrapped = {"event_type": "Stop", "timestamp": 1_760_000_000_000, "payload": full, "events": [full]}
    odd = [*hostile_records(full), *hostile_records(wrapped)]
    for number, content in enumerate(odd):
        put(tmp_path, content, name=f"{number}.json")
        put(tmp_path, b"[%b, %b]" % (content, encode(make_payload(n=number))), name=f"{number}-list.json")
    put(tmp_path, b"\n".join([*odd, encode(make_payload(n=-1))]), name="all.jsonl")
    context = hook_context(tmp_path)
    result = extract(context)
    letters = dead_letters(context.settings, "hook_events")
    assert (result.rows_loaded, result.rows_rejected) == (len(rows(tmp_path)), len(letters))
    assert {"nested too deeply", "lists nested too deeply"} < {letter["reason"] for letter in letters}
    assert all(letter.get("content") for letter in letters)
    arrived = {json.loads(row["payload"]).get("n") for row in rows(tmp_path)}
    assert arrived >= {-1, *(number for number, content in enumerate(odd) if is_json(content))}
    assert (extract(hook_context(tmp_path)).rows_read, names_in(tmp_path, "processing")) == (0, [])


def test_a_failing_commit_leaves_everything_for_the_next_run(tmp_path, monkeypatch):
    fill(tmp_path, 3)
    with monkeypatch.context() as patched:
        patched.setattr(Lake, "commit", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        for _ in range(6):
            with pytest.raises(OSError, match="No space"):
                extract(hook_context(tmp_path))
    extract(hook_context(tmp_path))
    assert numbers(tmp_path) == [0, 1, 2]


def test_two_runs_at_once_never_take_a_file_twice(tmp_path, monkeypatch):
    monkeypatch.setattr("analytics.sources.hooks.queue.BATCH_FILES", 20)
    fill(tmp_path, 400)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: extract(hook_context(tmp_path)), range(4)))
    assert sum(result.rows_loaded for result in results) == 400
    assert numbers(tmp_path) == list(range(400))
    assert names_in(tmp_path, "") == []


def test_many_waiting_files_are_read_on_every_core(tmp_path, monkeypatch):
    monkeypatch.setattr("analytics.sources.hooks.PARALLEL_FILES", 50)
    monkeypatch.setattr("analytics.sources.hooks.queue.BATCH_FILES", 20)
    fill(tmp_path, 110)
    put(tmp_path, b"{", name="torn.json")
    result = extract(hook_context(tmp_path, workers="2"))
    assert (result.rows_loaded, result.rows_rejected, result.unit_count) == (110, 1, 111)
    assert numbers(tmp_path) == list(range(110))
    assert names_in(tmp_path, "failed") == ["torn.json", "torn.json.reason.json"]
    assert names_in(tmp_path, "processing") == []


def test_a_failing_commit_among_many_leaves_everything_for_the_next_run(tmp_path, monkeypatch):
    monkeypatch.setattr("analytics.sources.hooks.PARALLEL_FILES", 50)
    monkeypatch.setattr("analytics.sources.hooks.queue.BATCH_FILES", 20)
    fill(tmp_path, 110)
    with monkeypatch.context() as patched:
        patched.setattr(Lake, "commit", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            extract(hook_context(tmp_path, workers="2"))
    extract(hook_context(tmp_path))
    assert numbers(tmp_path) == list(range(110))
    assert names_in(tmp_path, "") == []


def test_a_living_runs_claim_is_left_alone(tmp_path):
    fill(tmp_path, 2)
    queue = queue_of(hook_context(tmp_path).settings)
    claim = queue.claim(queue.list_incoming())
    assert extract(hook_context(tmp_path)).rows_read == 0
    claim.release()
    assert extract(hook_context(tmp_path)).rows_loaded == 2


def test_prune_takes_what_the_queue_keeps_of_days_before_a_date(tmp_path):
    """`analytics prune --before` left the archived payloads of these days, as captured."""
    for number in range(3):
        at_ns = T0_NS + number * 86_400 * 10**9
        put(tmp_path, make_payload(n=number), name=f"{number}.json", at_ns=at_ns)
        put(tmp_path, b"broken", name=f"broken{number}.json", at_ns=at_ns)
    context = hook_context(tmp_path, hook_files="archive")
    extract(context)
    kept = names_in(tmp_path, "archive"), names_in(tmp_path, "failed")
    before = datetime.fromtimestamp(T0_NS / 1e9, UTC).date() + timedelta(days=2)
    assert prune(context.settings, before=before, is_dry_run=True)["hook_files"] == 4
    assert (names_in(tmp_path, "archive"), names_in(tmp_path, "failed")) == kept
    assert prune(context.settings, before=before)["hook_files"] == 4
    assert names_in(tmp_path, "archive") == ["2.json"]
    assert [name for name in names_in(tmp_path, "failed") if "broken2" not in name] == []
    assert len(names_in(tmp_path, "failed")) == 2
    assert len(list(queue_of(context.settings).archive.iterdir())) == 1


def test_a_registered_command_brings_its_event_into_the_lake(tmp_path):
    """The whole way: install, the command as Claude Code runs it, extract."""
    settings_file = tmp_path / "claude" / "settings.json"
    installer.install(settings_file, data_dir=tmp_path / "data")
    hooks = json.loads(settings_file.read_text())["hooks"]
    for event in ("PreToolUse", "PostToolUse", "SessionEnd"):
        handler = hooks[event][0]["hooks"][0]
        payload = json.dumps(
            {"session_id": "s-1", "hook_event_name": event, "tool_use_id": "toolu_1", "duration_ms": 7}
        )
        subprocess.run([handler["command"], *handler["args"]], input=payload.encode(), check=True)
    extract(hook_context(tmp_path / "data"))
    found = rows(tmp_path / "data")
    assert {row["event_name"] for row in found} == {"PreToolUse", "PostToolUse", "SessionEnd"}
    assert {(row["session_id"], row["tool_use_id"], row["time_source"]) for row in found} == {
        ("s-1", "toolu_1", "mtime")
    }


def test_old_unfinished_captures_are_swept(tmp_path):
    folder = tmp_path / "queue" / "tmp"
    folder.mkdir(parents=True)
    (folder / "old").write_text("{")
    (folder / "new").write_text("{")
    os.utime(folder / "old", (0, 0))
    extract(hook_context(tmp_path))
    assert [path.name for path in folder.iterdir()] == ["new"]
