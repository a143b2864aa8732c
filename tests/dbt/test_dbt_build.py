"""The project as people run it: unit tests and data tests on a small warehouse with every kind of line."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from tests.dbt.test_incremental import make_events, make_hooks, make_universe
from tests.dbt.warehouse import (
    DATA_TESTS,
    DBT_DIR,
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


def test_all_dbt_tests_pass(warehouse: Warehouse) -> None:
    warehouse.reset("Asia/Tokyo")
    lines = make_universe(7)
    warehouse.load(lines, make_hooks(7), make_events(7, lines))
    warehouse.run("build")


def test_all_dbt_tests_pass_on_an_empty_warehouse(warehouse: Warehouse) -> None:
    warehouse.reset()
    warehouse.repeat(*DATA_TESTS)


def test_the_loader_knows_every_message_by_the_id_that_dbt_gives_it(warehouse: Warehouse) -> None:
    """The rule stands in both: where they part, an increment misses the other days of a message."""
    warehouse.reset()
    warehouse.build(make_universe(7), make_hooks(7))
    unknown = warehouse.query(
        "select message_source_id from bronze.stg_messages where hash(regexp_replace(message_source_id, '^line:', '')) "
        "not in (select message_hash from raw._entities where message_hash is not null)"
    )
    assert unknown == []


def build(warehouse: Warehouse, lines: list[Row], timezone: str = "UTC") -> None:
    warehouse.reset(timezone)
    warehouse.build(lines)


def test_a_session_from_prompt_to_file(warehouse: Warehouse) -> None:
    edit = {"file_path": "/home/dev/app/main.py"}
    patch = {
        "result_shape": "object",
        "patch_added_line_count": 3,
        "patch_removed_line_count": 1,
        "patch_hunk_count": 1,
    }
    lines = [
        make_prompt_row("fix the bug", "01 12:00"),
        make_tool_use("t1", "01 12:01", "Edit", edit, output_tokens=4, stop_reason=None),
        make_tool_use("t2", "01 12:01", "mcp__github__search", output_tokens=100),
        make_tool_result("t1", "01 12:02", **patch),
        make_tool_result("t2", "01 12:02", {"is_error": True, "error_marker": "user_rejected"}),
    ]
    build(warehouse, lines)
    session = warehouse.query("select * from gold.dim_sessions")[0]
    assert (session["human_prompt_count"], session["request_count"], session["tool_call_count"]) == (1, 1, 2)
    assert session["duration_ms"] == 120_000
    request = warehouse.query("select * from gold.fct_api_requests")[0]
    assert (request["output_tokens"], request["usage_quality"], request["line_count"]) == (100, "final", 2)
    assert str(request["estimated_cost_usd"]) == "0.001530000"
    calls = warehouse.query("select tool_name, outcome, duration_ms from gold.fct_tool_calls order by 1")
    assert [tuple(call.values()) for call in calls] == [
        ("Edit", "success", 60_000),
        ("mcp__github__search", "rejected", 60_000),
    ]
    tool = warehouse.query("select * from gold.dim_tools where is_mcp")[0]
    assert (tool["tool_category"], tool["mcp_server_name"]) == ("mcp", "github")
    change = warehouse.query("select * from gold.fct_file_operations")[0]
    assert (change["operation_type"], change["file_extension"]) == ("edit", "py")
    assert (change["added_line_count"], change["removed_line_count"]) == (3, 1)


def test_a_prompt_typed_while_claude_worked_is_one_wherever_it_was_copied(warehouse: Warehouse) -> None:
    typed = {"line_type": "attachment", "message_role": "user", "line_uuid": "q", "origin_kind": "human"}
    lines = [
        make_prompt_row("add a page", "01 12:00"),
        make_answer_row("m1", "01 12:01"),
        make_prompt_row("fix the title too", "01 12:02", **typed),
        make_prompt_row("fix the title too", "01 12:02", **typed, session_id="fork"),
        make_answer_row("m2", "01 12:05", session_id="fork"),
        make_line("attachment", "01 12:03", message_role=None, line_uuid="a"),
    ]
    build(warehouse, lines)
    prompts = warehouse.query(
        "select role, task_category, copy_count from gold.fct_messages where is_human_prompt order by occurred_at"
    )
    assert [tuple(prompt.values()) for prompt in prompts] == [("user", "feature", 1), ("user", "bug_fix", 2)]
    sessions = warehouse.query("select session_id, human_prompt_count from gold.dim_sessions order by 1 desc")
    assert [tuple(session.values()) for session in sessions] == [("s1", 2), ("fork", 0)]


def test_a_session_lasts_from_the_first_to_the_last_thing_that_has_an_instant(warehouse: Warehouse) -> None:
    """A prompt without one began its session at midnight, and what only hooks and proxies saw did not end it."""
    warehouse.reset()
    lines = [
        make_prompt_row("fix", "01 12:00"),
        make_answer_row("m1", "01 12:01"),
        make_line("user", None, prompt_text="and", line_uuid="undated", record_date=at("01 00:00").date()),
        make_prompt_row("fix", "01 12:00", session_id="s2"),
        make_prompt_row("fix", "01 12:00", session_id="s3"),
        make_prompt_row("fix", "01 12:00", session_id="s5"),
        # A fork, in which nothing was said any more.
        make_prompt_row("fix", "01 12:00", line_uuid="u-01 12:00-s5", session_id="s6"),
    ]
    hooks = [
        make_hook("SessionStart", "01 11:59"),
        make_hook("Stop", None, record_date=at("02 00:00").date()),
        make_hook("SessionEnd", "01 12:30", session_id="s2"),
        make_hook("SessionStart", "04 12:00", session_id="s6"),
        make_hook("SessionEnd", "04 12:05", session_id="s6"),
    ]
    events = [
        make_request_event("02 12:00", session_id="s3"),
        make_request_event(None, session_id="s3"),
        make_request_event(None, session_id="s4", record_date=at("03 00:00").date()),
    ]
    warehouse.build(lines, hooks, events)
    sessions = warehouse.query(
        "select session_id, strftime(started_at, '%d %H:%M') as started, strftime(ended_at, '%d %H:%M') as ended "
        "from gold.dim_sessions order by 1"
    )
    assert [tuple(row.values()) for row in sessions] == [
        ("s1", "01 11:59", "01 12:01"),
        ("s2", "01 12:00", "01 12:30"),
        ("s3", "01 12:00", "02 12:00"),
        ("s4", "03 00:00", "03 00:00"),
        ("s5", "01 12:00", "01 12:00"),
        ("s6", "04 12:00", "04 12:05"),
    ]


def test_an_event_adds_to_its_request_or_is_one_of_its_own(warehouse: Warehouse) -> None:
    """Two events fit one response: the closest joins, the other is a request of its own, a failure is none."""
    events = [
        make_request_event("01 12:01", latency_ms=1250, reported_cost_nusd=3_150_000),
        make_request_event("01 12:01:05", latency_ms=900, reported_cost_nusd=9_000_000),
        make_request_event("01 12:01", status="error", status_code=529, output_tokens=0),
    ]
    warehouse.reset()
    warehouse.build([make_prompt_row(), make_answer_row(request_id=None)], (), events)
    requests = warehouse.query(
        "select event_match_type, request_status, latency_ms, total_tokens, "
        "cast(reported_cost_usd as varchar) as usd from gold.fct_api_requests order by 1"
    )
    assert [tuple(row.values()) for row in requests] == [
        ("event_only", "success", 900, 110, "0.009000000"),
        ("time", "success", 1250, 110, "0.003150000"),
    ]
    places = warehouse.query(
        "select project_path from gold.fct_api_requests join gold.dim_projects using (project_key) order by 1"
    )
    assert [row["project_path"] for row in places] == ["/home/dev/app", "unknown"]
    for table in ("dim_sessions", "agg_usage_5min", "agg_usage_daily", "agg_daily_summary"):
        sums = warehouse.query(
            "select sum(request_count) as n, sum(total_tokens) as tokens, "
            f"cast(sum(reported_cost_usd) as varchar) as usd from gold.{table}"
        )
        assert [tuple(row.values()) for row in sums] == [(2, 220, "0.012150000")], table
    failures = warehouse.query("select event_type, is_failure from gold.mart_metric_events where is_failure")
    assert [tuple(row.values()) for row in failures] == [("ApiRequestFailure", True)]


def test_a_failure_with_the_id_of_a_response_is_a_failure_and_none_of_its_facts(warehouse: Warehouse) -> None:
    """It made an error of a response that is there, and no failure was counted."""
    warehouse.reset()
    failure = make_request_event("01 12:01", request_id="r-m1", status="error", status_code=529, output_tokens=0)
    warehouse.build([make_prompt_row(), make_answer_row("m1")], (), [failure])
    requests = warehouse.query("select event_match_type, request_status from gold.fct_api_requests")
    assert [tuple(row.values()) for row in requests] == [("transcript", None)]
    failures = warehouse.query("select event_type from gold.mart_metric_events where is_failure")
    assert [row["event_type"] for row in failures] == ["ApiRequestFailure"]


def test_a_transcript_tells_of_failed_attempts_where_nothing_else_does(warehouse: Warehouse) -> None:
    """Without a proxy no attempt had failed, though Claude Code had written of each."""

    def make_failure(minute: int, session_id: str, uuid: str) -> Row:
        moment, about = f"01 12:{minute:02}", {"line_subtype": "api_error", "message_role": None}
        return make_line("system", moment, session_id=session_id, line_uuid=uuid, **about)

    warehouse.reset()
    lines = [
        make_failure(1, "s1", "x1"),
        make_failure(1, "fork", "x1"),
        make_prompt_row("go on", "02 12:00", session_id="fork"),
        make_failure(2, "s1", "x2"),
        make_answer_row("given up", "01 12:03", is_api_error=True),
        make_failure(4, "seen", "x3"),
    ]
    failure = make_request_event("01 12:04", session_id="seen", status="error", status_code=529, output_tokens=0)
    warehouse.build(lines, (), [failure])
    events = warehouse.query(
        "select session_id, metric_source, count(*) as n from gold.mart_metric_events "
        "join gold.dim_sessions using (session_key) where event_type = 'ApiRequestFailure' group by all order by 1"
    )
    assert [tuple(event.values()) for event in events] == [("s1", "transcripts", 3), ("seen", "api_requests", 1)]


def test_a_session_has_as_many_conversations_as_there_are_rows_of_them(warehouse: Warehouse) -> None:
    """One that only a subagent wrote in had a row there and a zero here."""
    side = {"agent_id": "a1", "is_sidechain": True, "session_id": "side"}
    build(warehouse, [make_prompt_row(), make_answer_row("m1"), make_answer_row("m2", **side)])
    counts = warehouse.query(
        "select conversation_count, (select count(*) from gold.agg_conversations as c where c.session_key = "
        "m.session_key) as row_count from gold.agg_session_metrics as m"
    )
    assert [tuple(row.values()) for row in counts] == [(1, 1), (1, 1)]


def test_a_request_with_an_empty_model_name_is_of_the_unknown_model(warehouse: Warehouse) -> None:
    warehouse.reset()
    advisor = {"iteration_index": 1, "model": "", "input_tokens": 1, "output_tokens": 1}
    answer = make_answer_row("m1", model="", advisor_iterations=[advisor])
    warehouse.build([answer], (), [make_request_event("01 15:00", model="")])
    models = warehouse.query("select model_name, request_count from gold.dim_models")
    assert [tuple(row.values()) for row in models] == [("unknown", 3)]


def test_a_question_aside_and_a_compaction_are_no_subagents(warehouse: Warehouse) -> None:
    """Claude Code asks them on a thread of their own, which begins with copies of the main one."""
    agents = ("a1", "a2", "acompact-b1", "aside_question-c1")
    sides = [make_answer_row(f"m-{agent}", agent_id=agent, is_sidechain=True) for agent in agents]
    build(warehouse, [make_prompt_row(), *sides])
    assert warehouse.query("select subagent_count from gold.dim_sessions") == [{"subagent_count": 2}]


def test_only_events_make_all_of_gold(warehouse: Warehouse) -> None:
    """Transcripts are gone and no hook was there: what a proxy saw still adds up, by every dimension."""
    events = [
        make_request_event("01 12:00"),
        make_request_event("09 12:00", model="glm-4.7", session_id="s7"),
        make_request_event("11 12:00", status="error", status_code=529),
    ]
    warehouse.reset()
    warehouse.build((), (), events)
    warehouse.repeat(*DATA_TESTS)
    requests = warehouse.query(
        "select session_id, cost_status, cast(fct_api_requests.estimated_cost_usd as varchar) as usd "
        "from gold.fct_api_requests join gold.dim_sessions using (session_key) order by 1"
    )
    assert [tuple(row.values()) for row in requests] == [
        ("s7", "unpriced", None),
        ("unknown", "priced", "0.001530000"),
    ]


def test_a_spike_of_cost_fires_where_only_events_tell_of_requests(warehouse: Warehouse) -> None:
    """Its newest two days were those of messages, of which there are none."""
    warehouse.reset()
    hours = [make_request_event(f"26 {hour:02}:30", input_tokens=10 + hour % 2) for hour in range(12)]
    warehouse.build((), (), [*hours, make_request_event("27 12:00", output_tokens=10_000_000)])
    assert warehouse.query("select subject_name from gold.alert_cost_anomaly") == [{"subject_name": "hourly_cost_usd"}]


def test_lines_that_name_no_session_keep_the_contract_of_gold(warehouse: Warehouse) -> None:
    """The boundary's session was made by no line of it: its project was null, and nothing was published."""
    lines = [
        make_line("system", "01 12:00", session_id=None, line_uuid="c1", line_subtype="compact_boundary"),
        make_line("pr-link", "02 12:00", session_id=None, line_uuid="l1", pr_url="https://example.com/pull/1"),
        make_line("summary", None, session_id=None, record_date=at("09 00:00").date()),
    ]
    warehouse.reset()
    warehouse.build(lines)
    warehouse.repeat(*DATA_TESTS)
    sessions = warehouse.query("select session_id, cast(ended_at as varchar) as ended_at from gold.dim_sessions")
    assert [tuple(row.values()) for row in sessions] == [("unknown", "2026-06-01 12:00:00")]
    assert len(warehouse.query("select * from gold.mart_compactions join gold.dim_sessions using (session_key)")) == 1


def test_a_firing_keeps_its_key_while_it_lasts(warehouse: Warehouse) -> None:
    """With the newest day in its key, what nobody had mended was told anew every day."""

    def make_day(day: str) -> list[Row]:
        calls = [(f"t{day}-{number}", f"{day} 12:{number:02}") for number in range(20)]
        uses = [make_tool_use(tool, moment, message_id=f"m{tool}", model="nobody-1") for tool, moment in calls]
        failed = {"is_error": True, "error_marker": "exit_code"}
        results = [make_tool_result(tool, moment, failed) for tool, moment in calls]
        limit = make_answer_row(f"limit{day}", f"{day} 13:00", is_api_error=True, limit_reset_at=at("09 00:00"))
        return [*uses, *results, limit]

    sql = "select alert_key, cast(measured_date as varchar) as day from gold.{}"
    alerts = ("alert_tool_failure_ratio_high", "alert_requests_unpriced", "alert_usage_limit_reached")
    build(warehouse, make_day("01"))
    before = [warehouse.query(sql.format(alert)) for alert in alerts]
    warehouse.build(make_day("02") + make_day("03"))
    after = [warehouse.query(sql.format(alert)) for alert in alerts]
    assert [rows[0]["day"][-2:] for rows in (*before, *after)] == ["01", "01", "01", "03", "03", "02"]
    assert [rows[0]["alert_key"] for rows in before] == [rows[0]["alert_key"] for rows in after]


@pytest.mark.parametrize(
    ("own", "model", "usd"),
    [
        ("glm-4.7,glm,standard,0,2026-01-01,,1,2,0,0,0,1,published,,", "glm-4.7", "0.000210000"),
        ("claude-sonnet-4-6,sonnet,standard,0,2024-01-01,,1,2,0,0,0,1,published,,", "claude-sonnet-4-6", "0.000210000"),
        ("Claude-Opus-99,opus,standard,0,2026-01-01,,1,2,0,0,0,1,published,,", "claude-opus-99", "0.000210000"),
    ],
    ids=["a model without a price", "a row that begins before the published one", "a model newer than the list"],
)
def test_a_user_price_wins_over_the_published_one(
    warehouse: Warehouse, tmp_path: Path, own: str, model: str, usd: str
) -> None:
    """The row that began later won, so that an own price for all time did nothing."""
    prices_file = tmp_path / "prices.csv"
    header = (DBT_DIR / "seeds" / "model_prices.csv").read_text(encoding="utf-8").splitlines()[0]
    prices_file.write_text(f"{header}\n{own}\n", encoding="utf-8")
    warehouse.reset(prices_file=prices_file)
    warehouse.build([make_answer_row(model=model)])
    request = warehouse.query(
        "select cost_status, cast(estimated_cost_usd as varchar) as usd from gold.fct_api_requests"
    )
    assert request == [{"cost_status": "priced", "usd": usd}]


def test_an_unknown_version_is_estimated_at_the_newest_of_its_family(warehouse: Warehouse) -> None:
    names = ["claude-haiku-5-5", "claude-haiku-99", "claude-mythos-preview", "glm-4.7"]
    after_its_release = datetime.fromisoformat("2026-10-20T12:00:00")
    build(warehouse, [make_answer_row(name, after_its_release, model=name) for name in names])
    newest, unknown, unversioned, other = warehouse.query(
        "select cost_status, estimated_cost_usd as usd from gold.fct_api_requests order by model_name"
    )
    assert newest["cost_status"] == "priced"
    assert unknown == {"cost_status": "unconfirmed", "usd": newest["usd"]}
    assert unversioned == other == {"cost_status": "unpriced", "usd": None}


def test_us_inference_costs_a_tenth_more_and_searches_a_cent(warehouse: Warehouse) -> None:
    build(warehouse, [make_answer_row(inference_geo="us", input_tokens=1000, output_tokens=0, web_search_count=2)])
    assert [
        str(row["usd"]) for row in warehouse.query("select estimated_cost_usd as usd from gold.fct_api_requests")
    ] == ["0.023300000"]


def test_an_advisor_is_a_request_of_its_own(warehouse: Warehouse) -> None:
    """Of lines that say the same of the response itself, one that names its advisor speaks, not any of them."""
    advisor = {"iteration_index": 0, "model": "claude-opus-4-8", "input_tokens": 1000, "output_tokens": 0}
    silent = [make_answer_row(line_uuid=f"silent-{number}") for number in range(8)]
    build(warehouse, [*silent, make_answer_row(advisor_iterations=[advisor])])
    rows = warehouse.query("select model_name, is_advisor, input_tokens from gold.fct_api_requests order by 2")
    assert [tuple(row.values()) for row in rows] == [("claude-sonnet-4-6", False, 10), ("claude-opus-4-8", True, 1000)]


def test_a_prompt_is_not_the_answer_whose_id_its_line_has(warehouse: Warehouse) -> None:
    """Hand-made transcripts number lines and messages alike: the answer moved to the prompt, a session away."""
    prompt = make_prompt_row(line_uuid="m1", session_id="another")
    build(warehouse, [prompt, make_answer_row("m1", "02 12:01")])
    rows = warehouse.query("select role, session_id from gold.fct_messages join gold.dim_sessions using (session_key)")
    assert sorted(tuple(row.values()) for row in rows) == [("assistant", "s1"), ("user", "another")]
    assert warehouse.query("select cast(occurred_date as varchar) as day from gold.fct_api_requests") == [
        {"day": "2026-06-02"}
    ]


def test_a_call_is_one_whether_transcript_or_hook_or_both_tell_of_it(warehouse: Warehouse) -> None:
    warehouse.reset()
    hooks = [
        make_hook("SessionStart", "01 11:59", session_source="startup", event_detail="startup", model="claude-x"),
        make_hook("PreToolUse", "01 12:01", tool_use_id="t1", tool_name="Bash"),
        make_hook("PostToolUse", "01 12:02", tool_use_id="t1", tool_name="Bash", duration_ms=55),
        make_hook("PermissionRequest", "01 12:03", tool_name="Bash"),
        # What shares its instant does not end its wait, in whatever order their keys are.
        *(make_hook(f"SomeFutureEvent{number}", "01 12:03") for number in range(4)),
        make_hook("PreToolUse", "01 12:05", tool_use_id="t9", tool_name="Edit", session_id="s9"),
        make_hook("SomeFutureEvent", "01 12:06", cwd=None, session_id=None),
        make_hook("SessionEnd", "01 12:07", event_detail="logout"),
    ]
    warehouse.build([make_tool_use("t1"), make_tool_result("t1", "01 12:02")], hooks)
    calls = warehouse.query(
        "select tool_use_id, outcome, duration_ms, is_transcribed from gold.fct_tool_calls order by 1"
    )
    assert [tuple(call.values()) for call in calls] == [("t1", "success", 55, True), ("t9", "unanswered", None, False)]
    session = warehouse.query("select * from gold.dim_sessions where session_id = 's1'")[0]
    assert (session["start_source"], session["end_reason"], session["start_model_name"]) == (
        "startup",
        "logout",
        "claude-x",
    )
    assert (session["permission_request_count"], session["permission_wait_ms"]) == (1, 240_000)
    known = warehouse.query("select session_id, is_transcribed from gold.dim_sessions order by 1")
    assert [tuple(row.values()) for row in known] == [("s1", True), ("s9", False), ("unknown", False)]
    assert len(warehouse.query("select * from gold.mart_metric_events")) == len(hooks) + 1


def ask_card(warehouse: Warehouse, query: str) -> list[Row]:
    [result] = warehouse.dbt("compile", "--select", query).results
    return warehouse.query(result.node.compiled_code)


def test_a_block_under_a_minute_burns_at_no_rate(warehouse: Warehouse) -> None:
    """Two requests within five seconds were 144 dollars an hour on the card, and nothing in the table."""
    build(warehouse, [make_answer_row("m1", "01 12:00:00"), make_answer_row("m2", "01 12:00:05")])
    assert [row["request_span_hours"] for row in ask_card(warehouse, "billing_blocks")] == [None]


def test_what_names_no_session_is_no_session_of_a_card(warehouse: Warehouse) -> None:
    build(warehouse, [make_prompt_row(), make_prompt_row(occurred_at="02 12:00", session_id=None)])
    assert [row["session_count"] for row in ask_card(warehouse, "sessions")] == [1]


def test_text_never_reaches_gold(warehouse: Warehouse) -> None:
    build(warehouse, [make_prompt_row("fix marker-of-a-secret"), make_answer_row()])
    assert "marker-of-a-secret" not in str(warehouse.snapshot())


def test_the_local_day_is_the_reporting_zone_s(warehouse: Warehouse) -> None:
    build(warehouse, [make_answer_row(occurred_at="01 16:30")], timezone="Asia/Tokyo")
    row = warehouse.query("select occurred_date, occurred_date_local, hour_of_day_local from gold.fct_api_requests")[0]
    assert [str(value) for value in row.values()] == ["2026-06-01", "2026-06-02", "1"]


def make_alarming_lines() -> list[Row]:
    """What makes every alert fire on the first of July: dear, limited, failing, without a price, then silent."""
    lines = [make_answer_row(f"m{hour}", f"26 {hour:02}:30", input_tokens=10 + hour % 2) for hour in range(12)]
    for number in range(20):
        lines.append(make_tool_use(f"t{number}", "27 12:00", message_id=f"c{number}"))
        lines.append(make_tool_result(f"t{number}", "27 12:01", {"is_error": True, "error_marker": "exit_code"}))
    return [
        *lines,
        make_answer_row("dear", "27 12:02", output_tokens=10_000_000),
        make_answer_row("novel", "27 12:03", model="novel-1", session_id="s2", cwd="/home/dev/other"),
        make_line("assistant", "27 12:04", line_uuid="limit", limit_reset_at=at("27 15:00")),
    ]


def as_of_now(warehouse: Warehouse) -> dict[str, list[Row]]:
    """All that is counted back from now."""
    alerts = [table for table in warehouse.gold_tables() if table.startswith("alert_")]
    tables = {
        table: warehouse.query(f"select * from gold.{table} order by all")
        for table in (*alerts, "mart_trends", "agg_cost_projection")
    }
    blocks = "select block_started_at, projected_cost_usd from gold.agg_billing_blocks where is_latest"
    projects = "select project_path, project_status from gold.dim_projects order by 1"
    return {**tables, "latest block": warehouse.query(blocks), "projects": warehouse.query(projects)}


@pytest.mark.parametrize("day", ["2026-07-02", "2090-01-01"])
def test_a_record_of_a_clock_that_is_ahead_moves_nothing(warehouse: Warehouse, day: str) -> None:
    """One of 2090 silenced every alert, moved every window there, and made 23,000 days."""
    build(warehouse, make_alarming_lines())
    expected = as_of_now(warehouse)
    silent = [table for table, rows in expected.items() if not rows]
    assert silent == []
    days = warehouse.query("select date_day from gold.dim_date order by 1")

    ahead = make_answer_row("ahead", datetime.fromisoformat(day), session_id="s2", cwd="/home/dev/other")
    build(warehouse, [*make_alarming_lines(), ahead])
    assert as_of_now(warehouse) == expected
    days.append({"date_day": ahead["record_date"]})
    assert warehouse.query("select date_day from gold.dim_date order by 1") == days
    warehouse.repeat(*DATA_TESTS)
    assert warehouse.query(
        f"select request_count from gold.agg_usage_daily where date_day = '{day}' and request_count > 0"
    ) == [{"request_count": 1}]


def test_what_is_newest_is_the_newest_where_the_builds_own_clock_is_behind(warehouse: Warehouse) -> None:
    build(warehouse, make_alarming_lines())
    expected = as_of_now(warehouse)
    warehouse.reset()
    warehouse.build(make_alarming_lines(), run_at="1970-01-01 00:00:00")
    expected["alert_pipeline_stale"] = []
    assert as_of_now(warehouse) == expected
