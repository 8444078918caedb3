"""Whatever happens to a delivery, second by second: the users are with somebody, and nothing bad is promoted.

The delivery's own loop runs, with its lease and its way back; only where releases run, and the time, are in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.rollback import restore_traffic, rollback_on_exit
from banana_delivery.delivery.traffic_shift import SAY_SECONDS, TrafficShift
from banana_delivery.errors import DriftError, FencedError
from banana_delivery.policy.asset_records import ShiftStep
from banana_delivery.policy.model import Colour, Environment, ImageRef, Phase, TrafficSource
from banana_delivery.policy.rollout.decision import Action, ActionKind
from banana_delivery.policy.rollout.plan import Plan, Step, ab_step, all_steps, release_steps
from banana_delivery.policy.rollout.trial.tried import MOST_TRIALS
from banana_delivery.targets.fake import FakeTarget
from banana_delivery.targets.fake_place import Behaviour
from tests.support.claims import steal

PRODUCTION, GREEN, BLUE = Environment.PRODUCTION, Colour.GREEN, Colour.BLUE
PLAN = Plan(
    name="short",
    ab_seconds=6,
    steps=(30, 100),
    step_seconds=4,
    watch_seconds=6,
    ab_minimum_seconds=2,
    step_minimum_seconds=1,
    watch_minimum_seconds=2,
    minimum_sample=30,
)
STEPS = [(step.kind, step.weight) for step in all_steps(PLAN)]
LONGEST_SECONDS = 2500


def image(version: str) -> ImageRef:
    return ImageRef(repository="fake", digest="sha256:" + version * 64, version=version, key="key")


OLD, NEW = image("1"), image("2")


@dataclass(frozen=True)
class Second:
    """How both releases behave from now on, and how many users come each second."""

    candidate: float = 0.0
    active: float = 0.0
    users: int = 40
    slow: float = 0.0


Event = Second | str
"""What happens in a second; ``cancel``, ``taken`` and ``edit`` are somebody's."""
SECONDS = st.builds(
    Second,
    candidate=st.sampled_from((0.0, 0.0, 0.02, 0.2, 1.0)),
    active=st.sampled_from((0.0, 0.0, 0.0, 0.2, 1.0)),
    users=st.sampled_from((0, 3, 40, 90)),
    slow=st.sampled_from((0.0, 0.0, 0.5)),
)
STORIES = st.lists(st.one_of(SECONDS, SECONDS, SECONDS, st.sampled_from(("cancel", "taken", "edit"))), max_size=14)


@dataclass
class Rate:
    """The probe's load on one colour."""

    rate: float = 0.0

    def set_rate(self, requests_per_second: float) -> None:
        assert math.isfinite(requests_per_second)
        assert requests_per_second >= 0
        self.rate = requests_per_second


@dataclass
class World:
    """Production with a release and a candidate, and what happens there."""

    story: list[Event]
    now: float = 1000.0
    loads: dict[Colour, Rate] = field(default_factory=lambda: {GREEN: Rate(), BLUE: Rate()})
    changes_at_takeover: int | None = None
    promoted: bool = False

    def __post_init__(self) -> None:
        self.target = FakeTarget(clock=lambda: self.now)
        self.target.place.load_per_look = 40
        claim = self.target.claim(PRODUCTION, "before")
        for colour, release in ((BLUE, OLD), (GREEN, NEW)):
            self.target.deploy(claim, colour, release, 1)
        self.target.set_weights(claim, {BLUE: 100})
        self.target.write(claim, self.target.record(PRODUCTION).replace(active=BLUE))
        self.target.release(claim)
        self.lease = Lease(self.target, PRODUCTION, "run", heartbeat_seconds=3600.0)
        self.shift: TrafficShift

    def sleep(self, seconds: float) -> None:
        """Time passes, and the next thing happens."""
        self.now += seconds
        assert self.now < 1000 + LONGEST_SECONDS, "The delivery never ends."
        for colour, load in self.loads.items():
            token = self.target.place.token(PRODUCTION, colour)
            self.target.place.probe(PRODUCTION, colour, round(load.rate), token)
        self.check()
        if self.story:
            self.happen(self.story.pop(0))

    def happen(self, event: Event) -> None:
        place = self.target.place
        if isinstance(event, Second):
            place.load_per_look = event.users
            place.behaviours[NEW.digest] = Behaviour(error_rate=event.candidate, slow_rate=event.slow)
            place.behaviours[OLD.digest] = Behaviour(error_rate=event.active)
        elif event == "cancel":
            raise KeyboardInterrupt
        elif event == "edit":
            place.edit_weights(PRODUCTION, {BLUE: 55, GREEN: 45})
        elif self.changes_at_takeover is None:
            claim = steal(self.target, PRODUCTION, "rescuer")
            restore_traffic(self.target, claim)
            self.changes_at_takeover = len(self.target.calls)

    def check(self) -> None:
        """What holds at every moment."""
        record = self.target.record(PRODUCTION)
        assert sum(record.weights.values()) == 100
        assert record.active is (GREEN if self.promoted else BLUE)
        done = len(self.done)
        if self.changes_at_takeover is None and not self.promoted and done < len(STEPS):
            assert record.weights[GREEN] <= STEPS[done][1]

    @property
    def done(self) -> list[ShiftStep]:
        """The steps that do not begin again."""
        return [step for step in self.shift.steps if step.decision != ActionKind.RESUME.value]

    def stage(self, work: Callable[[], Action]) -> Action:
        """An asset's part of the road: whatever ends it before the promotion, the traffic goes back."""
        with rollback_on_exit(self.target, self.lease) as guard:
            action = work()
            if action.kind is ActionKind.PROMOTE:
                self.lease.enter(Phase.PROMOTING, active=GREEN, candidate=None)
                self.promoted = True
                guard.disarm()
        return action

    def deliver(self) -> Action:
        with self.lease:
            self.shift = TrafficShift(
                self.target, self.lease, PLAN, GREEN, NEW, self.loads[GREEN], lambda _: None, self.sleep
            )
            self.shift.control = self.loads[BLUE]
            action = self.stage(lambda: self.shift.run(ab_step(PLAN)))
            if action.kind is not ActionKind.SET_WEIGHT:
                return action
            return self.stage(self.release)

    def release(self) -> Action:
        self.target.deploy(self.lease.claim, GREEN, NEW, 1)  # After the A/B nothing of it was left running.
        step: Step | None = release_steps(PLAN)[0]
        while step:
            action = self.shift.run(step)
            step = action.step
        return action


def told(world: World) -> str:
    """How a delivery ended, in a word."""
    try:
        return world.deliver().kind.value
    except (KeyboardInterrupt, FencedError, DriftError) as end:
        return type(end).__name__


@given(story=STORIES)
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_happens_somebody_serves_all_users_and_no_step_is_skipped(story: list[Event]) -> None:
    world = World(list(story))
    end = told(world)
    record = world.target.record(PRODUCTION)
    number = 0
    for step in world.shift.steps:
        assert (step.metrics.kind, step.metrics.weight or STEPS[number][1]) == STEPS[number]
        number += step.decision != ActionKind.RESUME.value
    assert len(world.shift.steps) - len(world.done) < MOST_TRIALS
    assert sum(record.weights.values()) == 100
    assert record.active is (GREEN if end == ActionKind.PROMOTE.value else BLUE)
    if end == "DriftError":
        assert (record.phase, bool(record.note)) == (Phase.DRIFTED, True)
    elif "edit" not in story:
        assert record.weights == record.resting_weights
    if world.changes_at_takeover is not None and end != ActionKind.PROMOTE.value:
        assert len(world.target.calls) == world.changes_at_takeover, "Whoever was fenced changed something."
    for step in world.shift.steps:
        figures = [step.metrics.seconds, *(one.failed / max(one.requests, 1) for one in step.metrics.sources.values())]
        assert all(math.isfinite(figure) for figure in figures)


@given(story=st.lists(SECONDS, max_size=14))
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_who_fails_half_of_the_users_beside_a_sound_release_never_goes_on(story: list[Event]) -> None:
    world = World(list(story))
    told(world)
    for step in world.shift.steps:
        users = step.metrics.sources[TrafficSource.USER]
        if users.requests >= 20 and 2 * users.failed >= users.requests and not step.metrics.active.failed:
            assert step.decision not in {ActionKind.SET_WEIGHT.value, ActionKind.PROMOTE.value}


def test_a_moment_that_only_users_met_costs_a_sound_candidate_a_step_that_begins_again() -> None:
    world = World([*[Second()] * 12, Second(candidate=1.0), Second()])
    assert told(world) == ActionKind.PROMOTE.value
    assert len(world.shift.steps) == len(world.done) + 1
    [again] = [step for step in world.shift.steps if step.decision == ActionKind.RESUME.value]
    assert "The step begins again (1 of 3 times)." in again.reason
    assert again.metrics.tried.trials == 1
    assert "Users were sent away once before" in world.done[-1].reason


def test_the_users_that_a_trial_costs_are_on_record_where_the_step_begins_again_too() -> None:
    world = World([*[Second()] * 12, Second(candidate=1.0), Second()])
    told(world)
    [again] = [step for step in world.shift.steps if step.decision == ActionKind.RESUME.value]
    one_look = 40 * again.metrics.weight // 100
    seen = again.metrics.sources[TrafficSource.USER].requests
    assert seen > 5 * one_look, "The step ended after a few looks; the others are of the trial's three groups."


def test_a_step_that_is_paused_for_long_does_not_look_hung_and_its_evidence_is_told_in_order() -> None:
    world, said = World([*[Second(candidate=0.02)] * 12, Second()]), list[str]()
    with world.lease:
        world.shift = TrafficShift(
            world.target, world.lease, PLAN, GREEN, NEW, world.loads[GREEN], said.append, world.sleep
        )
        world.shift.control = world.loads[BLUE]
        world.shift.paused = lambda: "Ada" if 1005 < world.now < 1300 else ""
        assert world.shift.run(ab_step(PLAN)).kind is ActionKind.SET_WEIGHT
    assert 300 / SAY_SECONDS - 2 <= sum(" since " in line for line in said) <= 300 / SAY_SECONDS + 2
    for line in world.done[0].metrics.evidence:
        assert list(line.points) == sorted(line.points)


def test_a_sound_candidate_is_promoted_and_one_that_fails_everybody_is_not() -> None:
    assert told(World([])) == ActionKind.PROMOTE.value
    failing = World([*[Second()] * 8, Second(candidate=1.0)])
    assert told(failing) == ActionKind.ROLL_BACK.value
    assert failing.target.record(PRODUCTION).weights == {BLUE: 100, GREEN: 0}
