"""A machine with the package and an address, and nothing else, delivers, waits, and knows by a number how it went."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from typer.testing import CliRunner, Result

from banana_delivery import cli
from banana_delivery.delivery.ending import remote
from banana_delivery.errors import BananaDeliveryError, DagsterError
from banana_delivery.runs.client import DagsterClient
from tests import ROOT
from tests.support.pipeline import PipelineHarness
from tests.support.served import TOKEN, serve

BETTER, WORSE = 0.95, 0.2


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine that was never set up: no home, no instance, no registry."""
    home = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setenv("BANANA_HOME", str(home / "home"))
    monkeypatch.setenv("BANANA_PAGES_TOKEN", TOKEN)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setattr(remote, "LOOK_SECONDS", 0.05)
    return home


@pytest.fixture
def server(pipeline: PipelineHarness) -> Iterator[str]:
    with serve(pipeline) as url:
        yield url


def deliver(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["deliver", *arguments])


def test_a_release_is_followed_step_by_step_and_ends_with_zero(
    pipeline: PipelineHarness, server: str, elsewhere: Path
) -> None:
    version = pipeline.stage(BETTER)
    page = elsewhere / "page.md"
    done = deliver(version, "--server", server, "--summary", str(page))
    assert done.exit_code == 0, done.output
    assert pipeline.serving == version
    lines = done.output.splitlines()
    assert lines[0].startswith(f"Version {version}: {server}/runs/")
    assert "production_release: done" in lines
    assert lines[-1].startswith(f"Version {version}: released. ")
    assert f"### Version {version}: released" in page.read_text()
    assert not (elsewhere / "home").exists(), "nothing of the pipeline was needed here"


def test_every_other_end_has_a_number_of_its_own(
    pipeline: PipelineHarness, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = {}

    def cancelled_in_the_queue(run: dg.DagsterRun) -> None:
        if run.tags["dagster/partition"] == cancelled:
            pipeline.instance.report_run_canceled(run)

    worse, cancelled, parked = pipeline.stage(WORSE), pipeline.stage(), pipeline.stage(BETTER)
    with serve(pipeline, cancelled_in_the_queue) as server:
        codes["rejected"] = deliver(worse, "--server", server)
        codes["cancelled"] = deliver(cancelled, "--server", server)
        codes["unknown"] = deliver("77", "--server", server)
        pipeline.change(settings=pipeline.resources.settings.model_copy(update={"freeze": True}))
        codes["parked"] = deliver(parked, "--server", server)
    said = {name: (done.exit_code, done.output) for name, done in codes.items()}
    assert {name: code for name, (code, _) in said.items()} == {
        "rejected": 4,
        "cancelled": 7,
        "unknown": 4,
        "parked": 3,
    }, said
    assert "cancelled. A person cancelled the run" in said["cancelled"][1]
    assert f"Version {worse}: rejected. " in said["rejected"][1]


def test_what_cannot_begin_or_be_seen_is_neither_a_release_nor_an_outcome(elsewhere: Path) -> None:
    for arguments, says in {
        ("7", "--server", "http://127.0.0.1:9"): "Dagster does not answer",
        ("7", "--server", "dagster.example.com"): "wants the address",
        ("7", "--server", "https://ada:secret@dagster.example.com"): "must not hold a login",
        ("latest", "--server", "http://127.0.0.1:9"): "name the version by its number",
    }.items():
        with pytest.raises(BananaDeliveryError, match=says) as raised:
            CliRunner().invoke(cli.app, ["deliver", *arguments], catch_exceptions=False)
        assert "secret" not in str(raised.value)


def test_a_launch_whose_answer_is_lost_is_found_and_not_made_twice(
    pipeline: PipelineHarness, server: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = DagsterClient.launch

    def lost(*arguments: Any, **named: Any) -> str:
        real(*arguments, **named)
        raise DagsterError("The answer is lost.")

    monkeypatch.setattr(DagsterClient, "launch", lost)
    version = pipeline.stage(BETTER)
    assert deliver(version, "--server", server).exit_code == 0
    assert len(pipeline.instance.get_runs(dg.RunsFilter(tags={"dagster/partition": version}))) == 1


def test_pages_that_are_away_for_a_while_end_no_waiting(
    pipeline: PipelineHarness, server: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failing = DagsterClient.steps, iter([True, False, True])

    def away(*arguments: Any) -> Any:
        if next(failing, False):
            raise DagsterError("Dagster does not answer.")
        return real(*arguments)

    monkeypatch.setattr(DagsterClient, "steps", away)
    assert deliver(pipeline.stage(BETTER), "--server", server).exit_code == 0


def test_whoever_does_not_wait_leaves_a_run_behind(pipeline: PipelineHarness, server: str, elsewhere: Path) -> None:
    done = deliver(pipeline.stage(BETTER), "--server", server, "--no-wait")
    assert done.exit_code == 0
    assert "released" not in done.output


def shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a step of a CI server as it runs it: a shell that stops at the first failure."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, **variables}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_steps_of_the_ci_servers_do_what_they_say(pipeline: PipelineHarness, server: str, elsewhere: Path) -> None:
    (step,) = yaml.safe_load((ROOT / ".github/actions/deliver/action.yml").read_text())["runs"]["steps"]
    _, component = yaml.safe_load_all((ROOT / "templates/deliver.yml").read_text())
    (line,) = component["deliver-model"]["script"]
    output, page = elsewhere / "output", elsewhere / "summary.md"
    told = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(page), "SERVER": server, "TIMEOUT": "600"}
    better, worse = pipeline.stage(BETTER), pipeline.stage(WORSE)

    released = shell(step["run"], elsewhere, VERSION=better, PARKED_IS_FAILURE="true", **told)
    assert released.returncode == 0, released.stdout + released.stderr
    assert output.read_text() == "exit-code=0\n"
    assert f"### Version {better}: released" in page.read_text()

    gitlab = {"DAGSTER_SERVER": server, "DELIVERY_TIMEOUT": "600", "DELIVERED_VERSION": worse}
    rejected = shell(line, elsewhere, **gitlab)
    assert rejected.returncode == 4, rejected.stdout + rejected.stderr
    assert f"### Version {worse}: rejected" in (elsewhere / "delivery.md").read_text()

    strange = shell(step["run"], elsewhere, VERSION='7"; touch owned; "', PARKED_IS_FAILURE="true", **told)
    assert (strange.returncode, output.read_text()) == (2, "exit-code=0\nexit-code=2\n")
    assert not (elsewhere / "owned").exists()
