"""Where simulated releases run, and who watches every change there: users who arrive as time passes, and a monitor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from typing_extensions import override

from banana_delivery.errors import TargetError
from banana_delivery.policy.model import (
    COLOURS,
    Backend,
    Colour,
    Counters,
    Deployment,
    Environment,
    RolloutRecord,
    TrafficSnapshot,
    TrafficSource,
)
from banana_delivery.targets.fake import FakeTarget
from banana_delivery.targets.fake_place import FAILURE_CLASSES, HEALTHY, LATENCY_EDGES, Behaviour, FakePlace
from banana_delivery.targets.restoring import KeptRecord
from tests.chaos.faults import Call, Machine
from tests.chaos.monitor import Monitor, State

USERS_PER_SECOND = 20.0
START_SECONDS = 2.0
"""A replica needs so long until it answers."""
MOVES = frozenset({"deploy", "scale", "set_weights", "traffic"})
CHANGES = frozenset({"claim", "restore", "write", "beat", "release", "deploy", "scale", "set_weights"})
Tally = tuple[int, int]


@dataclass
class SimulatedPlace(FakePlace):
    """Replicas that need time to start, and users who come all the time.

    Attributes:
        now: seconds on the simulated machine.
        loads: requests per second of the probes, by colour.
        versions: how the replicas of a version behave; others are healthy.
        lost: requests of users who were sent where nothing answered.
    """

    now: Callable[[], float] = lambda: 0.0
    loads: Callable[[], dict[Colour, float]] = dict
    lost: int = 0
    versions: dict[str, Behaviour] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    ready_at: dict[tuple[Environment, Colour], float] = field(default_factory=dict)
    _until: float = 0.0
    _owed: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def __post_init__(self) -> None:
        for environment in COLOURS:
            self.records[environment] = RolloutRecord(environment=environment)

    def copy_from(self, other: SimulatedPlace) -> None:
        """Run what another place runs."""
        kept, known = self.records, other.records
        kept.first, kept.copies, kept.stamps = dict(known.first), dict(known.copies), dict(known.stamps)
        for environment in COLOURS:
            self.weights[environment] = dict(other.weights[environment])
            self.deployments[environment] = dict(other.deployments[environment])

    def state(self, environment: Environment) -> State:
        """What is, as one value."""
        deployments = dict(self.deployments[environment])
        answering = frozenset(colour for colour in deployments if self.answers(environment, colour))
        return State(self.settled(environment).record, dict(self.weights[environment]), deployments, answering)

    def is_ready(self, environment: Environment, colour: Colour) -> bool:
        """Whether the replicas of a colour have had the time to start."""
        return self.ready_at.get((environment, colour), 0.0) <= self.now()

    def answers(self, environment: Environment, colour: Colour) -> bool:
        """Whether anything of a colour answers."""
        deployment = self.deployments[environment].get(colour)
        return deployment is not None and deployment.replicas > 0 and self.is_ready(environment, colour)

    def note_start(self, environment: Environment, colour: Colour, before: Deployment | None) -> None:
        """A colour was told to run something else, or to run at all."""
        after = self.deployments[environment][colour]
        if before is None or before.image.digest != after.image.digest or before.replicas == 0:
            self.ready_at[environment, colour] = self.now() + START_SECONDS

    def behaviour(self, environment: Environment, colour: Colour) -> Behaviour:
        """As the digest's, once it has started."""
        behaviour = self.versions.get(self.deployments[environment][colour].image.version, HEALTHY)
        return behaviour if self.is_ready(environment, colour) else replace(behaviour, starting="it starts")

    def arrive(self) -> None:
        """The requests since the last time, by the weights until now."""
        seconds, self._until = self.now() - self._until, self.now()
        if seconds <= 0:
            return
        for colour, weight in self.weights[Environment.PRODUCTION].items():
            if weight:
                self._add(colour, TrafficSource.USER, seconds * USERS_PER_SECOND * weight / 100)
        for colour, rate in self.loads().items():
            self._add(colour, TrafficSource.PROBE, seconds * rate)

    def snapshot(self, environment: Environment, at: float) -> TrafficSnapshot:
        """The counters, and the digest that each running colour reports."""
        running = {colour: item for colour, item in self.deployments[environment].items() if item.replicas}
        backends = {
            key: _counters(*self.tallies.get(key, (0, 0)))
            for colour in COLOURS[environment]
            for source in TrafficSource
            for key in (Backend(colour=colour, source=source).key,)
        }
        digests = {colour: deployment.image.digest for colour, deployment in running.items()}
        return TrafficSnapshot.model_construct(at=at, backends=backends, digests=digests)

    def _add(self, colour: Colour, source: TrafficSource, requests: float) -> None:
        key = f"{colour}/{source}"
        owed = self._owed[key] + requests
        number = int(owed)
        self._owed[key] = owed - number
        deployment = self.deployments[Environment.PRODUCTION].get(colour)
        if deployment is None or not self.answers(Environment.PRODUCTION, colour):
            failed = number
            if source is TrafficSource.USER:
                self.lost += number
        else:
            rate = self.versions.get(deployment.image.version, HEALTHY).error_rate
            failed = round(number * rate)
        before = self.tallies.get(key, (0, 0))
        self.tallies[key] = (before[0] + number, before[1] + failed)


def _but_for_its_number(state: State) -> State:
    return replace(state, record=state.record.replace(revision=0))


def _counters(requests: int, failed: int) -> Counters:
    good = requests - failed
    return Counters.model_construct(
        requests=requests,
        failures={**dict.fromkeys(FAILURE_CLASSES, 0), "5xx": failed},
        latency=dict.fromkeys(LATENCY_EDGES, good),
    )


class SimulatedTarget(FakeTarget):
    """A fake target whose every call may go wrong, with a monitor that sees what each of them did.

    Args:
        place: what it runs on.
        machine: where whoever calls runs.
        monitor: told every change.
    """

    def __init__(self, place: SimulatedPlace, machine: Machine, monitor: Monitor) -> None:
        super().__init__(place, clock=machine.kernel.wall, monotonic=lambda: machine.kernel.now)
        self.simulated = place
        self.machine = machine
        self.monitor = monitor
        self._told: dict[Environment, tuple[KeptRecord, RolloutRecord]] = {}

    @override
    def _record(self, environment: Environment) -> RolloutRecord:
        kept = self.place.settled(environment).record
        known = self._told.get(environment)
        if known is None or known[0] is not kept:
            known = self._told[environment] = kept, kept.told
        return known[1]

    @override
    def _answering(self, method: str) -> Any:
        return _Answering(self, method)


class _Answering(AbstractContextManager[None]):
    """One call of the target, watched."""

    __slots__ = ("_before", "_call", "_method", "_target")

    def __init__(self, target: SimulatedTarget, method: str) -> None:
        self._target, self._method = target, method
        self._call: Call = target.machine.call("target", f"target.{method}", TargetError, changes=method in CHANGES)

    def __enter__(self) -> None:
        self._call.__enter__()
        place = self._target.simulated
        if self._method in MOVES:
            place.arrive()
        if self._method in CHANGES:
            self._before = [place.state(environment) for environment in COLOURS]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and self._method in CHANGES:
            self._compare()
        self._call.__exit__(kind, error, traceback)

    def _compare(self) -> None:
        place, monitor = self._target.simulated, self._target.monitor
        for environment, before in zip(COLOURS, self._before, strict=True):
            after = place.state(environment)
            if after.record is before.record:
                continue  # Whatever changes anything else changes the record in the same breath.
            if _but_for_its_number(after) == _but_for_its_number(before):
                continue  # Giving back what was lost writes what was there.
            for colour, deployment in after.deployments.items():
                if deployment != before.deployments.get(colour):
                    place.note_start(environment, colour, before.deployments.get(colour))
            monitor.saw(self._target.machine, self._method, environment, before, after)
