"""What breaks a limit by its share, though not beyond chance, keeps a step from ending well and blames nobody."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banana_delivery.policy.rollout.active import Part
from banana_delivery.policy.rollout.decision import ActionKind, StepVerdict
from banana_delivery.policy.rollout.plan import Limit
from banana_delivery.policy.rollout.trial.judge import TRIED, assess_trial, begin_trial, needs_trial
from banana_delivery.policy.rollout.trial.resuming import after_trial
from banana_delivery.policy.rollout.trial.tried import Met, Tried
from tests.unit.policy.rollout.scene import BLUE, DIGEST, GREEN, PROBE, QUICK, SHIFT_20, SHIFT_100, USER, Scene

CEILING = int(SHIFT_20.ceiling_seconds)


def weak(step_scene: Scene | None = None, users: int = 60, failed: int = 8) -> Scene:
    """Too few failures of users to tell from chance, and a thousand good probes, at the second ceiling."""
    scene = step_scene or Scene()
    scene.serve(GREEN, USER, users, failed=failed)
    for _ in range(2 * CEILING):
        scene.serve(GREEN, PROBE, 15)
        scene.serve(BLUE, PROBE, 5)
        if scene.look().verdict is not StepVerdict.CONTINUE:
            break
    return scene


def test_a_thousand_good_probes_never_excuse_eight_of_sixty_users() -> None:
    scene = weak()
    last = scene.judgements[-1]
    assert (last.verdict, last.limit, last.source) == (StepVerdict.INCONCLUSIVE, Limit.FAILURES, USER)
    assert scene.state.seconds == 2 * CEILING
    assert needs_trial(last)
    assert scene.action().kind in TRIED
    assert "failed 8 of 60 user requests" in last.reason


def test_it_is_tried_and_the_step_begins_again_where_nothing_shows_it() -> None:
    scene = weak()
    trial = begin_trial(QUICK, scene.state, scene.snapshot(), scene.judgements[-1], GREEN, DIGEST, seed=1)
    for _ in range(600):
        scene.now += 1
        scene.serve(BLUE, USER, 10)
        for colour in (GREEN, BLUE):
            scene.serve(colour, PROBE, 10)
        action, trial = assess_trial(QUICK, trial, scene.snapshot(), GREEN)
        if action.kind is not ActionKind.WAIT:
            break
    assert action.kind is ActionKind.PARK
    assert after_trial(trial, action)[0].kind is ActionKind.RESUME


def test_without_a_probe_to_tell_weak_failures_blame_nobody() -> None:
    scene = weak()
    trial = begin_trial(QUICK, scene.state, scene.snapshot(), scene.judgements[-1], GREEN, DIGEST, seed=1)
    kinds = []
    for _ in range(12):
        scene.now += 1
        scene.serve(BLUE, USER, 10)
        action, trial = assess_trial(QUICK, trial, scene.snapshot(), GREEN)
        kinds.append(action.kind)
    assert ActionKind.ROLL_BACK not in kinds
    assert ActionKind.PARK in kinds


def test_a_share_that_comes_back_within_the_limit_lets_the_step_end() -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 60, failed=4)
    for _ in range(CEILING):
        scene.serve(GREEN, PROBE, 15)
        scene.look()
    assert scene.judgements[-1].verdict is StepVerdict.CONTINUE
    scene.serve(GREEN, USER, 40)
    assert scene.look().verdict is StepVerdict.PASS


@given(failed=st.integers(3, 8), probes=st.integers(130, 100_000))
@settings(max_examples=25)
def test_no_number_of_good_probes_lets_a_step_end_whose_users_are_over_the_limit(failed: int, probes: int) -> None:
    scene = Scene()
    scene.serve(GREEN, USER, 7 * failed, failed=failed)
    for _ in range(2 * CEILING + 5):
        scene.serve(GREEN, PROBE, probes)
        scene.serve(BLUE, PROBE, 5)
        assert scene.look().verdict in {StepVerdict.CONTINUE, StepVerdict.INCONCLUSIVE}


@given(failed=st.integers(0, 2), users=st.integers(2, 60))
@settings(max_examples=25)
def test_fewer_than_three_failures_hold_nobody(failed: int, users: int) -> None:
    scene = weak(users=users, failed=failed)
    assert scene.judgements[-1].verdict is StepVerdict.PASS


@pytest.mark.parametrize("theirs", [(200, 200), (60, 8), (500, 40)])
def test_what_the_active_release_fails_as_well_holds_nobody(theirs: tuple[int, int]) -> None:
    requests, failed = theirs
    scene = Scene()
    scene.serve(BLUE, USER, requests, failed=failed)
    scene.look()
    for _ in range(11):  # So that production is not in trouble any more.
        scene.look()
    scene.serve(GREEN, USER, 60, failed=5)
    for _ in range(2 * CEILING):
        scene.serve(BLUE, PROBE, 5)
        scene.serve(GREEN, PROBE, 15)
        if scene.look().verdict is not StepVerdict.CONTINUE:
            break
    assert scene.judgements[-1].verdict is StepVerdict.PASS


def test_one_shared_moment_of_a_handful_of_users_holds_nobody() -> None:
    scene = Scene()
    for second in range(CEILING):
        bad = second == 3
        scene.serve(GREEN, USER, 3 if bad else 1, failed=3 if bad else 0)
        scene.serve(BLUE, USER, 12 if bad else 4, failed=12 if bad else 0)
        scene.serve(GREEN, PROBE, 15)
        scene.look()
    assert scene.judgements[-1].verdict is StepVerdict.PASS


def test_after_a_trial_what_users_meet_anyway_is_allowed() -> None:
    met = {Limit.FAILURES: Met(anyway=Part(bad=20, judged=1000))}
    known = Tried(trials=1, met=met)
    assert weak(Scene(tried=known)).judgements[-1].verdict is StepVerdict.PASS
    # At 100 % all of it falls to the candidate, and no more than all of it.
    assert weak(Scene(step=SHIFT_100, tried=known)).judgements[-1].verdict is StepVerdict.INCONCLUSIVE


def test_a_first_release_is_not_taken_from_its_users_by_what_may_be_chance() -> None:
    """No trial can tell, and nobody else would answer them; its step lasts to its ceiling, and people are told."""
    scene = weak(Scene(step=SHIFT_100, first=True))
    last = scene.judgements[-1]
    assert (last.verdict, last.limit, scene.state.seconds) == (StepVerdict.PASS, None, CEILING)
    assert (
        "no evidence against it when the step's time was over. It failed 8 of 60 user requests at 100 % in 40 s: more "
        "than the 5 % allowed, which may be chance; look after it" in last.reason
    )


def test_a_first_release_that_is_worse_beyond_chance_goes_all_the_same() -> None:
    scene = weak(Scene(step=SHIFT_100, first=True), failed=30)
    assert scene.judgements[-1].verdict is StepVerdict.FAIL
