"""The page that tells a person what an audit found and what to do."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from analytics.checks.suites import CheckResult
from analytics.files import make_private_folder, write_private_file

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1a1a1a}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.4rem .6rem;text-align:left;
vertical-align:top}.failed{background:#fde8e8}.warns{background:#fff4d6}code{font-size:13px}
@media(prefers-color-scheme:dark){body{background:#161616;color:#e6e6e6}td,th{border-color:#3a3a3a}
.failed{background:#4a1f1f}.warns{background:#463a17}a{color:#8ab4f8}}
"""


def write_report(folder: Path, checks: Sequence[CheckResult], run_id: str) -> Path:
    """One page that needs no network, beside the data docs, and the data docs' pages likewise."""
    rows = []
    for check in checks:
        verdict = "passed" if check.is_success else "failed" if check.severity == "severe" else "warns"
        counted = "" if check.is_success and not check.unexpected_count else check.found
        cells = (verdict, check.suite, check.name, check.severity, counted, check.description)
        advice = "" if check.is_success else f"<br><b>What to do:</b> {html.escape(check.advice)}"
        text = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells[:-1])
        rows.append(f'<tr class="{verdict}">{text}<td>{html.escape(cells[-1])}{advice}</td></tr>')
    failed = sum(not check.is_success for check in checks)
    page = (
        f"<!doctype html><meta charset=utf-8><title>Audit {html.escape(run_id)}</title><style>{_STYLE}</style>"
        f"<h1>Audit of run {html.escape(run_id)}</h1><p>{len(checks)} checks, {failed} not as expected. "
        '<a href="uncommitted/data_docs/local_site/index.html">Data docs of Great Expectations</a></p>'
        "<table><tr><th>Result<th>Suite<th>Check<th>Severity<th>Found<th>Meaning</tr>" + "".join(rows) + "</table>"
    )
    make_private_folder(folder)
    path = folder / "report.html"
    write_private_file(path, page.encode())
    return path
