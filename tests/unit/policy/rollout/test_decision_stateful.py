"""A delivery from its A/B to the end of its watch, through whatever may come to it in whatever order."""

from __future__ import annotations

import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from banana_delivery.policy.model import Backend, Colour, Counters, TrafficSnapshot, TrafficSource
from banana_delivery.policy.rollout.analysis import StepState, begin_step
from banana_delivery.policy.rollout.counters import add
from banana_delivery.policy.rollout.decision import (
    Action,
    ActionKind,
    StepAssessment,
    StepVerdict,
    around_pause,
    assess_step,
    next_action,
)
from banana_delivery.policy.rollout.plan import StepKind, ab_step, release_steps
from tests.unit.policy.rollout.scene import BLUE, DIGEST, GREEN, PROBE, QUICK, USER, counters

ORDER = (ab_step(QUICK), *release_steps(QUICK))
ENDS = {
    ActionKind.ROLL_BACK: StepVerdict.FAIL,
    ActionKind.PARK: StepVerdict.INCONCLUSIVE,
    ActionKind.STAND_BACK: StepVerdict.TROUBLED,
}
SEVERITY = {
    StepVerdict.PASS: 0,
    StepVerdict.CONTINUE: 1,
    StepVerdict.TROUBLED: 1,
    StepVerdict.INCONCLUSIVE: 2,
    StepVerdict.FAIL: 3,
}
SHARES = st.sampled_from([0.0, 0.0, 0.005, 0.02, 0.3, 1.0])
BACKENDS = st.sampled_from([(GREEN, USER), (GREEN, PROBE), (BLUE, USER), (BLUE, PROBE)])


class Delivery(RuleBasedStateMachine):
    """What is decided is asked of the functions that decide for real releases; everything else is made up."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.backends: dict[str, Counters] = {}
        self.running = DIGEST
        self.paused = self.was_paused = False
        self.passed = 0
        self.weight = 0
        self.over: Action | None = None
        self.state: StepState
        self.judgement: StepAssessment | None = None

    @initialize()
    def begin(self) -> None:
        self.state = begin_step(QUICK, ORDER[0], self.snapshot())
        self.weight = ORDER[0].weight

    def snapshot(self) -> TrafficSnapshot:
        digests = {str(GREEN): self.running, str(BLUE): f"sha256:{'b' * 64}"}
        return TrafficSnapshot(at=self.now, backends=dict(self.backends), digests=digests)

    def judged(self, snapshot: TrafficSnapshot) -> tuple[StepAssessment, StepState]:
        return assess_step(QUICK, self.state, snapshot, GREEN, DIGEST)

    @rule(backend=BACKENDS, requests=st.integers(0, 400), bad=SHARES, slow=SHARES)
    def requests_arrive(self, backend: tuple[Colour, TrafficSource], requests: int, bad: float, slow: float) -> None:
        self.count(backend, counters(requests, int(bad * requests), int(slow * requests)))

    @rule(users=st.integers(0, 200), seconds=st.integers(1, 45))
    def all_is_well_for_a_while(self, users: int, seconds: int) -> None:
        for _ in range(seconds):
            ours = round(users * self.weight / 100)
            for backend, requests in (((GREEN, USER), ours), ((BLUE, USER), users - ours)):
                self.count(backend, counters(requests))
            for colour in (GREEN, BLUE):
                self.count((colour, PROBE), counters(5))
            if self.over is None:
                self.look(1.0, 1)

    @rule(looks=st.integers(1, 10))
    def hardly_anybody_comes(self, looks: int) -> None:
        for _ in range(looks):
            for colour in (GREEN, BLUE):
                self.count((colour, PROBE), counters(1))
            if self.over is None:
                self.look(10.0, 1)

    def count(self, backend: tuple[Colour, TrafficSource], more: Counters) -> None:
        key = Backend(colour=backend[0], source=backend[1]).key
        self.backends[key] = add(self.backends[key], more) if key in self.backends else more

    @rule()
    def replicas_restart(self) -> None:
        self.backends = {key: counters(0) for key in self.backends}

    @rule()
    def the_run_dies_and_another_reads_its_record(self) -> None:
        self.state = StepState.model_validate_json(self.state.model_dump_json())

    @rule()
    def a_person_pauses_or_lets_it_go_on(self) -> None:
        self.paused = not self.paused

    @rule()
    def somebody_puts_another_image_there(self) -> None:
        self.running = f"sha256:{'c' * 64}"

    @rule()
    def it_is_put_back(self) -> None:
        self.running = DIGEST

    @precondition(lambda self: self.over is None)
    @rule(seconds=st.sampled_from([0.0, 1.0, 1.0, 1.0, 5.0, 30.0, -2.0]), failed=st.integers(1, 50))
    def it_is_looked_at(self, seconds: float, failed: int) -> None:
        self.look(seconds, failed)

    def look(self, seconds: float, failed: int) -> None:
        self.now += seconds
        snapshot = self.snapshot()
        harsher = self.judged(worse(snapshot, failed))[0]
        judgement, state = self.judged(snapshot)
        assert SEVERITY[harsher.verdict] >= SEVERITY[judgement.verdict]
        self.state = around_pause(state, paused=self.paused, before=self.was_paused)
        self.was_paused = self.paused
        self.judgement = judgement
        self.follow(next_action(QUICK, state, judgement, paused=self.paused), judgement)

    def follow(self, action: Action, judgement: StepAssessment) -> None:
        step = ORDER[self.passed]
        assert action.reason
        if self.running != DIGEST or judgement.verdict is StepVerdict.FAIL:
            assert (action.kind, action.weight) == (ActionKind.ROLL_BACK, 0)
        if action.kind is ActionKind.WAIT:
            assert action.weight == step.weight
            return
        if action.kind in ENDS:
            assert ENDS[action.kind] is judgement.verdict
            assert action.weight == 0
            self.over = action
            return
        assert judgement.verdict is StepVerdict.PASS
        assert not self.paused
        assert not any(finding.counts(QUICK) and not finding.active for finding in judgement.against)
        self.passed += 1
        if action.kind is ActionKind.PROMOTE:
            assert self.passed == len(ORDER)
            assert step.kind is StepKind.WATCH
            self.over = action
            return
        following = ORDER[self.passed]
        # An A/B gives its users back, and the gate decides anew.
        assert (action.step, action.weight) == (
            (None, 0) if step.kind is StepKind.AB else (following, following.weight)
        )
        self.weight = following.weight
        self.state = begin_step(QUICK, following, self.snapshot(), paired=self.state.paired, tried=self.state.tried)

    @precondition(lambda self: self.over is not None)
    @rule()
    def the_next_delivery_begins(self) -> None:
        self.over, self.passed, self.running, self.paused, self.was_paused = None, 0, DIGEST, False, False
        self.begin()

    @invariant()
    def every_figure_is_a_number(self) -> None:
        if hasattr(self, "state"):
            json.dumps(self.state.model_dump(mode="json"), allow_nan=False)
        if self.judgement:
            json.dumps(self.judgement.model_dump(mode="json"), allow_nan=False)


def worse(snapshot: TrafficSnapshot, failed: int) -> TrafficSnapshot:
    """The same requests, of which so many more of the candidate's users failed."""
    key = Backend(colour=GREEN, source=USER).key
    known = snapshot.backends.get(key)
    if known is None:
        return snapshot
    bad = min(known.failures.get("5xx", 0) + failed, known.requests)
    return snapshot.replace(backends={**snapshot.backends, key: known.replace(failures={"5xx": bad})})


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=40, stateful_step_count=40)
