"""Telemetry of dbt, Great Expectations and Prefect: off, for a program that reads private transcripts tells nobody."""

from __future__ import annotations

import os

OFF = {
    "DO_NOT_TRACK": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def switch_off() -> None:
    """Have it off in this process and in those that it starts. To be called before any of the three is imported."""
    os.environ.update(OFF)
