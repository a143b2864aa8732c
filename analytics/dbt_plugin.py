"""dbt started by hand works on the warehouse that the settings name, and makes no other.

dbt reads the environment and no .env file, and DuckDB makes whatever file it is told to open. dbt-duckdb asks the
plugins that dbt/profiles.yml names before it opens one.

What it builds there is no build of a run, and is published by none: the next run builds everything anew, with the
project as it then is.
"""

from __future__ import annotations

import contextlib
from typing import Any

import duckdb
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.flags import get_flags
from dbt_common.exceptions import DbtRuntimeError

from analytics.config import PROJECT_DIR, load_settings
from analytics.errors import AnalyticsError, ConfigError, LockHeld
from analytics.validator import withhold_build
from analytics.warehouse import CHEAP_COMPRESSION_SQL, open_warehouse

BY_HAND = "by-hand/warehouse.duckdb"  # the profile's path where nobody names one; the catalog is called after the file
# Of the commands that open a warehouse, those that leave its tables as they are.
LOOKING = frozenset({"compile", "debug", "freshness", "generate", "show", "test"})


class Plugin(BasePlugin):  # type: ignore[misc]  # dbt-duckdb tells no types
    """What dbt-duckdb makes of this module."""

    _is_by_hand = False

    def initialize(self, _: dict[str, Any]) -> None:
        """Put the warehouse of the settings in the place of `BY_HAND`. Raises where none is there or one is in use."""
        if self.creds is None or self.creds.path != BY_HAND:
            return
        try:
            # dbt is started in its own folder, and a relative path in the environment is meant from the project's.
            with contextlib.chdir(PROJECT_DIR):
                settings = load_settings()
        except ConfigError as error:
            raise DbtRuntimeError(str(error)) from error
        file = settings.warehouse_file
        if not file.is_file():
            raise DbtRuntimeError(f"{file} is missing. Run `make run` first: dbt builds on what it loads.")
        try:
            # dbt has a traceback for it, and does not wait.
            with open_warehouse(settings, is_read_only=True):
                pass
        except LockHeld as error:
            raise DbtRuntimeError(str(error)) from error
        except AnalyticsError:
            pass  # what else is wrong with it dbt tells when it opens it
        self.creds.path = str(file)
        self._is_by_hand = True

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Compress as the pipeline does, and before a command that builds by hand forget what runs built.

        That is forgotten whatever the command then gets to.
        """
        conn.execute(CHEAP_COMPRESSION_SQL)
        if self._is_by_hand and get_flags().WHICH not in LOOKING:
            with contextlib.suppress(duckdb.CatalogException):  # nothing is loaded yet
                conn.execute("delete from raw._builds")
                withhold_build(conn, "dbt")
