from __future__ import annotations

import errno
import json
import multiprocessing
import os
import stat
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from analytics.contracts import load_contract
from analytics.errors import AnalyticsError, ConfigError, LockHeld
from analytics.lake import CHECKPOINT_EVERY, Commit, Lake, Part, Rejection, Snapshot
from analytics.lake.log import LOG_FORMAT
from analytics.lake.upkeep import compact, remove_parts, sweep_failed_run, sweep_orphans

SCHEMA = load_contract("conversations").schema
DAY = date(2026, 1, 2)
LONG_AGO = 4_000_000_000.0


def make_table(*record_ids: str) -> pa.Table:
    empty = {name: pa.nulls(len(record_ids), kind) for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True)}
    return pa.table({**empty, "record_id": pa.array(record_ids, pa.string())}, schema=SCHEMA)


def add(lake: Lake, *record_ids: str, day: date = DAY, key: str = "file", **arguments) -> Commit:
    """Commit one part of these records, with a position that tells which it was."""
    part = lake.write_part(make_table(*record_ids), "conversations", day)
    arguments = {"state": {key: {"reached": record_ids[-1]}}, **arguments}
    return lake.commit(
        source="transcripts", dataset="conversations", run_id="r", adds=[part], rows_read=len(record_ids), **arguments
    )


def ids(lake: Lake) -> list[str]:
    parts = lake.snapshot("conversations").parts
    tables = [pq.read_table(lake.part_file(path), partitioning=None) for path in parts]
    return sorted(value for table in tables for value in table["record_id"].to_pylist())


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "data", "host")


def test_a_part_counts_only_once_a_commit_names_it(lake):
    part = lake.write_part(make_table("a"), "conversations", DAY)
    assert lake.snapshot("conversations").parts == {}
    lake.commit(source="transcripts", dataset="conversations", run_id="r", adds=[part], rows_read=1)
    assert ids(lake) == ["a"]


def test_write_part_leaves_one_file_when_run_twice(lake):
    first, second = (lake.write_part(make_table("a"), "conversations", DAY) for _ in range(2))
    assert first == second
    assert first.path.startswith("conversations/date=2026-01-02/host=host/")
    assert len(list(lake.raw_dir.rglob("*.parquet"))) == 1


def test_a_part_has_its_content_in_zstd_and_every_other_column_in_lz4_within_lists_too(lake):
    """Parquet calls a column of a list by its path: under its name alone, none of them was compressed."""
    rows = [dict.fromkeys(SCHEMA.names) | {"payload": "{}", "blocks": [{"tool_name": "Bash"}]}]
    part = lake.write_part(pa.Table.from_pylist(rows, SCHEMA), "conversations", DAY)
    columns = pq.ParquetFile(lake.part_file(part.path)).metadata.row_group(0)
    held = [columns.column(index) for index in range(columns.num_columns)]
    assert {column.compression for column in held if column.path_in_schema != "payload"} == {"LZ4"}
    assert {column.compression for column in held if column.path_in_schema == "payload"} == {"ZSTD"}
    assert "blocks.list.element.tool_name" in {column.path_in_schema for column in held}


def test_commit_refuses_rows_that_do_not_add_up(lake):
    with pytest.raises(ValueError, match="3 rows read, 0 loaded, 1 rejected"):
        lake.commit(
            source="transcripts",
            dataset="conversations",
            run_id="r",
            rows_read=3,
            rejections=[Rejection("transcripts", "f", 0, "bad")],
        )
    assert lake.last_number("conversations") == 0


def test_commit_keeps_what_was_rejected_and_says_where(lake):
    rejection = Rejection("transcripts", "f.jsonl", 7, "not JSON", content="{oops")
    commit = lake.commit(source="transcripts", dataset="conversations", run_id="r", rows_read=1, rejections=[rejection])
    letter = lake.data_dir / commit.dead_letter
    assert '"position":7,"reason":"not JSON"' in letter.read_text()
    assert lake.snapshot("conversations").rows_rejected == 1


def test_positions_are_those_of_the_last_commit_and_null_forgets(lake):
    add(lake, "a", key="one")
    add(lake, "b", key="two")
    lake.commit(source="transcripts", dataset="conversations", run_id="r", state={"one": None, "two": {"reached": "c"}})
    assert lake.read_state(source="transcripts", dataset="conversations") == {"two": {"reached": "c"}}
    assert lake.read_state(source="mongo", dataset="conversations") == {}


def test_a_commit_of_a_later_format_asks_for_an_update_and_is_not_called_damaged(lake):
    """Two machines share a lake, and one is updated: the advice for damage is to move the file away."""
    add(lake, "a")
    (commit,) = (lake.raw_dir / "_commits" / "conversations").glob("*.json")
    later = json.loads(commit.read_bytes()) | {"log_format": LOG_FORMAT + 1, "something": "new"}
    commit.write_text(json.dumps(later), encoding="utf-8")
    with pytest.raises(AnalyticsError, match=r"0000000001\.json is of a later version of this program\. Update"):
        lake.snapshot("conversations")


def commit_many(data_dir: str, host: str, count: int) -> None:
    lake = Lake(Path(data_dir), host)
    for number in range(count):
        add(lake, f"{host}-{number}", key=host)


def test_commits_of_two_hosts_at_once_all_count(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=commit_many, args=(str(tmp_path), f"host{n}", 20)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    lake = Lake(tmp_path, "reader")
    assert lake.last_number("conversations") == 40
    assert len(ids(lake)) == 40


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["transcripts", "mongo"]),
        st.lists(st.integers(0, 9), max_size=3),
        st.lists(st.integers(0, 9), max_size=3),
        st.dictionaries(st.sampled_from("abc"), st.one_of(st.none(), st.integers(0, 9)), max_size=2),
        st.integers(0, 3),
    ),
    max_size=20,
)


def build_commit(number: int, operation) -> Commit:
    source, adds, removes, state, rejected = operation
    parts = tuple(Part(f"c/date=2026-01-0{n % 3 + 1}/host=h/{n}.parquet", DAY, n, n * 10) for n in adds)
    return Commit(
        number, "c", source, "extract", "r", "h", "2026-01-02T00:00:00+00:00", parts,
        tuple(f"c/date=2026-01-0{n % 3 + 1}/host=h/{n}.parquet" for n in removes), 0, 0, rejected, None, state,
    )  # fmt: skip


@given(OPERATIONS, st.integers(0, 20))
@hypothesis_settings(max_examples=60)
def test_the_log_folds_to_the_same_from_any_checkpoint(operations, cut):
    commits = [build_commit(number, operation) for number, operation in enumerate(operations, start=1)]
    whole, resumed = Snapshot(), Snapshot()
    for commit in commits:
        whole.apply(Commit.from_json(commit.as_json()))
    for commit in commits[:cut]:
        resumed.apply(commit)
    resumed = Snapshot.from_json(resumed.as_json())
    for commit in commits[cut:]:
        resumed.apply(commit)
    assert resumed == whole


def test_a_checkpoint_says_what_the_log_says_and_may_be_deleted_or_damaged(lake):
    for number in range(CHECKPOINT_EVERY + 3):
        add(lake, f"r{number:03d}", key=f"file{number % 5}")
    with_checkpoint = lake.snapshot("conversations")
    (checkpoint,) = lake.raw_dir.glob("_commits/conversations/*.checkpoint.json")
    for damaged in (checkpoint.read_bytes()[:100], b"", b"{}", b"[]", b'{"parts": [{}]}', b'{"parts": [], "more": 1}'):
        checkpoint.write_bytes(damaged)
        assert lake.snapshot("conversations") == with_checkpoint
    checkpoint.unlink()
    assert lake.snapshot("conversations") == with_checkpoint


def test_compact_leaves_one_file_a_day_and_the_same_rows(lake):
    for number in range(9):
        add(lake, f"old{number}")
    add(lake, "young", day=date(2026, 1, 5))
    before = ids(lake)
    commit = compact(lake, "conversations", run_id="r", before=date(2026, 1, 5))
    assert commit.changed_dates == set()
    assert ids(lake) == before
    assert len(lake.snapshot("conversations").parts) == 2
    assert compact(lake, "conversations", run_id="r", before=date(2026, 1, 5)) is None


def test_compact_leaves_a_day_with_a_damaged_file_alone(lake):
    """A merged file is named by its own bytes, so it would vouch for the damage. Found by fault injection."""
    commits = [add(lake, f"old{number}") for number in range(9)]
    damaged = lake.part_file(commits[0].adds[0].path)
    damaged.write_bytes(damaged.read_bytes()[:50])
    assert compact(lake, "conversations", run_id="r", before=date(2026, 1, 5)) is None


def test_a_removed_file_takes_its_positions_along(lake):
    first = add(lake, "a", key="one")
    add(lake, "b", key="two")
    remove_parts(
        lake, "conversations", [first.adds[0].path], run_id="r", kind="quarantine", forget_positions=True, keep_in=None
    )
    assert set(lake.read_state(source="transcripts", dataset="conversations")) == {"two"}
    assert ids(lake) == ["b"]


def test_a_removed_compacted_file_takes_the_positions_of_all_it_replaced_along(lake):
    """Its own commit names no position; the rows were never read again."""
    for number in range(9):
        add(lake, f"old{number}", key=f"file{number}")
    add(lake, "young", day=date(2026, 1, 5), key="young")
    merged = compact(lake, "conversations", run_id="r", before=date(2026, 1, 5)).adds[0].path
    remove_parts(lake, "conversations", [merged], run_id="r", kind="quarantine", forget_positions=True, keep_in=None)
    assert set(lake.read_state(source="transcripts", dataset="conversations")) == {"young"}


def test_a_removed_file_takes_the_position_under_a_new_name_along(lake):
    """A renamed transcript goes on under another key, which says read for the same bytes."""
    first = add(lake, "a", key="old-name")
    lake.commit(
        source="transcripts",
        dataset="conversations",
        run_id="r",
        state={"old-name": None, "new-name": {"reached": "a"}},
    )
    remove_parts(
        lake, "conversations", [first.adds[0].path], run_id="r", kind="quarantine", forget_positions=True, keep_in=None
    )
    assert lake.read_state(source="transcripts", dataset="conversations") == {}


def test_positions_are_forgotten_before_the_file_goes(lake, monkeypatch):
    """The other order lost the rows for good when the run died between the two commits. Found by fault injection."""
    first = add(lake, "a", key="one")

    def die_after_first_commit(name: str) -> None:
        if name == "committed":
            raise KeyboardInterrupt

    monkeypatch.setattr("analytics.lake.step", die_after_first_commit)
    with pytest.raises(KeyboardInterrupt):
        remove_parts(
            lake,
            "conversations",
            [first.adds[0].path],
            run_id="r",
            kind="quarantine",
            forget_positions=True,
            keep_in=None,
        )
    assert ids(lake) == ["a"]
    assert lake.read_state(source="transcripts", dataset="conversations") == {}


def test_pruned_days_keep_their_positions(lake):
    first = add(lake, "a", key="one")
    remove_parts(
        lake, "conversations", [first.adds[0].path], run_id="r", kind="prune", forget_positions=False, keep_in=None
    )
    assert ids(lake) == []
    assert set(lake.read_state(source="transcripts", dataset="conversations")) == {"one"}


def test_is_part_intact_knows_a_flipped_bit_and_a_missing_file(lake):
    path = add(lake, "a").adds[0].path
    file = lake.part_file(path)
    assert lake.is_part_intact(path)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert not lake.is_part_intact(path)
    file.unlink()
    assert not lake.is_part_intact(path)


def test_is_part_intact_does_not_call_a_file_damaged_that_it_may_not_read(lake, monkeypatch):
    """Lost rights moved the user's history into quarantine."""
    path = add(lake, "a").adds[0].path

    def refuse(*_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError):
        lake.is_part_intact(path)


def test_what_a_failed_run_wrote_is_swept_and_nothing_else(lake):
    """Each run that met a full disk left all its parts, and the next wrote them again beside those."""

    def write(run_id: str, record_id: str) -> Part:
        table = make_table(record_id).set_column(SCHEMA.names.index("_run_id"), "_run_id", pa.array([run_id]))
        return lake.write_part(table.cast(SCHEMA), "conversations", DAY)

    committed, left, listened = write("mine", "kept"), write("mine", "left"), write("a listener's", "waits")
    lake.commit(source="transcripts", dataset="conversations", run_id="mine", adds=[committed], rows_read=1)
    assert sweep_failed_run(lake, "mine") == 1
    assert [lake.part_file(part.path).exists() for part in (committed, left, listened)] == [True, False, True]


def test_sweep_orphans_takes_only_what_is_old_and_unnamed(lake):
    add(lake, "kept", rejections=())
    lake.commit(
        source="t", dataset="conversations", run_id="r", rows_read=1, rejections=[Rejection("t", "f", 0, "bad")]
    )
    lake.write_part(make_table("orphan"), "conversations", DAY)
    lake.write_dead_letter("conversations", [Rejection("t", "f", 9, "orphan")])
    (lake.raw_dir / "_unfinished" / "half.parquet").write_bytes(b"PAR1")
    (lake.raw_dir / "_commits" / "conversations" / ".half").write_bytes(b"{")
    assert sweep_orphans(lake) == 0
    assert sweep_orphans(lake, now=LONG_AGO, is_dry_run=True) == 4
    assert sweep_orphans(lake, now=LONG_AGO) == 4
    assert sweep_orphans(lake, now=LONG_AGO) == 0
    assert ids(lake) == ["kept"]
    assert len(list(lake.data_dir.glob("dead_letter/*/*"))) == 1


def test_lock_names_its_holder_and_is_free_afterwards(lake):
    with lake.lock(), pytest.raises(LockHeld, match=f"process {os.getpid()} is running"), lake.lock():
        pass
    with lake.lock():
        pass


def test_a_folder_that_others_can_write_to_is_so_no_more(lake):
    """What a clone under umask 002 leaves, whose group could put another log into the lake."""
    lake.data_dir.mkdir(exist_ok=True)
    lake.data_dir.chmod(0o777)
    with lake.lock():
        assert stat.S_IMODE(lake.data_dir.stat().st_mode) == 0o755


def test_the_folder_of_another_user_is_refused_and_left_as_it_was(lake, monkeypatch):
    lake.data_dir.mkdir(exist_ok=True)
    lake.data_dir.chmod(0o777)
    monkeypatch.setattr(os, "getuid", lambda: lake.data_dir.stat().st_uid + 1)
    with pytest.raises(ConfigError, match="belongs to another user"), lake.lock():
        pass
    assert list(lake.data_dir.iterdir()) == []
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with lake.lock():
        pass


def test_a_file_system_that_keeps_no_rights_is_refused(lake, monkeypatch):
    def refuse(_path, _mode):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    lake.data_dir.mkdir(exist_ok=True)
    lake.data_dir.chmod(0o777)
    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(ConfigError, match="others can write to"), lake.lock():
        pass


def hold_lock(data_dir: str, is_held) -> None:
    with Lake(Path(data_dir)).lock():
        is_held.set()
        multiprocessing.Event().wait()


def test_lock_is_free_when_its_holder_was_killed(lake):
    context = multiprocessing.get_context("spawn")
    is_held = context.Event()
    holder = context.Process(target=hold_lock, args=(str(lake.data_dir), is_held))
    holder.start()
    assert is_held.wait(30)
    with pytest.raises(LockHeld), lake.lock():
        pass
    holder.kill()
    holder.join()
    with lake.lock(wait_s=5):
        pass


def test_everything_is_private(lake):
    previous = os.umask(0)
    try:
        add(lake, "a")
        lake.commit(
            source="t", dataset="conversations", run_id="r", rows_read=1, rejections=[Rejection("t", "f", 0, "bad")]
        )
    finally:
        os.umask(previous)
    for path in [lake.data_dir, *lake.data_dir.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


class _FullDisk:
    """Raises ENOSPC at the n-th fsync from now on."""

    def __init__(self, after: int) -> None:
        self._left = after

    def __call__(self, descriptor: int) -> None:
        self._left -= 1
        if self._left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("after", range(4))  # of the part, its folder, the entry and its folder
def test_a_full_disk_is_an_error_that_says_so_and_leaves_no_half_file(lake, monkeypatch, after):
    add(lake, "a")
    monkeypatch.setattr("os.fsync", _FullDisk(after))
    with pytest.raises(AnalyticsError, match=r"cannot be written .No space left on device"):
        add(lake, "b")
    monkeypatch.undo()
    assert ids(lake) == ["a"]
    assert list(lake.raw_dir.glob("_unfinished/*")) == []
    add(lake, "b")
    assert ids(lake) == ["a", "b"]


def test_commit_times_are_utc(lake):
    assert datetime.fromisoformat(add(lake, "a").committed_at).tzinfo == UTC
