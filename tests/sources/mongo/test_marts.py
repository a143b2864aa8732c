"""The whole pipeline over MongoDB gives the marts that it gives over the files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from analytics.config import Settings
from analytics.lake import Lake
from analytics.pipeline import run
from tests.sources.mongo.conftest import Document, sync, write_transcripts

if TYPE_CHECKING:
    from pymongo.collection import Collection

# What tells of the run and not of the sessions.
ABOUT_RUNS = {"agg_alerts", "fct_pipeline_runs", "fct_check_results"}
OF_THE_RUN = {"_run_id", "_loaded_at", "_extracted_at", "_source_file", "run_id", "run_at", "published_at"}


def read_marts(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    marts = {}
    with duckdb.connect() as connection:
        for file in sorted((settings.published_dir / "current").glob("*.parquet")):
            relation = connection.read_parquet(str(file))
            columns = [name for name in relation.columns if name not in OF_THE_RUN]
            if file.stem.startswith(("dim_", "fct_", "agg_")) and file.stem not in ABOUT_RUNS:
                marts[file.stem] = sorted(relation.select(*columns).fetchall(), key=repr)
    return marts


@pytest.mark.usefixtures("set_up")
def test_marts_equal_those_of_the_files(collection: Collection[Document], mongo_uri: str, tmp_path: Path) -> None:
    """By increments out of MongoDB alone, and by a backfill beside the files, where every line comes twice."""
    lines = write_transcripts(tmp_path / "projects")
    (tmp_path / "none").mkdir()
    from_files = Settings(
        data_dir=tmp_path / "files",
        transcript_dirs=(tmp_path / "projects",),
        workers=1,
        timezone="UTC",
        home_dir=tmp_path,
        validate="never",
    )
    run(from_files)
    expected = read_marts(from_files)
    assert expected["fct_api_requests"]

    with_mongo = {"mongo_uri": mongo_uri, "mongo_database": collection.database.name}
    from_mongo = dataclasses.replace(
        from_files, data_dir=tmp_path / "mongo", transcript_dirs=(tmp_path / "none",), validate="auto", **with_mongo
    )
    from_both = dataclasses.replace(from_files, data_dir=tmp_path / "both", **with_mongo)
    for settings in (from_mongo, from_both):
        settings.data_dir.mkdir()
        (settings.data_dir / "local.key").write_bytes((from_files.data_dir / "local.key").read_bytes())
    documents = sync(collection, lines)
    for half in (documents[:150], documents[150:]):
        collection.insert_many(half, ordered=False)
        run(from_mongo)
    assert not Lake(from_mongo.data_dir).read_state(source="transcripts", dataset="conversations")
    assert read_marts(from_mongo) == expected
    run(from_both)
    assert read_marts(from_both) == expected
