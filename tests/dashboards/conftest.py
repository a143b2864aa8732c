from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from analytics.config import Settings
from analytics.pipeline import run
from analytics.targets.snapshot import open_current

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample" / "projects"


@pytest.fixture(scope="session")
def sample_settings(tmp_path_factory):
    """The sample, all the way to what is published. Made once; tests read it."""
    data = tmp_path_factory.mktemp("sample")
    settings = Settings(data_dir=data / "data", transcript_dirs=(SAMPLE,), timezone="UTC", home_dir=data, workers=1)
    result = run(settings)
    assert not result.failures
    return dataclasses.replace(settings)


@pytest.fixture(scope="session")
def published(sample_settings):
    with open_current(sample_settings) as connection:
        yield connection
