"""Dataset `check_results`: the verdict of every expectation of every audit, so that data quality can be charted.

It holds counts and names of checks, never a row that a check objected to.
"""

from __future__ import annotations

import pyarrow as pa

from analytics.contracts import COMMON_FIELDS, Contract, describe

CONTRACT = Contract(
    dataset="check_results",
    grain="One row per audit and expectation.",
    is_journal=True,
    schema=pa.schema(
        [
            *COMMON_FIELDS,
            describe("suite_name", pa.string(), "Suite: a file of great_expectations/expectations."),
            describe("check_name", pa.string(), "Name of the expectation in its suite."),
            describe("expectation_type", pa.string(), "Kind of expectation, as Great Expectations calls it."),
            describe("column_name", pa.string(), "Column that is checked, where it is one."),
            describe("severity", pa.string(), "severe (stops publishing) or warning."),
            describe("is_success", pa.bool_(), "The data was as expected."),
            describe(
                "unexpected_count",
                pa.int64(),
                "Rows or groups that were not as expected.",
            ),
            describe("checked_count", pa.int64(), "Rows that were looked at, where the check counts them."),
            describe("error_type", pa.string(), "What stopped the check from running; null where it ran."),
        ]
    ),
)
