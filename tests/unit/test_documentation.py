"""What the documents tell people to type, and where they send them, exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from banana_delivery.cli import app
from banana_delivery.policy.outcomes import CONSEQUENCES
from banana_delivery.settings import Settings
from tests import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:)([^)#]+)[^)]*\)")
COMMAND = re.compile(r"(?:^ {4}|`|&& )(?:\.venv/bin/)?banana-delivery ([a-z]+(?:-[a-z]+)*)", re.MULTILINE)
TARGET = re.compile(r"(?:^ {4}|`)make ([a-z0-9-]+)", re.MULTILINE)
VARIABLE = re.compile(r"\bBANANA_([A-Z0-9_]+)\b(?!\*)")

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@each_document
def test_links_lead_to_files(document: Path) -> None:
    missing = [link for link in LINK.findall(document.read_text()) if not (document.parent / link).exists()]
    assert not missing


@each_document
def test_commands_exist(document: Path) -> None:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert set(COMMAND.findall(document.read_text())) <= commands


@each_document
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(TARGET.findall(document.read_text())) <= targets


@each_document
def test_variables_are_settings(document: Path) -> None:
    settings = {name.upper() for name in Settings.model_fields}
    assert set(VARIABLE.findall(document.read_text())) <= settings


def test_the_readme_tells_outcomes_as_the_code_has_them() -> None:
    readme = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| (\w+) \|.*\| (SUCCESS|FAILURE|CANCELED) \| ([^|]*) \|", readme, re.MULTILINE)
    told = {outcome: (status, "leaves the staged set" in registry) for outcome, status, registry in rows}
    assert told == {str(key): (str(row.run_status), row.clears_staging) for key, row in CONSEQUENCES.items()}
