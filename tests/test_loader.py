from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import shutil
import subprocess
import sys

import duckdb
import pyarrow as pa
import pytest

from analytics import cli, config, warehouse
from analytics.build_plan import BuildPlan
from analytics.config import DBT_DIR
from analytics.contracts import iter_contracts, load_contract
from analytics.errors import AnalyticsError, ConfigError, LockHeld
from analytics.lake import Lake
from analytics.lake.upkeep import compact, remove_parts
from analytics.loader import ENTITIES_SQL, MATCH_WINDOW_MS, DuckDBLoader
from analytics.overrides import MODEL_PRICES
from analytics.warehouse import open_warehouse
from tests.builders import make_answer, make_prompt, make_settings, raw_rows, run_extract, run_load, write_transcript


def part_files(settings):
    return sorted((settings.data_dir / "raw" / "conversations").rglob("*.parquet"))


def conversations(result):
    return next((entry for entry in result.datasets if entry.dataset == "conversations"), None)


def plan(settings, fingerprint="f", *, finish=False, **arguments):
    with open_warehouse(settings) as connection:
        loader = DuckDBLoader(settings, Lake(settings.data_dir, settings.host_id), connection)
        found = loader.plan_build(run_id="r", fingerprint=fingerprint, **arguments)
        if finish:
            loader.finish_build(run_id="r", fingerprint=fingerprint)
        return found


@pytest.fixture
def loaded(settings):
    """Two days: a prompt on the second, an answer on the third."""
    write_transcript(settings, make_prompt(), make_answer(at="2026-01-03T10:00:00Z"))
    run_extract(settings)
    run_load(settings)
    return settings


def test_load_makes_a_table_of_every_contract(settings):
    run_load(settings)
    for contract in iter_contracts():
        assert raw_rows(settings, contract.dataset) == []


def test_loading_twice_changes_nothing(loaded):
    before = raw_rows(loaded)
    assert len(before) == 2
    assert conversations(run_load(loaded)) is None
    assert raw_rows(loaded) == before


def payloads(settings):
    with open_warehouse(settings) as connection:
        rows = connection.execute("select payload from raw.conversations_payloads order by record_date").fetchall()
    return [json.loads(payload)["type"] for (payload,) in rows]


def test_payloads_stay_in_the_lake_behind_a_view(settings):
    """Nothing showed them: a new question to old data needed a program of one's own."""
    run_load(settings)
    assert payloads(settings) == []
    write_transcript(settings, make_prompt(), make_answer(at="2026-01-03T10:00:00Z"))
    run_extract(settings)
    write_transcript(settings, make_prompt(), name="p/copy.jsonl")
    run_extract(settings)
    run_load(settings)
    assert payloads(settings) == ["user", "assistant"], "a copy is the same record"
    write_transcript(settings, make_answer(at="2026-01-04T10:00:00Z"), name="p/more.jsonl")
    run_extract(settings)
    part_files(settings)[0].unlink()
    run_load(settings)
    with pytest.raises(AnalyticsError):
        payloads(settings)
    assert len(raw_rows(settings)) == 3, "what is gone stops nobody but who asks for it"


def test_the_question_about_payloads_in_the_readme_is_answered(loaded):
    page = (config.DBT_DIR.parent / "data" / "README.md").read_text(encoding="utf-8")
    (program,) = re.findall(r'\.venv/bin/python -c "(.*?)"\n', page, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=loaded.data_dir.parent, capture_output=True, text=True, check=True
    )
    assert re.search(r"sessionId +│ +user +│ +1", done.stdout), done.stdout


def test_only_the_touched_days_are_loaded_again(loaded):
    write_transcript(loaded, make_prompt("late"), name="p/late.jsonl")
    run_extract(loaded)
    entry = conversations(run_load(loaded))
    assert [day.isoformat() for day in entry.dates] == ["2026-01-02"]
    assert entry.row_count == 2
    assert len(raw_rows(loaded)) == 3


def test_of_the_copies_of_a_record_one_stays_and_which_does_not_depend_on_the_order(tmp_path):
    found = []
    for names in (["a/s.jsonl", "b/s.jsonl"], ["b/s.jsonl", "a/s.jsonl"]):
        settings = make_settings(tmp_path / names[0][0])
        for name in names:
            write_transcript(settings, make_prompt(), name=name)
            run_extract(settings)
        result = run_load(settings)
        assert conversations(result).repeated_count == 1
        found.append(raw_rows(settings))
    assert found[0] == found[1]
    assert len(found[0]) == 1


@pytest.mark.parametrize("batches", [[[0, 1, 2, 3]], [[3], [2], [1], [0]], [[1, 3], [0, 2]]])
def test_any_order_of_arrival_leaves_the_same_rows(tmp_path, batches):
    lines = [make_prompt(f"p{n}", at=f"2026-01-0{1 + n % 2}T00:00:00Z") for n in range(4)]
    settings, expected = make_settings(tmp_path / "a"), make_settings(tmp_path / "b")
    for number, line in enumerate(lines):
        write_transcript(expected, line, name=f"p/{number}.jsonl")
    run_extract(expected)
    run_load(expected)
    for batch in batches:
        for number in batch:
            write_transcript(settings, lines[number], name=f"p/{number}.jsonl")
        run_extract(settings)
        run_load(settings)
    assert raw_rows(settings) == raw_rows(expected)


def test_a_deleted_warehouse_is_rebuilt_from_the_lake(loaded):
    before = raw_rows(loaded)
    loaded.warehouse_file.unlink()
    run_load(loaded)
    assert raw_rows(loaded) == before


@pytest.mark.parametrize("damage", ["garbage", "empty", "truncated", "flipped_header"])
def test_a_warehouse_that_is_none_is_rebuilt_from_the_lake(loaded, damage):
    before = raw_rows(loaded)
    content = loaded.warehouse_file.read_bytes()
    damaged = {
        "garbage": b"garbage" * 1_000,
        "empty": b"",
        "truncated": content[:5_000],
        "flipped_header": content[:8] + bytes([content[8] ^ 0xFF]) + content[9:],
    }
    loaded.warehouse_file.write_bytes(damaged[damage])
    run_load(loaded)
    assert raw_rows(loaded) == before


def test_a_folder_named_lock_is_no_reason_to_keep_a_broken_warehouse(tmp_path):
    """DuckDB's message holds the path, and the path held the word that was looked for."""
    settings = make_settings(tmp_path / "padlock")
    settings.data_dir.mkdir(mode=0o700)
    settings.warehouse_file.write_bytes(b"garbage" * 1_000)
    run_load(settings)
    assert raw_rows(settings) == []


def test_a_warehouse_that_another_program_has_open_is_left_alone(loaded, monkeypatch):
    monkeypatch.setattr(warehouse, "LOCK_WAIT_S", 0.1)
    code = f"import duckdb; c = duckdb.connect({str(loaded.warehouse_file)!r}); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(LockHeld, match="another program has"):
            run_load(loaded)
        other.communicate(b"\n")
    assert len(raw_rows(loaded)) == 2


def test_a_program_that_looks_into_the_warehouse_for_a_moment_is_waited_for(loaded):
    code = f"import duckdb, time; c = duckdb.connect({str(loaded.warehouse_file)!r}); print('open', flush=True)"
    with subprocess.Popen([sys.executable, "-c", f"{code}; time.sleep(0.5)"], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"open\n"
        assert len(raw_rows(loaded)) == 2


def test_a_folder_in_the_place_of_the_warehouse_is_named(settings, capsys):
    settings.warehouse_file.mkdir(parents=True)
    assert cli.main(["load", "--data-dir", str(settings.data_dir)]) == 1
    assert f"{settings.warehouse_file}: Is a directory. Mend that" in capsys.readouterr().err


def test_another_lake_under_the_same_warehouse_replaces_its_rows(loaded):
    """With as many commits as the first one it was taken for it, and the old rows stayed."""
    shutil.rmtree(loaded.data_dir / "raw")
    write_transcript(loaded, make_prompt("only one", at="2026-02-01T00:00:00Z"))
    run_extract(loaded, run_id="another")
    plan(loaded, finish=True)
    run_load(loaded)
    assert len(raw_rows(loaded)) == 1
    assert plan(loaded).is_full_refresh


@pytest.mark.parametrize("later_count", [0, 1, 2])
def test_a_lake_put_back_from_an_older_copy_replaces_newer_rows(loaded, tmp_path, later_count):
    """Only the number of the last commit was compared, which the copy has not reached or reaches with other rows."""
    shutil.copytree(loaded.data_dir / "raw", tmp_path / "copy")
    write_transcript(loaded, make_prompt("lost", at="2026-01-05T00:00:00Z"), name="p/lost.jsonl")
    run_extract(loaded)
    run_load(loaded)
    plan(loaded, finish=True)
    shutil.rmtree(loaded.data_dir / "raw")
    shutil.copytree(tmp_path / "copy", loaded.data_dir / "raw")
    (loaded.transcript_dirs[0] / "p" / "lost.jsonl").unlink()
    for number in range(later_count):
        write_transcript(loaded, make_prompt("later", at="2026-01-06T00:00:00Z"), name=f"p/later{number}.jsonl")
        run_extract(loaded)
    with open_warehouse(loaded) as connection:
        assert DuckDBLoader(loaded, Lake(loaded.data_dir), connection).current_build("f") is None
    run_load(loaded)
    found = raw_rows(loaded)
    assert plan(loaded).is_full_refresh
    loaded.warehouse_file.unlink()
    run_load(loaded)
    assert found == raw_rows(loaded)
    assert len(found) == 2 + (later_count > 0)


def test_other_rules_of_what_a_row_may_change_are_no_increment(loaded, monkeypatch):
    """Days loaded by the old rules beside days loaded by the new ones would rebuild too little."""
    plan(loaded, finish=True)
    monkeypatch.setitem(ENTITIES_SQL, "conversations", ENTITIES_SQL["conversations"] + " and true")
    assert conversations(run_load(loaded)).row_count == 2
    assert plan(loaded).is_full_refresh


def test_a_build_is_of_the_day_it_was_planned_on(loaded, monkeypatch):
    """Planned before midnight and finished after it, it was taken for one of the new day."""

    class Clock(dt.datetime):
        moment = dt.datetime(2026, 3, 1, 23, 59, 59, tzinfo=dt.UTC)

        @classmethod
        def now(cls, tz=None):
            return cls.moment.astimezone(tz)

    monkeypatch.setattr("analytics.loader.datetime", Clock)
    with open_warehouse(loaded) as connection:
        here = DuckDBLoader(loaded, Lake(loaded.data_dir), connection)
        here.plan_build(run_id="r", fingerprint="f")
        Clock.moment += dt.timedelta(seconds=4)
        here.finish_build(run_id="r", fingerprint="f")
        assert here.current_build("f") is None
        Clock.moment -= dt.timedelta(seconds=4)
        assert here.current_build("f") == "r"


@pytest.mark.parametrize("damage", ["page", "footer", "magic", "zero", "cut", "missing"])
def test_a_damaged_part_is_set_aside_and_its_sources_are_read_again(loaded, damage):
    before = raw_rows(loaded)
    damaged = part_files(loaded)[0]
    content = bytearray(damaged.read_bytes())
    places = {"page": 40, "footer": len(content) - 60, "magic": 0}
    if damage in places:
        content[places[damage]] ^= 0xFF
        damaged.write_bytes(content)
    elif damage == "missing":
        damaged.unlink()
    else:
        damaged.write_bytes(content[:100] if damage == "cut" else b"")
    plan(loaded, finish=True)
    loaded.warehouse_file.unlink()
    result = run_load(loaded)
    assert [loaded.data_dir / "raw" / path for path in result.damaged] == [damaged]
    assert len(raw_rows(loaded)) == 1
    assert len(list((loaded.data_dir / "quarantine").glob("*"))) == (damage != "missing")
    assert plan(loaded).is_full_refresh
    run_extract(loaded)
    assert run_load(loaded).damaged == ()
    assert raw_rows(loaded) == before


def test_what_another_host_adds_while_damage_is_set_aside_is_loaded(loaded, monkeypatch):
    """The load was noted as being up to the end of the log, past what had been read of it."""
    part_files(loaded)[0].unlink()
    other = dataclasses.replace(loaded, host_id="other", transcript_dirs=(loaded.data_dir.parent / "there",))
    write_transcript(other, make_prompt("meanwhile", at="2026-01-09T00:00:00Z"), name="p/there.jsonl")

    def remove_after_the_other(lake, dataset, paths, **options):
        if paths:
            run_extract(other)
        return remove_parts(lake, dataset, paths, **options)

    monkeypatch.setattr("analytics.loader.remove_parts", remove_after_the_other)
    loaded.warehouse_file.unlink()
    assert len(run_load(loaded).damaged) == 1
    run_extract(loaded)
    run_load(loaded)
    assert len(raw_rows(loaded)) == 3


def test_rows_of_an_older_contract_load_with_null_in_the_new_column(loaded):
    """The lake outlives contracts: files lack columns that came later."""
    import pyarrow.parquet as pq

    lake = Lake(loaded.data_dir, "test")
    part = next(iter(lake.snapshot("conversations").parts.values()))
    older = pq.read_table(lake.part_file(part.path), partitioning=None).drop_columns(["pr_url", "effort"])
    added = lake.write_part(older, "conversations", part.record_date)
    lake.commit(source="t", dataset="conversations", run_id="r", kind="compact", adds=[added], removes=[part.path])
    before = raw_rows(loaded)
    loaded.warehouse_file.unlink()
    run_load(loaded)
    assert raw_rows(loaded) == before


def efforts(settings):
    with open_warehouse(settings) as connection:
        return connection.execute("select effort from raw.conversations").fetchall()


def test_a_backfill_fills_the_columns_of_a_newer_contract(settings):
    """The row that was there first stayed, so that no old line ever got what a release reads more."""
    import pyarrow.parquet as pq

    write_transcript(settings, {**make_answer(), "effort": "high"})
    run_extract(settings)
    lake = Lake(settings.data_dir, settings.host_id)
    (part,) = lake.snapshot("conversations").parts.values()
    older = pq.read_table(lake.part_file(part.path), partitioning=None).drop_columns(["effort"])
    added = lake.write_part(older, "conversations", part.record_date)
    lake.commit(source="t", dataset="conversations", run_id="r", kind="compact", adds=[added], removes=[part.path])
    run_load(settings)
    assert efforts(settings) == [(None,)]
    run_extract(settings, is_full_backfill=True)
    run_load(settings)
    assert efforts(settings) == [("high",)]


def test_rows_of_an_older_contract_load_without_the_column_that_is_no_more(loaded):
    """Dropping `parent_uuid` from the contract made every older part fail to load."""
    lake = Lake(loaded.data_dir, loaded.host_id)
    day = dt.date(2026, 1, 5)
    fields = [*load_contract("conversations").schema, pa.field("parent_uuid", pa.string())]
    row = {"record_id": "old", "source": "transcripts", "record_date": day, "parent_uuid": "p"}
    part = lake.write_part(pa.Table.from_pylist([row], schema=pa.schema(fields)), "conversations", day)
    lake.commit(source="transcripts", dataset="conversations", run_id="r", adds=[part], rows_read=1)
    assert conversations(run_load(loaded)).row_count == 1


def test_compaction_is_no_reason_to_load(loaded):
    for number in range(9):
        write_transcript(loaded, make_prompt(f"p{number}"), name=f"p/{number}.jsonl")
        run_extract(loaded)
    run_load(loaded)
    before = raw_rows(loaded)
    from datetime import date

    assert compact(Lake(loaded.data_dir, "test"), "conversations", run_id="r", before=date(2026, 1, 3))
    assert conversations(run_load(loaded)).dates == ()
    loaded.warehouse_file.unlink()
    run_load(loaded)
    assert raw_rows(loaded) == before


def test_removed_days_ask_for_a_full_build(loaded):
    plan(loaded, finish=True)
    assert plan(loaded) == BuildPlan(is_full_refresh=False)
    lake = Lake(loaded.data_dir, "test")
    path = min(lake.snapshot("conversations").parts)
    remove_parts(lake, "conversations", [path], run_id="r", kind="prune", forget_positions=False, keep_in=None)
    run_load(loaded)
    assert len(raw_rows(loaded)) == 1
    assert plan(loaded).is_full_refresh


def test_the_plan_is_everything_after_a_change_of_models_and_nothing_when_nothing_came(loaded):
    assert plan(loaded, "one", finish=True).is_full_refresh
    assert plan(loaded, "one") == BuildPlan(is_full_refresh=False)
    assert plan(loaded, "two").is_full_refresh
    assert plan(loaded, "one", is_full_refresh=True).is_full_refresh


def test_a_full_build_that_was_not_finished_leaves_none_behind(loaded):
    """Put back after it had failed, a change of models was taken for built, over the tables of the other. By review."""
    plan(loaded, finish=True)
    plan(loaded, fingerprint="changed")
    with open_warehouse(loaded) as connection:
        assert DuckDBLoader(loaded, Lake(loaded.data_dir), connection).current_build("f") is None
    assert plan(loaded).is_full_refresh


def test_the_plan_names_the_days_that_came(loaded):
    plan(loaded, finish=True)
    write_transcript(loaded, make_prompt("new", at="2026-01-07T00:00:00Z"), name="p/new.jsonl")
    run_extract(loaded)
    run_load(loaded)
    found = plan(loaded)
    assert not found.is_full_refresh
    assert "2026-01-07" in {day.isoformat() for day in found.rebuild_dates}


def test_an_event_reaches_as_far_as_the_model_matches_it():
    """Were the model's window the wider one, an increment would leave out days that it changes."""
    model = DBT_DIR / "models" / "intermediate" / "int_api_request_matches.sql"
    assert re.findall(r"set window_ms = (\d+)", model.read_text(encoding="utf-8")) == [str(MATCH_WINDOW_MS)]


def test_days_stay_dirty_until_a_build_succeeded(loaded):
    plan(loaded, finish=True)
    write_transcript(loaded, make_prompt("new", at="2026-01-07T00:00:00Z"), name="p/new.jsonl")
    run_extract(loaded)
    run_load(loaded)
    first = plan(loaded)
    run_load(loaded)
    assert plan(loaded) == first
    plan(loaded, finish=True)
    assert plan(loaded) == BuildPlan(is_full_refresh=False)


def price_rows(settings):
    with open_warehouse(settings) as connection:
        return connection.execute("select model_prefix, output, valid_to from raw.model_price_overrides").fetchall()


def test_prices_of_the_user_reach_the_warehouse(loaded, tmp_path):
    prices = tmp_path / "prices.csv"
    prices.write_text(
        ",".join(MODEL_PRICES.columns) + "\nmy-model,mine,fast,0,2026-01-01,,1,5,1.25,2,0.1,,published,me,\n"
    )
    settings = dataclasses.replace(loaded, prices_file=prices)
    plan(settings)
    assert price_rows(settings) == [("my-model", "5", None)]
    prices.unlink()
    with pytest.raises(ConfigError, match="ANALYTICS_PRICES_FILE"):
        plan(settings)
    # What was built with these prices stays current once the file is back, so they have to stay, too.
    assert price_rows(settings) == [("my-model", "5", None)]
    plan(loaded)
    assert price_rows(loaded) == []


def test_a_failed_load_leaves_the_last_state(loaded, monkeypatch):
    before = raw_rows(loaded)
    write_transcript(loaded, make_prompt("more"), name="p/more.jsonl")
    run_extract(loaded)

    def fail(*_args):
        raise duckdb.OutOfMemoryException("out of memory, while holding 'a prompt'")

    monkeypatch.setattr(DuckDBLoader, "_insert", fail)
    with pytest.raises(AnalyticsError, match="memory: DuckDB has not enough") as caught:
        run_load(loaded)
    assert "prompt" not in str(caught.value)
    assert raw_rows(loaded) == before
    monkeypatch.undo()
    run_load(loaded)
    assert len(raw_rows(loaded)) == 3


def test_a_commit_that_the_disk_refuses_is_an_error_that_says_so(loaded):
    """It was told as a bug: rolling back what is no transaction any more failed in its turn."""
    write_transcript(loaded, make_prompt("late"), name="p/s2.jsonl")
    run_extract(loaded)
    log = loaded.data_dir / "warehouse.duckdb.wal"
    with pytest.raises(AnalyticsError, match="cannot be read or written"), open_warehouse(loaded) as connection:  # noqa: PT012 - the disk refuses when it is open
        loader = DuckDBLoader(loaded, Lake(loaded.data_dir, loaded.host_id), connection)
        log.mkdir()
        loader.load(run_id="r")
    log.rmdir()
    assert run_load(loaded).row_count == 2


def take_new_row_count(settings):
    with open_warehouse(settings) as connection:
        return DuckDBLoader(settings, Lake(settings.data_dir, settings.host_id), connection).take_new_row_count()


def test_new_rows_are_told_from_those_that_a_load_wrote_again(loaded):
    assert take_new_row_count(loaded) == 2
    write_transcript(loaded, make_prompt("c"), name="later.jsonl")
    run_extract(loaded)
    assert conversations(run_load(loaded)).row_count == 2
    assert take_new_row_count(loaded) == 1
    assert take_new_row_count(loaded) == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, duckdb.OutOfMemoryException])
def test_new_rows_count_once_where_a_load_stops_between_its_transactions(loaded, monkeypatch, error):
    """The load after it, or its own second try, found nothing new: many rows were published without an audit."""
    take_new_row_count(loaded)
    write_transcript(loaded, make_prompt("c"), name="later.jsonl")
    run_extract(loaded)
    replace_entities, tries = DuckDBLoader._replace_entities, []

    def stop_once(self, *arguments):
        tries.append(arguments)
        if len(tries) == 1:
            raise error
        replace_entities(self, *arguments)

    monkeypatch.setattr(DuckDBLoader, "_replace_entities", stop_once)
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            run_load(loaded)
    run_load(loaded)
    assert len(tries) == 2
    assert take_new_row_count(loaded) == 1
    entities = "select count(distinct message_hash) as n from raw._entities where dataset = 'conversations'"
    with open_warehouse(loaded) as connection:
        assert connection.execute(entities).fetchall() == [(3,)]


def test_a_load_that_needs_more_memory_than_usual_gets_it(settings, monkeypatch):
    monkeypatch.setattr(warehouse, "MEMORY_LIMIT", "40MB")
    write_transcript(settings, *[make_prompt(f"{number} {'x' * 20_000}") for number in range(3_000)])
    run_extract(settings)
    assert conversations(run_load(settings)).row_count == 3_000
