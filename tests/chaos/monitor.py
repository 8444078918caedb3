"""Sees every change of an environment as it happens, and knows what may never be, whoever did it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from banana_delivery.policy.model import (
    Colour,
    Deployment,
    Environment,
    ImageRef,
    Phase,
    RollbackIntent,
    RolloutRecord,
)
from tests.chaos.faults import Machine


@dataclass(frozen=True)
class State:
    """An environment: what it says of itself, and what is."""

    record: RolloutRecord
    weights: dict[Colour, int]
    deployments: dict[Colour, Deployment]
    answering: frozenset[Colour] = frozenset()

    def users_on(self, colour: Colour) -> int:
        """Percent of user traffic."""
        return self.weights.get(colour, 0)

    @property
    def served(self) -> int:
        """Percent of user traffic that goes where something answers."""
        return sum(weight for colour, weight in self.weights.items() if colour in self.answering)


@dataclass
class Monitor:
    """What happened to the environments, seen from outside the product.

    Attributes:
        broken: what may never be and was, one sentence each.
        promoted: every release that became production's active one, with the thread that did it.
        revoked: versions whose rollback was begun and that were not released since.
        overridden: versions that a person let in again.
        intents: every rollback that was begun.
        at_phase: what happens as soon as production's record shows a phase, once.
    """

    broken: list[str] = field(default_factory=list)
    promoted: list[tuple[str, ImageRef]] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)
    overridden: set[str] = field(default_factory=set)
    intents: list[RollbackIntent] = field(default_factory=list)
    at_phase: dict[Phase, list[Callable[[], None]]] = field(default_factory=dict)
    _holders: dict[Environment, set[int]] = field(default_factory=dict)

    def saw(
        self,
        machine: Machine,
        method: str,
        environment: Environment,
        before: State,
        after: State,
    ) -> None:
        """Take a change into account."""
        process = machine.kernel.process
        pid = process.pid if process else 0
        self._fences(method, environment, before, after, pid)
        if method == "beat":
            return
        machine.tell(f"{environment}: {_difference(before, after)}")
        if environment is not Environment.PRODUCTION:
            return
        on_the_way_back = not process or not process.name.startswith("run") or "(rollback" in process.name
        if after.record.phase is not before.record.phase:
            for happens in self.at_phase.pop(after.record.phase, ()):
                happens()
        self._users(before, after, on_the_way_back=on_the_way_back)
        intent = after.record.intent
        if (
            intent
            and intent != before.record.intent
            and (not before.record.intent or intent.at != before.record.intent.at)
        ):
            self.intents.append(intent)
            self.revoke(intent.bad.version)
        live = after.record.live
        if live and (before.record.live is None or live.digest != before.record.live.digest):
            self.promoted.append((machine.kernel.thread.name if machine.kernel.thread else "world", live))
            self.revoked.discard(live.version)

    def revoke(self, version: str) -> None:
        """A rollback of a version was begun; what people said of it before is spent."""
        self.revoked.add(version)
        self.overridden.discard(version)

    def _fences(self, method: str, environment: Environment, before: State, after: State, pid: int) -> None:
        holders = self._holders.setdefault(environment, set())
        if method in {"claim", "restore"}:
            if after.record.generation != before.record.generation:
                holders.clear()
            holders.add(pid)
        elif pid not in holders:
            self.broken.append(
                f"Process {pid} changed {environment} by {method} after it had lost its claim, which "
                f"{before.record.owner or 'nobody'} has."
            )

    def _users(self, before: State, after: State, *, on_the_way_back: bool) -> None:
        if after.served < before.served:
            self.broken.append(f"{after.served} % of users were where something answers, and {before.served} % before.")
        for colour, weight in after.weights.items():
            deployment = after.deployments.get(colour)
            if deployment and weight > before.users_on(colour) and not on_the_way_back:
                version = deployment.image.version
                if version in self.revoked and version not in self.overridden:
                    self.broken.append(f"Version {version} got {weight} % of users although it was revoked.")


def _difference(before: State, after: State) -> str:
    said = [
        f"{name} {_short(getattr(before.record, name))} -> {_short(getattr(after.record, name))}"
        for name in ("owner", "generation", "phase", "active", "candidate", "previous", "rolled_back", "intent", "note")
        if getattr(before.record, name) != getattr(after.record, name)
    ]
    if before.weights != after.weights:
        said.append("users " + " ".join(f"{colour}={weight}" for colour, weight in after.weights.items()))
    for colour, deployment in after.deployments.items():
        if before.deployments.get(colour) != deployment:
            said.append(f"{colour} runs version {deployment.image.version} x{deployment.replicas}")
    return ", ".join(said) or "a sign of life"


def _short(value: object) -> str:
    if isinstance(value, ImageRef):
        return f"version {value.version}"
    if isinstance(value, RollbackIntent):
        return f"(version {value.bad.version} out, {value.good.version if value.good else 'nothing'} in)"
    return str(value) if value not in {None, ""} else "-"
