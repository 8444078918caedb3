"""One code location beside another team's in a plain ``dagster dev``, as docs/existing-dagster.md has it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from banana_delivery.errors import DagsterError
from banana_delivery.policy.model import Outcome
from banana_delivery.runs.client import FINISHED, DagsterClient
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.settings import Settings
from tests import ROOT
from tests.e2e.stack import until
from tests.support.other_teams import THEIRS

pytestmark = [pytest.mark.e2e, pytest.mark.long]
PREFIX = "team/bananas"
START_SECONDS = 300.0
SHOWN = """
query {
  assetNodes { assetKey { path } repository { location { name } } }
  repositoriesOrError { ... on RepositoryConnection { nodes {
    location { name } sensors { name sensorState { status } } schedules { name scheduleState { status } }
  } } }
}
"""
WORKSPACE = {
    "load_from": [
        {"python_module": {"module_name": "banana_delivery.definitions", "location_name": "banana-delivery"}},
        {
            "python_module": {
                "module_name": "tests.support.other_teams",
                "location_name": THEIRS,
                "attribute": "DEFINITIONS",
            }
        },
    ]
}
INSTANCE = {"telemetry": {"enabled": False}, "concurrency": {"pools": {"granularity": "run"}}}
"""What a Dagster of somebody else has; the pool's limit is what nobody has typed yet."""


@dataclass(frozen=True)
class Shared:
    """A Dagster with both.

    Attributes:
        url: of its pages.
        client: what our command line asks it by.
        environment: the variables of whoever types there.
    """

    url: str
    client: DagsterClient
    environment: dict[str, str]

    def ask(self, query: str) -> dict[str, Any]:
        answer = httpx.post(f"{self.url}/graphql", json={"query": query}, timeout=60, trust_env=False).json()
        assert not answer.get("errors"), answer
        return dict(answer["data"])

    def dagster(self, *arguments: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "dagster", *arguments], env=self.environment, check=True, capture_output=True
        )


@contextmanager
def dagster_dev(folder: Path, prefix: str) -> Iterator[Shared]:
    """Both code locations, loaded by one ``dagster dev``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    instance = folder / "dagster"
    instance.mkdir()
    (instance / "dagster.yaml").write_text(yaml.safe_dump(INSTANCE))
    (folder / "workspace.yaml").write_text(yaml.safe_dump(WORKSPACE))
    ours = {"BANANA_HOME": str(folder / "home"), "BANANA_DAGSTER_PREFIX": prefix, "DAGSTER_HOME": str(instance)}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("BANANA_", "MLFLOW_"))}
    environment = {**inherited, **ours, "PYTHONPATH": str(ROOT)}
    command = ("dev", "--workspace", str(folder / "workspace.yaml"), "--host", "127.0.0.1", "--port", str(port))
    url = f"http://127.0.0.1:{port}"
    with (folder / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", *command], cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            until(lambda: loaded(url), "both code locations", START_SECONDS)
            yield Shared(url, DagsterClient(url, CodeLocation.of(Settings(dagster_prefix=prefix))), environment)
        finally:
            process.terminate()
            process.wait(timeout=60)


def loaded(url: str) -> bool:
    """Whether both code locations are there."""
    query = "query { workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } } }"
    try:
        answer = httpx.post(f"{url}/graphql", json={"query": query}, timeout=30, trust_env=False).json()
    except (httpx.HTTPError, json.JSONDecodeError):
        return False
    entries = answer["data"]["workspaceOrError"].get("locationEntries", [])
    return [entry["loadStatus"] for entry in entries] == ["LOADED", "LOADED"]


def test_without_a_prefix_a_delivery_is_refused_and_the_other_team_is_named(tmp_path: Path) -> None:
    with dagster_dev(tmp_path, "") as shared, pytest.raises(DagsterError) as refused:
        shared.client.launch("deliver", "1", {})
    assert THEIRS in str(refused.value)
    assert "BANANA_DAGSTER_PREFIX" in str(refused.value)


def test_with_a_prefix_both_are_shown_nothing_starts_by_itself_and_the_pool_is_asked_for(tmp_path: Path) -> None:
    with dagster_dev(tmp_path, PREFIX) as shared:
        shown = shared.ask(SHOWN)
        keys = {
            "/".join(node["assetKey"]["path"]): node["repository"]["location"]["name"] for node in shown["assetNodes"]
        }
        assert (keys["image"], keys[f"{PREFIX}/image"]) == (THEIRS, "banana-delivery")
        nodes = shown["repositoriesOrError"]["nodes"]
        (ours,) = [node for node in nodes if node["location"]["name"] == "banana-delivery"]
        states = [each["sensorState"]["status"] for each in ours["sensors"]]
        states += [each["scheduleState"]["status"] for each in ours["schedules"]]
        assert len(states) == 8
        assert set(states) == {"STOPPED"}

        shared.client.add_partition("1")
        refused = delivered(shared)
        assert refused.outcome is Outcome.ERROR
        assert "type: dagster instance concurrency set delivery 1" in refused.reason

        shared.dagster("instance", "concurrency", "set", "delivery", "1")
        # Now it begins, and finds that no MLflow is where the settings of this test say.
        begun = delivered(shared)
        assert "concurrency set" not in begun.reason


def delivered(shared: Shared) -> Any:
    """What became of a delivery of version 1."""
    run_id = shared.client.launch("deliver", "1", {})
    until(lambda: shared.client.steps(run_id)[0] in FINISHED, "the end of the run", START_SECONDS)
    until(lambda: shared.client.attempt(run_id, "1") is not None, "its line", 60)
    return shared.client.attempt(run_id, "1")
