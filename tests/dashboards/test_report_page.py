"""The page in a real browser, offline. Skipped on a laptop without Chromium; in CI that is a failure."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from datetime import date

import pytest

from analytics.cards import load_dashboards
from analytics.errors import ConfigError
from analytics.targets import report as report_target
from analytics.targets.report import Restriction, write_report
from tests.dashboards import browser

WINDOWS = [(*size, theme) for size in ((380, 800), (1280, 900), (3840, 2160)) for theme in ("light", "dark")]
# What a test that does more than look would change.
LOOKS = "document.documentElement.outerHTML + JSON.stringify(report.state)"


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


@contextmanager
def without_problems(page):
    page.problems.clear()
    page.requests.clear()
    yield
    assert page.problems == []
    assert {url.split(":")[0] for url in page.requests} <= {"file", "about", "data"}


@pytest.fixture
def window():
    """Width, height and theme where a test is about no others."""
    return 1280, 900, "light"


@pytest.fixture
def report(sample_settings, page, window):
    width, height, theme = window
    page.resize(width, height, theme=theme)
    with without_problems(page):
        page.load(sample_settings.published_dir / "report.html")
        yield page


@pytest.fixture
def seen(sample_settings, page, window):
    """The same for a test that only looks at it: as another one of these left it, if that was the last."""
    width, height, theme = window
    with without_problems(page):
        if not page.evaluate("'asOpened' in window"):
            page.resize(width, height, theme=theme)
            page.load(sample_settings.published_dir / "report.html")
            page.evaluate(f"window.asOpened = {LOOKS}; 1")
        yield page
        assert page.evaluate(f"asOpened === {LOOKS}"), "a test that changes the page takes `report`"


def number_of(page, card):
    return float(page.evaluate(f"document.getElementById('developer_productivity-{card}').dataset.value"))


def filtered(page, **state):
    page.evaluate(f"report.change({state!r}).then(() => 1)")
    page.wait_until_ready()


# The texts of a card's axis.
AXIS = """
    [...document.querySelectorAll('#{} .role-axis')].map((axis) =>
      [...axis.querySelectorAll('.role-axis-label text')].map((text) => text.textContent)
    ).filter((labels) => labels.length)['{}' === 'x' ? 0 : 1]"""


def write_changed(settings, file, monkeypatch, change):
    """The page of the sample where the cubes are others."""
    read = report_target.read_cube

    def changed(connection, cube, restriction):
        result = read(connection, cube, restriction)
        for column in result["columns"].values():
            column["data"] = list(column["data"])
        change(result)
        return result

    monkeypatch.setattr(report_target, "read_cube", changed)
    write_report(settings, file)


def write_renamed(settings, file, monkeypatch, rename):
    """The page of the sample where names are others."""

    def change(cube):
        for column in cube["columns"].values():
            if "values" in column:
                column["values"] = [rename(value) for value in column["values"]]

    write_changed(settings, file, monkeypatch, change)


@pytest.mark.parametrize("window", WINDOWS)
def test_every_chart_is_drawn_and_nothing_overflows(report, window):
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
    assert report.evaluate("document.documentElement.dataset.theme") == window[2]


def test_page_says_that_the_sample_is_synthetic_and_costs_are_estimates(seen):
    assert seen.evaluate("document.getElementById('synthetic').checkVisibility()")
    assert "estimated at list prices" in seen.evaluate("document.getElementById('subtitle').textContent")
    assert "glm-4.7" in seen.evaluate("document.getElementById('unpriced').textContent")


def test_no_table_is_wider_than_its_card_on_a_laptop(seen):
    """Room for names that a phone needs pushed the last column of the projection out of sight."""
    wider = "[...document.querySelectorAll('.scroll')].filter((part) => part.scrollWidth > part.clientWidth).length"
    assert seen.evaluate("document.querySelectorAll('.scroll table').length") > 5
    assert seen.evaluate(wider) == 0


def test_page_can_be_used_by_keyboard(seen):
    focusable = "a[href], button, select, input, summary, [tabindex='0']"
    assert seen.evaluate(f"[...document.querySelectorAll({focusable!r})].every(e => e.tabIndex === 0)")
    assert seen.evaluate("[...document.querySelectorAll('select, input')].every(e => e.labels.length === 1)")


def test_what_has_no_value_is_a_group_of_its_own(seen):
    """A null was the first name there is, in a roll-up over two columns."""
    groups = seen.evaluate(
        """(() => {
          const cube = { name: "nulls", row_count: 4, columns: {
            a: { data: [0, null, 0, null], values: ["x"] }, b: { data: [0, 0, null, null], values: ["y"] },
            "sum:n": { data: [1, 2, 4, 8] } } };
          report.model.cubes.nulls = cube;
          const measures = [{ name: "n", function: "sum", column: "n" }];
          const card = { query: "nulls", dimensions: ["a", "b"], measures, unfiltered: "yes" };
          const rows = report.rollUp(card, report.rangeNow(), "day").map((row) => [row.a, row.b, row.n]);
          delete report.model.cubes.nulls;
          return rows;
        })()"""
    )
    assert sorted(groups, key=lambda group: group[2]) == [
        ["x", "y", 1],
        [None, "y", 2],
        ["x", None, 4],
        [None, None, 8],
    ]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("some_ratio", 0.9995, ">99.9%"),
        ("some_ratio", 0.9994, "99.9%"),
        ("some_ms", 999.6, "1.0 s"),
        ("some_ms", 59_949, "59.9 s"),
        ("some_ms", 59_999, "1.0 min"),
        ("some_ms", 3_599_999, "1.0 h"),
    ],
)
def test_a_figure_is_rounded_before_its_unit_is_chosen(seen, name, value, text):
    assert seen.evaluate(f"report.show({name!r}, {value})") == text


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


def test_filters_give_the_numbers_that_sql_gives(report, published):
    everything = report.evaluate("({ ...report.state })")
    for state, condition, session_condition in FILTERS:
        filtered(report, **{**everything, **state})
        where = condition.format(date="occurred_date_local")
        [(cost, tokens)] = published.execute(
            f"select sum(facts.estimated_cost_usd), sum(facts.total_tokens) from gold.fct_api_requests as facts "
            f"left join gold.dim_projects using (project_key) where {where}"
        ).fetchall()
        assert number_of(report, "cost_total") == pytest.approx(float(cost), abs=1e-9), state
        assert number_of(report, "token_total") == tokens, state
        if "model" not in state:
            [(ratio,)] = published.execute(
                "select count(*) filter (outcome = 'success') / count(*) filter (outcome in ('success', 'error')) "
                f"from gold.fct_tool_calls left join gold.dim_projects using (project_key) where {where}"
            ).fetchall()
            assert number_of(report, "tool_success") == pytest.approx(ratio), state
        if session_condition:
            [(sessions,)] = published.execute(
                f"select count(*) from gold.dim_sessions left join gold.dim_projects using (project_key) "
                f"where {session_condition}"
            ).fetchall()
            assert number_of(report, "session_total") == sessions, state


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
    """Each digit was clamped to the data and written back, so that no other year could be typed."""
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


def test_the_bar_of_a_phone_shows_which_dashboard_is_read(report):
    """It stayed at its beginning, and the fifth of six names was off the screen while its charts were on it."""
    report.resize(390, 844)
    report.evaluate(
        "new Promise((resolve) => { addEventListener('scrollend', () => resolve(1), { once: true });"
        " document.getElementById('cost_and_usage').scrollIntoView({ behavior: 'instant' }); })"
    )
    current = "document.querySelector('#sections [aria-current]')"
    assert report.evaluate(f"{current}.textContent") == "Cost and Usage"
    assert report.evaluate(f"{current}.getBoundingClientRect().left") >= 0
    assert report.evaluate(f"{current}.getBoundingClientRect().right") <= 390


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


def test_projects_of_equal_last_folders_have_names_of_their_own(sample_settings, page, tmp_path, monkeypatch):
    """Four folders were the most a name took, and two projects shared a bar."""
    deep = {"/home/dev/code/storefront": "/home/a/1/2/3/x/app", "/home/dev/code/infra": "/home/b/1/2/3/x/app"}
    file = tmp_path / "deep.html"
    write_renamed(sample_settings, file, monkeypatch, lambda value: deep.get(value, value))
    page.load(file)
    names = page.evaluate("[...document.querySelectorAll('#project option')].slice(1).map((entry) => entry.text)")
    assert len(set(names)) == len(names)
    bars = "document.querySelectorAll('#project_insights-cost_by_project .hits_marks path').length"
    assert page.evaluate(bars) == len(names)


def test_every_card_says_which_filter_it_has_no_column_for(report):
    """Sessions stayed as they were beside filtered cost and said nothing."""
    about = "document.querySelector('#developer_productivity-session_total .about')"
    report.resize(380, 800)
    assert not report.evaluate(f"{about}.checkVisibility()")
    filtered(report, model="claude-opus-5-5")
    assert report.evaluate(f"{about}.innerText").endswith("Not filtered by model: these rows have none.")


def test_a_choice_without_any_price_says_that_and_not_that_there_is_nothing(report):
    filtered(report, model="glm-4.7")
    cards = "document.querySelector('#developer_productivity-{}').innerText"
    assert "no price is known" in report.evaluate(cards.format("cost_total"))
    assert "No price is known between" in report.evaluate(cards.format("cost_by_day"))
    models = report.evaluate("[...document.querySelectorAll('#cost_and_usage-models td.unpriced')].length")
    assert models == 2  # cost, and what the cache saved of it


def with_burn_of_nothing(cube):
    if "max:request_span_hours" in cube["columns"]:
        cube["columns"]["max:request_span_hours"] = {"data": [0.0] * cube["row_count"]}


def test_a_rate_over_no_time_is_nothing_and_no_missing_price(sample_settings, page, tmp_path, monkeypatch):
    file = tmp_path / "rate.html"
    write_changed(sample_settings, file, monkeypatch, with_burn_of_nothing)
    page.load(file)
    rates = "[...document.querySelectorAll('#cost_and_usage-block_burn_rate td:last-child')].map((e) => e.textContent)"
    assert set(page.evaluate(rates)) == {"\N{EN DASH}"}


def with_cheap_requests(cube):
    for name, column in cube["columns"].items():
        if name.endswith("_usd"):
            column["data"] = [None if value is None else value // 10000 for value in column["data"]]


def test_small_costs_have_an_axis_of_their_own_figures(sample_settings, page, tmp_path, monkeypatch):
    """A first session's axis said $0.01 four times."""
    file = tmp_path / "cheap.html"
    write_changed(sample_settings, file, monkeypatch, with_cheap_requests)
    page.load(file)
    ticks = page.evaluate(AXIS.format("developer_productivity-cost_by_day", "y"))
    assert len(ticks) > 2
    assert len(set(ticks)) == len(ticks)


def with_long_ago(cube):
    """Every other row three years before, and far less in it."""
    columns = cube["columns"]
    if "activity_date" in columns:
        rows = range(cube["row_count"])
        columns["activity_date"]["data"] = [
            day - 1000 * (row % 2) for row, day in zip(rows, columns["activity_date"]["data"], strict=True)
        ]


def test_over_years_a_day_is_told_with_its_year_and_a_card_with_its_grain(sample_settings, page, tmp_path, monkeypatch):
    file = tmp_path / "years.html"
    write_changed(sample_settings, file, monkeypatch, with_long_ago)
    page.load(file)
    assert not any("20" in day for day in page.evaluate(AXIS.format("developer_productivity-cost_by_day", "x")))
    page.evaluate("document.querySelector('#presets button:last-child').click()")
    page.wait_until_ready()
    for card in ("developer_productivity-cost_by_day", "developer_productivity-session_duration_trend"):
        days = page.evaluate(AXIS.format(card, "x"))
        assert days
        assert all(re.search("202[3-6]", day) for day in days)
    about = page.evaluate("document.querySelector('#developer_productivity-cost_by_day .about').textContent")
    assert about.endswith("Drawn by week.")
    trend = page.evaluate("document.querySelector('#developer_productivity-session_duration_trend .about').textContent")
    assert "Drawn by" not in trend


def with_a_jump(cube):
    """Little for most of the time, and much in the last week."""
    for name, column in cube["columns"].items():
        if name.startswith("sum:") and "activity_date" in cube["columns"]:
            days = cube["columns"]["activity_date"]["data"]
            last = max(days)
            column["data"] = [
                None if value is None else value * (1000 if day > last - 7 else 1)
                for value, day in zip(column["data"], days, strict=True)
            ]


def test_a_change_by_more_than_tenfold_is_told_as_a_factor(sample_settings, page, tmp_path, monkeypatch):
    file = tmp_path / "jump.html"
    write_changed(sample_settings, file, monkeypatch, with_a_jump)
    page.load(file)
    chip = page.evaluate("document.querySelector('#developer_productivity-token_total .chip').textContent")
    assert re.fullmatch("▲ \N{MULTIPLICATION SIGN}[0-9.]+K?", chip)


def test_a_name_like_the_rest_is_not_the_rest(sample_settings, page, tmp_path, monkeypatch):
    """A project called other was one with the projects that have no colour."""
    file = tmp_path / "other.html"
    names = [f"model-{number}" for number in range(8)]

    def rename(cube):
        column = cube["columns"].get("model_name")
        if column:
            column["values"] = ["other", *names]
            column["data"] = [row % 9 for row in range(cube["row_count"])]

    write_changed(sample_settings, file, monkeypatch, rename)
    page.load(file)
    legend = page.evaluate(
        "[...document.querySelectorAll('#developer_productivity-cost_by_day .legend li')].map((e) => e.textContent)"
    )
    assert len(legend) == 8
    assert legend[-1] == "all others"
    assert "all others" not in legend[:-1]


def test_an_address_that_changes_chooses_and_a_link_on_the_page_does_not(report):
    report.evaluate("location.hash = '#model=claude-opus-5-5'")
    report.evaluate("new Promise((resolve) => setTimeout(resolve, 100))")
    report.wait_until_ready()
    assert report.evaluate("document.getElementById('model').value") == "claude-opus-5-5"
    report.evaluate("document.querySelector('.skip').click()")
    report.evaluate("new Promise((resolve) => setTimeout(resolve, 100))")
    report.wait_until_ready()
    assert report.evaluate("[location.hash, report.state.model]") == ["#main", "claude-opus-5-5"]


def test_without_javascript_only_the_notice_is_shown(sample_settings, page):
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.call("Page.navigate", url=(sample_settings.published_dir / "report.html").resolve().as_uri())
        page.wait_until("document.getElementById('library') !== null")
        shown = page.evaluate("['bar', 'theme', 'main'].map((id) => document.getElementById(id).checkVisibility())")
        assert shown == [False, False, True]
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)


def test_page_prints(report):
    pdf = report.print_pdf()
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") < 20  # and not one for each card, as on a telephone


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
    [(cost,)] = published.execute(
        "select sum(facts.estimated_cost_usd) from gold.fct_api_requests as facts "
        "join gold.dim_projects using (project_key) where project_name = 'storefront' "
        "and occurred_date_local between '2026-10-20' and '2026-10-27'"
    ).fetchall()
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
