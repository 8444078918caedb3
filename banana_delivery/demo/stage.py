"""The stage: publishing, waiting for the pipeline to do its work, and looking at how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg

from banana_delivery.dagster_client import DagsterClient
from banana_delivery.delivery.attempts import ACTOR_TAG
from banana_delivery.delivery.history import History
from banana_delivery.demo.acts import Act
from banana_delivery.demo.errors import DemoError
from banana_delivery.jobs import PIPELINE
from banana_delivery.policy.releases import AttemptRecord
from banana_delivery.services import Services

LONGEST_ACT_SECONDS = 480.0
FRAME_SECONDS = 0.5


@dataclass
class Stage:
    """Plays acts on a running stack.

    Attributes:
        services: the stack's parts, to look at.
        instance: the stack's Dagster instance, to read the audit trail.
        versions: the version of each act played so far.
    """

    services: Services
    instance: dg.DagsterInstance
    versions: list[str]

    def begin(self, act: Act) -> str:
        """Stage a sample, or launch the backfill; from here on nobody touches anything.

        Returns:
            The version that is delivered.
        """
        if act.sample:
            from examples.publish import publish, sample_run

            checkpoint, metrics, params = sample_run(act.sample)
            version = publish(
                checkpoint, metrics=metrics, params=params, tracking_uri=self.services.settings.mlflow_url
            )
        else:
            version = self.versions[act.redeploys - 1]
            client = DagsterClient(self.services.settings.dagster_url)
            client.backfill(PIPELINE, [version], {ACTOR_TAG: "demo"})
        self.versions.append(version)
        return version

    def wait(self, version: str, since: float, frame: Callable[[], None]) -> AttemptRecord:
        """Wait for the line in the audit trail.

        Args:
            version: what is being delivered.
            since: only attempts that ended after this count, seconds since the epoch.
            frame: draws one frame of the live view.

        Raises:
            DemoError: if there is none in time.
        """
        deadline = time.monotonic() + LONGEST_ACT_SECONDS
        history = History(self.instance)
        while time.monotonic() < deadline:
            frame()
            attempt = next((one for one in history.attempts(version) if one.at > since), None)
            if attempt:
                return attempt
            time.sleep(FRAME_SECONDS)
        raise DemoError(
            f"Version {version} was not delivered within {LONGEST_ACT_SECONDS:.0f} s; "
            f"look at {self.services.settings.dagster_url}/runs"
        )
