"""Users are protected by the first evidence; the version is judged by what it does afterwards."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banana_delivery.policy.rollout.active import NOBODY
from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.policy.rollout.plan import TRIAL, Limit, Step, blame_threshold
from banana_delivery.policy.rollout.trial.judge import (
    CROSSOVER_SECONDS,
    LONGEST_SECONDS,
    Trial,
    against_version,
    assess_trial,
    needs_trial,
)
from banana_delivery.policy.rollout.trial.tried import STARTS
from tests.unit.policy.rollout.scene import BLUE, GREEN, PROBE, QUICK, SHIFT_20, USER, WATCH, Scene
from tests.unit.policy.rollout.trial_scene import RATE, Tried


@pytest.mark.parametrize("bad", ["failed", "slow"])
@pytest.mark.parametrize(("share", "most"), [(30, 11), (15, 11), (6, 11)])
def test_what_the_probe_meets_too_is_held_against_the_version_within_seconds(bad: str, share: int, most: int) -> None:
    action, seconds = Tried(bad=bad).until_decided(share)
    assert (action.kind, action.weight) == (ActionKind.ROLL_BACK, 0)
    assert 3 < seconds <= most


def test_the_sentence_says_what_the_users_met_and_what_the_probe_met() -> None:
    tried = Tried(bad="slow")
    action, seconds = tried.until_decided(30)
    assert action.reason == (
        f"{tried.judgement.reason} Its users were sent away, and {30 * seconds} of {30 * seconds} probes met it too "
        f"within {seconds} s, but 0 of {30 * seconds} of blue's."
    )


@pytest.mark.parametrize("bad", ["failed", "slow"])
def test_what_only_users_meet_is_held_against_the_version_if_it_comes_and_goes_with_the_candidate(bad: str) -> None:
    tried = Tried(bad=bad)
    action, seconds = tried.until_decided(users_bad=1.0)
    assert (action.kind, action.weight) == (ActionKind.ROLL_BACK, 0)
    assert seconds < LONGEST_SECONDS + CROSSOVER_SECONDS
    assert "it came when green had users, drawn by lot, and left when it had none" in action.reason


def test_users_who_only_a_few_seconds_with_a_bad_version_can_tell_of_get_no_more_of_them() -> None:
    tried, met = Tried(), 0
    for _ in range(600):
        met += round(tried.users * tried.weight / 100)
        if tried.second(users_bad=1.0).kind is not ActionKind.WAIT:
            break
    assert 0 < met <= 50


def test_what_does_not_come_again_parks_the_version_for_somebody_to_look() -> None:
    action, seconds = Tried().until_decided()
    assert (action.kind, action.weight) == (ActionKind.PARK, 0)
    assert seconds <= LONGEST_SECONDS + CROSSOVER_SECONDS
    assert "Green failed 32 of 40 user requests" in action.reason
    assert "Nothing is held against the version" in action.reason


def test_what_only_a_few_probes_met_parks_without_any_user() -> None:
    scene = Scene(step=SHIFT_20)
    scene.serve(GREEN, PROBE, 5, failed=5)
    scene.serve(GREEN, USER, 40)
    scene.serve(BLUE, USER, 160)
    tried = Tried()
    tried.trial = tried.trial.replace(source=PROBE)
    action, _ = tried.until_decided()
    assert (action.kind, tried.trial.crossover) == (ActionKind.PARK, None)


@pytest.mark.parametrize("share", [30, 15, 3])
@pytest.mark.parametrize("step", [SHIFT_20, WATCH], ids=["shift", "watch"])
def test_what_both_colours_meet_is_an_error_of_the_platform(share: int, step: Step) -> None:
    action, seconds = Tried(scene=Scene(step=step)).until_decided(share, share)
    assert action.kind is ActionKind.STAND_BACK
    assert seconds == LONGEST_SECONDS
    assert "production itself" in action.reason


def test_a_moment_however_many_probes_it_holds_is_no_verdict() -> None:
    """Six seconds at 100 %, own to the candidate: each counts twice at most."""
    tried = Tried()
    for _ in range(6):
        assert tried.second(30).kind is ActionKind.WAIT
    assert tried.trial.paired.log_e < blame_threshold(QUICK, TRIAL)
    assert tried.until_decided(0)[0].kind is ActionKind.PARK


def test_a_fault_that_comes_and_goes_has_ten_seconds_to_come_again() -> None:
    tried = Tried()
    kinds = [tried.second(30 if second >= 5 else 0).kind for second in range(30)]
    assert ActionKind.ROLL_BACK in kinds
    assert ActionKind.PARK not in kinds[: kinds.index(ActionKind.ROLL_BACK)]


def test_where_no_probe_arrives_nothing_speaks_against_what_the_users_met() -> None:
    action, seconds = Tried().until_decided(rate=0)
    assert (action.kind, seconds) == (ActionKind.ROLL_BACK, 10)


def test_where_only_the_active_release_answers_no_probe_the_version_is_not_blamed_for_it() -> None:
    tried = Tried()
    kinds = []
    for _ in range(70):
        tried.scene.serve(GREEN, PROBE, RATE)
        tried.scene.serve(BLUE, USER, tried.users)
        kinds.append(tried.look().kind)
    assert set(kinds) == {ActionKind.WAIT}
    assert tried.trial.crossover


def test_a_candidate_that_gives_no_sign_of_life_any_more_is_not_tried_for_long() -> None:
    tried = Tried()
    tried.scene.digests = {"blue": "sha256:cc"}
    for _ in range(3):
        tried.scene.serve(BLUE, PROBE, RATE)
        action = tried.look()
    assert action.kind is ActionKind.ROLL_BACK
    assert "no sign of life" in action.reason


def test_one_that_is_worse_than_the_active_release_is_compared_by_probes_of_both() -> None:
    tried = Tried()
    tried.trial = tried.trial.replace(limit=Limit.WORSE_THAN_ACTIVE)
    alike = Tried()
    alike.trial = alike.trial.replace(limit=Limit.WORSE_THAN_ACTIVE)
    assert tried.until_decided(1, 0)[0].kind is ActionKind.ROLL_BACK
    assert alike.until_decided(1, 1)[0].kind is not ActionKind.ROLL_BACK


def test_nobody_is_tried_where_a_stranger_or_nobody_answers() -> None:
    stranger = Scene(digests={"green": f"sha256:{'b' * 64}"})
    stranger.serve(GREEN, USER, 500)
    assert not needs_trial(stranger.look())


@pytest.mark.parametrize("seconds", [2, 40])
def test_a_trial_goes_on_where_it_was_after_it_was_stored(seconds: int) -> None:
    tried = Tried()
    for _ in range(seconds):
        tried.second(0 if seconds > 2 else 10)
    assert (tried.trial.crossover is not None) is (seconds > 2)
    restored = Trial.model_validate_json(tried.trial.model_dump_json())
    assert restored == tried.trial


@given(
    seed=st.integers(0, 2**32),
    rates=st.lists(st.integers(0, 400), min_size=20, max_size=20),
    share=st.sampled_from([0.05, 0.3, 1.0]),
)
@settings(max_examples=12, derandomize=True)
def test_no_client_that_cannot_tell_the_colours_apart_has_a_version_revoked(
    seed: int, rates: list[int], share: float
) -> None:
    """Whatever part of all requests is an outsider's, and however his come and go: here he is up to nine tenths.

    The lots are drawn anew for each example; none of them is chosen by what he does, and he by none of them. By chance
    he may come and go with them: in one of 225 trials at most, by the proof. So the examples are the same in every run.
    """
    tried, rng = Tried(seed=seed), Random(seed + 1)
    for second in range(600):
        outsiders = rates[second % len(rates)] if rng.random() < share else 0
        with_us = sum(rng.random() < tried.weight / 100 for _ in range(outsiders))
        tried.scene.serve(GREEN, USER, with_us, failed=with_us)
        tried.scene.serve(BLUE, USER, outsiders - with_us, failed=outsiders - with_us)
        action = tried.second()
        if action.kind is not ActionKind.WAIT:
            break
    assert action.kind in {ActionKind.PARK, ActionKind.STAND_BACK}


@pytest.mark.parametrize("seconds", [0, 5, 40])
def test_while_a_person_keeps_the_rollout_nobody_is_given_away_and_nothing_is_judged(seconds: int) -> None:
    tried = Tried()
    for _ in range(seconds):
        tried.second(users_bad=1.0)
    for again in range(30):
        tried.scene.now += 1
        tried.scene.serve(GREEN, PROBE, RATE, failed=RATE)
        tried.scene.serve(BLUE, PROBE, RATE)
        action, tried.trial = assess_trial(QUICK, tried.trial, tried.scene.snapshot(), GREEN, anew=again)
        assert (action.kind, action.weight) == (ActionKind.WAIT, 0)
    assert (tried.trial.seed, tried.trial.seconds, tried.trial.anyway) == (29, 0.0, NOBODY)
    assert tried.trial.paired.log_e == pytest.approx(math.log(STARTS[0]))
    tried.weight = 0
    assert tried.until_decided(RATE)[0].kind is ActionKind.ROLL_BACK


def test_another_image_than_is_meant_is_no_fault_of_the_version() -> None:
    tried = Tried()
    tried.scene.digests = {"green": f"sha256:{'b' * 64}"}
    action = tried.second(RATE)
    assert (action.kind, action.wrong_release, action.weight) == (ActionKind.ROLL_BACK, True, 0)
    assert "another release was measured" in action.reason


def test_people_see_what_speaks_for_blaming_the_version() -> None:
    tried = Tried()
    tried.second(RATE)
    tried.second(RATE)
    [by_probes] = against_version(QUICK, tried.trial)
    assert (by_probes.source, by_probes.bad, by_probes.needed) == (PROBE, 2 * RATE, blame_threshold(QUICK, TRIAL))
    assert 0 < by_probes.log_e < by_probes.needed
    tried = Tried()
    for _ in range(40):
        tried.second(users_bad=1.0)
    assert {one.source for one in against_version(QUICK, tried.trial)} == {PROBE, USER}
