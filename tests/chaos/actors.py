"""Who works on the installation in a seed: stagings, people who deliver, roll back, cancel and override."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from banana_delivery.delivery.rescue.emergency import EmergencyRollback
from banana_delivery.errors import NothingToRollBackError
from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind, ManualDecision
from banana_delivery.policy.model import Phase
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.targets.fake_place import Behaviour
from tests.chaos.faults import DatabaseAwayError
from tests.chaos.kernel import Process
from tests.chaos.world import EXPECTED, World

TRIES = 3
"""A person types a command that failed again, but not for ever."""
MOMENTS = (*3 * (Phase.PROMOTING,), Phase.WATCHING, Phase.SHIFTING, Phase.COMPARING, Phase.ROLLING_BACK)
PATIENCE_SECONDS = 15.0
BROKEN = Behaviour(error_rate=1.0)


@dataclass
class Cast:
    """The people and the stagings of one seed.

    Attributes:
        world: what they work on.
        rollbacks: what each rollback that ended well said.
        overrides: versions that somebody let in again.
        people: their processes.
        last: when the last of them begins, seconds after the first.
    """

    world: World
    rollbacks: list[AttemptRecord] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    last: float = 0.0
    people: list[Process] = field(default_factory=list)

    def enter(self, chance: random.Random) -> None:
        """Choose who comes, and when."""
        versions = [self._staged(chance, 0.0)]
        if chance.random() < 0.3:
            versions.append(self._staged(chance, chance.uniform(0.0, 40.0)))
        plots: list[Callable[[random.Random, str], None]] = [
            self._rolls_back,
            self._rolls_back_in_a_phase,
            self._rolls_back_in_a_phase,
            self._rolls_back_by_name,
            self._two_roll_back,
            self._cancels,
            self._delivers_again,
            self._turns_bad,
            self._overrides,
        ]
        for plot in chance.sample(plots, chance.choice((0, 1, 2, 2, 3))):
            plot(chance, chance.choice(versions))

    def __post_init__(self) -> None:
        self.begin = self.world.kernel.now

    def is_over(self) -> bool:
        """Whether everybody has done what they came for, and every delivery has ended."""
        world = self.world
        return (
            world.kernel.now > self.begin + self.last + 15.0
            and not world.unfinished()
            and not any(person.alive for person in self.people)
        )

    def _staged(self, chance: random.Random, at: float) -> str:
        """Somebody stages a new version; some of them are broken."""
        world = self.world
        version = world.publish(BROKEN if chance.random() < 0.3 else None)
        if chance.random() < 0.15:
            world.evaluator.broken[version] = "it answers nonsense"
        self._at(at, f"staging of {version}", lambda: world.registry.stage(version))
        return version

    def _rolls_back(self, chance: random.Random, version: str) -> None:
        self._person(chance, "Bea", "")

    def _rolls_back_in_a_phase(self, chance: random.Random, version: str) -> None:
        """Somebody types just when a delivery gets so far: the narrowest moments are met more often than by chance."""
        after, wanted, name = chance.uniform(0.0, 0.1), chance.choice(("", version)), f"Ira {len(self.people)}"

        pause = chance.choice((0.0, 15.0))

        def type_it() -> None:
            if pause and self.world.kernel.process:
                # Whoever got so far sleeps just now, and finds another world when it wakes.
                self.world.machine.freeze(self.world.kernel.process, pause)
            self._at(self.world.kernel.now - self.begin + after, name, lambda: self._insist(name, wanted))

        self.world.monitor.at_phase.setdefault(chance.choice(MOMENTS), []).append(type_it)

    def _rolls_back_by_name(self, chance: random.Random, version: str) -> None:
        self._person(chance, "Cy", version)

    def _two_roll_back(self, chance: random.Random, version: str) -> None:
        at = chance.uniform(5.0, 90.0)
        self._person(chance, "Dan", "", at)
        self._person(chance, "Eve", chance.choice(("", version)), at + chance.uniform(0.0, 2.0))

    def _cancels(self, chance: random.Random, version: str) -> None:
        def cancel() -> None:
            for run_id in self.world.unfinished():
                self.world.instance.run_coordinator.cancel_run(run_id)

        self._at(chance.uniform(5.0, 60.0), "Fay cancels", cancel)

    def _delivers_again(self, chance: random.Random, version: str) -> None:
        at = chance.uniform(20.0, 120.0)
        self._at(at, f"Gil delivers {version}", lambda: self.world.launch(version))

    def _turns_bad(self, chance: random.Random, version: str) -> None:
        def turn() -> None:
            self.world.place.arrive()
            self.world.place.versions[version] = BROKEN

        self._at(chance.uniform(40.0, 100.0), f"version {version} turns bad", turn)

    def _overrides(self, chance: random.Random, version: str) -> None:
        def override() -> None:
            world = self.world
            decision = ManualDecision(
                kind=DecisionKind.OVERRIDE, version=version, by="Hal", reason="It must.", at=world.kernel.wall()
            )
            # Even if the answer is lost, it may be on record.
            self.overrides.append(version)
            world.monitor.overridden.add(version)
            world.audit_log.record_decision(decision)
            world.launch(version)

        self._at(chance.uniform(60.0, 150.0), f"Hal overrides {version}", override)

    def _person(self, chance: random.Random, name: str, version: str, at: float | None = None) -> None:
        when = chance.uniform(5.0, 120.0) if at is None else at
        self._at(when, f"{name} rolls back {version}".rstrip(), lambda: self._insist(name, version))

    def _insist(self, name: str, version: str) -> None:
        world = self.world
        for _ in range(TRIES):
            try:
                self.rollbacks.append(self._type_rollback(name, version))
            except NothingToRollBackError as answer:
                world.machine.tell(f"is told: {answer}")
            except EXPECTED as failure:
                world.machine.tell(f"is told: {failure}")
                world.kernel.sleep(PATIENCE_SECONDS)
                continue
            return

    def _type_rollback(self, name: str, version: str) -> AttemptRecord:
        world = self.world
        audit_log: AuditLog | None = world.audit_log
        try:
            world.instance.get_runs(limit=1)
        except DatabaseAwayError:
            audit_log = None
        rollback = EmergencyRollback(world.target, world.resources.recorder, audit_log, lambda _: None)
        return rollback.roll_back(actor=name, reason="It harms users.", version=version)

    def _at(self, at: float, name: str, act: Callable[[], object]) -> None:
        world = self.world
        self.last = max(self.last, at)

        def live() -> None:
            try:
                act()
            except EXPECTED as failure:
                world.machine.tell(f"is told: {failure}")
            except Exception as error:  # noqa: BLE001 - looked at in the end
                world.unexpected.append((name, error))

        delay = at - (world.kernel.now - self.begin)
        process = world.kernel.start(name, world.machine.hosts["desk"], live, delay=delay)
        self.people.append(process)
