"""The files by which a CI server tests this project: what a linter of workflows would say."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests import ROOT

WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
MAKE_TARGETS = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def steps() -> Iterator[dict[str, Any]]:
    for workflow in WORKFLOWS.values():
        for job in workflow["jobs"].values():
            yield from job["steps"]


def scripts() -> list[str]:
    return [one["run"] for one in steps() if "run" in one]


def test_nothing_of_a_strangers_is_written_into_a_script() -> None:
    assert len(scripts()) > 5
    assert [script for script in scripts() if "${{" in script] == []


@pytest.mark.parametrize("script", scripts())
def test_a_shell_can_read_the_scripts_and_make_has_what_they_make(script: str) -> None:
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False).returncode == 0
    assert set(re.findall(r"\bmake ([\w./-]+)", script)) <= MAKE_TARGETS


def test_actions_of_others_are_named_by_commit() -> None:
    used = [one["uses"] for one in steps() if "uses" in one]
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one)] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read_and_ends(name: str) -> None:
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] > 0 for job in workflow["jobs"].values())
    checkouts = [one for one in steps() if "checkout" in one.get("uses", "")]
    assert all(one["with"]["persist-credentials"] is False for one in checkouts)
