"""Who works on the installation in a seed: stagings, people who deliver, roll back, cancel and override."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from banana_delivery.delivery.recovery import resume
from banana_delivery.delivery.rescue.emergency import EmergencyRollback
from banana_delivery.errors import NothingToRollBackError
from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind, ManualDecision
from banana_delivery.policy.model import COLOURS, Colour, Environment, Phase
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.targets.fake_place import Behaviour
from banana_delivery.waiting import SYSTEM_CLOCK
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
            self._rolls_back_in_the_pages,
            self._edits_by_hand,
            self._damages_the_record,
            self._works_beside_us,
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

    def _rolls_back_in_the_pages(self, chance: random.Random, version: str) -> None:
        wanted = chance.choice(("", version))
        self._at(
            chance.uniform(5.0, 120.0), f"Jo starts a rollback {wanted}", lambda: self.world.launch_rollback(wanted)
        )

    def _edits_by_hand(self, chance: random.Random, version: str) -> None:
        """Somebody meddles with what runs, and lets the work go on where it is held for that."""
        at = chance.uniform(5.0, 120.0)
        edit = chance.choice((_splits_the_users, _deletes, _scales_to_nothing))
        colour = chance.choice(COLOURS[Environment.PRODUCTION])
        self._at(at, f"Kim {edit.__name__.strip('_')} on {colour}", lambda: edit(self.world, colour))
        world = self.world

        def let_it_go_on() -> None:
            while True:
                world.kernel.sleep(PATIENCE_SECONDS)
                if world.production.phase is Phase.DRIFTED:
                    with suppress(*EXPECTED):
                        resume(world.target, Environment.PRODUCTION, "Kim", SYSTEM_CLOCK)

        def sit_down_again() -> None:
            if world.machine.faults.on:  # Whoever's terminal died types it again.
                sit_down(PATIENCE_SECONDS)

        def sit_down(delay: float) -> None:
            desk = world.machine.hosts["desk"]
            world.kernel.start("Kim resumes", desk, let_it_go_on, delay=delay, on_end=sit_down_again)

        sit_down(at)

    def _damages_the_record(self, chance: random.Random, version: str) -> None:
        """The first copy of a record is lost, or an older one is put back, as whoever restores a backup does."""
        at, lasts = chance.uniform(5.0, 100.0), chance.choice((0.0, chance.uniform(1.0, 40.0)))
        environment, records = chance.choice(tuple(Environment)), self.world.place.records
        old: dict[str, Any] = {}

        def damage() -> None:
            if lasts:
                records.first[environment] = old["record"]
            else:
                records.first.pop(environment)
            self.world.machine.tell(f"the record of {environment} is {'an old one' if lasts else 'gone'}")

        if lasts:
            self._at(at, "Lou keeps a record", lambda: old.update(record=records.first[environment]))
        self._at(at + lasts + 0.1, "Lou spoils a record", damage)

    def _works_beside_us(self, chance: random.Random, version: str) -> None:
        """Another team's job of the same name fails on this instance."""
        self._at(chance.uniform(5.0, 60.0), "Another team", lambda: self.world.fail_a_foreign_run(version))

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
        rollback = EmergencyRollback(world.target, world.resources.recorder, audit_log, lambda _: None, world.images)
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


def _splits_the_users(world: World, colour: Colour) -> None:
    if {colour, colour.other} <= world.place.deployments[Environment.PRODUCTION].keys():
        world.place.arrive()
        world.place.edit_weights(Environment.PRODUCTION, {colour: 70, colour.other: 30})


def _deletes(world: World, colour: Colour) -> None:
    world.place.arrive()
    world.place.delete_replicas(Environment.PRODUCTION, colour)


def _scales_to_nothing(world: World, colour: Colour) -> None:
    if colour in world.place.deployments[Environment.PRODUCTION]:
        world.place.arrive()
        world.place.edit_replicas(Environment.PRODUCTION, colour, 0)
