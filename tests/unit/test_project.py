"""What `pyproject.toml` tells other tools about the pipeline is what the workspace tells Dagster."""

from __future__ import annotations

import tomllib

import yaml

from tests import ROOT


def test_dg_finds_the_definitions_that_the_workspace_loads() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]
    (loaded,) = (one["python_module"] for one in yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"])
    project = told["project"]
    assert told["directory_type"] == "project"
    assert project["code_location_target_module"] == loaded["module_name"]
    assert project["code_location_name"] == loaded["location_name"]
    assert project["root_module"] == loaded["module_name"].partition(".")[0]
