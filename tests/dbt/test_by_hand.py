"""dbt as people start it: in its folder, with no more than the settings of the pipeline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from analytics.config import DBT_DIR, Settings
from analytics.errors import ChecksFailed
from analytics.lake import Lake
from analytics.loader import DuckDBLoader
from analytics.validator import require_release
from analytics.warehouse import open_warehouse
from tests.builders import make_gold, run_load

SETTINGS = (
    "select current_setting('memory_limit') as bound, current_setting('disabled_compression_methods') as left_out"
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What dbt writes beside the warehouse. One folder for all, so that it parses its project once."""
    return tmp_path_factory.mktemp("dbt")


def start_dbt(settings: Settings, folder: Path, *arguments: str, **variables: str) -> str:
    """What dbt says; what it writes beside the warehouse goes to the folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANALYTICS_")}
    environment |= {"ANALYTICS_DATA_DIR": str(settings.data_dir), **variables}
    command = [sys.executable, "-m", "dbt.cli.main", *arguments]
    command += ["--log-path", str(folder)]
    if arguments != ("debug",):
        command += ["--target-path", str(folder / "target")]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=DBT_DIR).stdout


def is_built(settings: Settings) -> bool:
    """Whether the next run takes what is there for its own build."""
    with open_warehouse(settings) as connection:
        loader = DuckDBLoader(settings, Lake(settings.data_dir, settings.host_id), connection)
        return not loader.plan_build(run_id="next", fingerprint="f").is_full_refresh


def test_dbt_finds_the_warehouse_of_the_settings_and_makes_none(settings, written):
    """It opened data/warehouse.duckdb whatever ANALYTICS_DATA_DIR said, and made an empty file where there was none."""
    said = start_dbt(settings, written, "debug")
    assert f"{settings.warehouse_file} is missing. Run `make run` first" in said
    assert not settings.warehouse_file.exists()
    with open_warehouse(settings):
        said = start_dbt(settings, written, "seed", "--select", "model_prices")
    assert f"another program has {settings.warehouse_file} open. Close it" in said
    assert "Traceback" not in said
    assert "Connection test: [OK connection ok]" in start_dbt(settings, written, "debug")


def test_what_dbt_builds_by_hand_is_no_build_of_a_run(settings, written):
    """What an edited model left in gold was published with the next increment, long after the edit was taken back."""
    seed = ("seed", "--select", "model_prices")
    run_load(settings)
    make_gold(settings)
    looked = start_dbt(
        settings,
        written,
        *("show", "--inline", SETTINGS),
        DBT_DUCKDB_MEMORY_LIMIT="1GiB",
    )
    assert "1.0 GiB" in looked, "with the memory that a person grants"
    assert "fsst" in looked.lower(), "compressed as the pipeline does"
    assert is_built(settings), "looking changes nothing"
    assert "PASS=1" in start_dbt(settings, written, *seed)
    assert not is_built(settings)
    with pytest.raises(ChecksFailed, match="did not pass its tests"):
        require_release(settings)
    settings.warehouse_file.unlink()
    with open_warehouse(settings):
        pass
    assert "PASS=1" in start_dbt(settings, written, *seed), "there may be no schema raw yet"
