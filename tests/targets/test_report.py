from __future__ import annotations

import base64
import gzip
import re
from datetime import date
from pathlib import Path

import duckdb
import orjson
import pytest

from analytics.cards import iter_cubes, load_dashboards
from analytics.errors import AnalyticsError, ConfigError
from analytics.targets import report, snapshot
from tests.builders import make_gold


def model_of(text):
    packed = re.search(r'id="data">([^<]*)<', text)[1]
    return orjson.loads(gzip.decompress(base64.b64decode(packed)))


def test_pack_holds_nothing_that_ends_a_script():
    assert re.fullmatch(rb"[A-Za-z0-9+/=]+", report.pack(b"</script>" * 100))


def test_every_filter_column_of_a_query_is_in_its_cube():
    without_project = {"alerts", "cost_projection", "check_results", "pipeline_runs"}
    for cube in iter_cubes(load_dashboards()):
        assert "activity_date" in cube.dimensions, cube.query.name
        assert ("project_path" in cube.dimensions) == (cube.query.name not in without_project), cube.query.name


def test_restriction_quotes_the_project():
    (cube,) = [cube for cube in iter_cubes(load_dashboards()) if cube.query.name == "usage"]
    clauses = report.Restriction(date(2026, 1, 1), date(2026, 2, 1), "it's").conditions(cube)
    assert clauses[0] == "and activity_date >= date '2026-01-01'"
    assert "'it''s'" in clauses[2]


def test_restriction_takes_every_letter_of_a_project_for_itself():
    """`_` stood for any letter, so that a page of one project showed another one too."""
    (cube,) = [cube for cube in iter_cubes(load_dashboards()) if cube.query.name == "usage"]
    (clause,) = report.Restriction(project="my_app").conditions(cube)
    paths = "(values ('/a/my_app'), ('my_app'), ('/a/my-app'), ('/a/notmy_app'))"
    taken = duckdb.sql(f"select project_path from {paths} as projects (project_path) where true {clause}").fetchall()
    assert taken == [("/a/my_app",), ("my_app",)]


def test_restriction_refuses_days_that_end_before_they_begin():
    with pytest.raises(ConfigError, match="--until must be a later day"):
        report.Restriction(date(2026, 1, 2), date(2026, 1, 2))


def test_a_page_of_some_data_takes_no_ones_place():
    assert report.Restriction().file_name == "report.html"
    assert report.Restriction(project="x").file_name == "report-selection.html"


def test_page_is_as_fresh_as_its_newest_record_that_is_not_of_the_future(settings):
    """One record of 2090 made every page look fresh."""
    days = {"fct_messages": "2026-01-02", "fct_api_requests": "2090-01-01", "fct_hook_events": "2026-01-03"}
    make_gold(settings, **{table: f"select timestamp '{day}' as occurred_at" for table, day in days.items()})
    snapshot.publish(settings, "20260101T000000000000Z")
    with snapshot.open_current(settings) as connection:
        page = report._describe_page(connection, settings)
    assert page["newest_at"] == "2026-01-03 00:00"


def test_write_report_leaves_the_old_page_when_it_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "render_page", lambda *_: b"new")
    with pytest.raises(AnalyticsError, match=r"missing cannot be written \(No such file"):
        report.write_report(None, tmp_path / "missing" / "report.html")
    file = tmp_path / "report.html"
    report.write_report(None, file)
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_two_that_write_one_page_do_not_write_into_each_others(tmp_path, monkeypatch):
    """A run and `analytics report` shared one unfinished file, and the first took it away."""
    file = tmp_path / "report.html"
    monkeypatch.setattr(report, "render_page", lambda *_: b"new")
    replace = Path.replace

    def meanwhile_by_another(unfinished, target):
        monkeypatch.setattr(Path, "replace", replace)
        report.write_report(None, file)
        return replace(unfinished, target)

    monkeypatch.setattr(Path, "replace", meanwhile_by_another)
    assert report.write_report(None, file) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_library_is_made_once_and_again_when_what_was_kept_is_not_whole(tmp_path, monkeypatch):
    import vl_convert

    made = []
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda snippet: made.append(snippet) or "library")
    packed = report.read_library(tmp_path)
    assert report.read_library(tmp_path) == packed
    assert len(made) == 1
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    assert report.read_library(tmp_path) == packed
    assert len(made) == 2
