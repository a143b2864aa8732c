"""Dataset `pipeline_runs`: what each run of the pipeline did, stage by stage, written by the run itself.

It holds counts, durations and versions. A run that found nothing new writes nothing, unless it failed.
"""

from __future__ import annotations

import pyarrow as pa

from analytics.contracts import COMMON_FIELDS, Contract, describe

STAGES = ("extract", "load", "transform", "validate", "publish")

CONTRACT = Contract(
    dataset="pipeline_runs",
    grain="One row per run and stage.",
    is_journal=True,
    schema=pa.schema(
        [
            *COMMON_FIELDS,
            describe("stage", pa.string(), "extract, load, transform, validate or publish."),
            describe("stage_number", pa.int64(), "Position of the stage, from 1."),
            describe("trigger_name", pa.string(), "Who ran it: command or flow."),
            describe("result", pa.string(), "ok, failed, or skipped (an audit that ANALYTICS_VALIDATE left out)."),
            describe("error_type", pa.string(), "Class of the failure; null where there is none."),
            describe("row_count", pa.int64(), "Rows extracted, loaded or published; null where a stage counts none."),
            describe("rejected_count", pa.int64(), "Rows that extraction rejected."),
            describe("unit_count", pa.int64(), "Sources, days, models, checks or targets that the stage went through."),
            describe("failed_count", pa.int64(), "Of the units, those that failed."),
            describe("warning_count", pa.int64(), "Of the units, those that warned."),
            describe("elapsed_ms", pa.int64(), "Duration of the stage."),
            describe("peak_memory_bytes", pa.int64(), "Most memory the run's own process held during the stage."),
            describe("is_full_refresh", pa.bool_(), "Every model was rebuilt."),
            describe("analytics_version", pa.string(), "Version of this package."),
            describe("python_version", pa.string(), "Version of Python."),
            describe("duckdb_version", pa.string(), "Version of DuckDB."),
            describe("dbt_version", pa.string(), "Version of dbt."),
        ]
    ),
)
