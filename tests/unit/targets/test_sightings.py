"""Who lives and who is dead, told by a counter and the observer's own clock, however wrong every wall clock is."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banana_delivery.errors import ClaimOutdatedError, FencedError, TargetError
from banana_delivery.policy.model import Environment, RolloutRecord
from banana_delivery.targets.base import Claim, Takeover
from banana_delivery.targets.fake import FakeTarget
from banana_delivery.targets.fake_place import FakePlace
from banana_delivery.targets.sightings import OwnerWatch, Sightings
from tests.support.clock import HandClock

PRODUCTION = Environment.PRODUCTION
PATIENCE, BEAT = 20.0, 2.0
Event = tuple[str, int, float]
"""What happens, to whom, and a number of seconds."""
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["time passes", "somebody looks", "a clock is set", "a machine starts anew"]),
        st.integers(0, 3),
        st.sampled_from([-3600.0, -90.0, -1.0, 1.0, 19.0, 90.0, 120.0, 3600.0]) | st.floats(-1e6, 1e6),
    ),
    max_size=40,
)


@dataclass
class World:
    """One production, its owner, and machines that look at it, each with clocks of its own."""

    folder: Path
    now: float = 0.0
    alive: bool = True
    place: FakePlace = field(default_factory=FakePlace)
    claims: list[Claim] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machines = [Machine(self, number) for number in range(4)]
        self.owner = self.machines[0]
        self.claims.append(self.owner.target.claim(PRODUCTION, "run-1"))

    def wait(self, seconds: float) -> None:
        """Time passes; the owner shows life as long as it lives."""
        end = self.now + seconds
        while self.alive and self.now + BEAT < end:
            self.now += BEAT
            self.owner.target.heartbeat(self.claims[0])
        self.now = end

    def play(self, events: Sequence[Event]) -> None:
        """Let it happen, and look after each event that nobody shares production."""
        for what, number, seconds in events:
            machine = self.machines[number]
            match what:
                case "time passes":
                    self.wait(abs(seconds) % 45)
                case "a clock is set":
                    machine.set_by += seconds
                case "a machine starts anew" if machine is not self.owner:
                    machine.start_anew(seconds)
                case "somebody looks" if machine is not self.owner:
                    machine.look()
            assert len(self.holders) == 1

    @property
    def holders(self) -> list[str]:
        """Who may change production now."""
        return [claim.owner for claim in self.claims if self._holds(claim)]

    def _holds(self, claim: Claim) -> bool:
        record = self.record
        return (record.generation, record.owner) == (claim.generation, claim.owner)

    @property
    def record(self) -> RolloutRecord:
        """Of production."""
        return self.owner.target.record(PRODUCTION)


class Machine:
    """A machine that looks at production, and takes it from who it sees dead."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.set_by, self.starts, self.zero = 0.0, 0, float(number) * 1e5
        self.target = FakeTarget(world.place, clock=self.time)

    def time(self) -> float:
        return self.world.now + self.set_by

    def monotonic(self) -> float:
        return self.world.now + self.zero

    def sleep(self, seconds: float) -> None:
        self.world.wait(seconds)

    def start_anew(self, zero: float) -> None:
        self.starts, self.zero = self.starts + 1, zero

    def look(self) -> None:
        memory = Sightings(self.world.folder / str(self.number), self, f"machine {self.number} start {self.starts}")
        seen = self.target.record(PRODUCTION)
        if OwnerWatch(self.target, memory, PATIENCE, BEAT).is_silent(seen):
            self.world.claims.append(
                self.target.claim(PRODUCTION, f"machine {self.number}", seen=seen, takeover=Takeover.SILENT)
            )


@settings(max_examples=40)
@given(EVENTS)
def test_an_owner_that_lives_is_never_replaced(events: list[Event]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))

        world.play(events)

        assert world.holders == ["run-1"]


@settings(max_examples=40)
@given(EVENTS, EVENTS, st.integers(1, 3))
def test_a_dead_owner_is_always_replaced_after_the_patience_of_one_observer(
    before: list[Event], after: list[Event], number: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.play(before)
        world.alive = False
        world.play(after)
        observer = world.machines[number]

        observer.look()
        seen = world.record
        world.now += PATIENCE + 1
        observer.look()

        assert world.record.owner != "run-1"
        # Whoever took it from the dead before, and has shown no life since either, is replaced like anybody else.
        assert world.record.generation > seen.generation or seen.owner == f"machine {number}"
        assert len(world.holders) == 1


@pytest.mark.parametrize("step", [-3600.0, -90.0, 90.0, 120.0])
def test_a_dead_owner_whose_clock_was_wrong_locks_nobody_out_for_longer(tmp_path: Path, step: float) -> None:
    world = World(tmp_path)
    world.owner.set_by = step
    world.wait(10.0)
    world.alive = False
    observer = world.machines[1]

    observer.look()
    world.now += PATIENCE - 1
    observer.look()
    assert world.holders == ["run-1"]
    world.now += 2
    observer.look()

    assert world.holders == ["machine 1"]


def test_a_record_of_an_earlier_version_holds_no_beats_and_its_owner_is_timed_all_the_same(tmp_path: Path) -> None:
    """Such an owner writes the time of its own clock; that it is another one is a sign of life, what it says is not."""
    clock, target = HandClock(), FakeTarget()
    watch = OwnerWatch(target, Sightings(tmp_path, clock), PATIENCE, BEAT)
    old = {"environment": "production", "generation": 4, "owner": "run-1", "heartbeat": 1_700_000_000.0}

    def beat(heartbeat: float) -> RolloutRecord:
        target.place.records[PRODUCTION] = RolloutRecord.read({**old, "heartbeat": heartbeat})
        return target.record(PRODUCTION)

    for heartbeat in (1_700_000_000.0, 1_700_000_002.0, 1_699_996_400.0, 1_699_996_402.0):
        assert not watch.is_silent(beat(heartbeat))
        clock.now += PATIENCE
    dead = target.record(PRODUCTION)
    assert not watch.is_silent(dead), "It was seen for exactly the patience."
    clock.now += 1

    assert watch.is_silent(dead)
    assert target.claim(PRODUCTION, "reconcile", seen=dead, takeover=Takeover.SILENT).generation == 5


def test_an_owner_that_could_not_write_while_the_place_was_away_gets_its_chance(tmp_path: Path) -> None:
    world = World(tmp_path)
    observer = world.machines[1]
    observer.look()
    world.now += 3600  # Nobody could write anything.

    observer.look()

    assert world.holders == ["run-1"]


def test_a_memory_that_cannot_be_kept_or_read_makes_nobody_dead(tmp_path: Path) -> None:
    clock, target = HandClock(), FakeTarget()
    target.claim(PRODUCTION, "run-1")
    (tmp_path / "file").write_text("in the way")
    nowhere = OwnerWatch(target, Sightings(tmp_path / "file", clock), PATIENCE, BEAT)
    spoiled = OwnerWatch(target, Sightings(tmp_path, clock), PATIENCE, BEAT)
    (tmp_path / "owner-of-production.json").write_text("{")

    for watch in (nowhere, spoiled):
        assert not watch.is_silent(target.record(PRODUCTION))
    clock.now += 3600
    assert not nowhere.is_silent(target.record(PRODUCTION))
    assert spoiled.is_silent(target.record(PRODUCTION))


def test_whoever_wakes_up_after_being_replaced_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.alive = False
    observer = world.machines[2]
    observer.look()
    world.now += PATIENCE + 1
    observer.look()

    with pytest.raises(FencedError):
        world.owner.target.heartbeat(world.claims[0])
    with pytest.raises(ClaimOutdatedError):
        world.owner.target.claim(
            PRODUCTION, "run-1", seen=RolloutRecord(environment=PRODUCTION), takeover=Takeover.SILENT
        )
    with pytest.raises(TargetError, match="machine 2"):
        world.owner.target.claim(PRODUCTION, "run-1")
