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
    "quoted identifiers": r"(?<!')\"[a-z_]+\"(?!')",
    "backslashes": r"\\",
    "integer division": r"\bdiv\b|//",
    "the clock": r"\b(current_timestamp|current_date)\b",
    "operators and parts that macros hide": r"\b(epoch|isodow|rlike)\b",
    "union in a recursion": r"(?s)\bwith\s+recursive\b.*\bunion\b(?!\s+all\b)",
}
# Both engines know them by one name and mean the same by it. A new one is looked up in the manuals of both first.
FUNCTIONS = re.compile(
    r"abs|avg|cast|chr|coalesce|count|date_trunc|extract|floor|greatest|instr|lag|lead|least|length|lower|max|md5|min|"
    r"nullif|percentile_cont|rank|regexp_extract|regexp_replace|regr_intercept|regr_r2|regr_slope|replace|round|"
    r"row_number|split_part|stddev_samp|substr|sum|translate|upper",
    re.IGNORECASE,
)
KEYWORDS = re.compile(r"and|as|by|distinct|from|group|in|jinja|not|on|or|over|then|values|when", re.IGNORECASE)


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


@pytest.mark.parametrize(
    "path", [*MODELS, *(path for path in MACROS if path.parent.name != "materializations")], ids=lambda path: path.stem
)
def test_functions_are_those_that_both_engines_know(path: Path) -> None:
    # What comes after `as` is a type, or an alias with its columns.
    calls = re.findall(r"(?<!\bas )\b([a-z_]\w*)\s*\(", sql_of(path), re.IGNORECASE)
    assert [name for name in calls if not FUNCTIONS.fullmatch(name) and not KEYWORDS.fullmatch(name)] == []


@pytest.mark.parametrize("path", [*MODELS, *MACROS], ids=lambda path: path.stem)
def test_an_order_says_where_nulls_go(path: Path) -> None:
    """Where they go unsaid is each engine's own, and a setting's."""
    assert re.findall(r".*\b(?:asc|desc)\b(?!\s+nulls\b).*", sql_of(path)) == []


def test_every_engine_macro_has_both_engines() -> None:
    text = (DBT_DIR / "macros" / "engine.sql").read_text(encoding="utf-8")
    dispatched = set(re.findall(r"adapter\.dispatch\('(\w+)'\)", text))
    for engine in ("duckdb", "spark"):
        assert dispatched == set(re.findall(rf"macro {engine}__(\w+)\(", text)), engine
