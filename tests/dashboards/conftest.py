from __future__ import annotations

import contextlib
import io

import pytest

from analytics.cli import build_parser
from analytics.config import Settings
from analytics.targets.snapshot import open_current
from tests.builders import make_once


@pytest.fixture(scope="session")
def sample_settings(session_dir, as_after_set_up):
    """The demo as a machine without data makes it, all the way to what is published. Made once; tests read it."""
    home = session_dir / "sample"
    settings = Settings(data_dir=home / "data", timezone="UTC", home_dir=home, workers=1)

    def make():
        told, command = io.StringIO(), build_parser().parse_args(["run"])
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            assert command.command(command, settings) == 0
        (home / "told").write_text(told.getvalue(), encoding="utf-8")

    with as_after_set_up():
        make_once(home, make)
    return settings


@pytest.fixture(scope="session")
def told(sample_settings):
    """What the first run over the demo said of itself."""
    return (sample_settings.home_dir / "told").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def published(sample_settings):
    with open_current(sample_settings) as connection:
        yield connection
