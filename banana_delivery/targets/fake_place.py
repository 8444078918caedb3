"""What a fake target runs on: replicas that behave as told, and users who arrive when the test says so."""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

from banana_delivery.errors import TargetError
from banana_delivery.policy.model import (
    COLOURS,
    Backend,
    Colour,
    Counters,
    Deployment,
    Environment,
    ImageRef,
    TrafficSnapshot,
    TrafficSource,
)
from banana_delivery.targets.fake_records import FakeRecords
from banana_delivery.targets.restoring import Settled

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
        unfinished_rate: share of uploads that their clients break off half-sent.
        unready: why its replicas never get ready; empty if they do.
        starting: what its replicas are still doing; empty if they are up at once.
        place_at_fault: whether it is the target that keeps them from getting ready.
        reports: the digest its replicas claim to be; empty for the true one.
    """

    error_rate: float = 0.0
    error_class: str = "5xx"
    overload_rate: float = 0.0
    slow_rate: float = 0.0
    unfinished_rate: float = 0.0
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
    records: FakeRecords = field(default_factory=FakeRecords)
    weights: dict[Environment, dict[Colour, int]] = field(default_factory=lambda: defaultdict(dict))
    deployments: dict[Environment, dict[Colour, Deployment]] = field(default_factory=lambda: defaultdict(dict))
    lost_routes: dict[Environment, str] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _planned_errors: list[tuple[str, TargetError]] = field(default_factory=list)
    _counted: dict[Backend, Counters] = field(default_factory=dict)
    _served: Counter[tuple[Backend, str]] = field(default_factory=Counter)
    _credit: dict[Colour, int] = field(default_factory=lambda: defaultdict(int))

    def settled(self, environment: Environment) -> Settled:
        """What is believed of an environment."""
        deployments = self.deployments[environment].items()
        return self.records.settled(environment, tuple(colour for colour, it in deployments if it.replicas))

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

    def token(self, environment: Environment, colour: Colour) -> str:
        """What the probe proves itself by to a colour; empty where nothing runs."""
        deployment = self.deployments[environment].get(colour)
        return f"token of {deployment.image.digest}" if deployment else ""

    def probe(self, environment: Environment, colour: Colour, requests: int, token: str) -> None:
        """Requests that say they are the probe's arrive at one colour; without its token they are a user's."""
        with self.lock:
            proven = token == self.token(environment, colour)
            backend = Backend(colour=colour, source=TrafficSource.PROBE if proven else TrafficSource.USER)
            for _ in range(requests if colour in self.deployments[environment] else 0):
                self._count(environment, backend)

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
        if backend.source is TrafficSource.PROBE:
            behaviour = replace(behaviour, unfinished_rate=0.0)  # It sends all that it begins.
        digest = self.deployments[environment][backend.colour].image.digest
        number = self._served[backend, digest]
        self._served[backend, digest] += 1
        self._counted[backend] = _one_more(self._counted.get(backend, _zero()), behaviour, number)


def _zero() -> Counters:
    return Counters(failures=dict.fromkeys(FAILURE_CLASSES, 0), latency=dict.fromkeys(LATENCY_EDGES, 0))


def _one_more(before: Counters, behaviour: Behaviour, number: int) -> Counters:
    """The counters after one more request, the ``number``-th (from 0) that these replicas got."""
    if _strikes(behaviour.unfinished_rate, number):
        return before.replace(unfinished=before.unfinished + 1)
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
