"""How many rows the demo has in each table: a change of volume is a diff that somebody reads."""

from __future__ import annotations

import csv

from analytics.config import PROJECT_DIR
from tests.builders import TABLES_ABOUT_RUNS

GOLDEN_FILE = PROJECT_DIR / "tests" / "golden" / "row_counts.csv"


def test_the_demo_has_the_rows_it_had(published, tmp_path) -> None:
    tables = published.execute(
        "select table_name from information_schema.tables where table_schema = 'gold' order by 1"
    ).fetchall()
    names = [name for (name,) in tables if name not in TABLES_ABOUT_RUNS]
    counted = [[name, published.execute(f"select count(*) from gold.{name}").fetchall()[0][0]] for name in names]
    now = tmp_path / GOLDEN_FILE.name
    with now.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("table", "row_count"), *counted])
    assert GOLDEN_FILE.read_text(encoding="utf-8") == now.read_text(encoding="utf-8"), (
        f"if meant: cp {now} {GOLDEN_FILE}"
    )
