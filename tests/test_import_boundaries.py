"""Who may touch what, as CONTRIBUTING.md says it, read from every import and call there is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics.config import PROJECT_DIR

MODULES = sorted(path for folder in ("analytics", "flows") for path in (PROJECT_DIR / folder).rglob("*.py"))
# What moves data or drives it. Nothing that a stage calls may call back.
STAGES = {"cli", "extractor", "loader", "pipeline", "publisher", "transformer", "validator"}
TOOLS = {"config", "errors", "files", "limits", "result", "webhook"}
MAY_IMPORT = {
    "contracts": {"contracts"},
    "records": TOOLS | {"contracts", "lake", "records", "redactor"},
    "sources": TOOLS | {"contracts", "lake", "records", "redactor", "sample", "sources", "workers"},
    "targets": TOOLS | {"cards", "dictionary", "lake", "sample", "targets", "warehouse"},
}
# The snapshot is what the other targets read.
READ_BY_ALL = {"analytics.targets.snapshot"}


def name_of(path: Path) -> str:
    parts = path.relative_to(PROJECT_DIR).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[str]:
    """Every module that this one imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def environment_reads(path: Path) -> Iterator[int]:
    """Lines that look a variable up. Writing one, or handing all of them to a child, is no reading."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            is_read = ast.unparse(node.func) in {"os.getenv", "os.environ.get", "dict"} and "environ" in ast.unparse(
                node
            )
        elif isinstance(node, ast.Subscript):
            is_read = isinstance(node.ctx, ast.Load) and ast.unparse(node.value) == "os.environ"
        else:
            is_read = False
        if is_read:
            yield node.lineno


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    name = name_of(path)
    imported = set(imports_of(path))
    if not name.startswith("flows"):
        assert not {module for module in imported if module.split(".")[0] in {"prefect", "flows"}}
    layer = name.split(".")[1] if "." in name else ""
    ours = {module.split(".")[1] for module in imported if module.startswith("analytics.")} & {
        *(entry.stem for entry in (PROJECT_DIR / "analytics").iterdir()),
    }
    if layer in MAY_IMPORT:
        assert ours <= MAY_IMPORT[layer], f"{name} imports {sorted(ours - MAY_IMPORT[layer])}"
    if layer == "lake":
        assert not ours & (STAGES | {"sources", "targets"})


@pytest.mark.parametrize("path", [path for path in MODULES if {"sources", "targets"} & set(path.parts)], ids=name_of)
def test_sources_and_targets_do_not_know_each_other(path: Path) -> None:
    name = name_of(path)
    package, own = ".".join(name.split(".")[:2]), ".".join(name.split(".")[:3])
    siblings = {f"{package}.{entry.stem}" for entry in (PROJECT_DIR / package.replace(".", "/")).iterdir()}
    foreign = {
        module
        for module in imports_of(path)
        if ".".join(module.split(".")[:3]) in siblings - {own, f"{package}.__init__"} - READ_BY_ALL
    }
    assert name == package or not foreign


# flows/deployments.py asks one question that is Prefect's and not ours: is there a server?
# workers.py puts back what it hid from dbt and from its processes.
@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if name_of(path) not in {"analytics.config", "analytics.workers", "flows.deployments"}],
    ids=name_of,
)
def test_only_config_reads_the_environment(path: Path) -> None:
    assert list(environment_reads(path)) == []


def test_only_the_lake_names_where_commits_are() -> None:
    """Who cannot name the folder cannot make a commit, and what no commit lists is nobody's data."""
    naming = {name_of(path) for path in MODULES if re.search(r"\b_commits\b", path.read_text(encoding="utf-8"))}
    assert naming == {"analytics.lake", "analytics.lake.upkeep"}


@pytest.mark.parametrize("folder", ["dbt", "great_expectations", "tests"])
def test_no_folder_hides_a_package(folder: str) -> None:
    """An `__init__.py` in `dbt/` or `great_expectations/` would be imported in place of the tool."""
    assert not list((PROJECT_DIR / folder).rglob("__init__.py"))
