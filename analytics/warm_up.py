"""What set-up does once so that runs need not: dbt reads the project, and builds it over nothing.

That leaves a warehouse without rows and the SQL of an increment (analytics/replay.py), by which the first build
of any data folder with the same settings is an increment without dbt; what dbt itself keeps of the files that it
has read; what the targets prepare; and this package's bytecode. None of it depends on data. A run does without: then
its dbt builds everything.
"""

from __future__ import annotations

import compileall
import dataclasses
import sys
import tempfile
from pathlib import Path

from analytics.config import Settings, load_settings
from analytics.errors import AnalyticsError
from analytics.lake import Lake, new_run_id
from analytics.loader import DuckDBLoader
from analytics.pipeline import plan_and_transform
from analytics.publisher import prepare
from analytics.replay import forget_builds, keep_empty_warehouse
from analytics.transformer import project_fingerprint
from analytics.warehouse import open_warehouse


def warm_up(settings: Settings) -> None:
    """Replace what is kept by what these settings give. Raises AnalyticsError where dbt cannot build."""
    forget_builds()
    prepare(settings)
    fingerprint = project_fingerprint(settings)
    with tempfile.TemporaryDirectory() as folder:
        empty = dataclasses.replace(settings, data_dir=Path(folder))
        lake, run_id = Lake(empty.data_dir, empty.host_id), new_run_id()
        with open_warehouse(empty) as connection:
            DuckDBLoader(empty, lake, connection).load(run_id=run_id)
        plan_and_transform(empty, lake, run_id=run_id, is_full_refresh=True)
        with open_warehouse(empty) as connection:
            DuckDBLoader(empty, lake, connection).finish_build(run_id=run_id, fingerprint=fingerprint)
        keep_empty_warehouse(fingerprint, empty.warehouse_file)


def compile_package() -> None:
    """Write the package's bytecode, also where imports may not: `PYTHONDONTWRITEBYTECODE` is usual in containers.

    Without it each process compiles again all that it imports, which is a sixth of what starting takes.
    """
    compileall.compile_dir(Path(__file__).parent, quiet=2)


if __name__ == "__main__":
    compile_package()
    try:
        warm_up(load_settings())
    except (AnalyticsError, OSError) as error:
        # No reason to stop a set-up: a run does without, and tells what is wrong if that matters to it.
        sys.stderr.write(f"warm-up    left out: {error}\n")
