"""A target in memory, for tests: it keeps every rule of the interface on a ``FakePlace`` that does what it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from banana_delivery.policy.records import Colour, Environment, ImageRef, RolloutRecord, TrafficSnapshot
from banana_delivery.targets import fencing
from banana_delivery.targets.base import Claim, Observed, Readiness, ReleaseTarget
from banana_delivery.targets.fake_place import FakePlace

DEFAULT_REPLICAS = {Environment.STAGING: 1, Environment.PRODUCTION: 2}


class FakeTarget(ReleaseTarget):
    """The fake; what a test does to it, it does to its place.

    Args:
        place: the environments; fresh ones if none are given.
        stale_after_seconds: an owner silent for longer is dead.
        clock: seconds since the epoch.

    Attributes:
        place: the environments.
        calls: the changes that went through, in order, for example ``set_weights production blue=100 green=0``.
    """

    def __init__(
        self,
        place: FakePlace | None = None,
        *,
        stale_after_seconds: float = 20.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.place = place or FakePlace()
        self.calls: list[str] = []
        self._stale_after_seconds = stale_after_seconds
        self._clock = clock

    def record(self, environment: Environment) -> RolloutRecord:
        """The record in memory."""
        with self._answering("record"):
            return self._record(environment)

    def claim(self, environment: Environment, owner: str, *, steal: bool = False) -> Claim:
        """See the interface."""
        with self._answering("claim"):
            record = self._record(environment)
            claimed = fencing.claimed(record, owner, self._clock(), self._stale_after_seconds, steal=steal)
            return fencing.claim_on(self._store(claimed))

    def write(self, claim: Claim, record: RolloutRecord) -> RolloutRecord:
        """See the interface."""
        with self._answering("write"):
            return self._store(fencing.written(self._record(claim.environment), claim, record, self._clock()))

    def beat(self, claim: Claim) -> None:
        """See the interface."""
        with self._answering("beat"):
            self._store(self._owned(claim))

    def release(self, claim: Claim) -> None:
        """See the interface."""
        with self._answering("release"):
            self._store(fencing.released(self._record(claim.environment), claim))

    def deploy(self, claim: Claim, colour: Colour, image: ImageRef, replicas: int) -> None:
        """See the interface."""
        with self._answering("deploy"):
            before = self._owned(claim)
            record = self._store(fencing.deployed(before, colour, image, replicas))
            self.place.deployments[claim.environment][colour] = record.deployments[colour]
            if record.weights != before.weights:
                self.place.weights[claim.environment] = dict(record.weights)
            self.calls.append(f"deploy {claim.environment} {colour} {image.version} x{replicas}")

    def scale(self, claim: Claim, colour: Colour, replicas: int) -> None:
        """See the interface."""
        with self._answering("scale"):
            record = self._store(fencing.scaled(self._owned(claim), colour, replicas))
            self.place.deployments[claim.environment][colour] = record.deployments[colour]
            self.calls.append(f"scale {claim.environment} {colour} x{replicas}")

    def set_weights(self, claim: Claim, weights: dict[Colour, int]) -> None:
        """See the interface."""
        with self._answering("set_weights"):
            record = self._store(fencing.weighted(self._owned(claim), weights))
            self.place.weights[claim.environment] = dict(record.weights)
            split = " ".join(f"{colour}={weight}" for colour, weight in record.weights.items())
            self.calls.append(f"set_weights {claim.environment} {split}")

    def readiness(self, environment: Environment, colour: Colour) -> Readiness:
        """As the behaviour of the colour's digest says."""
        with self._answering("readiness"):
            deployment = self.place.deployments[environment].get(colour)
            if deployment is None:
                return Readiness(ready=0, wanted=0, failure=fencing.never_deployed(environment, colour))
            behaviour = self.place.behaviour(environment, colour)
            ready = 0 if behaviour.unready or behaviour.starting else deployment.replicas
            return Readiness(
                ready, deployment.replicas, behaviour.unready, behaviour.starting, behaviour.place_at_fault
            )

    def observed(self, environment: Environment) -> Observed:
        """What the place has, hand edits included."""
        with self._answering("observed"):
            deployments = self.place.deployments[environment]
            return Observed(
                weights=dict(self.place.weights[environment]),
                replicas={colour: deployment.replicas for colour, deployment in deployments.items()},
                digests={colour: deployment.image.digest for colour, deployment in deployments.items()},
            )

    def traffic(self, environment: Environment) -> TrafficSnapshot:
        """The counters; production's users arrive just before they are read."""
        with self._answering("traffic"):
            if environment is Environment.PRODUCTION:
                self.place.serve(environment, self.place.load_per_look)
            return self.place.snapshot(environment, self._clock())

    def url(self, environment: Environment) -> str:
        """A name that resolves nowhere."""
        return f"http://{environment}.invalid"

    def probe_url(self, environment: Environment, colour: Colour) -> str:
        """A name that resolves nowhere."""
        return f"http://probe.{environment}.invalid/{colour}"

    def default_replicas(self, environment: Environment) -> int:
        """One in staging, two in production."""
        return DEFAULT_REPLICAS[environment]

    def _record(self, environment: Environment) -> RolloutRecord:
        return self.place.records.get(environment, RolloutRecord(environment=environment))

    def _owned(self, claim: Claim) -> RolloutRecord:
        return fencing.beaten(self._record(claim.environment), claim, self._clock())

    def _store(self, record: RolloutRecord) -> RolloutRecord:
        self.place.records[record.environment] = record
        return record

    def _answering(self, method: str) -> threading.RLock:
        """The place's lock, for the length of one call, unless the test planned an error for it."""
        with self.place.lock:
            self.place.raise_planned_error(method)
        return self.place.lock
