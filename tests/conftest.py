from __future__ import annotations

from pathlib import Path

import pytest

from analytics import config, replay
from analytics.config import Settings
from tests.builders import make_settings


@pytest.fixture(autouse=True)
def no_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the developer's .env nor their data: what a test does not name lies in its own folder."""
    monkeypatch.setattr(config, "PROJECT_DIR", tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an empty world of one test."""
    return make_settings(tmp_path)


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what is kept of builds: the test's own, instead of the project's."""
    folder = tmp_path / "builds"
    monkeypatch.setattr(replay, "BUILDS_DIR", folder)
    return folder
