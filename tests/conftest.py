from __future__ import annotations

from pathlib import Path

import pytest

from analytics.config import Settings
from tests.builders import make_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an empty world of one test."""
    return make_settings(tmp_path)
