from __future__ import annotations

import random
import subprocess
import time

import pytest

from analytics import replay
from analytics.config import PREPARED_DIR
from analytics.replay import has_beginning, kept_increment
from analytics.transformer import project_fingerprint
from analytics.warm_up import warm_up
from tests.torture.kills import assert_every_kill_is_harmless, grow_world, make_world, run_killer, state_of


def test_a_run_killed_at_some_points_is_finished_by_the_next(tmp_path):
    """A sample of the torture test below, to have it in every test run."""
    assert assert_every_kill_is_harmless(tmp_path, "spine", points=range(3, 1_000, 15)) >= 5


@pytest.mark.torture
def test_a_run_killed_at_any_point_is_finished_by_the_next(tmp_path):
    assert assert_every_kill_is_harmless(tmp_path, "spine") > 30


@pytest.fixture
def prepared(settings, monkeypatch):
    """What `make` leaves, also where these tests were started without it."""
    monkeypatch.setattr(replay, "BUILDS_DIR", PREPARED_DIR / "builds")  # where the killed processes look
    fingerprint = project_fingerprint(settings)
    if kept_increment(fingerprint) is None or not has_beginning(settings, fingerprint):
        warm_up(settings)


@pytest.mark.torture
def test_a_whole_run_with_dbt_killed_at_any_point_is_finished_by_the_next(tmp_path):
    assert assert_every_kill_is_harmless(tmp_path, "dbt") > 30


@pytest.mark.torture
def test_a_first_run_after_set_up_killed_at_any_point_is_finished_by_the_next(tmp_path, prepared):
    assert assert_every_kill_is_harmless(tmp_path, "run", kinds=["first"]) > 60


@pytest.mark.torture
def test_an_increment_without_dbt_killed_at_any_point_is_finished_by_the_next(tmp_path):
    assert assert_every_kill_is_harmless(tmp_path, "run", grow=grow_world, kinds=["second"]) > 60


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(8))
def test_a_whole_run_killed_at_any_moment_is_finished_by_the_next(tmp_path, seed):
    quiet = tmp_path / "quiet"
    make_world(quiet)
    started = time.monotonic()
    assert run_killer("run", quiet, 0).returncode == 0
    moment = (time.monotonic() - started) * random.Random(seed).uniform(0.1, 0.6)
    # A run may be much faster than the one before it; then it is killed earlier.
    while not is_killed_after(moment, killed := tmp_path / f"killed after {moment}"):
        moment /= 2
    assert run_killer("run", killed, 0).returncode == 0
    assert state_of(killed) == state_of(quiet)


def is_killed_after(seconds, folder) -> bool:
    """Whether a run in a new world was still going on at that moment, at which it was killed then."""
    make_world(folder)
    try:
        run_killer("run", folder, 0, timeout_s=seconds)
    except subprocess.TimeoutExpired:
        return True
    return False
