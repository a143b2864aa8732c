"""Draw the README's picture: the top of the report over the sample, in a real browser.

1000 pixels of page on 1600 of picture, so that it can be read when a page shows it at 800.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import browser

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 1000
# Nothing to click, nothing that changes with the hour, and a face that every machine draws alike.
STYLE = """
.bar, .freshness, #theme, .behind, .note, .number-card .about, section > .about { display: none !important; }
html { font-family: "Liberation Sans", Arial, sans-serif; }
"""
LAST_CARD = "developer_productivity-cache_savings_by_day"


def main(file: Path) -> int:
    chromium = browser.find_chromium()
    if chromium is None:
        print("picture: no chromium found. Install it, such as with: apt-get install chromium", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "analytics", "run", "--quiet", "--data-dir", data]
        subprocess.run([*command, "--transcript-dirs", str(ROOT / "data/sample/projects")], cwd=ROOT, check=True)
        with browser.open_page(chromium) as page:
            page.resize(WIDTH, 1200, scale=1.6)
            page.load(Path(data) / "published/report.html")
            page.evaluate(
                f"document.head.append(Object.assign(document.createElement('style'), {{textContent: `{STYLE}`}}))"
            )
            page.evaluate("report.change({}).then(() => 1)")
            page.wait_until_ready()
            bottom = page.evaluate(f"document.getElementById('{LAST_CARD}').getBoundingClientRect().bottom + scrollY")
            file.parent.mkdir(parents=True, exist_ok=True)
            page.screenshot(file, {"x": 0, "y": 0, "width": WIDTH, "height": bottom + 8})
    print(f"picture    {file}   {file.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
