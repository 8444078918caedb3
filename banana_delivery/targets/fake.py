"""A target in memory, for tests: it keeps every rule of the interface on a ``FakePlace`` that does what it is told.

What a fake target runs on: replicas that behave as told, and users who arrive when the test says so.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from typing_extensions import override

from banana_delivery.errors import TargetError
from banana_delivery.policy.drift import Observed
from banana_delivery.policy.model import (
    COLOURS,
    Backend,
    Colour,
    Counters,
    Deployment,
    Environment,
    ImageRef,
    RolloutRecord,
    TrafficSnapshot,
    TrafficSource,
)
from banana_delivery.targets import claims
from banana_delivery.targets.base import Claim, Readiness, ReleaseTarget

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

    @override
    def record(self, environment: Environment) -> RolloutRecord:
        """The record in memory."""
        with self._answering("record"):
            return self._record(environment)

    @override
    def claim(self, environment: Environment, owner: str, *, takeover: bool = False) -> Claim:
        with self._answering("claim"):
            record = self._record(environment)
            claimed = claims.claimed(record, owner, self._clock(), self._stale_after_seconds, takeover=takeover)
            return claims.claim_on(self._store(claimed))

    @override
    def write(self, claim: Claim, record: RolloutRecord) -> RolloutRecord:
        with self._answering("write"):
            return self._store(claims.written(self._record(claim.environment), claim, record, self._clock()))

    @override
    def heartbeat(self, claim: Claim) -> None:
        with self._answering("beat"):
            self._store(self._owned(claim))

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
            return self.place.snapshot(environment, self._clock())

    @override
    def url(self, environment: Environment) -> str:
        """A name that resolves nowhere."""
        return f"http://{environment}.invalid"

    @override
    def probe_url(self, environment: Environment, colour: Colour) -> str:
        """A name that resolves nowhere."""
        return f"http://probe.{environment}.invalid/{colour}"

    @override
    def default_replicas(self, environment: Environment) -> int:
        """One in staging, two in production."""
        return DEFAULT_REPLICAS[environment]

    def _record(self, environment: Environment) -> RolloutRecord:
        return self.place.records.get(environment, RolloutRecord(environment=environment))

    def _owned(self, claim: Claim) -> RolloutRecord:
        return claims.heartbeat(self._record(claim.environment), claim, self._clock())

    def _routed(self, claim: Claim) -> dict[Colour, float]:
        return {colour: float(weight) for colour, weight in self.place.weights[claim.environment].items()}

    def _store(self, record: RolloutRecord) -> RolloutRecord:
        self.place.records[record.environment] = record
        return record

    def _answering(self, method: str) -> threading.RLock:
        """The lock of what runs, for the length of one call, unless the test planned an error for it."""
        with self.place.lock:
            self.place.raise_planned_error(method)
        return self.place.lock


LATENCY_EDGES = ("0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "+Inf")
FAILURE_CLASSES = ("5xx", "connection", "timeout", "gave_up")
BUDGET_SECONDS = 1.0


@dataclass(frozen=True)
class Behaviour:
    """How the replicas of one digest behave; shares are spread evenly, and each begins with the first request.

    Attributes:
        error_rate: share of requests that fail.
        error_class: how they fail, one of ``FAILURE_CLASSES``.
        overload_rate: share of requests turned away with 503.
        slow_rate: share of requests answered later than one second.
        unready: why its replicas never get ready; empty if they do.
        starting: what its replicas are still doing; empty if they are up at once.
        place_at_fault: whether it is the target that keeps them from getting ready.
        reports: the digest its replicas claim to be; empty for the true one.
    """

    error_rate: float = 0.0
    error_class: str = "5xx"
    overload_rate: float = 0.0
    slow_rate: float = 0.0
    unready: str = ""
    starting: str = ""
    place_at_fault: bool = False
    reports: str = ""


HEALTHY = Behaviour()


@dataclass
class FakePlace:
    """The environments themselves: they outlive a target object, and several targets may share them.

    Attributes:
        behaviours: by digest; others are healthy.
        load_per_look: user requests that arrive in production each time its traffic is looked at.
        records: what the environments know about themselves.
        weights: percent of user traffic, as the router has it.
        deployments: what runs.
        lost_routes: by environment, why no user reaches it at all.
    """

    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    load_per_look: int = 0
    records: dict[Environment, RolloutRecord] = field(default_factory=dict)
    weights: dict[Environment, dict[Colour, int]] = field(default_factory=lambda: defaultdict(dict))
    deployments: dict[Environment, dict[Colour, Deployment]] = field(default_factory=lambda: defaultdict(dict))
    lost_routes: dict[Environment, str] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _planned_errors: list[tuple[str, TargetError]] = field(default_factory=list)
    _counted: dict[Backend, Counters] = field(default_factory=dict)
    _served: Counter[tuple[Backend, str]] = field(default_factory=Counter)
    _credit: dict[Colour, int] = field(default_factory=lambda: defaultdict(int))

    def fail_next(self, method: str, sentence: str, times: int = 1) -> None:
        """Let the next calls of a target's method raise ``TargetError`` before they do anything."""
        self._planned_errors.extend((method, TargetError(sentence)) for _ in range(times))

    def raise_planned_error(self, method: str) -> None:
        """Raise what ``fail_next`` planned for this method, once for each time it was planned."""
        for planned in self._planned_errors:
            if planned[0] == method:
                self._planned_errors.remove(planned)
                raise planned[1]

    def edit_weights(self, environment: Environment, weights: dict[Colour, int]) -> None:
        """A person changes the router by hand; the record does not know."""
        with self.lock:
            self.weights[environment] = dict(weights)

    def edit_replicas(self, environment: Environment, colour: Colour, replicas: int) -> None:
        """A person scales a colour by hand; the record does not know."""
        with self.lock:
            self.deployments[environment][colour] = self.deployments[environment][colour].replace(replicas=replicas)

    def delete_replicas(self, environment: Environment, colour: Colour) -> None:
        """A person deletes all that runs of a colour; the record does not know."""
        with self.lock:
            self.deployments[environment].pop(colour, None)

    def edit_release(self, environment: Environment, colour: Colour, image: ImageRef) -> None:
        """A person lets a colour run something else; the record does not know."""
        with self.lock:
            self.deployments[environment][colour] = self.deployments[environment][colour].replace(image=image)

    def restart_router(self) -> None:
        """Every counter starts again from zero, as after a restart."""
        with self.lock:
            self._counted.clear()

    def behaviour(self, environment: Environment, colour: Colour) -> Behaviour:
        """How the replicas of a colour behave."""
        return self.behaviours.get(self.deployments[environment][colour].image.digest, HEALTHY)

    def ready(self, environment: Environment, colour: Colour) -> int:
        """How many replicas of a colour take requests."""
        behaviour = self.behaviour(environment, colour)
        return 0 if behaviour.unready or behaviour.starting else self.deployments[environment][colour].replicas

    def serve(self, environment: Environment, requests: int) -> None:
        """User requests arrive and are split by weight, as a smooth weighted round robin does it."""
        with self.lock:
            for _ in range(requests):
                colour = self._next_colour(environment)
                if colour in self.deployments[environment]:
                    self._count(environment, Backend(colour=colour, source=TrafficSource.USER))

    def probe(self, environment: Environment, colour: Colour, requests: int) -> None:
        """Probe requests arrive at one colour."""
        with self.lock:
            for _ in range(requests if colour in self.deployments[environment] else 0):
                self._count(environment, Backend(colour=colour, source=TrafficSource.PROBE))

    def snapshot(self, environment: Environment, at: float) -> TrafficSnapshot:
        """The counters of every backend, and the digest that each running colour reports."""
        backends = [
            Backend(colour=colour, source=source) for colour in COLOURS[environment] for source in TrafficSource
        ]
        running = {colour: item for colour, item in self.deployments[environment].items() if item.replicas}
        return TrafficSnapshot(
            at=at,
            backends={backend.key: self._counted.get(backend, _zero()) for backend in backends},
            digests={
                colour: self.behaviour(environment, colour).reports or deployment.image.digest
                for colour, deployment in running.items()
            },
        )

    def _next_colour(self, environment: Environment) -> Colour | None:
        weights = {colour: weight for colour, weight in self.weights[environment].items() if weight}
        if not weights or environment in self.lost_routes:
            return None
        for colour, weight in weights.items():
            self._credit[colour] += weight
        chosen = max(weights, key=lambda colour: self._credit[colour])
        self._credit[chosen] -= sum(weights.values())
        return chosen

    def _count(self, environment: Environment, backend: Backend) -> None:
        behaviour = self.behaviour(environment, backend.colour)
        digest = self.deployments[environment][backend.colour].image.digest
        number = self._served[backend, digest]
        self._served[backend, digest] += 1
        self._counted[backend] = _one_more(self._counted.get(backend, _zero()), behaviour, number)


def _zero() -> Counters:
    return Counters(failures=dict.fromkeys(FAILURE_CLASSES, 0), latency=dict.fromkeys(LATENCY_EDGES, 0))


def _one_more(before: Counters, behaviour: Behaviour, number: int) -> Counters:
    """The counters after one more request, the ``number``-th (from 0) that these replicas got."""
    counters = before.replace(requests=before.requests + 1)
    if _strikes(behaviour.error_rate, number):
        failures = {**before.failures, behaviour.error_class: before.failures[behaviour.error_class] + 1}
        return counters.replace(failures=failures)
    if _strikes(behaviour.overload_rate, number):
        return counters.replace(overloads=before.overloads + 1)
    slow = _strikes(behaviour.slow_rate, number)
    latency = {edge: count + (float(edge) > BUDGET_SECONDS or not slow) for edge, count in before.latency.items()}
    return counters.replace(latency=latency)


def _strikes(rate: float, number: int) -> bool:
    return math.ceil((number + 1) * rate) > math.ceil(number * rate)
