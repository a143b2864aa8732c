"""Models run on DuckDB and on Spark: what differs lives in macros/engine.sql, and this greps for what slipped out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.dbt.warehouse import DBT_DIR

MODELS = sorted((DBT_DIR / "models").rglob("*.sql"))
MACROS = sorted(path for path in (DBT_DIR / "macros").rglob("*.sql") if path.name != "engine.sql")
NOT_PORTABLE = {
    "cast with ::": r"::",
    "JSON arrows": r"->>?",
    "qualify": r"\bqualify\b",
    "exclude or except columns": r"\bexclude\s*\(|\*\s+except\b",
    "filter (where": r"\bfilter\s*\(\s*where",
    "nested functions": r"\b(unnest|list_\w+|struct_\w+|array_\w+|json_\w+|strftime|strptime|read_\w+)\s*\(",
    "quoted identifiers": r"(?<!')\"[a-z_]+\"(?!')",
    "backslashes": r"\\",
    "concat": r"\bconcat(_ws)?\s*\(",
    "integer division": r"\bdiv\b|//",
    "the clock": r"\b(current_timestamp|current_date|now\s*\(|today\s*\()",
    "engine functions that macros hide": (
        r"\b(epoch\w*|isodow|regexp_matches|rlike|time_bucket|date_diff|datediff|min_by)\b"
    ),
}


def sql_of(path: Path) -> str:
    """The SQL a person wrote: no comments, no Jinja (whose strings may be quoted in any way)."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}", " jinja ", text, flags=re.DOTALL)
    return re.sub(r"--.*", "", text)


@pytest.mark.parametrize("path", [*MODELS, *MACROS], ids=lambda path: path.stem)
def test_sql_is_portable(path: Path) -> None:
    sql = sql_of(path)
    found = [what for what, pattern in NOT_PORTABLE.items() if re.search(pattern, sql, re.IGNORECASE)]
    assert not found


@pytest.mark.parametrize("path", [*MODELS, *MACROS], ids=lambda path: path.stem)
def test_an_order_says_where_nulls_go(path: Path) -> None:
    """Where they go unsaid is each engine's own, and a setting's."""
    assert re.findall(r".*\b(?:asc|desc)\b(?!\s+nulls\b).*", sql_of(path)) == []


def test_every_engine_macro_has_both_engines() -> None:
    text = (DBT_DIR / "macros" / "engine.sql").read_text(encoding="utf-8")
    dispatched = set(re.findall(r"adapter\.dispatch\('(\w+)'\)", text))
    for engine in ("duckdb", "spark"):
        assert dispatched == set(re.findall(rf"macro {engine}__(\w+)\(", text)), engine
