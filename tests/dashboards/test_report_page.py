"""The page in a real browser, offline. Skipped on a laptop without Chromium; in CI that is a failure."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest

from analytics.cards import load_dashboards
from analytics.errors import ConfigError
from analytics.targets import report as report_target
from analytics.targets.report import Restriction, write_report
from tests.dashboards import browser

SIZES = [(380, 800), (1280, 900), (3840, 2160)]


TEXT_BEYOND_ITS_CARD = """
    [...document.querySelectorAll('.card')].flatMap((card) => {
      const { left, right } = card.getBoundingClientRect();
      return [...card.querySelectorAll('.chart svg text')].filter((text) => {
        const box = text.getBoundingClientRect();
        return box.width && (box.left < left || box.right > right);
      }).map((text) => `${card.id}: ${text.textContent}`);
    })"""


@pytest.fixture(scope="module")
def page():
    chromium = browser.find_chromium()
    if chromium is None:
        if os.environ.get("CI") == "true":
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed")
    with browser.open_page(chromium) as opened:
        yield opened


@pytest.fixture
def report(sample_settings, page):
    page.problems.clear()
    page.requests.clear()
    page.resize(1280, 900)
    file = sample_settings.published_dir / "report.html"
    page.load(file)
    yield page
    assert page.problems == []
    assert {url.split(":")[0] for url in page.requests} <= {"file", "about", "data"}


def number_of(page, card):
    return float(page.evaluate(f"document.getElementById('developer_productivity-{card}').dataset.value"))


def filtered(page, **state):
    page.evaluate(f"report.change({state!r}).then(() => 1)")
    page.wait_until_ready()


def write_renamed(settings, file, monkeypatch, rename):
    """The page of the sample where names are others."""
    read = report_target.read_cube

    def renamed(connection, cube, restriction):
        result = read(connection, cube, restriction)
        for column in result["columns"].values():
            if "values" in column:
                column["values"] = [rename(value) for value in column["values"]]
        return result

    monkeypatch.setattr(report_target, "read_cube", renamed)
    write_report(settings, file)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_chart_is_drawn_and_nothing_overflows(report, width, height, theme):
    report.resize(width, height, theme=theme)
    report.load(Path(report.evaluate("decodeURI(location.pathname)")))
    drawn = report.evaluate(
        "[...document.querySelectorAll('.card')].map(c => [c.dataset.chart, c.dataset.drawn || 'number', "
        "c.querySelectorAll('.chart svg path').length])"
    )
    assert len(drawn) == sum(len(dashboard.cards) for dashboard in load_dashboards())
    for chart, outcome, marks in drawn:
        assert outcome == {"number": "number", "table": "table"}.get(chart, "chart")
        assert outcome != "chart" or marks > 1
    assert report.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert report.evaluate(TEXT_BEYOND_ITS_CARD) == []
    assert report.evaluate("document.documentElement.dataset.theme") == theme


def test_page_says_that_the_sample_is_synthetic_and_costs_are_estimates(report):
    assert report.evaluate("document.getElementById('synthetic').checkVisibility()")
    assert "estimated at list prices" in report.evaluate("document.getElementById('subtitle').textContent")
    assert "glm-4.7" in report.evaluate("document.getElementById('unpriced').textContent")


FILTERS = [
    ({}, "true", "true"),
    (
        {"since": 20746, "until": 20753},
        "{date} >= date '2026-10-20' and {date} <= date '2026-10-27'",
        "started_date_local >= date '2026-10-20' and started_date_local <= date '2026-10-27'",
    ),
    (
        {"project": "/home/dev/code/storefront"},
        "project_path = '/home/dev/code/storefront'",
        "project_path = '/home/dev/code/storefront'",
    ),
    ({"model": "claude-opus-5-5"}, "model_name = 'claude-opus-5-5'", None),
    ({"thread": "1"}, "is_sidechain", None),
    (
        {"since": 20746, "until": 20753, "project": "/home/dev/code/storefront", "thread": "0"},
        "{date} between '2026-10-20' and '2026-10-27' and not is_sidechain and project_path like '%storefront'",
        None,
    ),
]


@pytest.mark.parametrize(("state", "condition", "session_condition"), FILTERS)
def test_filters_give_the_numbers_that_sql_gives(report, published, state, condition, session_condition):
    filtered(report, **state)
    where = condition.format(date="occurred_date_local")
    cost, tokens = published.execute(
        f"select sum(facts.estimated_cost_usd), sum(facts.total_tokens) from gold.fct_api_requests as facts "
        f"left join gold.dim_projects using (project_key) where {where}"
    ).fetchone()
    assert number_of(report, "cost_total") == pytest.approx(float(cost), abs=1e-9)
    assert number_of(report, "token_total") == tokens
    if "model" not in state:
        (ratio,) = published.execute(
            "select count(*) filter (outcome = 'success') / count(*) filter (outcome in ('success', 'error')) "
            f"from gold.fct_tool_calls left join gold.dim_projects using (project_key) where {where}"
        ).fetchone()
        assert number_of(report, "tool_success") == pytest.approx(ratio)
    if session_condition:
        (sessions,) = published.execute(
            f"select count(*) from gold.dim_sessions left join gold.dim_projects using (project_key) "
            f"where {session_condition}"
        ).fetchone()
        assert number_of(report, "session_total") == sessions


def test_a_pointer_over_a_day_tells_every_series_and_their_sum(report, published):
    card = "document.getElementById('developer_productivity-cost_by_day')"
    hits = f"[...{card}.querySelectorAll('.hits_marks path')]"
    report.evaluate(f"{card}.scrollIntoView({{ block: 'center', behavior: 'instant' }})")
    box = report.evaluate(
        f"(() => {{ const b = {hits}.at(-1).getBoundingClientRect(); return [b.x + b.width / 2, b.y + 9]; }})()"
    )
    for step in (3, 0):
        report.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0] + step, y=box[1] + step)
    day, *told = report.evaluate("[...document.querySelectorAll('#tip p, #tip dt, #tip dd')].map(e => e.textContent)")
    by_model = published.execute(
        "select model_name, sum(estimated_cost_usd) from gold.fct_api_requests "
        "where occurred_date_local = '2026-11-20' and estimated_cost_usd is not null group by 1"
    ).fetchall()
    assert day == "Fri, Nov 20, 2026"
    assert told[-1] == f"${sum(cost for _, cost in by_model):.2f}"
    assert len(told) == 2 * (len(by_model) + (len(by_model) > 1))


def test_a_choice_in_the_address_is_held_to_the_days_there_are(sample_settings, page):
    page.load(sample_settings.published_dir / "report.html", "#since=1990-01-01&until=2990-01-01")
    assert page.evaluate("[report.state.since, report.state.until]") == page.evaluate(
        "[report.model.first, report.model.last]"
    )


@pytest.mark.parametrize("end", ["document.activeElement.blur()", "1"])
def test_a_day_can_be_typed(report, end):
    """Each digit was clamped to the data and written back, so that no other year could be typed. Found by review."""
    report.evaluate("document.getElementById('since').focus()")
    report.type("11052026")
    report.evaluate(end)
    report.wait_until_ready()
    assert report.evaluate("document.getElementById('since').value") == "2026-11-05"
    assert report.evaluate("report.state.since") == (date(2026, 11, 5) - date(1970, 1, 1)).days
    assert report.evaluate("report.state.until === report.model.last")


@pytest.mark.parametrize(
    ("typed", "period"),
    [("01011999", ["2026-10-12", "2026-10-20"]), ("11152026", ["2026-10-20", "2026-11-15"])],
)
def test_a_typed_day_beyond_the_period_is_held_to_it_when_enter_is_pressed(report, typed, period):
    filtered(report, until=20746)
    report.evaluate("document.getElementById('since').focus()")
    report.type(f"{typed}\r")
    report.wait_until_ready()
    shown = "['since', 'until'].map((id) => document.getElementById(id).value)"
    report.evaluate("document.activeElement.blur()")
    assert report.evaluate(shown) == period


def test_the_bar_says_which_dashboard_is_read(report):
    read = "document.querySelector('#sections [aria-current]').textContent"
    assert report.evaluate(read) == "Developer Productivity"
    report.evaluate(
        "new Promise((resolve) => { addEventListener('scrollend', () => resolve(1), { once: true });"
        " document.querySelector('#sections a:last-child').click(); })"
    )
    assert report.evaluate(read) == "Data Quality"
    assert report.evaluate("document.activeElement.id") == "data_quality"


def test_a_choice_without_rows_says_so_and_can_be_undone(report):
    filtered(report, since=20700, until=20701)
    assert "Nothing here between" in report.evaluate("document.querySelector('.empty').textContent")
    report.evaluate("document.querySelector('.empty button').click()")
    report.wait_until_ready()
    assert report.evaluate("document.querySelector('.empty') === null")


def test_every_chart_has_a_title_a_description_and_a_table_behind_it(report):
    report.evaluate("document.querySelectorAll('.behind').forEach((entry) => { entry.open = true; })")
    report.evaluate("new Promise((resolve) => setTimeout(resolve, 200))")
    bare = report.evaluate(
        "[...document.querySelectorAll('.card:not(.number-card)')].filter(c => !c.querySelector('h3').textContent "
        "|| !c.querySelector('.about').textContent || c.querySelectorAll('tbody tr').length === 0).map(c => c.id)"
    )
    assert bare == []
    assert report.evaluate(
        "[...document.querySelectorAll('.chart svg')].every(s => s.getAttribute('role') === 'img' && s.ariaLabel)"
    )


def test_page_can_be_used_by_keyboard(report):
    focusable = "a[href], button, select, input, summary, [tabindex='0']"
    assert report.evaluate(f"[...document.querySelectorAll({focusable!r})].every(e => e.tabIndex === 0)")
    assert report.evaluate("[...document.querySelectorAll('select, input')].every(e => e.labels.length === 1)")


def test_projects_of_equal_last_folders_have_names_of_their_own(sample_settings, page, tmp_path, monkeypatch):
    """Four folders were the most a name took, and two projects shared a bar. Found by review."""
    deep = {"/home/dev/code/storefront": "/home/a/1/2/3/x/app", "/home/dev/code/infra": "/home/b/1/2/3/x/app"}
    file = tmp_path / "deep.html"
    write_renamed(sample_settings, file, monkeypatch, lambda value: deep.get(value, value))
    page.load(file)
    names = page.evaluate("[...document.querySelectorAll('#project option')].slice(1).map((entry) => entry.text)")
    assert len(set(names)) == len(names)
    bars = "document.querySelectorAll('#project_insights-cost_by_project .hits_marks path').length"
    assert page.evaluate(bars) == len(names)


def test_every_card_says_which_filter_it_has_no_column_for(report):
    """Sessions stayed as they were beside filtered cost and said nothing. Found by review."""
    about = "document.querySelector('#developer_productivity-session_total .about')"
    report.resize(380, 800)
    assert not report.evaluate(f"{about}.checkVisibility()")
    filtered(report, model="claude-opus-5-5")
    assert report.evaluate(f"{about}.innerText").endswith("Not filtered by model: these rows have none.")


def test_page_prints(report):
    assert report.print_pdf().startswith(b"%PDF")


def test_hostile_names_stay_names(sample_settings, page, tmp_path, monkeypatch):
    """A project named like markup is text wherever it is shown."""
    hostile = '</script><img src=x onerror="window.hit=1">{{ library }}\'"\\'
    file = tmp_path / "hostile.html"

    def rename(value):
        return hostile if value == "/home/dev/code/storefront" or str(value).endswith("cart.ts") else value

    write_renamed(sample_settings, file, monkeypatch, rename)
    page.problems.clear()
    page.load(file)
    page.evaluate("document.querySelectorAll('.behind').forEach((entry) => { entry.open = true; })")
    filtered(page, project=hostile)
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.problems == []


def test_page_without_any_session_says_what_to_do(sample_settings, page, tmp_path, monkeypatch):
    read, nothing = report_target.read_cube, Restriction(since=date(2030, 1, 1))
    monkeypatch.setattr(report_target, "read_cube", lambda connection, cube, _: read(connection, cube, nothing))
    file = tmp_path / "empty.html"
    write_report(sample_settings, file)
    page.problems.clear()
    page.load(file)
    assert "analytics doctor" in page.evaluate("document.querySelector('.welcome').textContent")
    assert page.problems == []


def test_a_page_of_some_days_of_one_project_holds_nothing_else(sample_settings, page, tmp_path, published):
    file = tmp_path / "some.html"
    write_report(sample_settings, file, Restriction(date(2026, 10, 20), date(2026, 10, 28), "storefront"))
    page.load(file)
    (cost,) = published.execute(
        "select sum(facts.estimated_cost_usd) from gold.fct_api_requests as facts "
        "join gold.dim_projects using (project_key) where project_name = 'storefront' "
        "and occurred_date_local between '2026-10-20' and '2026-10-27'"
    ).fetchone()
    assert number_of(page, "cost_total") == pytest.approx(float(cost), abs=1e-9)
    assert page.evaluate("report.model.projects") == ["/home/dev/code/storefront"]


@pytest.mark.parametrize(
    ("restriction", "message"),
    [
        (Restriction(project="nosuch"), "no project is called nosuch"),
        (Restriction(project="front"), "no project is called front"),
        (Restriction(since=date(2030, 1, 1)), "nothing is published of these days"),
    ],
)
def test_a_page_of_nothing_is_refused(sample_settings, tmp_path, restriction, message):
    with pytest.raises(ConfigError, match=message):
        write_report(sample_settings, tmp_path / "none.html", restriction)
    assert not (tmp_path / "none.html").exists()
