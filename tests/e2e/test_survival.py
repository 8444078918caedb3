"""A stack that somebody works with: stage, kill, restart, ask. One stack for the whole file: starting it is slow."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from banana_delivery.build import build_services
from banana_delivery.delivery.history import History
from banana_delivery.delivery.worker import WORKER_TAG
from banana_delivery.instance import open_instance
from banana_delivery.policy.outcomes import Outcome
from banana_delivery.policy.records import Environment, Phase, RolloutRecord
from banana_delivery.services import Services
from banana_delivery.settings import Settings
from banana_delivery.traffic.http_evidence import HttpEvidence
from banana_delivery.traffic.probe import Probe
from examples.publish import publish, sample_run

pytestmark = pytest.mark.e2e


@dataclass
class Stack:
    """A running stack, as its users reach it."""

    program: str
    environment: dict[str, str]
    services: Services

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.program, *arguments],
            env={**self.environment, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stage(self, sample: str) -> str:
        checkpoint, metrics, params = sample_run(sample)
        return publish(checkpoint, metrics=metrics, params=params, tracking_uri=self.services.settings.mlflow_url)

    @property
    def production(self) -> RolloutRecord:
        return self.services.target.record(Environment.PRODUCTION)

    def outcomes(self, version: str) -> list[Outcome]:
        with open_instance(self.services.settings) as instance:
            return [attempt.outcome for attempt in History(instance).attempts(version)]

    def run_of(self, run_id: str) -> dg.DagsterRun:
        with open_instance(self.services.settings) as instance:
            run = instance.get_run_by_id(run_id)
        assert run is not None
        return run


def until(condition: Callable[[], bool], what: str, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def stack(stack_environment: dict[str, str], program: str) -> Iterator[Stack]:
    """The stack, up, with a release in production: what the demonstration left, or a first one."""
    home = str(Path(stack_environment["BANANA_HOME"]) / "demo")
    environment = {**stack_environment, "BANANA_HOME": home, "BANANA_PLAN": "demo"}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        patched.delenv("DAGSTER_HOME", raising=False)
        running = Stack(program, environment, build_services(Settings()))
        try:
            said = running.command("up")
            assert str(running.services.settings.production_port) in said
            if running.production.live is None:
                version = running.stage("modest")
                until(lambda: Outcome.RELEASED in running.outcomes(version), "the first release")
            yield running
        finally:
            subprocess.run([program, "down"], env=environment, check=False, timeout=120)


def test_a_run_that_is_killed_in_the_shift_leaves_one_stable_colour_and_loses_no_request(stack: Stack) -> None:
    live = stack.production.live
    assert live is not None
    images = HttpEvidence(stack.services.settings).images
    with Probe(stack.services.target.url(Environment.PRODUCTION), images, rate=15.0) as clients:
        version = stack.stage("better")
        until(lambda: stack.production.phase is Phase.SHIFTING, "the shift")
        run_id = stack.production.owner
        assert run_id is not None
        os.kill(int(stack.run_of(run_id).tags[WORKER_TAG].split(":")[2]), signal.SIGKILL)
        until(lambda: stack.production.owner is None, "taking production back", 90)
        until(lambda: stack.run_of(run_id).is_finished, "failing the run", 60)
        until(lambda: stack.outcomes(version) == [Outcome.ERROR], "writing the attempt down", 60)
    record = stack.production
    assert (record.phase, record.live) == (Phase.IDLE, live)
    assert record.weights == record.resting_weights
    assert stack.run_of(run_id).status is dg.DagsterRunStatus.FAILURE
    assert clients.failed_requests() == []
    told = [notice for notice in stack.services.notifier.told() if notice.key.startswith(run_id)]
    assert len(told) == 1


def test_production_serves_the_same_release_after_down_and_up(stack: Stack) -> None:
    before = stack.production
    stack.command("down")
    stack.command("up")
    after = stack.production
    assert (after.live, after.weights) == (before.live, before.weights)
    assert before.live is not None
    observed = stack.services.target.observed(Environment.PRODUCTION)
    assert observed.weights == before.weights
    assert before.live.digest[:19] in stack.command("status")


def test_what_was_delivered_by_command_can_be_rolled_back_by_command(stack: Stack) -> None:
    first = stack.production.live
    stack.command("deliver", "latest")
    second = stack.production.live
    assert first is not None
    assert second is not None
    assert second.digest != first.digest
    stack.command("rollback", "--reason", "The night shift did not like it.")
    assert stack.production.live == first
    assert stack.outcomes(second.version)[0] is Outcome.ROLLED_BACK
