"""The documents cannot drift: every verb is there, every link leads somewhere, every folder explains itself."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from analytics.cli import build_parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not {".venv", "target", "node_modules"} & set(path.parts) and "data" not in path.relative_to(ROOT).parts[:1]
)


def verbs() -> dict[str, argparse.ArgumentParser]:
    action = next(entry for entry in build_parser()._actions if isinstance(entry, argparse._SubParsersAction))
    return dict(action.choices)


@pytest.mark.parametrize("verb", verbs())
def test_verb_has_help_and_stands_in_the_readme(verb):
    assert verbs()[verb].description
    assert re.search(rf"`{verb}\b|analytics {verb}\b", README), f"README.md does not name `{verb}`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("target", re.findall(r"^([a-z][a-z-]*):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
def test_make_target_stands_in_a_document(target):
    assert any(f"make {target}" in document.read_text(encoding="utf-8") for document in DOCUMENTS)


@pytest.mark.parametrize("stage", ["extract", "load", "transform", "validate", "publish", "ok"])
def test_readme_shows_a_line_of_every_stage(stage):
    assert re.search(rf"^{stage} +\S+", README, re.MULTILINE)


def test_documents_name_no_path_of_a_machine():
    assert not [path for path in DOCUMENTS if re.search(r"/(?:root|work|tmp)/\w", path.read_text(encoding="utf-8"))]
