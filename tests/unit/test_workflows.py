"""The files by which CI servers start a delivery, or test this project: what a linter of workflows would say."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from banana_delivery.policy.outcomes import CONSEQUENCES, NOTHING_KNOWN, exit_codes
from tests import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((GITHUB / "workflows").glob("*.yml"))}
ACTION = yaml.safe_load((GITHUB / "actions/deliver/action.yml").read_text())
SPEC, COMPONENT = yaml.safe_load_all((ROOT / "templates/deliver.yml").read_text())
MAKE_TARGETS = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def steps() -> Iterator[dict[str, Any]]:
    yield from ACTION["runs"]["steps"]
    for workflow in WORKFLOWS.values():
        for job in workflow["jobs"].values():
            yield from job["steps"]


def scripts() -> list[str]:
    return [*(one["run"] for one in steps() if "run" in one), *COMPONENT["deliver-model"]["script"]]


def test_a_delivery_starts_when_a_training_job_says_so_or_a_person_does() -> None:
    # YAML takes the word `on` for a truth value.
    triggers = WORKFLOWS["deploy-model"][True]
    assert triggers["repository_dispatch"]["types"] == ["new_model_ready"]
    assert triggers["workflow_dispatch"]["inputs"]["version"]["required"] is True


def test_nothing_of_a_strangers_is_written_into_a_script() -> None:
    assert len(scripts()) > 5
    assert [script for script in scripts() if "${{" in script or "$[[" in script] == []
    quoted = [re.findall(r"\S*\$(?!\()\w+\S*", re.sub(r'"[^"]*"', "", script)) for script in scripts()]
    assert not any(quoted), "a variable without quotes is several words"


@pytest.mark.parametrize("script", scripts())
def test_a_shell_can_read_the_scripts(script: str) -> None:
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("script", [script for script in scripts() if "make " in script])
def test_the_scripts_make_what_can_be_made(script: str) -> None:
    assert set(re.findall(r"\bmake ([\w./-]+)", script)) <= MAKE_TARGETS


def test_actions_of_others_are_named_by_commit() -> None:
    used = [one["uses"] for one in steps() if "uses" in one]
    assert [one for one in used if not one.startswith("./") and not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one)] == []
    assert all((ROOT / one / "action.yml").is_file() for one in used if one.startswith("./"))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_only_read_and_ends(name: str) -> None:
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] > 0 for job in workflow["jobs"].values())
    checkouts = [one for one in steps() if "checkout" in one.get("uses", "")]
    assert all(one["with"]["persist-credentials"] is False for one in checkouts)


def test_every_python_that_the_package_takes_is_tested() -> None:
    least, most = re.findall(
        r"3\.(\d+)", tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    )
    tested = WORKFLOWS["ci"]["jobs"]["fast"]["strategy"]["matrix"]["python"]
    assert tested == [f"3.{minor}" for minor in range(int(least), int(most))]


def test_the_inputs_that_are_given_are_inputs_and_those_that_are_wanted_are_given() -> None:
    given = next(one["with"] for one in steps() if one.get("uses") == "./.github/actions/deliver")
    wanted = {name for name, one in ACTION["inputs"].items() if one.get("required")}
    assert wanted <= given.keys() <= ACTION["inputs"].keys()
    used = re.findall(r"inputs\.([\w-]+)", yaml.safe_dump(ACTION["runs"]))
    assert set(used) == ACTION["inputs"].keys()
    used = re.findall(r"\$\[\[ inputs\.(\w+) \]\]", yaml.safe_dump(COMPONENT))
    assert set(used) == SPEC["spec"]["inputs"].keys()


def test_a_waiting_job_outlasts_the_delivery_that_it_waits_for() -> None:
    minutes = WORKFLOWS["deploy-model"]["jobs"]["deliver"]["timeout-minutes"]
    assert minutes * 60 > float(ACTION["inputs"]["timeout"]["default"])


def test_every_outcome_has_an_exit_code_that_the_documents_tell() -> None:
    page = (ROOT / "docs/triggers.md").read_text()
    told = {
        outcome: int(code)
        for code, outcomes in re.findall(r"^\| (\d) \| ([\w, ]+) \|", page, re.MULTILINE)
        for outcome in outcomes.split(", ")
    }
    assert told == {**{str(key): row.exit_code for key, row in CONSEQUENCES.items()}, "not known": NOTHING_KNOWN}
    assert [code for code, row in told.items() if row == 0] == ["released"]
    assert exit_codes() == (
        "Exit codes: 0 released, 3 parked, 4 rejected, 5 rolled back, 6 error, 7 superseded or cancelled; "
        "2 it never began, or how it ends is not known."
    )
    assert re.findall(r"\d (?:\w+ ?)+", ACTION["outputs"]["exit-code"]["description"])
