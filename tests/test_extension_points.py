"""What every source, target and dataset promises. They are found by being there, so a new one is tested on arrival."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from analytics import contracts, sources, targets
from analytics.config import PROJECT_DIR, Settings
from analytics.contracts import COMMON_FIELDS, Contract, iter_contracts
from analytics.errors import AnalyticsError, ConfigError
from analytics.extractor import import_archive
from analytics.lake import Lake
from analytics.sources import ExtractContext, Source, iter_sources
from analytics.targets import Target, iter_targets, metabase
from tests.builders import committed_rows, make_gold

SOURCES, TARGETS, CONTRACTS = list(iter_sources()), list(iter_targets()), list(iter_contracts())
DATASETS = {contract.dataset for contract in CONTRACTS}
TESTS = PROJECT_DIR / "tests"
# Folders that people add things to. Their READMEs say how.
EXTENDED = (
    "analytics/capture",
    "analytics/contracts",
    "analytics/sources",
    "analytics/targets",
    "dbt",
    "dbt/analyses/dashboards",
    "dbt/models/marts/alerts",
    "great_expectations",
)

each_source = pytest.mark.parametrize("source", SOURCES, ids=[source.name for source in SOURCES])
each_target = pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])
each_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=[contract.dataset for contract in CONTRACTS])


def modules_in(package: object) -> set[str]:
    folder = Path(str(package.__file__)).parent  # type: ignore[attr-defined]
    return {path.stem for path in folder.iterdir() if not path.name.startswith(("_", ".")) and path.suffix != ".md"}


def iter_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def context_of(settings: Settings) -> ExtractContext:
    lake = Lake(settings.data_dir, settings.host_id)
    return ExtractContext(settings, lake, run_id="run", extracted_at=datetime(2026, 1, 2, tzinfo=UTC))


def test_everything_there_is_found_under_its_own_name() -> None:
    assert {source.name for source in SOURCES} == modules_in(sources)
    assert {target.name for target in TARGETS} == modules_in(targets)
    assert modules_in(contracts) == DATASETS


@each_source
def test_source_feeds_a_dataset_and_has_tests(source: Source) -> None:
    assert source.dataset in DATASETS
    assert list((TESTS / "sources" / source.name).glob("test_*.py"))


@each_source
def test_source_is_off_in_an_empty_world_and_asking_changes_nothing(source: Source, settings: Settings) -> None:
    """Folders that Claude Code and `capture install` make and that hold nothing are empty, too."""
    nothing_named = dataclasses.replace(settings, transcript_dirs=())
    for folder in (settings.claude_dir / "projects" / "-p", settings.data_dir / "queue" / "incoming"):
        folder.mkdir(parents=True)
    before = list(iter_files(settings.data_dir.parent))
    assert not source.is_enabled(nothing_named)
    assert list(iter_files(settings.data_dir.parent)) == before


@each_source
def test_source_that_finds_nothing_says_so_and_commits_no_rows(source: Source, settings: Settings) -> None:
    """Asked for by name where there is nothing: a result of no rows, or an error for a person. Twice is once."""
    context = context_of(dataclasses.replace(settings, transcript_dirs=()))
    for _ in range(2):
        try:
            result = source.extract(context)
        except AnalyticsError:
            pass
        else:
            assert (result.source, result.dataset) == (source.name, source.dataset)
            assert (result.rows_read, result.rows_loaded, result.rows_rejected) == (0, 0, 0)
        assert not context.lake.snapshot(source.dataset).parts


@each_source
def test_archive_that_is_not_there_is_an_error_for_a_person(source: Source, settings: Settings) -> None:
    lake = Lake(settings.data_dir, settings.host_id)
    with pytest.raises(ConfigError, match="is missing" if source.import_archive else "name whose events these are"):
        import_archive(settings, lake, settings.data_dir / "nowhere", run_id="run", select=[source.name])


@each_target
def test_target_has_tests(target: Target) -> None:
    assert any(target.name in path.stem for path in (TESTS / "targets").glob("test_*.py"))


@each_target
def test_asking_whether_a_target_is_wanted_changes_nothing(target: Target, settings: Settings) -> None:
    before = list(iter_files(settings.data_dir.parent))
    assert isinstance(target.is_enabled(settings), bool)
    assert list(iter_files(settings.data_dir.parent)) == before


@each_target
def test_target_without_anything_to_publish_fails_for_a_person(
    target: Target, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing warehouse, a missing snapshot, a server that does not answer: never a traceback."""
    monkeypatch.setattr(metabase, "START_TIMEOUT_S", 0.0)
    settings = dataclasses.replace(settings, metabase_url="http://127.0.0.1:1", metabase_password="of nobody")
    if not target.is_enabled(settings):
        pytest.skip("off without a setting that this test does not know")
    with pytest.raises(AnalyticsError):
        target.publish(settings, "run")


# These need more than any gold: all its tables, or a server. Their own tests have it.
@pytest.mark.parametrize("target", [target for target in TARGETS if target.name not in {"report", "metabase"}])
def test_target_tells_counts_and_may_be_run_again(target: Target, settings: Settings) -> None:
    firing = "select 'k' as alert_key, 'high' as severity"
    make_gold(settings, alert_of_a_test=firing, dim_of_a_test="select 1 as a_key")
    if target is not TARGETS[0]:
        TARGETS[0].publish(settings, "run")
    first, second = target.publish(settings, "run"), target.publish(settings, "run")
    assert first.target == target.name
    assert first.summary
    assert (first.summary, first.facts) == (second.summary, second.facts)


@each_contract
def test_contract_says_its_grain_and_describes_every_column(contract: Contract) -> None:
    assert contract.grain.startswith("One row per")
    names = contract.schema.names
    assert len(names) == len(set(names))
    assert [field for field in COMMON_FIELDS if not contract.schema.field(field.name).equals(field)] == []
    for field in contract.schema:
        assert (field.metadata or {}).get(b"description", b"").strip(), field.name
        assert re.fullmatch(r"_?[a-z][a-z0-9_]*", field.name), field.name
        if field.name.endswith("_at"):
            assert field.type == pa.timestamp("us"), field.name
        if field.name.startswith(("is_", "has_", "was_")):
            assert field.type == pa.bool_(), field.name


@each_contract
def test_contract_is_a_source_of_dbt(contract: Contract) -> None:
    files = (PROJECT_DIR / "dbt" / "models").rglob("*.yml")
    declared = {
        table["name"]
        for file in files
        for source in yaml.safe_load(file.read_text(encoding="utf-8")).get("sources", [])
        for table in source["tables"]
    }
    assert contract.dataset in declared


def example_of(folder: str) -> dict[str, Any]:
    """What the code of a README defines."""
    readme = (PROJECT_DIR / folder / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    defined: dict[str, Any] = {}
    exec(code, defined)
    return defined


def test_the_example_of_a_source_keeps_the_promises(settings: Settings) -> None:
    source = example_of("analytics/sources")["SOURCE"]
    context = context_of(settings)
    assert not source.is_enabled(settings)
    folder = settings.home_dir / "surveys"
    folder.mkdir(parents=True)
    good = {"session_id": "s1", "rating": 4, "timestamp": "2026-01-02T10:00:00Z"}
    (folder / "a.json").write_text(json.dumps(good), encoding="utf-8")
    (folder / "b.json").write_text('{"rating": 9, "session_id": "s1"}', encoding="utf-8")
    assert source.is_enabled(settings)
    first, second = source.extract(context), source.extract(context)
    assert (first.rows_read, first.rows_loaded, first.rows_rejected, len(first.dead_letters)) == (2, 1, 1, 1)
    assert second.rows_read == 0
    again = source.extract(dataclasses.replace(context, is_full_backfill=True))
    assert again.rows_loaded == 1
    assert len({row["record_id"] for row in committed_rows(settings, source.dataset)}) == 1


def test_the_example_of_a_target_keeps_the_promises(settings: Settings) -> None:
    target = example_of("analytics/targets")["TARGET"]
    with pytest.raises(AnalyticsError):
        target.publish(settings, "run")
    make_gold(settings, dim_projects="select 'app' as project_name")
    TARGETS[0].publish(settings, "run")
    first, second = target.publish(settings, "run"), target.publish(settings, "run")
    assert first.facts == second.facts == {"project_count": 1}
    assert json.loads((settings.published_dir / "projects.json").read_text(encoding="utf-8")) == ["app"]


def test_the_example_of_a_contract_is_one() -> None:
    test_contract_says_its_grain_and_describes_every_column(example_of("analytics/contracts")["CONTRACT"])


@pytest.mark.parametrize("folder", EXTENDED)
def test_folder_that_people_extend_explains_itself_on_one_screen(folder: str) -> None:
    readme = (PROJECT_DIR / folder / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("# ")
    assert len(readme.splitlines()) <= 70
