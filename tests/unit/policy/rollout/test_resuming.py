"""A trial that shows nothing lets its step begin again; the bound on blame, and what a bad version meets, stay."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banana_delivery.policies.reading import PLANS
from banana_delivery.policy.model import TrafficSource
from banana_delivery.policy.rollout.active import NOBODY, Part
from banana_delivery.policy.rollout.decision import ActionKind, StepVerdict
from banana_delivery.policy.rollout.plan import Limit, Plan, all_steps, alpha_share
from banana_delivery.policy.rollout.trial.judge import begin_trial
from banana_delivery.policy.rollout.trial.resuming import after_trial
from banana_delivery.policy.rollout.trial.tried import (
    MOST_ALLOWED,
    MOST_TRIALS,
    STARTS,
    Met,
    Tried,
    allowed,
    goes_on,
    started,
    stops,
)
from banana_delivery.policy.simulation.deliveries import deliver
from banana_delivery.policy.simulation.traffic import CONDITIONS, UsersOnly
from tests.unit.policy.rollout.scene import BLUE, DIGEST, GREEN, PROBE, QUICK, SHIFT_20, USER, WATCH, Scene
from tests.unit.policy.rollout.trial_scene import RATE
from tests.unit.policy.rollout.trial_scene import Tried as Trying

STANDARD = PLANS["standard"]


def found(*parts: int, goes_on_too: bool = False) -> Tried:
    """A trial about failures is over; users met so many of so many while the candidate had none of them."""
    bad, judged = parts
    return Tried(trials=1, met={Limit.FAILURES: Met(anyway=Part(bad=bad, judged=judged), goes_on=goes_on_too)})


@given(lengths=st.lists(st.integers(0, 3), min_size=1, max_size=MOST_TRIALS))
@settings(max_examples=30)
def test_all_trials_together_start_with_one_and_no_trial_adds_to_their_mean(lengths: list[int]) -> None:
    """Exact, over all ways in which looks of the mean 1 may go: what Ville's inequality asks for."""
    factors = (0.25, 1.75)
    total = 0.0
    for path in product(factors, repeat=sum(lengths)):
        looks, sums = iter(path), tuple[float, ...]()
        for number, length in enumerate(lengths):
            sums = started(sums, number, 1)
            for _ in range(length):
                sums = (sums[0] + math.log(next(looks)),)
        total += math.exp(sums[0])
    assert total / len(factors) ** sum(lengths) == pytest.approx(sum(STARTS[: len(lengths)]))
    assert sum(STARTS) == pytest.approx(1.0)


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_the_tests_that_stand_in_for_whole_steps_spend_no_more_than_those_would(plan: Plan) -> None:
    for limit in (Limit.FAILURES, Limit.SLOW, Limit.OVERLOAD):
        late, whole = (sum(alpha_share(plan, step, limit, number) for step in all_steps(plan)) for number in (1, 0))
        assert late <= whole * 1.0000001


def test_a_step_begins_again_with_what_its_trial_gathered_and_only_so_often() -> None:
    tried, kinds = Tried(), []
    for _ in range(MOST_TRIALS):
        trying = Trying()
        trying.trial = begin_trial(
            QUICK,
            trying.scene.state.replace(tried=tried),
            trying.scene.snapshot(),
            trying.judgement,
            GREEN,
            DIGEST,
            seed=5,
        )
        begun_with = trying.trial.paired.log_e
        action, _ = trying.until_decided()
        gathered = trying.trial.paired.ratios
        action, tried = after_trial(trying.trial, action)
        kinds.append(action.kind)
        assert (tried.probes, action.weight) == (gathered, 0)
        assert begun_with <= 1e-9
        if action.kind is ActionKind.RESUME:
            assert action.step == SHIFT_20
    assert kinds == [ActionKind.RESUME] * (MOST_TRIALS - 1) + [ActionKind.STAND_BACK]
    assert f"trial {MOST_TRIALS} of this delivery, and none showed that the version is to blame" in action.reason


def test_evidence_of_an_earlier_trial_counts_in_the_next_one() -> None:
    fresh, trying = Trying(), Trying()
    for _ in range(4):
        trying.second(RATE)
    _, tried = after_trial(trying.trial, trying.until_decided(1, 1)[0])
    again = trying.scene.state.replace(tried=tried)
    begun = begin_trial(QUICK, again, trying.scene.snapshot(), trying.judgement, GREEN, DIGEST, seed=5)
    assert begun.paired.log_e > math.log(STARTS[1])
    assert begun.paired.ours == NOBODY
    assert fresh.trial.paired.log_e == pytest.approx(math.log(STARTS[0]))


def test_blame_and_a_stranger_end_a_delivery_as_ever() -> None:
    trying = Trying()
    action, _ = trying.until_decided(RATE)
    assert after_trial(trying.trial, action)[0] == action
    trying = Trying()
    trying.scene.digests = {"green": f"sha256:{'b' * 64}"}
    action = trying.second()
    assert after_trial(trying.trial, action)[0] == action


def test_what_production_suffered_as_well_tells_nothing_of_what_users_meet_anyway() -> None:
    trying = Trying()
    action, tried = after_trial(trying.trial, trying.until_decided(10, 10)[0])
    assert action.kind is ActionKind.RESUME
    assert tried.met == {Limit.FAILURES: Met()}


@pytest.mark.parametrize(
    ("ours", "theirs", "anyway", "some_users", "stopped"),
    [
        ((6, 160), (0, 240), (45, 3000), True, False),
        ((6, 224), (0, 2139), (8, 6452), False, False),
        ((89, 1030), (0, 0), (2, 613), False, True),
        ((30, 100), (0, 400), (0, 600), False, True),
        ((40, 400), (40, 4000), (100, 9000), False, False),
        ((3, 3), (0, 0), (0, 0), False, False),
        ((0, 0), (0, 0), (0, 100), False, False),
    ],
)
def test_what_some_users_meet_wherever_they_are_is_told_from_what_stops_with_the_candidate(
    ours: tuple[int, int], theirs: tuple[int, int], anyway: tuple[int, int], *, some_users: bool, stopped: bool
) -> None:
    parts = [Part(bad=bad, judged=judged) for bad, judged in (ours, theirs, anyway)]
    assert (goes_on(*parts), stops(*parts)) == (some_users, stopped)


@given(
    parts=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=3, max_size=3),
    weight=st.integers(1, 100),
)
@settings(max_examples=40)
def test_a_limit_never_falls_below_the_plans_and_never_vanishes(parts: list[tuple[int, int]], weight: int) -> None:
    ours, theirs, anyway = (Part(bad=bad, judged=bad + good) for bad, good in parts)
    assert not (goes_on(ours, theirs, anyway) and stops(ours, theirs, anyway))
    for source in TrafficSource:
        share = allowed(Met(anyway=anyway), 0.05, source, weight)
        assert 0.05 <= share <= MOST_ALLOWED


def test_users_may_meet_what_they_meet_anyway_and_no_more() -> None:
    """One client in twenty fails 30 %: all it meets may be with the candidate's tenth of the users."""
    for failing, verdict in ((3, StepVerdict.CONTINUE), (16, StepVerdict.FAIL)):
        scene = Scene(step=SHIFT_20, tried=found(150, 10_000, goes_on_too=True))
        for _ in range(60):
            scene.serve(GREEN, USER, 40, failed=failing)
            scene.serve(BLUE, USER, 160)
            scene.serve(GREEN, PROBE, 5)
            scene.serve(BLUE, PROBE, 5)
            seen = scene.look().verdict
            if seen is not StepVerdict.CONTINUE:
                break
        assert (seen is StepVerdict.FAIL) is (verdict is StepVerdict.FAIL)
    assert "beside what users meet anyway" in scene.judgements[-1].reason


def test_one_look_is_one_event_for_a_limit_that_was_tried() -> None:
    scene = Scene(step=WATCH, tried=found(1, 1000))
    scene.serve(GREEN, USER, 100, failed=100)
    assert scene.look().verdict is StepVerdict.CONTINUE
    for _ in range(20):
        scene.serve(GREEN, USER, 100, failed=100)
        if scene.look().verdict is StepVerdict.FAIL:
            break
    assert scene.judgements[-1].verdict is StepVerdict.FAIL
    assert len(scene.judgements) <= 15
    probed = Scene(step=WATCH, tried=found(1, 1000))
    probed.serve(GREEN, PROBE, 100, failed=100)
    assert probed.look().verdict is StepVerdict.CONTINUE


def test_what_was_not_tried_is_judged_as_ever() -> None:
    scene = Scene(step=WATCH, tried=found(1, 1000))
    scene.serve(GREEN, USER, 100, slow=100)
    assert scene.look().verdict is StepVerdict.FAIL


@pytest.mark.parametrize("name", [name for name in CONDITIONS if name.startswith(("slow", "20 kept"))])
def test_a_sound_release_whose_users_were_sent_away_by_their_own_clients_or_by_chance_goes_out(name: str) -> None:
    ends = [deliver(STANDARD, CONDITIONS[name](np.random.default_rng((1, seed)), 50.0)) for seed in range(3)]
    assert {end.kind for end in ends} == {ActionKind.PROMOTE}
    assert any(end.trials for end in ends)


def test_a_release_that_fails_a_fifth_of_what_few_users_send_is_found_though_its_step_begins_again() -> None:
    ends = [deliver(STANDARD, UsersOnly(np.random.default_rng((2, seed)), 5.0, share=0.2)) for seed in range(4)]
    assert {end.kind for end in ends} == {ActionKind.ROLL_BACK}
