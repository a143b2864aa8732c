"""The data dictionary: what dbt's YAML and the lake's contracts say, as one page for people.

`python -m analytics.dictionary` writes docs/data-dictionary.md. Nothing here is said twice: the page is
made of the descriptions that the tests hold against the tables.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analytics.config import DBT_DIR, PROJECT_DIR
from analytics.contracts import iter_contracts

MARTS_DIR = DBT_DIR / "models" / "marts"
DICTIONARY_FILE = PROJECT_DIR / "docs" / "data-dictionary.md"
KINDS = {
    "dim": "Dimensions",
    "fct": "Facts",
    "bridge": "Bridges",
    "agg": "Aggregates",
    "mart": "Marts",
    "alert": "Alerts",
}
INTRODUCTION = """\
# Data dictionary

Made by `python -m analytics.dictionary` (`make docs`) from the YAML beside the models and from
`analytics/contracts`; edit those, not this page. Gold is what people read. Its names say what a column is:
`*_usd` dollars, `*_ms` milliseconds, `*_tokens` tokens, `*_ratio` 0 to 1, `*_at` an instant in UTC, `*_date` a
UTC day, `*_local` by the reporting time zone. A null cost means that no price or no token count is known, never
that it was free.
"""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    data_type: str
    meaning: str


@dataclass(frozen=True)
class ForeignKey:
    """A column that names a row of another table."""

    column: str
    table: str
    target_column: str


@dataclass(frozen=True)
class Table:
    """One gold table, as its YAML describes it."""

    name: str
    meaning: str
    grain: tuple[str, ...]
    columns: tuple[Column, ...]
    foreign_keys: tuple[ForeignKey, ...]

    @property
    def kind(self) -> str:
        return self.name.split("_", 1)[0]


# The one published table that is no model: publishing writes it.
SNAPSHOT = Table(
    "published_snapshot",
    "One row: which version of the published tables this is. All of them are of the same version.",
    (),
    (
        Column("run_id", "varchar", "The run that published it."),
        Column("published_at", "timestamp", "When it was written, UTC."),
    ),
    (),
)


def iter_descriptions(folder: Path = MARTS_DIR) -> Iterator[Path]:
    """The files that say what gold means."""
    yield from (file for file in sorted(folder.rglob("*")) if file.suffix in (".yml", ".md"))


def descriptions_digest() -> str:
    """A hash of all that the tables' meanings are made of, without reading them."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for file in iter_descriptions():
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def read_tables(folder: Path = MARTS_DIR) -> list[Table]:
    """Every gold table, in the order of its kind and name."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    blocks: dict[str, str] = {}
    for page in (file for file in iter_descriptions(folder) if file.suffix == ".md"):
        found = re.findall(r"{% docs (\w+) %}\n(.*?)\n{% enddocs %}", page.read_text(encoding="utf-8"), re.DOTALL)
        blocks.update(found)
    names = {model.stem for model in folder.rglob("*.sql")}
    tables = [
        parse_table(model, blocks)
        for file in iter_descriptions(folder)
        if file.suffix == ".yml"
        for model in yaml.load(file.read_text(encoding="utf-8"), Loader=loader).get("models", ())  # noqa: S506 both are safe
        if model["name"] in names
    ]
    return sorted(tables, key=lambda table: (list(KINDS).index(table.kind), table.name))


def parse_table(model: dict[str, Any], blocks: dict[str, str]) -> Table:
    """A model of dbt's YAML with its shared descriptions filled in."""
    arguments: dict[str, Any] = {}
    for test in model.get("data_tests", ()):
        if isinstance(test, dict) and "gold_contract" in test:
            arguments = test["gold_contract"]["arguments"]
    foreign_keys = tuple(
        ForeignKey(column, re.sub(r"ref\('(\w+)'\)", r"\1", str(target["to"])), target["field"])
        for column, target in arguments.get("foreign_keys", {}).items()
    )
    columns = tuple(
        Column(column["name"], column["data_type"], _filled(column["description"], blocks))
        for column in model.get("columns", ())
    )
    return Table(
        model["name"], _filled(model["description"], blocks), tuple(arguments.get("grain", ())), columns, foreign_keys
    )


def _filled(text: str, blocks: dict[str, str]) -> str:
    filled = re.sub(r"{{\s*doc\(\"(\w+)\"\)\s*}}", lambda found: blocks[found[1]], text)
    return " ".join(filled.split())


def build_page(tables: list[Table]) -> str:
    """The whole page."""
    parts = [INTRODUCTION, *_iter_diagram(tables)]
    for kind, title in KINDS.items():
        parts.append(f"## {title}\n")
        for table in (table for table in tables if table.kind == kind):
            parts += _iter_table(table)
    parts += ["## The publication\n", *_iter_table(SNAPSHOT)]
    parts.append("## The lake\n")
    parts.append("What the contracts in `analytics/contracts` promise of the Parquet files, and of schema `raw`.\n")
    for contract in iter_contracts():
        rows = (
            Column(field.name, str(field.type), (field.metadata or {}).get(b"description", b"").decode())
            for field in contract.schema
        )
        parts += [f"### {contract.dataset}\n", f"{contract.grain}\n", _column_list(rows)]
    return "\n".join(parts)


def _iter_diagram(tables: list[Table]) -> Iterator[str]:
    """The star: facts, bridges and dimensions. Aggregates hang on the same keys and would hide it."""
    yield "## The star\n\n```mermaid\nerDiagram"
    for table in tables:
        if table.kind not in ("dim", "fct", "bridge"):
            continue
        targets: dict[str, str] = {}
        for key in table.foreign_keys:
            targets.setdefault(key.table, key.column)
        for target, column in targets.items():
            yield f"    {target} ||--o{{ {table.name} : {column}"
    yield "```\n"


def _iter_table(table: Table) -> Iterator[str]:
    yield f"### {table.name}\n"
    yield f"{table.meaning}\n"
    if table.grain:
        yield f"Grain: {', '.join(f'`{column}`' for column in table.grain)}.\n"
    targets = {key.column: key.table for key in table.foreign_keys}
    yield _column_list(
        Column(
            column.name,
            column.data_type,
            column.meaning + (f" → {targets[column.name]}" if column.name in targets else ""),
        )
        for column in table.columns
    )


def _column_list(columns: Iterator[Column]) -> str:
    lines = ["| column | type | meaning |", "|---|---|---|"]
    for column in columns:
        meaning = column.meaning.replace("|", "\\|").replace("<", "&lt;")
        data_type = re.sub(r"struct<.*>", "struct", column.data_type)
        lines.append(f"| {column.name} | {data_type.replace('<', '&lt;')} | {meaning} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page."""
    tables = read_tables()
    DICTIONARY_FILE.write_text(build_page(tables), encoding="utf-8")
    sys.stdout.write(f"docs       dictionary     {len(tables)} tables   {DICTIONARY_FILE.relative_to(PROJECT_DIR)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
