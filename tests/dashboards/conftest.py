from __future__ import annotations

import contextlib
import io
import shutil

import pytest

from analytics.cli import build_parser
from analytics.config import Settings
from analytics.lake.lock import hold_lock
from analytics.pipeline import run
from analytics.targets.snapshot import open_current


@pytest.fixture(scope="session")
def sample_settings(tmp_path_factory, worker_id):
    """The demo as a machine without data makes it, all the way to what is published. Made once; tests read it.

    Published twice, because the second run is the first that knows what a run did.
    """
    # Processes that share the tests share the demo: the first one makes it, the others wait for it.
    base = tmp_path_factory.getbasetemp()
    home = (base if worker_id == "master" else base.parent) / "sample"
    home.mkdir(exist_ok=True)
    settings = Settings(data_dir=home / "data", timezone="UTC", home_dir=home, workers=1)
    with hold_lock(home, wait_s=600):
        if not (home / "complete").exists():
            told, command = io.StringIO(), build_parser().parse_args(["run"])
            with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
                assert command.command(command, settings) == 0
            (home / "told").write_text(told.getvalue(), encoding="utf-8")
            shutil.rmtree(settings.published_dir)
            assert run(settings).failures == {}
            (home / "complete").touch()
    return settings


@pytest.fixture(scope="session")
def told(sample_settings):
    """What the first run over the demo said of itself."""
    return (sample_settings.home_dir / "told").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def published(sample_settings):
    with open_current(sample_settings) as connection:
        yield connection
