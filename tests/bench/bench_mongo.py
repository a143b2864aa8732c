"""Documents per second of a full MongoDB extraction, beside a bare cursor loop over the same collection.

`python -m tests.bench.bench_mongo [--documents 1000000] [--rounds 1]` starts its own mongod, or takes
TEST_MONGODB_URI, and prints one JSON object. The loop is one process that decodes every document and
drops it; the extraction has a worker for each core, and starts Python anew. Only ratios mean something
on another machine: `speed_ratio` is of the fastest round of each, by the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bson
import psutil
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

if TYPE_CHECKING:
    from pymongo.collection import Collection

STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = (
    "the",
    "file",
    "reads",
    "a",
    "list",
    "of",
    "sessions",
    "and",
    "writes",
    "return",
    "import",
    "value",
    "self",
    "(x)",
)

EXTRACT = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from analytics.config import Settings
from analytics.lake import Lake
from analytics.sources import ExtractContext
from analytics.sources.mongo import SOURCE
if __name__ == "__main__":
    settings = Settings(data_dir=Path(sys.argv[2]), mongo_uri=sys.argv[1], mongo_database="bench")
    result = SOURCE.extract(ExtractContext(settings, Lake(settings.data_dir), "bench", datetime.now(UTC)))
    print(result.rows_loaded)
"""


def make_text(chance: random.Random, size: int) -> str:
    return " ".join(chance.choices(WORDS, k=size // 5))


def iter_documents(count: int) -> Iterator[dict[str, Any]]:
    """Documents of the shapes and sizes of real sessions: 60 % are user and assistant lines with blocks."""
    chance = random.Random(7)
    texts = [make_text(chance, int(min(chance.lognormvariate(6.5, 1.2), 100_000))) for _ in range(3_000)]
    for number in range(count):
        moment = STARTED_AT + timedelta(seconds=number * 5)
        session = f"session-{number // 400}"
        document: dict[str, Any] = {
            "parentUuid": f"{number - 1:032x}",
            "isSidechain": False,
            "userType": "external",
            "cwd": f"/home/dev/app{number // 4000 % 20}",
            "sessionId": session,
            "version": "2.1.120",
            "gitBranch": "main",
            "uuid": f"{number:032x}",
            "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        text = texts[chance.randrange(len(texts))]
        match number % 5:
            case 0 | 1:
                block = (
                    {"type": "text", "text": text}
                    if number % 2
                    else {"type": "tool_use", "id": f"toolu_{number}", "name": "Bash", "input": {"command": text}}
                )
                usage = {
                    "input_tokens": 4,
                    "cache_creation_input_tokens": chance.randrange(9_000),
                    "cache_read_input_tokens": chance.randrange(90_000),
                    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                    "output_tokens": chance.randrange(900),
                    "service_tier": "standard",
                }
                message = {
                    "id": f"msg_{number // 2}",
                    "type": "message",
                    "role": "assistant",
                    "model": "claude-opus-4-5",
                }
                document |= {"type": "assistant", "requestId": f"req_{number // 2}"}
                document["message"] = {**message, "content": [block], "stop_reason": None, "usage": usage}
            case 2 | 3:
                result = {"tool_use_id": f"toolu_{number}", "type": "tool_result", "content": text, "is_error": False}
                document |= {"type": "user", "message": {"role": "user", "content": [result]}}
                document["toolUseResult"] = {"stdout": text, "stderr": "", "interrupted": False, "isImage": False}
            case _:
                document |= {"type": "progress", "data": {"type": "hook_progress", "hookEvent": "PostToolUse"}}
        document |= {
            "projectId": f"-home-dev-app{number // 4000 % 20}",
            "sourceFile": f"/home/dev/.claude/projects/-home-dev-app{number // 4000 % 20}/{session}.jsonl",
            "ingestedAt": STARTED_AT + timedelta(seconds=number // 100 * 5),
        }
        yield document


def fill(collection: Collection[Any], count: int) -> int:
    collection.drop()
    batch: list[RawBSONDocument] = []
    byte_count = 0
    for document in iter_documents(count):
        batch.append(RawBSONDocument(bson.encode({"_id": bson.ObjectId(), **document})))
        byte_count += len(batch[-1].raw)
        if len(batch) == 1_000:
            collection.insert_many(batch, ordered=False)
            batch.clear()
    if batch:
        collection.insert_many(batch, ordered=False)
    return byte_count


def time_bare_loop(uri: str) -> tuple[float, int]:
    with MongoClient(uri, tz_aware=True) as client:
        started = time.perf_counter()
        count = 0
        for _ in client["bench"]["conversations"].find():
            count += 1
        return time.perf_counter() - started, count


def time_extraction(uri: str) -> tuple[float, int, Memory]:
    """Seconds, rows and memory of an extraction in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "extract_all.py")
        script.write_text(EXTRACT, encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, str(script), uri, f"{folder}/data"], stdout=subprocess.PIPE, env=environment
        )
        memory = Memory()
        while process.poll() is None:
            memory.sample(process.pid)
            time.sleep(0.1)
        elapsed_s = time.perf_counter() - started
        assert process.stdout is not None
        return elapsed_s, int(process.stdout.read() or 0), memory


class Memory:
    """The most that a process and those it started held: together, each shared page once, and each alone."""

    def __init__(self) -> None:
        self.together = 0
        self.alone: dict[int, int] = {}

    def sample(self, pid: int) -> None:
        try:
            parent = psutil.Process(pid)
            sizes = {entry.pid: entry.memory_info() for entry in (parent, *parent.children(recursive=True))}
        except psutil.Error:
            return
        private = sum(size.rss - size.shared for size in sizes.values())
        self.together = max(self.together, private + max(size.shared for size in sizes.values()))
        for number, size in sizes.items():
            self.alone[number] = max(self.alone.get(number, 0), size.rss)


def client_cpu_s() -> float:
    """Processor time of this process and of those it waited for; the server's is not in it."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    count = options.documents
    from tests.sources.mongo.conftest import Mongod, find_mongod

    with tempfile.TemporaryDirectory() as folder:
        server = None
        uri = os.environ.get("TEST_MONGODB_URI", "")
        if not uri:
            server = Mongod(find_mongod() or sys.exit("no mongod"), Path(folder, "db"), "--nojournal")
            server.start()
            uri = server.uri
        try:
            with MongoClient(uri) as client:
                byte_count = fill(client["bench"]["conversations"], count)
                bare, extractions, bare_cpu_s, extract_cpu_s = [], [], 0.0, 0.0
                for _ in range(options.rounds):
                    marks = [client_cpu_s()]
                    bare.append(time_bare_loop(uri)[0])
                    marks.append(client_cpu_s())
                    extractions.append(time_extraction(uri))
                    marks.append(client_cpu_s())
                    bare_cpu_s, extract_cpu_s = bare_cpu_s + marks[1] - marks[0], extract_cpu_s + marks[2] - marks[1]
                bare.append(time_bare_loop(uri)[0])
                client.drop_database("bench")
        finally:
            if server is not None:
                server.stop()
    bare_s, extract_s = min(bare), min(seconds for seconds, _, _ in extractions)
    memories = [memory for _, _, memory in extractions]
    print(
        json.dumps(
            {
                "documents": count,
                "mb": round(byte_count / 1e6),
                "rows_loaded": sorted({rows for _, rows, _ in extractions}),
                "bare_loop_s": [round(seconds, 1) for seconds in bare],
                "extract_s": [round(seconds, 1) for seconds, _, _ in extractions],
                "bare_loop_cpu_s": round(bare_cpu_s / options.rounds, 1),
                "extract_cpu_s": round(extract_cpu_s / options.rounds, 1),
                "bare_loop_documents_per_s": round(count / bare_s),
                "extract_documents_per_s": round(count / extract_s),
                "extract_mb_per_s": round(byte_count / 1e6 / extract_s, 1),
                "speed_ratio": round(bare_s / extract_s, 2),
                "peak_memory_mb": round(max(memory.together for memory in memories) / 1e6),
                "peak_memory_mb_of_each_process": [
                    round(size / 1e6) for size in sorted(memories[-1].alone.values(), reverse=True)
                ],
                "cores": os.cpu_count(),
                "load": round(os.getloadavg()[0], 1),
            }
        )
    )


if __name__ == "__main__":
    main()
