"""Whatever the order and the batches in which lines arrive, gold is what a full refresh makes of them."""

from __future__ import annotations

import os
import random
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.dbt.warehouse import (
    TABLES_ONLY,
    Row,
    Warehouse,
    at,
    make_answer_row,
    make_hook,
    make_line,
    make_prompt_row,
    make_request_event,
    make_tool_result,
    make_tool_use,
)

UNHURRIED = settings(
    # A seed tells nothing about its neighbours: shrinking it only costs minutes.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ANY_WORLD = given(seed=st.integers(0, 100_000), batch_count=st.integers(2, 4))
FOLDERS = (
    "/home/dev/app",
    "/home/dev/app/.worktrees/x",
    "C:\\src\\app",
    "/home/dev/other",
    None,
)


def make_universe(seed: int) -> list[Row]:
    """Sessions over five days that copy each other's lines in every way seen in real files."""
    chance = random.Random(seed)
    sessions = ["s1", "s2", "s3", "s4", None]

    def when(first_day: int = 1, last_day: int = 5) -> str:
        clock = chance.choice(["00:00", "00:01", "09:30", "23:59", "23:59:59.999"])
        return f"0{chance.randint(first_day, last_day)} {clock}"

    originals: list[Row] = []
    for number in range(chance.randint(3, 9)):
        session, moment, message = chance.choice(sessions), when(1, 4), f"m{number}"
        place = {
            "session_id": session,
            "cwd": chance.choice(FOLDERS),
            "agent_id": chance.choice([None, None, "a1"]),
            "is_sidechain": chance.choice([False, False, True]),
        }
        originals.append(make_prompt_row(f"add {number}", moment, line_uuid=f"u{number}", **place))
        for part in range(chance.randint(1, 3)):
            tokens = {"output_tokens": chance.choice([1, 7, 50]), "stop_reason": chance.choice([None, "end_turn"])}
            uuid = f"a{number}-{part}"
            known = {} if number % 2 else {"request_id": None}  # only its time then tells which event is its own
            originals.append(make_answer_row(message, when(1, 5), line_uuid=uuid, **tokens, **known, **place))
        if chance.random() < 0.7:
            tool = f"t{chance.randint(0, 5)}"  # repeats over messages now and then
            block = {"file_path": f"/f{number}.py", "input_line_count": 3}
            name = chance.choice(["Edit", "Bash", "mcp__x__y"])
            originals.append(make_tool_use(tool, when(1, 5), name, block, message_id=message, **place))
            if chance.random() < 0.8:
                elsewhere = {**place, "session_id": chance.choice([session, chance.choice(sessions)])}
                error = {"is_error": chance.choice([None, True]), "error_marker": "exit_code"}
                originals.append(make_tool_result(tool, when(2, 5), error, **elsewhere))
        if chance.random() < 0.2:
            originals.append(make_line("summary", None, session_id=None, cwd=None))
        if chance.random() < 0.2:
            summary = {"line_uuid": f"c{number}", "is_compact_summary": True}
            originals.append(make_prompt_row(None, when(1, 5), **summary, **place))
        if chance.random() < 0.3:
            told = {"line_uuid": f"b{number}", "line_subtype": chance.choice(["compact_boundary", "api_error"])}
            originals.append(make_line("system", when(1, 5), **told, **place))
        if chance.random() < 0.3:
            link = f"https://example.com/pull/{chance.randint(1, 3)}"
            originals.append(make_line("pr-link", when(1, 5), session_id=session, line_uuid=f"l{number}", pr_url=link))
        if chance.random() < 0.3:
            typed = {"line_type": "attachment", "line_subtype": "queued_command", "line_uuid": f"q{number}"}
            originals.append(make_prompt_row(f"fix {number}", when(1, 5), **typed, message_role="user", **place))
        if chance.random() < 0.2:
            originals.append(make_answer_row(message, None, record_date=_day(chance), **place))

    copies: list[Row] = []
    for line in originals:
        plain = {key: value for key, value in line.items() if key not in ("record_id", "record_date")}
        if line["occurred_at"] is None:
            continue
        for _ in range(chance.choice([0, 0, 0, 1, 2])):
            copy = chance.choice(["fork", "moved", "aside", "progress"])
            if copy == "fork":
                copies.append(_again(plain, session_id=chance.choice(sessions)))
            elif copy == "moved":
                copies.append(_again(plain, session_id=chance.choice(sessions), occurred_at=when(2, 5)))
            elif copy == "aside":
                copies.append(_again(plain, is_sidechain=True, agent_id="a2"))
            else:
                inside = {
                    "progress_message_type": line["line_type"],
                    "progress_message_at": line["occurred_at"],
                    "progress_message_uuid": line["line_uuid"],
                    "line_uuid": f"p-{line['line_uuid']}",
                }
                copies.append(_again(plain, line_type="progress", occurred_at=when(1, 5), **inside))
    only_copies = [line for line in originals if chance.random() > 0.15]
    wrong_clocks = [
        make_answer_row(day, datetime.fromisoformat(f"{day}T12:00"))
        for day in ("1970-01-01", "2090-01-01")
        if chance.random() < 0.5
    ]
    return only_copies + copies + wrong_clocks


def make_hooks(seed: int) -> list[Row]:
    """Hook firings of the same sessions and tool calls, of a session and calls that no transcript has, some untimed."""
    chance = random.Random(seed + 2)
    events = [
        "PreToolUse",
        "PostToolUse",
        "PostToolUseFailure",
        "PermissionDenied",
        "SessionStart",
        "PermissionRequest",
    ]
    hooks: list[Row] = []
    for number in range(chance.randint(0, 14)):
        event = chance.choice([*events, "Stop"])
        columns = {
            "session_id": chance.choice(["s1", "s2", "s3", "only hooks", None]),
            "cwd": chance.choice(FOLDERS),
            "agent_id": chance.choice([None, None, "a1"]),
            "prompt_char_count": number,
        }
        if event in events[:4]:
            columns["tool_use_id"] = f"t{chance.randint(0, 7)}"
            columns["tool_name"] = chance.choice(["Edit", "Bash", "OnlyHooks"])
            columns["duration_ms"] = chance.choice([None, 5, 90])
        moment = f"0{chance.randint(1, 5)} {chance.choice(['00:00', '12:00', '23:59:59.999'])}"
        if chance.random() < 0.8:
            hooks.append(make_hook(event, moment, **columns))
        else:
            untimed = make_hook(event, None, **columns)
            hooks += [{**untimed, "record_date": _day(chance)} for _ in range(chance.choice([1, 2]))]
    return hooks


def make_events(seed: int, lines: list[Row]) -> list[Row]:
    """Events of requests that lines tell of, by id or by time, some over midnight, twice, or about nothing."""
    chance = random.Random(seed + 3)
    answers = [line for line in lines if line["line_type"] == "assistant" and line["occurred_at"] is not None]
    events: list[Row] = []
    for number in range(chance.randint(0, 12) if answers else 0):
        answer = chance.choice(answers)
        columns = {
            "request_id": chance.choice([None, None, answer["request_id"], f"r-m{chance.randint(0, 8)}"]),
            "session_id": chance.choice([None, None, answer["session_id"]]),
            "status": chance.choice(["success", "success", "success", "error"]),
            "output_tokens": chance.choice([answer["output_tokens"], 50]),
            "latency_ms": chance.choice([None, number, 90_000]),
            "reported_cost_nusd": chance.choice([None, 5 + number]),
        }
        moment = answer["occurred_at"] + timedelta(seconds=chance.choice([-9, -1, 0, 1, 60]))
        events.append(make_request_event(moment, **columns))
    return events


def _again(row: Row, **changes: object) -> Row:
    columns = {**row, **changes}
    line_type, moment = columns.pop("line_type"), columns.pop("occurred_at")
    return make_line(line_type, moment, **columns)


def _day(chance: random.Random) -> object:
    return at(f"0{chance.randint(1, 5)} 00:00").date()


def test_a_new_line_rebuilds_its_own_day_only(warehouse: Warehouse) -> None:
    """Lines of state name no session: as one session they tied each day to all (120 of 120 days for one new line)."""
    state = [make_line("summary", None, session_id=None, record_date=at(f"0{day} 00:00").date()) for day in range(1, 6)]
    warehouse.reset()
    warehouse.load([*state, make_answer_row("m1", "01 12:00"), make_answer_row("m2", "03 12:00", session_id="s2")])
    warehouse.load([make_answer_row("m3", "05 12:00", session_id="s3")], is_full_refresh=False)
    rebuilt = warehouse.query("select record_date from raw._rebuild_dates where role = 'rebuild'")
    assert [row["record_date"] for row in rebuilt] == [at("05 00:00").date()]


def test_a_line_takes_an_event_away_from_another_day(warehouse: Warehouse) -> None:
    """An id makes it the newer line's, so the response of its own day, which no change names, loses it."""
    warehouse.reset()
    event = make_request_event("01 12:01", request_id="r-late", latency_ms=700)
    warehouse.build([make_answer_row("m1", "01 12:01", request_id=None)], (), [event])
    sql = "select cast(occurred_date as varchar) as day from gold.fct_api_requests where latency_ms = 700"
    assert warehouse.query(sql) == [{"day": "2026-06-01"}]
    warehouse.build([make_answer_row("late", "04 12:00", session_id="s2", request_id="r-late")])
    assert warehouse.query(sql) == [{"day": "2026-06-04"}]


@settings(UNHURRIED, max_examples=3, derandomize=True)
@ANY_WORLD
def test_incremental_equals_full_refresh(warehouse: Warehouse, seed: int, batch_count: int) -> None:
    assert_incremental_equals_full_refresh(warehouse, seed, batch_count)


@pytest.mark.torture
@settings(UNHURRIED, max_examples=int(os.environ.get("INCREMENTAL_EXAMPLES", "100")))
@ANY_WORLD
def test_incremental_equals_full_refresh_many_times(warehouse: Warehouse, seed: int, batch_count: int) -> None:
    """Other worlds each time: the few above are always the same."""
    assert_incremental_equals_full_refresh(warehouse, seed, batch_count)


def assert_incremental_equals_full_refresh(warehouse: Warehouse, seed: int, batch_count: int) -> None:
    lines, hooks = make_universe(seed), make_hooks(seed)
    events = make_events(seed, lines)
    chance = random.Random(seed + 1)
    chance.shuffle(lines)
    chance.shuffle(hooks)
    chance.shuffle(events)
    batches = [tuple(rows[start::batch_count] for rows in (lines, hooks, events)) for start in range(batch_count)]

    if chance.random() < 0.5:  # as after set-up, which builds over nothing
        batches.insert(0, ())
    warehouse.reset()
    warehouse.load(*batches[0])
    warehouse.repeat(*TABLES_ONLY)
    for batch in batches[1:]:
        warehouse.load(*batch, is_full_refresh=False)
        warehouse.repeat(*TABLES_ONLY, with_dbt=chance.random() < 0.5)
    incremental = warehouse.snapshot()

    warehouse.load()
    warehouse.repeat(*TABLES_ONLY)
    full = warehouse.snapshot()
    for table, rows in full.items():
        assert incremental[table] == rows, table
