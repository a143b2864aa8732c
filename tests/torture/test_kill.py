from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from analytics.replay import has_beginning, kept_increment
from analytics.transformer import project_fingerprint
from analytics.warm_up import warm_up
from tests.torture.kills import PROJECT, assert_every_kill_is_harmless, grow_world, make_world, run_killer, state_of


def test_a_run_killed_at_some_points_is_finished_by_the_next(tmp_path):
    """A sample of the torture test below, to have it in every test run."""
    assert assert_every_kill_is_harmless(tmp_path, "spine", points=range(3, 1_000, 9)) >= 5


@pytest.mark.torture
def test_a_run_killed_at_any_point_is_finished_by_the_next(tmp_path):
    assert assert_every_kill_is_harmless(tmp_path, "spine") > 30


@pytest.fixture
def prepared(settings):
    """What `make` leaves, also where these tests were started without it."""
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
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    for folder in (quiet, killed):
        make_world(folder)
    started = time.monotonic()
    assert run_killer("run", quiet, 0).returncode == 0
    elapsed = time.monotonic() - started
    environment = {**os.environ, "ANALYTICS_HOST_ID": "test", "HOME": str(killed / "home"), "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, str(PROJECT / "tests/torture/killer.py"), "run", str(killed), "0"]
    with subprocess.Popen(
        command, cwd=PROJECT, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as run:
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(elapsed * random.Random(seed).uniform(0.1, 0.6))
        run.send_signal(signal.SIGKILL)
    assert run_killer("run", killed, 0).returncode == 0
    assert state_of(killed) == state_of(quiet)
