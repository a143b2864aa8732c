"""What a run costs on a large history: `python tests/bench/bench_pipeline.py` prints JSON.

Machines are shared and noisy, so every figure stands beside two that the same run takes on the same
files: reading their bytes, and parsing each line once with orjson. The corpus is the sample, copied
with fresh ids under shifted days and with tool results as long as real ones; `--corpus` takes another.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import duckdb
import orjson
import psutil

from analytics.records import canonical_json
from analytics.records.writer import REDACT_BYTES
from analytics.redactor import SCANNER_BYTES, Redactor

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "sample" / "projects"
DAYS = 120
WORDS = ["cache", "token", "stream", "session", "index", "query", "batch", "merge", "schema", "column", "graph"]
_ID = re.compile(
    rb"(?<=[\"/_-])(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[A-Za-z0-9]{22})(?=[\"/_.-])"
)
_DAY = re.compile(rb"20[0-9]{2}-[0-9]{2}-[0-9]{2}(?=T)")

# dbt as the pipeline calls it, its project read beforehand: everything, then the dates of the last line.
DBT_BUILDS = """
import gc, time
from analytics.config import load_settings
from analytics.transformer import build, preload
from analytics.workers import GC_THRESHOLD
gc.set_threshold(*GC_THRESHOLD)
settings = load_settings()
preload(settings)
for is_full_refresh in (True, False):
    started = time.perf_counter()
    outcomes = build(settings, is_full_refresh=is_full_refresh, is_thorough=False)
    assert not [outcome.name for outcome in outcomes if outcome.status in ("error", "fail")]
    print(time.perf_counter() - started)
"""


def build_corpus(folder: Path, megabytes: int) -> int:
    """Write at least so many MB of transcripts. Returns how many copies of the sample they are."""
    chooser = random.Random(7)
    texts = [
        "\n".join(" ".join(chooser.choices(WORDS, k=9)) for _ in range(chooser.randrange(5, 160))) for _ in range(400)
    ]
    sources = sorted(SAMPLE.rglob("*.jsonl"))
    written = copies = 0
    while written < megabytes * 1_000_000:
        shift = timedelta(days=chooser.randrange(DAYS - 40))
        for source in sources:
            lines = (line for line in source.read_bytes().split(b"\n") if line)
            grown = b"\n".join(_grow(_renew(line, copies, shift), texts, chooser) for line in lines) + b"\n"
            name = f"{source.stem}-{copies}{source.suffix}"
            target = folder / source.relative_to(SAMPLE).parent / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(grown)
            written += len(grown)
        copies += 1
    return copies


def _renew(line: bytes, copy: int, shift: timedelta) -> bytes:
    suffix = f"{copy:06x}".encode()
    renewed = _ID.sub(lambda found: found[0][: -len(suffix)] + suffix, line)
    return _DAY.sub(lambda found: (date.fromisoformat(found[0].decode()) - shift).isoformat().encode(), renewed)


def _grow(line: bytes, texts: Sequence[str], chooser: random.Random) -> bytes:
    """A tool result with as much text as real ones have; any other line as it is."""
    if b'"tool_result"' not in line:
        return line
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line
    for block in record["message"]["content"]:
        if isinstance(block, dict) and isinstance(block.get("content"), str) and not block.get("is_error"):
            block["content"] += "".join(chooser.choices(texts, k=2))
    return orjson.dumps(record)


class PeakMemory:
    """The largest resident memory of any process of a command, in MB.

    The kernel keeps each process's peak, which is looked at until its end; which processes there are is looked up
    less often, for that costs a third of a core when done all the time.
    """

    def __init__(self, process: psutil.Process) -> None:
        self.peak_mb = 0.0
        self._process = process
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        family, looked_up_at = [self._process], 0.0
        while self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() - looked_up_at > 0.25:
                with contextlib.suppress(psutil.Error):
                    family = [self._process, *self._process.children(recursive=True)]
                looked_up_at = time.monotonic()
            self.peak_mb = max([self.peak_mb, *map(_peak_mb, family)])
            time.sleep(0.05)


def _peak_mb(process: psutil.Process) -> float:
    """Its peak where the kernel tells it (Linux), else what it holds now; nothing once it is gone."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    except OSError:
        with contextlib.suppress(psutil.Error):
            return process.memory_info().rss / 1e6
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def run_analytics(environment: dict[str, str], *arguments: str) -> tuple[float, float, str]:
    """Seconds, peak MB and output of one command, as a person would start it."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "analytics", *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    memory = PeakMemory(psutil.Process(process.pid))
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"analytics {arguments[0]} ended with {process.returncode}")
    return time.perf_counter() - started, memory.peak_mb, output


def time_dbt(environment: dict[str, str], rounds: int) -> dict[str, float]:
    """Median seconds of `dbt build --full-refresh`, and of one for the last run's dates, tests included."""
    full, increment = [], []
    for _ in range(rounds):
        output = subprocess.run(
            [sys.executable, "-c", DBT_BUILDS],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.split()
        full.append(float(output[-2]))
        increment.append(float(output[-1]))
    return {"dbt_full_refresh_s": statistics.median(full), "dbt_increment_s": statistics.median(increment)}


def iter_files(corpus: Path) -> Iterator[Path]:
    yield from sorted(corpus.rglob("*.jsonl"))


def time_baselines(corpus: Path) -> dict[str, float]:
    """Seconds to read the bytes, and to parse every line once in one process."""
    started = time.perf_counter()
    for file in iter_files(corpus):
        file.read_bytes()
    read_s = time.perf_counter() - started
    started = time.perf_counter()
    for file in iter_files(corpus):
        for line in file.read_bytes().split(b"\n"):
            try:
                orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
    return {"read_bytes_s": read_s, "orjson_pass_s": time.perf_counter() - started}


def time_secrets(corpus: Path, megabytes: int = 64) -> dict[str, float]:
    """MB/s of the search for secrets alone, over lines as the extraction searches them: by RE2, and Hyperscan first."""
    batches: list[tuple[bytes, list[int]]] = []
    texts: list[bytes] = []
    lines = (line for file in iter_files(corpus) for line in file.read_bytes().split(b"\n"))
    while sum(len(joined) for joined, _ in batches) < megabytes << 20 and (line := next(lines, None)) is not None:
        with contextlib.suppress(orjson.JSONDecodeError):
            texts.append(canonical_json(orjson.loads(line)))
        if sum(map(len, texts)) >= REDACT_BYTES:
            batches.append((b"".join(texts), [0, *accumulate(map(len, texts))]))
            texts = []
    batches.append((b"".join(texts), [0, *accumulate(map(len, texts))]))
    speeds = {}
    for name, searched_before in (("secrets_re2_mb_per_s", -sys.maxsize), ("secrets_mb_per_s", SCANNER_BYTES)):
        redactor = Redactor.load(None, bytes(32))
        redactor._searched_bytes = searched_before
        redactor.find_touched(*batches[0])
        started = time.perf_counter()
        for batch in batches:
            redactor.find_touched(*batch)
        speeds[name] = sum(len(joined) for joined, _ in batches) / (time.perf_counter() - started) / 1e6
    return speeds


def appended_line(number: int) -> str:
    """One more API response, today's."""
    usage = {"input_tokens": 1, "output_tokens": 2}
    message = {
        "id": f"msg_bench_{number}",
        "role": "assistant",
        "model": "claude-opus-4-8",
        "usage": usage,
        "content": [],
    }
    return json.dumps(
        {
            "type": "assistant",
            "uuid": f"bench-{number}",
            "sessionId": "bench",
            "cwd": "/home/dev/bench",
            "timestamp": f"2026-11-20T10:00:{number:02d}.000Z",
            "requestId": f"req_bench_{number}",
            "message": {**message, "stop_reason": "end_turn"},
        }
    )


def measure(corpus: Path, data: Path, home: Path, rounds: int) -> dict[str, Any]:
    """All figures over one corpus: medians over the rounds, and the largest peak."""
    environment = {
        **os.environ,
        "HOME": str(home),
        "ANALYTICS_DATA_DIR": str(data),
        "ANALYTICS_TRANSCRIPT_DIRS": str(corpus),
    }
    facts: dict[str, Any] = {"corpus_mb": round(sum(file.stat().st_size for file in iter_files(corpus)) / 1e6)}
    facts["load_average"] = os.getloadavg()[0]
    firsts = []
    for _ in range(rounds):
        shutil.rmtree(data, ignore_errors=True)
        baselines = time_baselines(corpus)
        extract_s, extract_mb, _ = run_analytics(environment, "extract")
        load_s, load_mb, _ = run_analytics(environment, "load")
        shutil.rmtree(data)
        run_s, run_mb, output = run_analytics(environment, "run")
        took = {"extract_s": extract_s, "load_s": load_s, "extract_and_load_s": extract_s + load_s, "run_s": run_s}
        ratios = {
            f"{name}_per_orjson_pass": took[f"{name}_s"] / baselines["orjson_pass_s"]
            for name in ("extract_and_load", "run")
        }
        firsts.append(
            {**baselines, **time_secrets(corpus), **took, **ratios, "peak_mb": max(extract_mb, load_mb, run_mb)}
        )
    facts |= {name: statistics.median(first[name] for first in firsts) for name in firsts[0]}
    facts["peak_mb"] = max(first["peak_mb"] for first in firsts)
    facts["run_summary"] = output.splitlines()
    visible, ended, nothing = [], [], []
    for number in range(rounds):
        with (corpus / "bench.jsonl").open("a", encoding="utf-8") as file:
            file.write(appended_line(number) + "\n")
        started_at = time.time()
        ran_s, _, _ = run_analytics(environment, "run")
        flipped_at = (data / "published" / "current").lstat().st_mtime
        sql = f"select count(*) as n from fct_api_requests where request_id = 'req_bench_{number}'"
        asked_s, _, answer = run_analytics(environment, "query", sql, "--json")
        if json.loads(answer) != [{"n": 1}]:
            raise SystemExit("the appended line is not visible")
        visible.append(flipped_at - started_at + asked_s)
        ended.append(ran_s + asked_s)
        nothing.append(run_analytics(environment, "run")[0])
    # Readers see it as soon as the link is flipped, and the run goes on with alerts and the page.
    facts["appended_line_visible_s"] = statistics.median(visible)
    facts["appended_line_run_ended_and_asked_s"] = statistics.median(ended)
    facts["nothing_new_s"] = statistics.median(nothing)
    facts |= time_dbt(environment, rounds)
    facts["daily_cost_query_ms"] = time_query(data / "published" / "marts.duckdb")
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in facts.items()}


def time_query(marts: Path) -> float:
    """Median milliseconds of the daily cost on the published marts, through an open connection."""
    sql = "select occurred_date, sum(estimated_cost_usd) from gold.fct_api_requests group by 1 order by 1"
    with duckdb.connect(str(marts), read_only=True) as connection:
        times = []
        for _ in range(11):
            started = time.perf_counter()
            connection.execute(sql).fetchall()
            times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=1_000, help="size of the corpus that is made")
    parser.add_argument("--corpus", type=Path, help="measure a copy of this folder of transcripts instead")
    parser.add_argument("--rounds", type=int, default=3, help="first runs, and appended lines")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        corpus, home = Path(scratch, "projects"), Path(scratch, "home")
        home.mkdir()
        if arguments.corpus:
            shutil.copytree(arguments.corpus, corpus)
        else:
            build_corpus(corpus, arguments.mb)
        os.sync()  # or the disk would be busy with the corpus while the first figures are taken
        print(json.dumps(measure(corpus, Path(scratch, "data"), home, arguments.rounds), indent=2))


if __name__ == "__main__":
    main()
