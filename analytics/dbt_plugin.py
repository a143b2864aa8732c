"""dbt started by hand works on the warehouse that the settings name, and makes no other.

dbt reads the environment and no .env file, and DuckDB makes whatever file it is told to open. dbt-duckdb asks the
plugins that dbt/profiles.yml names before it opens one.
"""

from __future__ import annotations

import contextlib
from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from analytics.config import PROJECT_DIR, load_settings
from analytics.errors import ConfigError

BY_HAND = "by-hand/warehouse.duckdb"  # the profile's path where nobody names one; the catalog is called after the file


class Plugin(BasePlugin):  # type: ignore[misc]  # dbt-duckdb tells no types
    """What dbt-duckdb makes of this module."""

    def initialize(self, _: dict[str, Any]) -> None:
        """Put the warehouse of the settings in the place of `BY_HAND`. Raises where there is none yet."""
        if self.creds is None or self.creds.path != BY_HAND:
            return
        try:
            # dbt is started in its own folder, and a relative path in the environment is meant from the project's.
            with contextlib.chdir(PROJECT_DIR):
                file = load_settings().warehouse_file
        except ConfigError as error:
            raise DbtRuntimeError(str(error)) from error
        if not file.is_file():
            raise DbtRuntimeError(f"{file} is missing. Run `make run` first: dbt builds on what it loads.")
        self.creds.path = str(file)
