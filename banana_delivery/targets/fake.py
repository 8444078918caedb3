"""A target in memory, for tests: it keeps every rule of the interface on a ``FakePlace`` that does what it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from typing_extensions import override

from banana_delivery.policy.drift import Observed
from banana_delivery.policy.model import (
    Colour,
    Environment,
    ImageRef,
    RolloutRecord,
    TrafficSnapshot,
)
from banana_delivery.targets import claims, restoring
from banana_delivery.targets.base import Claim, Readiness, RecordDamage, ReleaseTarget, Takeover
from banana_delivery.targets.fake_place import FakePlace
from banana_delivery.targets.restoring import Running

DEFAULT_REPLICAS = {Environment.STAGING: 1, Environment.PRODUCTION: 2}


class FakeTarget(ReleaseTarget):
    """The fake; what a test does to it, it does to its place.

    Args:
        place: the environments; fresh ones if none are given.
        clock: seconds since the epoch, for people.
        monotonic: seconds from anywhere, only go forward; the same as ``clock`` if none is given.

    Attributes:
        place: the environments.
        calls: the changes that went through, in order, for example ``set_weights production blue=100 green=0``.
    """

    def __init__(
        self,
        place: FakePlace | None = None,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self.place = place or FakePlace()
        self.calls: list[str] = []
        self._clock = clock
        self._monotonic = monotonic or clock

    @override
    def record(self, environment: Environment) -> RolloutRecord:
        """The record in memory."""
        with self._answering("record"):
            return self._record(environment)

    @override
    def damage(self, environment: Environment) -> RecordDamage | None:
        with self._answering("record"):
            return self.place.settled(environment).damage

    @override
    def rebuild(self, environment: Environment, active: Colour | None = None) -> RolloutRecord:
        images = {colour: deployment.image for colour, deployment in self.place.deployments[environment].items()}
        answering = {colour: self.readiness(environment, colour).ready for colour in images}
        newest = max(self.place.records.found(environment), key=lambda found: found.order).record
        running = Running(self.observed(environment), images, answering)
        return restoring.rebuilt(environment, running, newest.told if newest else None, active)

    @override
    def restore(self, record: RolloutRecord, owner: str) -> Claim:
        with self._answering("restore"):
            records, environment = self.place.records, record.environment
            first, copy = records.found(environment)
            base = restoring.above(environment, record, first, copy, records.traces(environment))
            claimed = claims.claimed(base, owner, self._clock())
            return claims.claim_on(records.store(claimed, restoring.next_revision(first, copy)))

    @override
    def claim(
        self,
        environment: Environment,
        owner: str,
        *,
        seen: RolloutRecord | None = None,
        takeover: Takeover | None = None,
    ) -> Claim:
        with self._answering("claim"):
            record = self._record(environment)
            claimed = claims.claimed(record, owner, self._clock(), seen=seen, takeover=takeover)
            return claims.claim_on(self._store(claimed))

    @override
    def write(self, claim: Claim, record: RolloutRecord) -> RolloutRecord:
        with self._answering("write"):
            return self._store(claims.written(self._record(claim.environment), claim, record, self._clock()))

    @override
    def heartbeat(self, claim: Claim, look: str | None = None) -> None:
        with self._answering("beat"):
            self._store(claims.heartbeat(self._record(claim.environment), claim, self._clock(), look))

    @override
    def release(self, claim: Claim) -> None:
        with self._answering("release"):
            self._store(claims.released(self._record(claim.environment), claim))

    @override
    def deploy(self, claim: Claim, colour: Colour, image: ImageRef, replicas: int) -> None:
        with self._answering("deploy"):
            before = self._owned(claim)
            record = self._store(claims.deployed(before, colour, image, replicas, self._routed(claim)))
            self.place.deployments[claim.environment][colour] = record.deployments[colour]
            if record.weights != before.weights:
                self.place.weights[claim.environment] = dict(record.weights)
            self.calls.append(f"deploy {claim.environment} {colour} {image.version} x{replicas}")

    @override
    def scale(self, claim: Claim, colour: Colour, replicas: int) -> None:
        with self._answering("scale"):
            record = self._store(claims.scaled(self._owned(claim), colour, replicas, self._routed(claim)))
            self.place.deployments[claim.environment][colour] = record.deployments[colour]
            self.calls.append(f"scale {claim.environment} {colour} x{replicas}")

    @override
    def set_weights(self, claim: Claim, weights: dict[Colour, int]) -> None:
        with self._answering("set_weights"):
            record = self._store(claims.weighted(self._owned(claim), weights))
            self.place.weights[claim.environment] = dict(record.weights)
            self.place.lost_routes.pop(claim.environment, None)
            split = " ".join(f"{colour}={weight}" for colour, weight in record.weights.items())
            self.calls.append(f"set_weights {claim.environment} {split}")

    @override
    def readiness(self, environment: Environment, colour: Colour) -> Readiness:
        """As the behaviour of the colour's digest says."""
        with self._answering("readiness"):
            deployment = self.place.deployments[environment].get(colour)
            if deployment is None:
                return Readiness(ready=0, wanted=0, failure=claims.never_deployed(environment, colour))
            behaviour = self.place.behaviour(environment, colour)
            return Readiness(
                self.place.ready(environment, colour),
                deployment.replicas,
                behaviour.unready,
                behaviour.starting,
                behaviour.place_at_fault,
            )

    @override
    def observed(self, environment: Environment) -> Observed:
        """What runs, hand edits included."""
        with self._answering("observed"):
            deployments = self.place.deployments[environment]
            return Observed(
                weights=dict(self.place.weights[environment]),
                replicas={colour: deployment.replicas for colour, deployment in deployments.items()},
                digests={colour: deployment.image.digest for colour, deployment in deployments.items()},
                ready={colour: self.place.ready(environment, colour) for colour in deployments},
                route=self.place.lost_routes.get(environment, ""),
            )

    @override
    def traffic(self, environment: Environment) -> TrafficSnapshot:
        """The counters; production's users arrive just before they are read."""
        with self._answering("traffic"):
            if environment is Environment.PRODUCTION:
                self.place.serve(environment, self.place.load_per_look)
            return self.place.snapshot(environment, self._monotonic())

    @override
    def url(self, environment: Environment) -> str:
        """A name that resolves nowhere."""
        return f"http://{environment}.invalid"

    @override
    def probe_url(self, environment: Environment, colour: Colour) -> str:
        """A name that resolves nowhere."""
        return f"http://probe.{environment}.invalid/{colour}"

    @override
    def probe_token(self, environment: Environment, colour: Colour) -> str:
        """One for each release."""
        return self.place.token(environment, colour)

    @override
    def default_replicas(self, environment: Environment) -> int:
        """One in staging, two in production."""
        return DEFAULT_REPLICAS[environment]

    def _record(self, environment: Environment) -> RolloutRecord:
        return self.place.settled(environment).record.told

    def _owned(self, claim: Claim) -> RolloutRecord:
        return claims.heartbeat(self._record(claim.environment), claim, self._clock())

    def _routed(self, claim: Claim) -> dict[Colour, float]:
        return {colour: float(weight) for colour, weight in self.place.weights[claim.environment].items()}

    def _store(self, record: RolloutRecord) -> RolloutRecord:
        settled = self.place.settled(record.environment)
        if settled.is_restored:
            self.place.weights[record.environment] = dict(record.weights)
        return self.place.records.store(record, settled.record.revision + 1)

    def _answering(self, method: str) -> threading.RLock:
        """The lock of what runs, for the length of one call, unless the test planned an error for it."""
        with self.place.lock:
            self.place.raise_planned_error(method)
        return self.place.lock
