"""Runs the suites of Great Expectations over the warehouse, in a working copy of their project."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from analytics.config import Settings
from analytics.files import make_private_folder, write_private_file
from analytics.result import Result

MEMORY_LIMIT = "200MB"
_BATCH = "scope"
_NAMESPACE = uuid.UUID("8f4c2a52-6f8e-4c55-9a7d-3f3a0f6a1d10")

Severity = Literal["severe", "warning"]


@dataclass(frozen=True)
class CheckResult(Result):
    """One expectation of one audit. `unexpected_count` counts rows (or groups), where there is something to count."""

    suite: str
    name: str
    expectation_type: str
    column: str | None
    severity: Severity
    is_success: bool
    unexpected_count: int | None
    checked_count: int | None
    error_type: str | None
    description: str
    advice: str

    @property
    def qualified_name(self) -> str:
        return f"{self.suite}.{self.name}"

    @property
    def found(self) -> str:
        """What a check that objects found: how much, or why it could not run."""
        if self.error_type:
            return f"could not run: {self.error_type}"
        if self.unexpected_count is None:
            return "not as expected"
        return f"{self.unexpected_count:,} rows" if self.unexpected_count != 1 else "1 row"


def run_suites(settings: Settings, files: Sequence[Path], *, folder: Path, project: Path) -> Iterator[CheckResult]:
    """Run the suites as one checkpoint in a working copy of the project."""
    from analytics.checks.dialect import SCHEME, close_all, register
    from analytics.checks.gx import load_gx, quiet

    gx = load_gx()
    register()
    with quiet():
        queries = _copy_project(files, folder, project)
        context = gx.get_context(mode="file", context_root_dir=str(folder))
        warehouse = context.data_sources.add_sql(
            name="warehouse",
            connection_string=f"{SCHEME}:///",
            kwargs={
                "connect_args": {
                    # Not in the address, in which $ and % mean something.
                    "database": str(settings.warehouse_file),
                    "read_only": True,
                    "config": {"memory_limit": MEMORY_LIMIT, "threads": 2},
                }
            },
            # All at once: the project is written anew for each asset that is added by itself.
            assets=[
                {"name": name, "type": "query", "query": query, "batch_definitions": [{"name": _BATCH}]}
                for name, query in queries.items()
            ],
        )
        definitions = []
        for name in queries:
            batch = warehouse.get_asset(name).get_batch_definition(_BATCH)
            definitions.append(
                context.validation_definitions.add(
                    gx.ValidationDefinition(name=name, data=batch, suite=context.suites.get(name))
                )
            )
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(
                name="audit",
                validation_definitions=definitions,
                # Counts only: with a list of unexpected values, content would enter the report.
                result_format={"result_format": "BASIC", "partial_unexpected_count": 0},
            )
        )
        try:
            outcome = checkpoint.run()
        finally:
            close_all()
    advice = {name: orjson.loads((folder / "expectations" / f"{name}.json").read_bytes()) for name in queries}
    for result in outcome.run_results.values():
        yield from _read_checks(result, advice[result.suite_name])


def write_docs(folder: Path) -> None:
    """Write the pages of Great Expectations' own, the data docs, of the suites that last ran in a working copy."""
    from analytics.checks.gx import load_gx, quiet

    gx = load_gx()
    with quiet():
        gx.get_context(mode="file", context_root_dir=str(folder)).build_data_docs()


def _copy_project(files: Sequence[Path], folder: Path, project: Path) -> dict[str, str]:
    """A fresh working copy; identities that the files leave out follow from the names. Returns suite: query."""
    shutil.rmtree(folder, ignore_errors=True)
    make_private_folder(folder / "expectations")
    configuration = "great_expectations.yml"
    write_private_file(folder / configuration, (project / configuration).read_bytes())
    queries = {}
    for file in files:
        suite = orjson.loads(file.read_bytes())
        suite.setdefault("id", str(uuid.uuid5(_NAMESPACE, file.stem)))
        for entry in suite["expectations"]:
            entry.setdefault("id", str(uuid.uuid5(_NAMESPACE, f"{file.stem}.{entry['meta']['name']}")))
        write_private_file(folder / "expectations" / file.name, orjson.dumps(suite))
        queries[file.stem] = suite["meta"]["query"]
    return queries


def _read_checks(result: Any, suite: dict[str, Any]) -> Iterator[CheckResult]:
    """The results of one suite, in the order of its file."""
    outcomes = {outcome.expectation_config.id: outcome for outcome in result.results}
    for entry in suite["expectations"]:
        outcome = outcomes[entry["id"]]
        facts = outcome.result or {}
        count = facts.get("unexpected_count")
        if entry["type"] == "unexpected_rows_expectation":
            count = facts.get("observed_value")
        yield CheckResult(
            suite=suite["name"],
            name=entry["meta"]["name"],
            expectation_type=entry["type"],
            column=entry["kwargs"].get("column"),
            severity="severe" if entry["severity"] == "critical" else "warning",
            is_success=bool(outcome.success),
            unexpected_count=None if count is None else int(count),
            checked_count=facts.get("element_count"),
            error_type=_error_of(outcome.exception_info),
            description=entry["description"],
            advice=entry["notes"],
        )


def _error_of(exception_info: Any) -> str | None:
    """The class of what stopped a check; its message may quote values and stays out."""
    if not exception_info:
        return None
    entries = [exception_info] if "raised_exception" in exception_info else list(exception_info.values())
    for entry in entries:
        if isinstance(entry, dict) and entry.get("raised_exception"):
            kind = str(entry.get("exception_message") or "").partition(":")[0]
            return kind if re.fullmatch(r"[A-Za-z ]{1,60}(Error|Exception)", kind) else "EngineError"
    return None
