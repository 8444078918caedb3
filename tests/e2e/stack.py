"""A running stack, as its users and the people on call reach it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg

from banana_delivery.defs.resources import Resources
from banana_delivery.evaluation.http import HttpEvaluator
from banana_delivery.evaluation.probe import Probe
from banana_delivery.model_registry.publish import publish
from banana_delivery.policy.model import Environment, Outcome, RolloutRecord
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.instance import open_instance
from banana_delivery.sample_data.models import sample_run


@dataclass
class Stack:
    """A running stack, as its users reach it.

    Attributes:
        program: the command line.
        environment: its variables.
        services: the stack's parts, to look at.
        directory: where commands are typed; None for where the tests run.
    """

    program: str
    environment: dict[str, str]
    resources: Resources
    directory: Path | None = None

    def command(self, *arguments: str) -> str:
        """Type a command that has to succeed."""
        done = self.try_command(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def try_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Type a command."""
        return subprocess.run(
            [self.program, *arguments],
            cwd=self.directory,
            env={**self.environment, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def stage(self, sample: str) -> str:
        checkpoint, metrics, params = sample_run(sample)
        return publish(checkpoint, metrics=metrics, params=params, tracking_uri=self.resources.settings.mlflow_url)

    def clients(self, rate: float) -> Probe:
        """Users of production, so many requests a second, with photos of their own."""
        images = [
            replace(image, jpeg=image.encoded, path=None) for image in HttpEvaluator(self.resources.settings).images
        ]
        return Probe(self.resources.release_target.url(Environment.PRODUCTION), images, rate=rate)

    @property
    def production(self) -> RolloutRecord:
        return self.resources.release_target.record(Environment.PRODUCTION)

    def outcomes(self, version: str) -> list[Outcome]:
        with open_instance(self.resources.settings) as instance:
            return [attempt.outcome for attempt in self.audit_log(instance).attempts(version)]

    def until_released(self, version: str) -> None:
        """Wait for a version to be in production; fails at once where its delivery ended otherwise, and says how."""
        until(lambda: self.outcomes(version) != [], f"the end of the delivery of version {version}")
        with open_instance(self.resources.settings) as instance:
            attempts = self.audit_log(instance).attempts(version)
        assert Outcome.RELEASED in [one.outcome for one in attempts], [(one.outcome, one.reason) for one in attempts]

    def audit_log(self, instance: dg.DagsterInstance) -> AuditLog:
        """The audit trail, read with the keys of the home."""
        return AuditLog(instance, CodeLocation.of(self.resources.settings))

    def has_started(self, run_id: str) -> bool:
        with open_instance(self.resources.settings) as instance:
            record = instance.get_run_record_by_id(run_id)
        return record is not None and record.start_time is not None

    def run_of(self, run_id: str) -> dg.DagsterRun:
        with open_instance(self.resources.settings) as instance:
            run = instance.get_run_by_id(run_id)
        assert run is not None
        return run


def until(condition: Callable[[], bool], what: str, seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:.0f} s"
        time.sleep(0.2)
