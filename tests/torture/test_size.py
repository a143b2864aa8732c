from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.builders import encode, make_prompt, make_settings
from tests.torture.kills import PROJECT

pytestmark = pytest.mark.torture
MEASURE = """
import json, re, sys
from pathlib import Path
from tests.builders import make_settings, run_extract
settings = make_settings(Path(sys.argv[1]), **json.loads(sys.argv[2]))
result = run_extract(settings)
# Not ru_maxrss: a child inherits its parent's.
peak = int(re.search("VmHWM:[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps([result.rows_loaded, result.rows_rejected, result.rejected_by_reason, peak]))
"""


def extract_apart(folder, **fields):
    """Rows loaded, rows rejected, reasons and the peak of memory in MB of an extraction in its own process."""
    command = [sys.executable, "-c", MEASURE, str(folder), json.dumps(fields)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "HOME": str(folder / "home")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT, env=environment)
    return json.loads(done.stdout)


def write_chunks(folder, *chunks: bytes) -> None:
    path = make_settings(folder).transcript_dirs[0] / "p" / "s.jsonl"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)


def test_a_line_of_100_mb_loads_in_bounded_memory(tmp_path):
    write_chunks(tmp_path, encode(make_prompt("a")), encode(make_prompt("x" * 100_000_000)), encode(make_prompt("b")))
    loaded, rejected, _, peak = extract_apart(tmp_path)
    assert (loaded, rejected) == (3, 0)
    assert peak < 1_200


def test_a_line_of_1_gb_over_the_limit_is_passed_over_in_little_memory(tmp_path):
    write_chunks(tmp_path, encode(make_prompt("a")), *[b"x" * (1 << 20)] * 1024, b"\n", encode(make_prompt("b")))
    loaded, rejected, reasons, peak = extract_apart(tmp_path, max_line_mb=16)
    assert (loaded, rejected, reasons) == (2, 1, {"longer than 16 MB": 1})
    assert peak < 300


def test_200_000_objects_on_one_line_are_as_many_rows(tmp_path):
    write_chunks(tmp_path, b"".join(b'{"n":%d}' % number for number in range(200_000)), b"\n")
    loaded, rejected, _, _ = extract_apart(tmp_path)
    assert (loaded, rejected) == (200_000, 0)


def test_memory_stays_flat_as_a_file_grows(tmp_path):
    line = encode(make_prompt("word " * 4_000))
    peaks = []
    for name, count in (("small", 9_000), ("large", 18_000)):
        write_chunks(tmp_path / name, *(line.replace(b"word word", b"n%08d" % number) for number in range(count)))
        peaks.append(extract_apart(tmp_path / name)[3])
    assert peaks[1] < peaks[0] * 1.3
