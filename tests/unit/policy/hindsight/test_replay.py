"""A past delivery by another policy: it ends where that policy ends it, and what was not recorded is said."""

from __future__ import annotations

import pytest
from pydantic_core import from_json, to_json

from banana_delivery.policy.hindsight.looks import Own, StepHeader, line_of, steps_in
from banana_delivery.policy.hindsight.replay import Ended, replay
from banana_delivery.policy.own_metrics.metric import Measurement, Usual
from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.policy.rollout.plan import ab_step
from tests.unit.policy.hindsight.kept import recorded
from tests.unit.policy.own_metrics.metrics import VALUE, metric
from tests.unit.policy.rollout.scene import BLUE, GREEN, PROBE, QUICK, SHIFT_20, SHIFT_100, USER, WATCH, Scene

LAX, STRICT = QUICK.replace(latency_share=0.6), QUICK.replace(error_threshold=0.001)


def serving(failed: int = 0, slow: int = 0, requests: int = 10) -> object:
    def second(scene: Scene) -> None:
        scene.serve(BLUE, USER, 40)
        scene.serve(GREEN, USER, requests, failed=failed, slow=slow)

    return second


GOOD = recorded(serving())  # type: ignore[arg-type]
BAD = recorded(serving(failed=5))  # type: ignore[arg-type]


def test_by_the_same_policy_everything_ends_as_it_did() -> None:
    for kept in (GOOD, BAD, recorded(serving(slow=5)), recorded(serving(requests=0))):  # type: ignore[arg-type]
        found = replay(QUICK, (), [kept])
        assert not found.differs, found
        assert found.notes == ()
    assert replay(QUICK, (), [GOOD]).recorded.ended is Ended.WENT_ON
    turned = replay(QUICK, (), [BAD])
    assert turned.recorded.ended is turned.replayed.ended is Ended.TURNED_BACK
    assert (turned.replayed.seconds, turned.replayed.bad) == (2.0, 10)
    assert "failed 10 of 20 user requests" in turned.replayed.reason


def test_a_stricter_policy_would_have_turned_back_what_went_on() -> None:
    some = recorded(lambda scene: scene.serve(GREEN, USER, 50, failed=1))
    found = replay(STRICT, (), [GOOD, some])
    assert (found.recorded.ended, found.replayed.ended, found.differs) == (Ended.WENT_ON, Ended.TURNED_BACK, True)
    assert found.replayed.seconds > found.recorded.seconds / 2
    assert 3 <= found.replayed.bad < found.recorded.bad


def test_what_would_have_gone_on_is_not_known_any_further() -> None:
    slow = recorded(serving(slow=5))  # type: ignore[arg-type]
    found = replay(LAX, (), [slow])
    assert (found.recorded.ended, found.replayed.ended, found.differs) == (Ended.TURNED_BACK, Ended.UNKNOWN, True)
    assert "was not recorded" in found.replayed.reason


def test_a_trial_that_showed_nothing_is_taken_to_show_nothing_here_too() -> None:
    assert BAD.end
    resumed = BAD.replace(end=BAD.end.replace(action=ActionKind.RESUME.value))
    found = replay(QUICK, (), [resumed, GOOD])
    assert (found.recorded.ended, found.replayed.ended, found.differs) == (Ended.WENT_ON, Ended.WENT_ON, False)
    assert found.notes == (
        "In the shift with 20 % of the users a trial showed nothing against the candidate, and the step began again; "
        "here, too, it is taken to show nothing.",
    )
    assert replay(QUICK, (), [resumed, BAD]).replayed.ended is Ended.TURNED_BACK
    never_again = replay(QUICK, (), [resumed])
    assert (never_again.recorded.ended, never_again.differs) == (Ended.UNKNOWN, False)


def test_a_step_that_would_have_lasted_longer_is_named() -> None:
    patient = QUICK.replace(step_minimum_seconds=40)
    found = replay(patient, (), [GOOD])
    assert not found.differs
    assert found.notes == (
        "It would have stayed longer in the shift with 20 % of the users; what would have come there is not known.",
    )


def test_weights_that_were_not_recorded_are_named() -> None:
    [note] = replay(QUICK.replace(steps=(5, 50, 100)), (), [GOOD]).notes
    assert note == "With this policy users get 5, 50, 100 % in the shift; recorded is 20 %, by which it was judged."


def test_limits_that_were_not_counted_are_refused() -> None:
    with pytest.raises(ValueError, match="no edge of the latency buckets"):
        replay(QUICK.replace(latency_budget_seconds=0.37), (), [GOOD])


def test_the_metrics_of_a_team_are_judged_by_what_was_answered_then() -> None:
    one = metric(VALUE)
    answers = {look: {"old": (Measurement(value=1.0), None)} for look in range(30)}
    kept = recorded(serving(), metrics=(one.replace(name="old"),), own=answers)  # type: ignore[arg-type]
    strict = one.replace(consecutive_failures=2)
    found = replay(QUICK, (strict,), [kept])
    assert (found.replayed.ended, found.replayed.seconds) == (Ended.TURNED_BACK, 2.0)
    assert found.replayed.reason.startswith("The metric empty fails")
    other = one.replace(query="avg_over_time(other[1m])")
    assert replay(QUICK, (other,), [kept]).notes == (
        "The metric empty was not asked for then, so nothing is judged by it.",
    )


def test_two_metrics_that_ask_the_same_count_one_answer_once_each() -> None:
    one = metric(VALUE)
    kept = recorded(serving(), metrics=(one,), own={0: {"empty": (Measurement(value=1.0), None)}})  # type: ignore[arg-type]
    both = one.replace(consecutive_failures=2), one.replace(name="lax", failure_condition="> 0.9")
    assert replay(QUICK, both, [kept]).replayed.ended is Ended.WENT_ON


def test_the_whole_delivery_is_counted() -> None:
    steps = [recorded(serving(), step) for step in (ab_step(QUICK), SHIFT_20, WATCH)]  # type: ignore[arg-type]
    found = replay(QUICK, (), steps)
    assert not found.differs
    assert found.replayed.where == "the watch with 100 % of the users"
    assert found.replayed.seconds == sum(len(step.looks) for step in steps)


def test_what_is_kept_is_read_back_and_small() -> None:
    long = recorded(serving(requests=1), looks=60)  # type: ignore[arg-type]
    for kept in (GOOD, BAD, long):
        lines = [line_of(kept.header), *map(line_of, kept.looks), *([line_of(kept.end)] if kept.end else [])]
        assert list(steps_in(lines)) == [kept]
        assert max(map(len, lines[1:])) < 500
    assert long.end is None
    assert replay(QUICK, (), [long]).recorded.ended is Ended.UNKNOWN


@pytest.mark.parametrize("line", [b"no", b"[]", b'["look", {"at": 1}]', b'["step", {}]', b'{"a": 1}'])
def test_what_is_no_kept_step_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        steps_in([line])


def test_half_a_step_is_what_is_there() -> None:
    header: StepHeader = BAD.header
    [kept] = steps_in([line_of(header), line_of(BAD.looks[0])])
    assert (kept.end, len(kept.looks)) == (None, 1)


@pytest.mark.parametrize(
    ("usual", "ended"), [({"old": Usual(value=1.0)}, Ended.UNKNOWN), ({}, Ended.TURNED_BACK)], ids=["so before", "new"]
)
def test_what_was_so_before_excuses_the_candidate_in_hindsight_too(usual: dict[str, Usual], ended: Ended) -> None:
    """At 100 % nobody else can tell; the step had been left to a person, who ended it."""
    one = metric(VALUE)
    answers: dict[int, Own] = {look: {"old": (Measurement(value=1.0), None)} for look in range(30)}
    kept = recorded(
        serving(),  # type: ignore[arg-type]
        WATCH,
        looks=8,
        metrics=(one.replace(name="old"),),
        own=answers,
        usual=usual,
    )
    assert replay(QUICK, (one,), [kept]).replayed.ended is ended


def test_a_share_over_a_limit_ends_a_first_release_in_hindsight_as_it_did() -> None:
    def few(scene: Scene) -> None:
        scene.serve(GREEN, PROBE, 15)
        if not scene.judgements:
            scene.serve(GREEN, USER, 60, failed=8)

    for first, ended in ((True, Ended.WENT_ON), (False, Ended.PARKED)):
        kept = recorded(few, SHIFT_100, first=first)
        assert kept.end is not None
        found = replay(QUICK, (), [kept])
        assert found.recorded.ended is ended
        # Where an active release serves, a trial follows; this one was recorded without.
        assert found.replayed.ended is (Ended.WENT_ON if first else Ended.TURNED_BACK)


def test_what_earlier_versions_kept_is_read() -> None:
    line = line_of(GOOD.header)
    older = from_json(line)
    del older[1]["usual"]
    older[1]["schema"] = 4
    [kept] = steps_in([to_json(older)])
    assert kept.header == GOOD.header
