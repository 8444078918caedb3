"""A step that a person keeps where it is: watched as ever, never moved forward, with all its time when it goes on."""

from __future__ import annotations

import pytest

from banana_delivery.policy.holds import PauseRecord, standing_pause
from banana_delivery.policy.rollout.decision import ActionKind, StepVerdict, around_pause, next_action
from banana_delivery.policy.rollout.traffic.split import Split
from banana_delivery.policy.rollout.trial.judge import begin_trial
from tests.unit.policy.rollout.scene import BLUE, DIGEST, GREEN, PROBE, QUICK, SHIFT_20, USER, WATCH, Scene


def kept(scene: Scene, seconds: int, **requests: int) -> ActionKind:
    """What is done after so many seconds of a pause, in each of which the probe sends its requests."""
    action = ActionKind.WAIT
    for _ in range(seconds):
        scene.serve(GREEN, PROBE, **{"requests": 20, **requests})
        judgement = scene.look()
        action = next_action(QUICK, scene.state, judgement, paused=True).kind
        if action is not ActionKind.WAIT:
            break
        scene.state = around_pause(scene.state, paused=True, before=True)
    return action


@pytest.mark.parametrize("step", [SHIFT_20, WATCH])
def test_a_healthy_step_stays_where_it_is_for_as_long_as_it_is_paused(step: object) -> None:
    scene = Scene(step=step)  # type: ignore[arg-type]
    assert kept(scene, 300) is ActionKind.WAIT
    assert StepVerdict.PASS in {judgement.verdict for judgement in scene.judgements}


def test_a_step_without_any_sample_is_not_parked_while_it_is_paused() -> None:
    scene = Scene()
    assert kept(scene, 200, requests=0) is ActionKind.WAIT
    assert scene.state.seconds < SHIFT_20.ceiling_seconds
    assert scene.state.whole_seconds == 200


def test_production_that_breaks_its_limits_ends_no_paused_step() -> None:
    scene = Scene()
    for _ in range(100):
        scene.serve(BLUE, USER, 50, failed=25)
        scene.serve(GREEN, PROBE, 10, failed=5)
        action = next_action(QUICK, scene.state, scene.look(), paused=True)
        assert action.kind is ActionKind.WAIT
        scene.state = around_pause(scene.state, paused=True, before=True)


@pytest.mark.parametrize("healthy_seconds", [0, 39, 200, 1000])
def test_a_fault_turns_a_paused_step_back_however_long_it_was_well(healthy_seconds: int) -> None:
    scene = Scene()
    assert kept(scene, healthy_seconds) is ActionKind.WAIT
    before = scene.now
    assert kept(scene, 60, failed=10) is ActionKind.ROLL_BACK
    assert scene.now - before <= 3


def test_when_the_pause_ends_the_step_begins_anew_and_its_figures_stay() -> None:
    scene = Scene()
    kept(scene, 100)
    scene.state = around_pause(scene.state, paused=False, before=True)
    assert scene.state.seconds == 0.0
    judgement = scene.look()
    assert next_action(QUICK, scene.state, judgement).kind is ActionKind.WAIT
    assert judgement.metrics.requests == 2000
    assert judgement.metrics.seconds == 101
    assert around_pause(scene.state, paused=False, before=False) == scene.state


def said(run_id: str, *, paused: bool) -> PauseRecord:
    return PauseRecord(run_id=run_id, paused=paused, by="Ada", reason="Lunch.", at=0.0)


def test_the_latest_word_about_a_delivery_counts_and_none_about_another() -> None:
    words = [said("b", paused=True), said("a", paused=False), said("a", paused=True)]
    assert standing_pause(words, "b") == words[0]
    assert standing_pause(words, "a") is None
    assert standing_pause(words, "c") is None
    assert standing_pause(words[2:], "a") == words[2]


def test_a_trial_after_a_long_pause_counts_on_no_more_users_than_there_are() -> None:
    scene = Scene()
    for _ in range(300):
        scene.serve(BLUE, USER, 40)
        scene.serve(GREEN, USER, 10)
        scene.look()
        scene.state = around_pause(scene.state, paused=True, before=True)
    scene.serve(GREEN, USER, 10, failed=10)
    failed = scene.look()
    assert failed.verdict is StepVerdict.FAIL
    trial = begin_trial(QUICK, scene.state, scene.snapshot(), failed, GREEN, DIGEST, seed=1)
    assert trial.users_per_second == pytest.approx(50, rel=0.1)


def test_users_who_never_arrive_are_told_with_all_the_seconds_that_they_had() -> None:
    scene = Scene(split=Split(share=0.2))
    for _ in range(300):
        scene.serve(BLUE, USER, 40)
        scene.serve(GREEN, PROBE, 20)
        judgement = scene.look()
        scene.state = around_pause(scene.state, paused=True, before=True)
    assert "got 0 of 12000 user requests in 300 s" in judgement.reason
