from __future__ import annotations

import pytest

from analytics.config import Settings
from analytics.pipeline import RunOptions, run
from analytics.targets.snapshot import open_current


@pytest.fixture(scope="session")
def sample_settings(tmp_path_factory):
    """The demo as a machine without data makes it, all the way to what is published. Made once; tests read it.

    Published twice, because the second run is the first that knows what a run did.
    """
    home = tmp_path_factory.mktemp("sample")
    settings = Settings(data_dir=home / "data", timezone="UTC", home_dir=home, workers=1)
    for is_full_refresh in (False, True):
        result = run(settings, RunOptions(is_full_refresh=is_full_refresh))
        assert result.is_sample
        assert not result.failures
    return settings


@pytest.fixture(scope="session")
def published(sample_settings):
    with open_current(sample_settings) as connection:
        yield connection
