"""dbt as people start it: in its folder, with no more than the settings of the pipeline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from analytics.config import DBT_DIR, Settings
from analytics.warehouse import open_warehouse


def connect(settings: Settings, log_dir: Path) -> str:
    """What `dbt debug` says, which opens the warehouse as every other command does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANALYTICS_")}
    environment["ANALYTICS_DATA_DIR"] = str(settings.data_dir)
    command = [sys.executable, "-m", "dbt.cli.main", "debug", "--log-path", str(log_dir)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=DBT_DIR).stdout


def test_dbt_finds_the_warehouse_of_the_settings_and_makes_none(settings, tmp_path):
    """It opened data/warehouse.duckdb whatever ANALYTICS_DATA_DIR said, and made an empty file where there was none."""
    said = connect(settings, tmp_path)
    assert f"{settings.warehouse_file} is missing. Run `make run` first" in said
    assert not settings.warehouse_file.exists()
    with open_warehouse(settings):
        pass
    assert "Connection test: [OK connection ok]" in connect(settings, tmp_path)
