from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from xdist.scheduler import LoadFileScheduling

from analytics import config, replay
from analytics.config import Settings
from analytics.warm_up import warm_up
from analytics.workers import GC_THRESHOLD
from tests.builders import make_once, make_settings

if TYPE_CHECKING:
    from xdist.remote import Producer

# dbt, run in the tests' own process, costs a tenth less.
gc.set_threshold(*GC_THRESHOLD)
# A busy machine is slow, which is no failure.
hypothesis_settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("unhurried")
TESTS = Path(__file__).parent
PROJECT = TESTS.parent


class ByWorld(LoadFileScheduling):
    """A file goes to one worker, and so does a folder with a conftest: its world takes long to make."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        folder = (PROJECT / file).parent
        return str(folder) if folder != TESTS and (folder / "conftest.py").exists() else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    return ByWorld(config, log)


@pytest.fixture(autouse=True)
def no_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the developer's .env nor their data: what a test does not name lies in its own folder."""
    monkeypatch.setattr(config, "PROJECT_DIR", tmp_path)


@pytest.fixture(autouse=True)
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what is kept of builds: the test's own, instead of the project's."""
    folder = tmp_path / "builds"
    monkeypatch.setattr(replay, "BUILDS_DIR", folder)
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an empty world of one test."""
    return make_settings(tmp_path)


@pytest.fixture(scope="session")
def session_dir(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The one folder of all processes that share the tests, for what is made once (`make_once`)."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def as_after_set_up(session_dir: Path) -> Callable[[], AbstractContextManager[object]]:
    """`with as_after_set_up():` runs find what set-up keeps for the settings of tests, as nearly all runs of users do.

    The first build of a data folder is then one without dbt: a second instead of ten.
    """
    folder = session_dir / "set_up"

    def after_set_up() -> AbstractContextManager[object]:
        return mock.patch.object(replay, "BUILDS_DIR", folder / "builds")

    def make() -> None:
        with after_set_up():
            warm_up(make_settings(folder))

    make_once(folder, make)
    return after_set_up


@pytest.fixture
def set_up(builds: Path, as_after_set_up: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    """The whole test is `as_after_set_up`."""
    with as_after_set_up():
        yield
