from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analytics.cli import build_parser, main
from analytics.errors import AnalyticsError, ChecksFailed, unwritable
from analytics.files import private_umask
from analytics.lake import Lake
from tests.builders import encode, iter_contents, make_answer, make_prompt, make_settings, run_extract, write_transcript

PROJECT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch, tmp_path):
    """No setting of the machine's own, no .env, no home."""
    for name in [name for name in os.environ if name.startswith(("ANALYTICS_", "CLAUDE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    previous = os.umask(0o077)
    yield
    os.umask(previous)


def flags_of(settings) -> list[str]:
    return [
        "--data-dir",
        str(settings.data_dir),
        "--transcript-dirs",
        str(settings.transcript_dirs[0]),
        "--timezone",
        "UTC",
    ]


@pytest.fixture(scope="session")
def built(tmp_path_factory, as_after_set_up):
    """One folder that `analytics run --json` built, and what it printed. Tests read it only."""
    folder = tmp_path_factory.mktemp("built")
    settings = make_settings(folder)
    use = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}
    write_transcript(
        settings, make_prompt(), make_answer("m1", content=[use]), make_answer("m2"), b"broken quixotic-marmalade"
    )
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, as_after_set_up(), private_umask():
        patch.setenv("HOME", str(folder / "home"))
        with contextlib.redirect_stdout(told):
            assert main(["run", "--json", *flags_of(settings)]) == 0
    return settings, json.loads(told.getvalue())


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    return (code, *capsys.readouterr())


# ---- grammar and exit codes


@pytest.mark.parametrize("stage", ["extractor", "loader"])
def test_a_stage_that_is_a_module_of_its_own_runs_as_one(settings, stage):
    """`python -m analytics.loader` ended with 0 and did nothing."""
    write_transcript(settings, make_prompt())
    if stage == "loader":
        run_extract(settings)
    command = [sys.executable, "-m", f"analytics.{stage}", *flags_of(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("extract    transcripts    1 rows" if stage == "extractor" else "load       raw ")
    assert len(Lake(settings.data_dir).snapshot("conversations").parts) == 1
    assert settings.warehouse_file.exists() == (stage == "loader")


def test_every_verb_has_help():
    (verbs,) = [action for action in build_parser()._actions if action.dest == "verb"]
    helps = {choice.dest: choice.help for choice in verbs._choices_actions}
    assert set(helps) == set(verbs.choices)
    assert all(helps.values())


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["extract", "--since", "soon"], ["prune", "--before", "2026"], ["show", "x", "--limit", "-1"]],
)
def test_a_wrong_use_is_exit_code_2(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: analytics" in capsys.readouterr().err


def test_an_unknown_setting_is_exit_code_2_and_named(capsys, monkeypatch):
    monkeypatch.setenv("ANALYTICS_DATADIR", "x")
    code, out, err = run(capsys, "status")
    assert (code, out) == (2, "")
    assert err.startswith("error      ANALYTICS_DATADIR is no setting.")


def test_a_bad_flag_value_is_exit_code_2_and_named(capsys):
    code, _, err = run(capsys, "status", "--timezone", "Mars/Olympus")
    assert code == 2
    assert "ANALYTICS_TIMEZONE" in err


def test_an_unknown_source_is_exit_code_2_and_names_those_there_are(capsys, settings):
    code, _, err = run(capsys, "extract", "--select", "nope", *flags_of(settings))
    assert code == 2
    assert "transcripts" in err


@pytest.mark.parametrize("flags", [["--since", "2026-01-01"], ["--until", "2026-01-01"], ["--full-backfill"]])
def test_a_window_of_an_import_is_refused(capsys, settings, flags, tmp_path):
    """It was taken, and all of the archive read."""
    archive = ["--select", "plans", "--import", str(tmp_path)]
    code, _, err = run(capsys, "extract", *archive, *flags, *flags_of(settings))
    assert code == 2
    assert "Leave out --since, --until and --full-backfill" in err


def test_a_held_lock_is_exit_code_75_and_says_who(capsys, settings):
    with Lake(settings.data_dir).lock():
        for verb in ("run", "extract", "load", "prune"):
            code, _, err = run(capsys, verb, *flags_of(settings))
            assert code == 75
            assert f"process {os.getpid()} is running the pipeline" in err


@pytest.mark.parametrize(("flags", "is_told"), [(["--dry-run"], False), ([], True)])
def test_prune_says_when_the_marts_forget_what_it_deleted(capsys, settings, flags, is_told):
    write_transcript(settings, make_prompt("old"))
    run_extract(settings)
    code, out, _ = run(capsys, "prune", "--before", "2026-01-03", *flags, *flags_of(settings))
    assert (code, "after the next run" in out) == (0, is_told)


def test_failing_checks_are_exit_code_3(capsys, settings, monkeypatch):
    def object_to_it(*_args, **_named):
        raise ChecksFailed("transform: 1 tests failed: t (1 rows).")

    monkeypatch.setattr("analytics.pipeline.run", object_to_it)
    monkeypatch.setattr("analytics.cli._run", lambda *_: object_to_it(), raising=False)
    parsed_code, _, err = run(capsys, "run", *flags_of(settings))
    assert parsed_code == 3
    assert "1 tests failed" in err


def test_a_missing_folder_is_exit_code_1_unless_told_to_keep_going(capsys, settings, tmp_path):
    flags = [
        "--data-dir",
        str(settings.data_dir),
        "--transcript-dirs",
        str(tmp_path / "gone"),
        "--select",
        "transcripts",
    ]
    code, _, err = run(capsys, "extract", *flags)
    assert code == 1
    assert f"failed     transcripts: {tmp_path}/gone is missing" in err
    assert run(capsys, "extract", "--keep-going", *flags)[0] == 0


def test_an_expected_failure_has_no_traceback_but_with_debug(capsys, settings):
    code, _, err = run(capsys, "query", "select 1", *flags_of(settings))
    assert code == 1
    assert "Traceback" not in err
    with pytest.raises(AnalyticsError):
        main(["query", "select 1", "--debug", *flags_of(settings)])


def test_a_disk_that_refuses_is_exit_code_1_and_says_so(tmp_path):
    settings = make_settings(tmp_path)
    write_transcript(
        settings, *(make_prompt(os.urandom(30_000).hex(), at=f"2026-01-02T00:00:{n:02d}Z") for n in range(40))
    )
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
from analytics.cli import main
sys.exit(main(["extract", "--select", "transcripts", *{flags_of(settings)!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.returncode == 1
    assert "cannot be written (File too large)" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(settings.data_dir.rglob("*.parquet")) == []
    assert main(["extract", "--quiet", "--select", "transcripts", *flags_of(settings)]) == 0
    assert Lake(settings.data_dir).snapshot("conversations").parts


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (
            OSError(errno.ENOSPC, "quixotic", "/a/b"),
            "error      /a/b: No space left on device. Mend that, then run again.\n",
        ),
        (OSError("quixotic"), "error      OSError in test_cli.py, line "),
    ],
)
def test_a_failure_of_the_system_is_told_by_its_reason_or_else_as_a_bug(capsys, settings, monkeypatch, failure, told):
    """One that the system gave no number was told as: Success."""

    def fail(_settings):
        raise failure

    monkeypatch.setattr("analytics.status.read_status", fail)
    code, out, err = run(capsys, "status", *flags_of(settings))
    assert (code, out) == (1, "")
    assert err.startswith(told)
    assert "quixotic" not in err


def test_an_unreadable_setting_file_is_named(capsys, tmp_path):
    (tmp_path / ".env").write_bytes(b"\xff")
    code, _, err = run(capsys, "status")
    assert code == 2
    assert ".env" in err


# ---- what is printed


def test_quiet_prints_nothing_and_json_the_same_facts(capsys, settings):
    write_transcript(settings, make_prompt(), b"bad")
    assert run(capsys, "extract", "--quiet", *flags_of(settings)) == (0, "", "")
    write_transcript(settings, make_prompt(), b"bad", name="p/more.jsonl")
    code, out, _ = run(capsys, "extract", "--json", *flags_of(settings))
    facts = next(entry for entry in json.loads(out)["results"] if entry["source"] == "transcripts")
    assert (code, facts["rows_loaded"], facts["rows_rejected"], facts["unit_count"]) == (0, 1, 1, 1)
    write_transcript(settings, make_prompt(), b"bad", name="p/third.jsonl")
    _, out, _ = run(capsys, "extract", "--select", "transcripts", *flags_of(settings))
    assert out.split()[:8] == ["extract", "transcripts", "1", "rows", "1", "units", "1", "rejected"]
    assert "dead_letter/conversations/" in out


def test_a_stage_tells_as_json_what_a_run_tells_of_it(built, capsys, settings):
    _, facts = built
    write_transcript(settings, make_prompt())
    for verb, of_run in (("extract", facts["extraction"]), ("load", facts["load"])):
        code, out, _ = run(capsys, verb, "--json", *flags_of(settings))
        assert (code, json.loads(out).keys()) == (0, of_run.keys())


def test_a_named_place_that_holds_nothing_is_told(capsys, settings):
    code, out, _ = run(capsys, "extract", *flags_of(settings))
    assert (code, out.split()[:4]) == (0, ["extract", "transcripts", "0", "rows"])
    assert out.endswith(f"nothing found in {settings.transcript_dirs[0]}\n")


def test_nothing_to_read_is_told(capsys, settings):
    code, out, _ = run(capsys, "extract", "--data-dir", str(settings.data_dir))
    assert (code, out) == (0, "extract    nothing to read: no source is named, none was found\n")


def test_a_half_written_line_is_told(capsys, settings):
    path = write_transcript(settings, make_prompt())
    path.write_bytes(encode(make_prompt()) + b'{"half":')
    _, out, _ = run(capsys, "extract", "--select", "transcripts", *flags_of(settings))
    assert "1 half-written" in out


def test_run_json_holds_every_count(built):
    _, facts = built
    extraction = next(entry for entry in facts["extraction"]["results"] if entry["source"] == "transcripts")
    assert extraction["rows_read"] == extraction["rows_loaded"] + extraction["rows_rejected"] == 4
    assert facts["result"] == "ok"
    assert facts["is_sample"] is False
    assert facts["transform"]["model_count"] > 0
    assert facts["publish"]["targets"][0]["facts"]["table_count"] > 0


def test_the_next_run_has_nothing_to_do(built, capsys):
    settings, _facts = built
    code, out, _ = run(capsys, "run", "--json", *flags_of(settings))
    again = json.loads(out)
    assert code == 0
    assert (again["load"], again["transform"], again["publish"]) == (None, None, None)
    _, out, _ = run(capsys, "run", *flags_of(settings))
    assert "nothing new, nothing rebuilt" in out.splitlines()[-1]


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        ("transform", "transform: the lake is not loaded yet. Run `analytics load` first."),
        ("validate", "validate: nothing is built yet. Run `analytics transform` first."),
        ("publish", "publish: there is no gold yet. Run `analytics transform` first."),
    ],
)
def test_a_stage_before_its_turn_names_the_one_before_it(capsys, settings, verb, told):
    assert run(capsys, verb, *flags_of(settings)) == (1, "", f"error      {told}\n")


@pytest.mark.parametrize("verb", ["run", "extract"])
def test_a_window_that_holds_no_instant_is_exit_code_2(capsys, settings, verb):
    """It read the lines that have no time of their own, and ended with 0."""
    write_transcript(settings, make_prompt())
    window = ["--since", "2026-02-01", "--until", "2026-01-01"]
    code, out, err = run(capsys, verb, *window, *flags_of(settings))
    assert (code, out) == (2, "")
    assert "--until must be later than --since" in err


def run_into_closed_pipes(*arguments: str) -> int:
    """The exit code of a command whose words nobody reads, as after `| head -1` has ended."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "analytics", *arguments]
    try:
        return subprocess.run(command, stdout=write, stderr=write, check=False, cwd=PROJECT).returncode
    finally:
        os.close(write)


def test_a_run_that_nobody_listens_to_is_a_whole_run(settings):
    write_transcript(settings, make_prompt())
    flags = flags_of(settings)[:4]  # in the machine's time zone, for which set-up has prepared the first build
    assert run_into_closed_pipes("run", *flags) == 0
    assert (settings.published_dir / "current" / "fct_messages.parquet").exists()
    assert run_into_closed_pipes("show", "fct_messages", *flags) == 0


def test_a_failure_that_nobody_hears_is_one(settings, tmp_path):
    elsewhere = ["--data-dir", str(settings.data_dir), "--transcript-dirs", str(tmp_path / "gone")]
    assert run_into_closed_pipes("extract", *elsewhere) == 1


def test_a_command_without_a_stdout_prints_nothing(built, capsys, monkeypatch):
    settings, _ = built
    monkeypatch.setattr("sys.stdout", None)
    assert main(["show", "fct_messages", *flags_of(settings)]) == 0
    assert main(["status", *flags_of(settings)]) == 0
    assert capsys.readouterr().err == ""


def test_what_a_terminal_cannot_spell_becomes_a_question_mark(built):
    settings, _ = built
    command = [sys.executable, "-m", "analytics", "query", "select 'Zoë' as name", *flags_of(settings)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False, cwd=PROJECT)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Zo?" in done.stdout


def test_status_and_doctor_print_the_facts_of_their_json(built, capsys):
    settings, _ = built
    for verb in ("status", "doctor"):
        code, out, _ = run(capsys, verb, "--json", *flags_of(settings))
        assert code == 0
        facts = json.loads(out)
        _, shown, _ = run(capsys, verb, *flags_of(settings))
        names = (
            [name for section in facts.values() for name in section]
            if verb == "status"
            else [f["subject"] for f in facts]
        )
        assert len(names) == len(shown.splitlines())
        assert all(name in shown for name in names)


def test_show_and_query_speak_every_form(built, capsys, tmp_path):
    settings, _ = built
    flags = flags_of(settings)
    sql = "select request_id, output_tokens from fct_api_requests order by 1"
    expected = [{"request_id": "r-m1", "output_tokens": 20}, {"request_id": "r-m2", "output_tokens": 20}]
    assert json.loads(run(capsys, "query", sql, "--json", *flags)[1]) == expected
    rows = list(csv.DictReader(io.StringIO(run(capsys, "query", sql, "--csv", *flags)[1])))
    assert [row["request_id"] for row in rows] == ["r-m1", "r-m2"]
    assert run(capsys, "query", sql, *flags)[1].splitlines()[2].split() == ["r-m1", "20"]
    file = tmp_path / "out.parquet"
    code, out, err = run(capsys, "query", sql, "--parquet", str(file), *flags)
    assert (code, out) == (0, "")
    assert "2 rows" in err
    assert pq.read_table(file).to_pylist() == expected
    code, out, _ = run(capsys, "show", "fct_api_requests", "--limit", "1", "--json", *flags)
    assert (code, len(json.loads(out))) == (0, 1)


@pytest.mark.parametrize("words", [("show", "{}"), ("export", "{}", "--csv", "x.csv"), ("query", "from {}")])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("dim_model", "There is no table 'dim_model'. Did you mean dim_models"),
        ("nope", "There is no table 'nope'. `analytics show` lists those there are."),
    ],
)
def test_a_table_that_there_is_not_is_exit_code_2_with_those_like_it(built, capsys, words, name, told):
    """DuckDB proposed pg_enum for nope, and show printed 46 names for a letter that was missing."""
    settings, _ = built
    code, _, err = run(capsys, *(word.format(name) for word in words), *flags_of(settings))
    assert code == 2
    assert told in err
    assert "pg_enum" not in err


def test_show_takes_the_name_with_its_schema_and_lists_the_tables_without_one(built, capsys):
    settings, _ = built
    flags = flags_of(settings)
    assert run(capsys, "show", "gold.dim_models", *flags) == run(capsys, "show", "dim_models", *flags)
    code, out, _ = run(capsys, "show", "--json", *flags)
    assert code == 0
    assert {"table_name": "fct_api_requests"} in json.loads(out)


def test_a_flag_means_the_same_before_the_verb(built, capsys):
    settings, _ = built
    before = run(capsys, *flags_of(settings), "--json", "status")
    assert before[0] == 0
    assert json.loads(before[1]).keys() == json.loads(run(capsys, "status", "--json", *flags_of(settings))[1]).keys()


def test_sql_that_does_not_run_is_exit_code_2(built, capsys):
    settings, _ = built
    code, _, err = run(capsys, "query", "select nope from fct_api_requests", *flags_of(settings))
    assert code == 2
    assert err.startswith("error      query: ")


def test_sql_that_is_no_utf_8_is_exit_code_2(built, capsys):
    """It was told as a bug."""
    assert run(capsys, "query", "select \udcff", *flags_of(built[0]))[0] == 2


@pytest.mark.parametrize("file", ["none/report.html", "."])
def test_a_page_that_cannot_be_written_where_the_user_says_is_exit_code_2(built, capsys, tmp_path, file):
    """The folder around it was blamed."""
    code, _, err = run(capsys, "report", "--out", str(tmp_path / file), *flags_of(built[0]))
    assert (code, err) == (2, f"error      {unwritable(tmp_path / file)}\n")


def test_a_whole_run_puts_no_prompt_into_gold_or_logs(built):
    """Message text never reaches gold; the dead letter alone holds what was rejected."""
    settings, facts = built
    assert "quixotic-marmalade" not in json.dumps(facts)
    for folder in (settings.published_dir, settings.data_dir / "logs"):
        for where, content in iter_contents(folder) if folder.exists() else ():
            assert b"quixotic-marmalade" not in content, where
            assert b"fix the bug" not in content, where


def test_two_runs_at_once_leave_one_with_exit_code_75(settings):
    write_transcript(settings, make_prompt())
    command = [sys.executable, "-m", "analytics", "extract", "--select", "transcripts", *flags_of(settings)]
    with Lake(settings.data_dir).lock():
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.returncode == 75
    assert "is running the pipeline" in done.stderr
    assert subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT).returncode == 0
