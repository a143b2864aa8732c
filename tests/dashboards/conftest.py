from __future__ import annotations

import pytest

from analytics.config import Settings
from analytics.pipeline import run
from analytics.targets.snapshot import open_current


@pytest.fixture(scope="session")
def sample_settings(tmp_path_factory):
    """The demo as a machine without data makes it, all the way to what is published. Made once; tests read it."""
    home = tmp_path_factory.mktemp("sample")
    settings = Settings(data_dir=home / "data", timezone="UTC", home_dir=home, workers=1)
    result = run(settings)
    assert result.is_sample
    assert not result.failures
    return settings


@pytest.fixture(scope="session")
def published(sample_settings):
    with open_current(sample_settings) as connection:
        yield connection
