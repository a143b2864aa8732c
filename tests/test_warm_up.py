"""What set-up leaves, and the first run that uses it, with dbt in earnest."""

from __future__ import annotations

import dataclasses
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import ignore_patterns

import pytest

import analytics
from analytics import pipeline
from analytics.pipeline import RunOptions
from analytics.replay import kept_increment
from analytics.transformer import build, project_fingerprint
from tests.builders import make_answer, make_prompt, published_rows, write_transcript


@pytest.mark.usefixtures("set_up")
def test_the_first_build_after_set_up_is_an_increment_without_dbt_and_equals_dbts_own(settings):
    settings = dataclasses.replace(settings, validate="never")
    write_transcript(settings, make_prompt("a"), make_answer("m1", output_tokens=9))
    write_transcript(settings, make_prompt("b", at="2026-02-01T00:00:00Z"), name="-home-dev-app/s2.jsonl")
    first = pipeline.run(settings).transform
    assert (first.is_replayed, first.is_full_refresh) == (True, False)
    of_increment = published_rows(settings)
    kept = kept_increment(project_fingerprint(settings))
    quick = build(settings, is_full_refresh=False, is_thorough=False)
    assert {outcome.name for outcome in quick if outcome.statement} == {entry.name for entry in kept.quick_statements}
    full = pipeline.run(settings, RunOptions(is_full_refresh=True)).transform
    assert (full.is_replayed, full.is_full_refresh) == (False, True)
    assert first.test_count == full.test_count > 30
    assert published_rows(settings) == of_increment


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_set_up_ends_well_where_nothing_can_be_prepared(builds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    runpy.run_module("analytics.warm_up", run_name="__main__")
    assert not builds.exists()


def test_set_up_writes_bytecode_also_where_imports_may_not(tmp_path):
    package = shutil.copytree(Path(analytics.__file__).parent, tmp_path / "analytics", ignore=ignore_patterns("*.pyc"))
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    code = "from analytics.warm_up import compile_package; compile_package()"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    modules = {path.relative_to(package) for path in package.rglob("*.py")}
    compiled = {path.relative_to(package) for path in package.rglob("*.pyc")}
    assert {path.parent.parent / f"{path.name.split('.')[0]}.py" for path in compiled} == modules
