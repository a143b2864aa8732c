"""What a row of the lake must look like: one module per dataset, found by being here.

A contract is a pyarrow schema whose fields carry their meaning (`describe`), and the sentence that
says what one row is. The extractor writes it, the loader creates `raw.<dataset>` from it, and the
data dictionary prints it, so a column is declared exactly once.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

PAYLOAD = "payload"


@dataclass(frozen=True)
class Contract:
    """One dataset: its name, its grain and its columns in order.

    `grain` begins "One row per". `schema` includes the columns that every dataset has
    (`COMMON_FIELDS`); `warehouse_schema` is the same without the payload, which stays in the lake.
    A journal holds what runs write about themselves: loaded with the rest, but nobody's news, or no
    run would ever find nothing new.
    """

    dataset: str
    grain: str
    schema: pa.Schema
    is_journal: bool = False

    @property
    def warehouse_schema(self) -> pa.Schema:
        return pa.schema([field for field in self.schema if field.name != PAYLOAD])


def describe(name: str, data_type: pa.DataType, meaning: str) -> pa.Field:
    """A schema field that carries its meaning, for the dictionary and for `raw`'s comments."""
    return pa.field(name, data_type, metadata={"description": meaning})


INSTANT = pa.timestamp("us")

COMMON_FIELDS: tuple[pa.Field, ...] = (
    describe(
        "record_id",
        pa.string(),
        "32 hex digits of the SHA-256 of the record's canonical JSON as the source gave it: the same "
        "record is the same id whoever carried it and however often.",
    ),
    describe("source", pa.string(), "Name of the source that carried the record, as in analytics/sources."),
    describe(
        "source_record_id",
        pa.string(),
        "The source's own id of the record, where it has one beside what the record says.",
    ),
    describe("session_id", pa.string(), "Claude Code session id as the record says; null where it says none."),
    describe("occurred_at", INSTANT, "Instant of the record itself, naive UTC; null where it carries none."),
    describe(
        "record_date",
        pa.date32(),
        "UTC day that files the record: of occurred_at or, without one, of the last instant before it in its "
        "file. The lake is partitioned by it.",
    ),
    describe(
        PAYLOAD,
        pa.string(),
        "The record as canonical JSON (sorted keys, strict UTF-8) after the content policy; null under `metadata`. "
        "Stays in the lake.",
    ),
    describe("_source_file", pa.string(), "File the record was read from, redacted, relative to its source folder."),
    describe("_source_position", pa.int64(), "Byte offset of the record in its file; null where there is no file."),
    describe("_extracted_at", INSTANT, "When the pipeline read the record, naive UTC."),
    describe("_run_id", pa.string(), "Run that read the record."),
)


def load_contract(dataset: str) -> Contract:
    """The contract of one dataset. Raises ModuleNotFoundError for an unknown name."""
    module = importlib.import_module(f"{__name__}.{dataset}")
    contract: Contract = module.CONTRACT
    return contract


def journal_datasets() -> set[str]:
    """The datasets that runs write about themselves."""
    return {contract.dataset for contract in iter_contracts() if contract.is_journal}


def iter_contracts() -> Iterator[Contract]:
    """Every dataset that has a module here, by name."""
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        yield load_contract(module)
