"""A team's metrics turn a step back or hold it; they never excuse what the counters show."""

from __future__ import annotations

import pytest

from banana_delivery.policy.own_metrics.joining import joined
from banana_delivery.policy.own_metrics.judging import MetricVerdict, Standing
from banana_delivery.policy.own_metrics.metric import OwnSeen
from banana_delivery.policy.rollout.analysis import StepState
from banana_delivery.policy.rollout.decision import ActionKind, StepAssessment, StepVerdict, next_action
from banana_delivery.policy.rollout.metrics import step_metrics
from banana_delivery.policy.rollout.plan import Limit
from banana_delivery.policy.rollout.trial.judge import needs_trial
from tests.unit.policy.rollout.scene import GREEN, QUICK, SHIFT_20, Scene


def says(standing: Standing) -> MetricVerdict:
    seen = OwnSeen(name="empty", said="so", share=0.0, tested=True)
    return MetricVerdict(standing=standing, reason=f"It is {standing}.", seen=seen)


def at(seconds: float) -> StepState:
    scene = Scene(SHIFT_20)
    return scene.state.model_copy(update={"seen": scene.state.seen.replace(at=scene.state.started_at + seconds)})


def assessment(verdict: StepVerdict, state: StepState, **more: object) -> StepAssessment:
    said = {"verdict": verdict, "reason": "As counted.", "metrics": step_metrics(state, GREEN)}
    return StepAssessment.model_validate({**said, **more})


@pytest.mark.parametrize("counted", [StepVerdict.PASS, StepVerdict.CONTINUE, StepVerdict.INCONCLUSIVE])
def test_a_metric_that_fails_turns_back_at_once_and_nothing_is_tried(counted: StepVerdict) -> None:
    state = at(12)
    found = joined(assessment(counted, state), state, [says(Standing.UNKNOWN), says(Standing.FAILS)])
    assert (found.verdict, found.reason) == (StepVerdict.FAIL, "It is fails.")
    assert not needs_trial(found)
    assert next_action(QUICK, state, found).kind is ActionKind.ROLL_BACK
    assert [one.name for one in found.metrics.own] == ["empty", "empty"]


def test_one_that_cannot_tell_the_releases_apart_parks() -> None:
    state = at(12)
    found = joined(assessment(StepVerdict.CONTINUE, state), state, [says(Standing.PARKS)])
    assert next_action(QUICK, state, found).kind is ActionKind.PARK


@pytest.mark.parametrize(
    ("standing", "at_last"),
    [
        (Standing.UNKNOWN, ActionKind.STAND_BACK),
        (Standing.SHARED, ActionKind.STAND_BACK),
        (Standing.UNDECIDED, ActionKind.PARK),
        (Standing.DOUBTFUL, ActionKind.PARK),
    ],
)
def test_what_is_not_known_holds_a_step_that_would_pass_and_ends_it_at_last(
    standing: Standing, at_last: ActionKind
) -> None:
    for seconds, kind in ((12.0, ActionKind.WAIT), (79.0, ActionKind.WAIT), (80.0, at_last)):
        state = at(seconds)
        found = joined(assessment(StepVerdict.PASS, state), state, [says(Standing.FINE), says(standing)])
        action = next_action(QUICK, state, found)
        assert (action.kind, action.reason) == (kind, f"It is {standing}.")


def test_fine_metrics_change_nothing_and_excuse_nothing() -> None:
    state = at(12)
    for verdict in StepVerdict:
        counted = assessment(verdict, state, limit=Limit.SLOW)
        found = joined(counted, state, [says(Standing.FINE)])
        assert (found.verdict, found.reason, found.limit) == (verdict, "As counted.", Limit.SLOW)
    failed = joined(assessment(StepVerdict.FAIL, state, limit=Limit.SLOW), state, [says(Standing.FAILS)])
    assert (failed.reason, needs_trial(failed)) == ("As counted.", True)
    assert joined(counted, state, []) is counted
