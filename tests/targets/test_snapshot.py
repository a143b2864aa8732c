from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from analytics import dictionary, warehouse
from analytics.errors import AnalyticsError, PublishError
from analytics.targets import iter_targets, snapshot
from analytics.warehouse import open_warehouse
from tests.builders import die_at, make_gold

RUNS = [f"2026010{n}T000000000000Z" for n in range(1, 8)]


@pytest.fixture
def gold(settings):
    make_gold(settings, fct_x="select 1 as n, 'a' as name", dim_y="select date '2026-01-02' as day")
    return settings


def in_marts(settings, sql: str, path=None):
    with duckdb.connect(str(path or settings.published_dir / "marts.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def versions(settings) -> list[str]:
    """The folders there are, whether they count as versions or not."""
    folder = settings.published_dir
    return sorted(path.name for path in folder.iterdir() if path.name[:4] == "2026") if folder.exists() else []


def test_the_snapshot_comes_first_of_all_targets():
    assert next(iter_targets()).name == "snapshot"


def test_publish_shows_gold_in_both_forms(gold):
    result = snapshot.publish(gold, RUNS[0])
    assert result.facts["table_count"] == 3
    assert in_marts(gold, "select n, name from gold.fct_x") == [(1, "a")]
    with snapshot.open_current(gold) as connection:
        assert connection.execute("select run_id from published_snapshot").fetchall() == [(RUNS[0],)]


def test_a_copy_that_followed_links_is_published_into(gold):
    """`cp -rL` made a folder of `current`, and nothing was published again."""
    snapshot.publish(gold, RUNS[0])
    current = gold.published_dir / "current"
    current.unlink()
    shutil.copytree(gold.published_dir / RUNS[0], current)
    make_gold(gold, fct_x="select 2 as n, 'a' as name")
    snapshot.publish(gold, RUNS[1])
    assert in_marts(gold, "select n from gold.fct_x") == [(2,)]
    assert current.is_symlink()


def test_what_a_run_staged_is_seen_once_it_publishes(gold):
    snapshot.publish(gold, RUNS[0])
    make_gold(gold, fct_x="select 2 as n, 'a' as name")
    with open_warehouse(gold, is_read_only=True) as reader:
        snapshot.stage(gold, RUNS[1])
        assert reader.execute("select n from gold.fct_x").fetchall() == [(2,)]
    assert in_marts(gold, "select n from gold.fct_x") == [(1,)]
    staged = (gold.published_dir / RUNS[1] / "fct_x.parquet").stat().st_ino
    assert snapshot.publish(gold, RUNS[1]).facts == {"table_count": 3, "row_count": 3}
    assert in_marts(gold, "select n from gold.fct_x") == [(2,)]
    assert (gold.published_dir / RUNS[1] / "fct_x.parquet").stat().st_ino == staged, "it was written once"


def test_staging_takes_one_core_until_the_checks_are_done(gold):
    with open_warehouse(gold, is_read_only=True) as reader:
        cores = reader.execute("select current_setting('threads')").fetchall()
        snapshot.stage(gold, RUNS[0])
        assert reader.execute("select current_setting('threads')").fetchall() == [(1,)]
        snapshot.hurry(gold)
        assert reader.execute("select current_setting('threads')").fetchall() == cores


def test_what_tells_of_runs_is_written_last(gold):
    """A run adds to it after what it built was staged."""
    make_gold(gold, fct_pipeline_runs="select 'extract' as stage")
    snapshot.stage(gold, RUNS[0])
    assert not (gold.published_dir / RUNS[0] / "fct_pipeline_runs.parquet").exists()
    make_gold(gold, fct_pipeline_runs="select unnest(['extract', 'validate']) as stage")
    assert snapshot.publish(gold, RUNS[0]).facts == {"table_count": 4, "row_count": 5}
    assert in_marts(gold, "select stage from gold.fct_pipeline_runs") == [("extract",), ("validate",)]


def test_what_could_not_be_staged_is_left_to_the_publish(gold, monkeypatch):
    def refuse(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(snapshot, "sync", refuse)
        snapshot.stage(gold, RUNS[0])
    assert versions(gold) == []
    snapshot.publish(gold, RUNS[0])
    assert in_marts(gold, "select n from gold.fct_x") == [(1,)]


def test_a_question_that_is_too_large_is_no_damage(gold):
    """It was told as a damaged file, to be published anew."""
    snapshot.publish(gold, RUNS[0])

    def ask() -> None:
        with snapshot.open_current(gold) as connection:
            connection.execute("set memory_limit = '1MB'; set max_temp_directory_size = '0KB'")
            connection.execute("select list(n + i) from gold.fct_x, range(10000000) as many (i)")

    with pytest.raises(AnalyticsError, match="memory: DuckDB has not enough"):
        ask()


def test_an_open_connection_sees_the_next_version(gold):
    snapshot.publish(gold, RUNS[0])
    with duckdb.connect(str(gold.published_dir / "marts.duckdb"), read_only=True) as connection:
        assert connection.execute("select n from gold.fct_x").fetchall() == [(1,)]
        make_gold(gold, fct_x="select 2 as n, 'a' as name")
        snapshot.publish(gold, RUNS[1])
        assert connection.execute("select n from gold.fct_x").fetchall() == [(2,)]


def test_marts_is_replaced_only_when_the_schema_changes(gold):
    snapshot.publish(gold, RUNS[0])
    inode = (gold.published_dir / "marts.duckdb").stat().st_ino
    snapshot.publish(gold, RUNS[1])
    assert (gold.published_dir / "marts.duckdb").stat().st_ino == inode
    make_gold(gold, fct_x="select 1 as n, 'a' as name, true as is_new")
    snapshot.publish(gold, RUNS[2])
    assert in_marts(gold, "select is_new from gold.fct_x") == [(True,)]


def test_marts_says_of_its_views_and_columns_what_they_mean(gold, monkeypatch):
    make_gold(gold, dim_date="select date '2026-01-02' as date_day, 'no column of it' as x")
    snapshot.publish(gold, RUNS[0])
    tables = {table.name: table for table in (*dictionary.read_tables(), dictionary.SNAPSHOT)}
    expected = {name: tables[name].meaning for name in ("dim_date", "published_snapshot")}
    views = "select view_name, comment from duckdb_views() where not internal"
    assert dict(in_marts(gold, views)) == {**expected, "fct_x": None, "dim_y": None}
    columns = "select column_name, comment from duckdb_columns() where schema_name = 'gold' and comment is not null"
    told = dict(in_marts(gold, columns))
    assert told.keys() == {"date_day", "run_id", "published_at"}
    assert told["run_id"] == "The run that published it."
    with monkeypatch.context() as reworded:
        reworded.setattr(dictionary, "SNAPSHOT", dataclasses.replace(dictionary.SNAPSHOT, meaning="It's new."))
        reworded.setattr(dictionary, "descriptions_digest", lambda: "another")
        snapshot.publish(gold, RUNS[1])
    assert dict(in_marts(gold, views))["published_snapshot"] == "It's new."


def test_views_work_where_the_folder_is_mounted_elsewhere(gold, tmp_path):
    snapshot.publish(gold, RUNS[0])
    elsewhere = tmp_path / "else where's"
    shutil.copytree(gold.published_dir, elsewhere, symlinks=True)
    shutil.rmtree(gold.published_dir)
    assert in_marts(gold, "select n from gold.fct_x", elsewhere / "marts.duckdb") == [(1,)]


def test_old_versions_go_and_what_is_no_version_stays(gold):
    (gold.published_dir / "report").mkdir(parents=True)
    for run_id in RUNS:
        snapshot.publish(gold, run_id)
    assert versions(gold) == RUNS[-3:]
    assert (gold.published_dir / "report").is_dir()


def test_what_killed_runs_staged_takes_no_versions_place_and_goes_with_the_next_publish(gold):
    """Three kills while staging left no good version but the current one."""
    for run_id in RUNS[:3]:
        snapshot.publish(gold, run_id)
    for run_id in RUNS[3:6]:
        snapshot.stage(gold, run_id)
    assert [path.name for path in snapshot.published_versions(gold.published_dir)] == RUNS[:3]
    snapshot.publish(gold, RUNS[6])
    assert versions(gold) == [RUNS[1], RUNS[2], RUNS[6]]


def test_a_version_that_readers_see_stays_though_its_publish_was_killed(gold, monkeypatch):
    snapshot.publish(gold, RUNS[0])
    with monkeypatch.context() as killed:
        killed.setattr(snapshot, "step", die_at("version_flipped"))
        with pytest.raises(KeyboardInterrupt):
            snapshot.publish(gold, RUNS[1])
    assert [path.name for path in snapshot.published_versions(gold.published_dir)] == RUNS[:2]
    assert snapshot.old_versions(gold.published_dir, 3) == []
    assert in_marts(gold, "select n from gold.fct_x") == [(1,)]


def test_the_current_version_stays_when_the_clock_went_back(gold):
    """Its name then sorts before those it replaces, and it was deleted under its readers."""
    for run_id in [*RUNS[3:], RUNS[0]]:
        snapshot.publish(gold, run_id)
    assert snapshot.current_version(gold).name == RUNS[0]
    assert in_marts(gold, "select n from gold.fct_x") == [(1,)]


def test_nothing_is_readable_before_the_first_publish(settings):
    assert snapshot.current_version(settings) is None
    with pytest.raises(PublishError, match="nothing is published"), snapshot.open_current(settings):
        pass
    with pytest.raises(PublishError, match="there is no gold yet"):
        snapshot.publish(settings, RUNS[0])


@pytest.mark.parametrize("call", ["_write_version", "sync", "_flip"])
def test_a_full_disk_leaves_readers_the_last_version(gold, monkeypatch, call):
    snapshot.publish(gold, RUNS[0])

    def refuse(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(snapshot, call, refuse)
    with pytest.raises(PublishError, match="No space left on device"):
        snapshot.publish(gold, RUNS[1])
    if call == "_sync":  # of the folder, after the flip: the new version is whole, and seen
        return
    assert versions(gold) == [RUNS[0]]
    assert in_marts(gold, "select n from gold.fct_x") == [(1,)]


def test_a_failure_after_the_flip_keeps_what_readers_see(gold, monkeypatch):
    """The version was deleted although `current` already named it."""
    snapshot.publish(gold, RUNS[0])

    def refuse(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(snapshot, "_replace_marts", refuse)
        with pytest.raises(PublishError):
            snapshot.publish(gold, RUNS[1])
    seen = (gold.published_dir / snapshot.CURRENT / "fct_x.parquet").stat().st_mtime_ns
    assert in_marts(gold, "select n from gold.fct_x") == [(1,)]
    snapshot.publish(gold, RUNS[1])
    assert (gold.published_dir / snapshot.CURRENT / "fct_x.parquet").stat().st_mtime_ns == seen, "written once"


def test_a_file_size_limit_publishes_nothing_and_says_so(gold):
    """RLIMIT_FSIZE stands for a full disk that DuckDB itself meets while it copies."""
    snapshot.publish(gold, RUNS[0])
    make_gold(gold, fct_x="select range as n, md5(range::varchar) as name from range(200000)")
    code = f"""
import resource, sys
from pathlib import Path
from tests.builders import make_settings
from analytics.errors import AnalyticsError, PublishError
from analytics.targets import snapshot
settings = make_settings(Path({str(gold.data_dir.parent)!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    snapshot.publish(settings, {RUNS[1]!r})
except PublishError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert "cannot be written" in done.stdout
    assert versions(gold) == [RUNS[0]]
    assert in_marts(gold, "select count(*) from gold.fct_x") == [(1,)]


def test_what_is_published_is_private(gold):
    previous = os.umask(0)
    try:
        snapshot.publish(gold, RUNS[0])
    finally:
        os.umask(previous)
    for path in [gold.published_dir, *gold.published_dir.rglob("*")]:
        if not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_readers_see_no_error_while_versions_are_published(gold):
    snapshot.publish(gold, RUNS[0])
    is_over = threading.Event()
    errors: list[Exception] = []
    seen: set[int] = set()

    def read() -> None:
        while not is_over.is_set():
            try:
                seen.update(n for (n,) in in_marts(gold, "select n from gold.fct_x"))
                with snapshot.open_current(gold) as connection:
                    seen.update(n for (n,) in connection.execute("select n from fct_x").fetchall())
            except Exception as error:  # noqa: BLE001 - any error is the failure
                errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(12):
        make_gold(gold, fct_x=f"select {number} as n, 'a' as name")
        snapshot.publish(gold, f"20260201T{number:012d}Z")
    is_over.set()
    for reader in readers:
        reader.join()
    assert errors == []
    assert len(seen) > 1


@pytest.mark.parametrize("kept_bytes", [4, 100, -30])
def test_a_damaged_table_is_told_with_what_to_do(gold, kept_bytes):
    """DuckDB's own errors came through, as bugs of this package."""
    snapshot.publish(gold, RUNS[0])
    file = gold.published_dir / "current" / "fct_x.parquet"
    file.write_bytes(file.read_bytes()[:kept_bytes] + b"PAR1" * (kept_bytes < 0))
    with (
        pytest.raises(PublishError, match="is damaged"),
        snapshot.open_current(gold) as connection,
    ):
        connection.execute("select * from gold.fct_x").fetchall()


def test_a_question_that_is_wrong_is_no_damage(gold):
    snapshot.publish(gold, RUNS[0])
    with pytest.raises(duckdb.CatalogException), snapshot.open_current(gold) as connection:
        connection.execute("select * from gold.fct_z")


@pytest.mark.parametrize("content", [None, b"", b"garbage" * 1_000])
def test_a_file_of_views_that_is_gone_or_damaged_is_written_again(gold, content):
    """One that was damaged counted as published, for as long as nothing new arrived."""
    snapshot.publish(gold, RUNS[0])
    marts = gold.published_dir / snapshot.MARTS
    assert snapshot.is_published(gold, "build")
    marts.unlink() if content is None else marts.write_bytes(content)
    assert not snapshot.is_published(gold, "build")
    snapshot.publish(gold, RUNS[1])
    assert in_marts(gold, "select n from gold.fct_x") == [(1,)]


def test_a_large_table_is_written_in_small_row_groups(gold):
    """Each of two writers held 122,880 rows on each core, and an increment over a million messages took 0.7 GB."""
    make_gold(gold, fct_large="select number as n from range(100_000) as numbers (number)")
    snapshot.publish(gold, RUNS[0])
    metadata = pq.read_metadata(gold.published_dir / "current" / "fct_large.parquet")
    assert metadata.num_rows == 100_000
    assert max(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)) < 40_000


def test_a_table_that_needs_more_memory_than_usual_is_written_with_more(gold, monkeypatch):
    monkeypatch.setattr(warehouse, "MEMORY_LIMIT", "32MB")
    query = "select list(number) as numbers from range(8_000_000) as numbers (number)"
    with open_warehouse(gold) as connection:
        connection.execute(f"create view gold.agg_large as {query}")
        with pytest.raises(duckdb.OutOfMemoryException):
            connection.cursor().execute(query)
    snapshot.publish(gold, RUNS[0])
    assert in_marts(gold, "select len(numbers) from gold.agg_large") == [(8_000_000,)]
