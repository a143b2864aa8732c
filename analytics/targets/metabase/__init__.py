"""Target `metabase`: the same cards as questions and dashboards of a Metabase, over its REST API.

Runs when ANALYTICS_METABASE_URL is set. Everything it makes carries a mark in its description and is
found by it again, so that a run after the first changes nothing, and nothing that a person made is
touched: a person's cards on our dashboards stay, and so do their filters.

    admin  ->  database  ->  sync  ->  foreign keys, descriptions  ->  collection  ->  cards  ->  dashboards
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

from analytics import cards, dictionary
from analytics.cards import DASHBOARDS_DIR, load_dashboards
from analytics.config import Settings
from analytics.dictionary import MARTS_DIR, read_tables
from analytics.errors import PublishError
from analytics.files import make_private_folder, write_private_file
from analytics.targets import Target, TargetResult
from analytics.targets.metabase.client import Client, is_set_up, log_in
from analytics.targets.metabase.provisioner import Provisioner
from analytics.targets.snapshot import current_version

START_TIMEOUT_S = 300.0


def publish(settings: Settings, run_id: str) -> TargetResult:
    """Make Metabase hold every card and dashboard as defined here. Raises PublishError when it refuses.

    What Metabase shows is read from the published files, so a run that changed rows only leaves nothing
    to do: it asks whether this is still the Metabase that was filled, and does not mind if it is off.
    """
    started = time.monotonic()
    client = Client(settings.metabase_url)
    counts: dict[str, int] = {}
    if not (_is_filled(settings) and _is_still_there(client)):
        counts = _provision(client, settings)
        make_private_folder(_note_file(settings).parent)
        write_private_file(_note_file(settings), f"{fingerprint(settings)}\n{run_id}\n".encode())
    return TargetResult(
        target="metabase",
        summary=f"{counts['dashboards']} dashboards" if counts else "unchanged",
        location=settings.metabase_url,
        elapsed_ms=round((time.monotonic() - started) * 1000),
        facts=dict(counts),
    )


TARGET = Target(name="metabase", is_enabled=lambda settings: bool(settings.metabase_url), publish=publish)


def _provision(client: Client, settings: Settings) -> dict[str, int]:
    client.wait_until_healthy(START_TIMEOUT_S)
    log_in(client, settings)
    version = current_version(settings)
    published = {file.stem for file in version.glob("*.parquet")} if version else set()
    catalog = {table.name: table for table in read_tables() if table.name in published}
    return Provisioner(client, settings.metabase_database_file).provision(load_dashboards(), catalog)


def _is_still_there(client: Client) -> bool:
    """A Metabase that was emptied asks for its first admin again."""
    try:
        return is_set_up(client)
    except PublishError:
        return True


def _is_filled(settings: Settings) -> bool:
    note = _note_file(settings)
    return note.exists() and note.read_text(encoding="utf-8").split("\n")[0] == fingerprint(settings)


def fingerprint(settings: Settings) -> str:
    """A hash of all that is provisioned, how, and where."""
    digest = hashlib.sha256(f"{settings.metabase_url}|{settings.metabase_database_file}".encode())
    for file in _defining_files():
        digest.update(f"{file.parent.name}/{file.name}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _defining_files() -> Iterator[Path]:
    """The definitions, by names that mean something too (a folder is a dashboard), and the code that reads them."""
    yield from (Path(cards.__file__), Path(dictionary.__file__))
    for folder in (DASHBOARDS_DIR, MARTS_DIR, Path(__file__).parent):
        for file in sorted(folder.rglob("*.*")):
            if file.suffix in (".sql", ".yml", ".csv", ".md", ".py"):
                yield file


def _note_file(settings: Settings) -> Path:
    return settings.data_dir / "cache" / "metabase.txt"
