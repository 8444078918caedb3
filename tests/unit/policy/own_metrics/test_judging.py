"""What figures say of a step: counters are tested, thresholds counted, what cannot be used is neither good nor bad."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import pytest

from banana_delivery.policies.reading import PLANS
from banana_delivery.policy.own_metrics.judging import (
    ALPHA_PART,
    MetricState,
    MetricVerdict,
    Standing,
    begun,
    is_compared,
    is_judged,
    judged,
    measured,
    plan_beside,
    threshold,
    usual_after,
)
from banana_delivery.policy.own_metrics.metric import Measurement, OwnMetric, Usual
from banana_delivery.policy.rollout.plan import Plan, Step, ab_step, all_steps
from banana_delivery.policy.rollout.trial.tried import MOST_TRIALS
from tests.unit.policy.own_metrics.metrics import MEAN, RATIO, SHARE, VALUE, metric
from tests.unit.policy.rollout.scene import QUICK, SHIFT_20, SHIFT_100, WATCH

NEEDED = threshold(QUICK, (metric(SHARE),))
Answers = Iterable[tuple[Measurement, Measurement | None]]


def counted(value: float, total: float) -> Measurement:
    return Measurement(value=value, total=total)


def figure(value: float) -> Measurement:
    return Measurement(value=value)


def after(one: OwnMetric, answers: Answers) -> MetricState:
    """A step of 40 s in which one answer comes every ten seconds."""
    state = MetricState()
    for number, (ours, theirs) in enumerate(answers):
        state = measured(one, SHIFT_20, state, 10.0 * number, ours, theirs)
    return state


def verdict(one: OwnMetric, state: MetricState) -> MetricVerdict:
    return judged(one, state, state.at or 0.0, NEEDED, SHIFT_20.ceiling_seconds)


def standing(one: OwnMetric, *answers: Measurement, theirs: Measurement | None = None) -> Standing:
    return verdict(one, after(one, [(answer, theirs) for answer in answers])).standing


def test_counters_that_grow_within_the_limit_are_fine_and_beyond_it_fail() -> None:
    share = metric(SHARE)
    assert standing(share, counted(500, 900), counted(510, 1000)) is Standing.FINE
    assert standing(share, counted(0, 900), counted(60, 1000)) is Standing.FAILS
    assert standing(metric(MEAN), counted(0, 0), counted(6000, 100)) is Standing.FAILS
    assert standing(metric(MEAN), counted(0, 0), counted(1000, 100)) is Standing.FINE


def test_what_was_counted_before_the_step_says_nothing() -> None:
    assert standing(metric(SHARE), counted(900, 1000)) is Standing.UNDECIDED
    assert standing(metric(SHARE), counted(900, 1000), counted(900, 1000)) is Standing.UNDECIDED


def test_a_late_fault_is_found_behind_a_long_good_past() -> None:
    long = [counted(0, 10_000 * number) for number in range(3)]
    state = after(metric(SHARE), [(one, None) for one in [*long, counted(400, 21_000)]])
    assert verdict(metric(SHARE), state).standing is Standing.FAILS


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (Measurement(trouble="there are no such figures"), "there are no such figures"),
        (counted(math.nan, 10), "no number"),
        (counted(10, math.inf), "no number"),
        (Measurement(value=3.0), "no number"),
        (counted(1e300, 1.7e308), "told apart"),
        (counted(-1.7e308, 1200), "told apart"),
        (counted(3, 1010), "began anew"),
        (counted(5, 900), "began anew"),
        (counted(100, 1050), "cannot be"),
    ],
)
def test_what_cannot_be_used_is_neither_good_nor_bad(trouble: Measurement, says: str) -> None:
    share = metric(SHARE)
    state = after(share, [(counted(5, 1000), None), (trouble, None)])
    found = verdict(share, state)
    assert found.standing is Standing.UNKNOWN
    assert says in found.reason
    assert (state.counted.bad, state.counted.judged) == (0, 0)


def test_after_what_cannot_be_used_counting_begins_anew() -> None:
    gap = [counted(0, 1000), Measurement(trouble="away"), counted(900, 2000), counted(901, 2100)]
    state = after(metric(SHARE), [(one, None) for one in gap])
    assert (state.counted.bad, state.counted.judged) == (1, 100)
    anew = [counted(45, 900), counted(50, 1000), counted(1, 10), counted(2, 110)]
    restarted = after(metric(SHARE), [(one, None) for one in anew])
    assert (restarted.counted.bad, restarted.counted.judged) == (6, 200)


def test_a_threshold_needs_its_measurements_in_a_row() -> None:
    value = metric(VALUE)
    assert standing(value, figure(1), figure(1)) is Standing.UNDECIDED
    assert standing(value, figure(1), figure(1), figure(1)) is Standing.FAILS
    assert standing(value, figure(1), figure(1), figure(0.1), figure(1)) is Standing.UNDECIDED
    assert standing(value, figure(1), figure(1), Measurement(trouble="away"), figure(1)) is Standing.UNDECIDED
    assert "(a threshold)" in verdict(value, after(value, [(figure(1), None)])).reason


def taken(value: float, at: float) -> Measurement:
    return Measurement(value=value, taken=at)


def test_a_figure_that_is_given_again_is_one_measurement() -> None:
    """A page that is made once a minute, or a gauge of slow scrapes, has one bad moment: that is no row of them."""
    value, ratio = metric(VALUE), metric(RATIO)
    once = [taken(1, 60)] * 6
    assert standing(value, *once) is Standing.UNDECIDED
    assert standing(value, *once, taken(0, 120)) is Standing.FINE
    assert standing(value, *once, *[taken(1, 120)] * 6) is Standing.UNDECIDED
    assert standing(value, *once, taken(1, 120), taken(1, 120), taken(1, 180)) is Standing.FAILS
    assert standing(ratio, *[taken(3, 60)] * 6, theirs=figure(1)) is Standing.UNDECIDED
    assert standing(value, *once, theirs=figure(1)) is Standing.SHARED


def test_another_figure_of_the_same_time_and_one_of_no_time_are_others() -> None:
    assert standing(metric(VALUE), taken(1, 60), taken(2, 60), taken(3, 60)) is Standing.FAILS
    assert standing(metric(VALUE), *[figure(1)] * 3) is Standing.FAILS


def test_a_figure_from_before_the_delay_is_none_of_those_after_it() -> None:
    value = metric(VALUE, initial_delay_seconds=15, consecutive_failures=1)
    assert standing(value, *[taken(1, 60)] * 4) is Standing.UNDECIDED
    assert standing(value, taken(1, 60), taken(1, 60), taken(1, 70)) is Standing.FAILS


def test_what_is_neither_success_nor_failure_is_inconclusive() -> None:
    value = metric(VALUE, success_condition="< 0.1")
    assert standing(value, figure(0.15)) is Standing.UNDECIDED
    assert standing(value, figure(0.05)) is Standing.FINE


def test_what_serves_breaks_it_too_and_nothing_is_held_against_the_candidate() -> None:
    assert standing(metric(VALUE), *[figure(1)] * 5, theirs=figure(1)) is Standing.SHARED
    assert standing(metric(VALUE), *[figure(1)] * 5, theirs=figure(0)) is Standing.FAILS
    assert standing(metric(VALUE), *[figure(1)] * 5, theirs=Measurement(trouble="away")) is Standing.FAILS
    both = [(counted(60 * number, 100 * number), counted(600 * number, 1000 * number)) for number in range(4)]
    assert verdict(metric(SHARE), after(metric(SHARE), both)).standing is Standing.SHARED


def test_a_metric_that_names_no_release_parks_instead_of_blaming() -> None:
    value = metric(VALUE, query="avg_over_time(x[1m])")
    assert standing(value, *[figure(1)] * 3) is Standing.PARKS


def test_a_ratio_needs_something_to_divide_by() -> None:
    ratio = metric(RATIO)
    assert standing(ratio, *[figure(3)] * 3, theirs=figure(1)) is Standing.FAILS
    assert standing(ratio, *[figure(3)] * 3, theirs=figure(2.5)) is Standing.FINE
    for nothing in (figure(0), figure(-0.0), figure(5e-324), figure(math.nan), Measurement(trouble="away"), None):
        assert standing(ratio, figure(3), theirs=nothing) is Standing.UNKNOWN
    assert is_judged(ratio, SHIFT_20, first=False)
    assert not is_judged(ratio, WATCH, first=False)
    assert not is_judged(ratio, SHIFT_20, first=True)


def test_who_divides_by_nothing_is_told_what_to_ask_for_instead() -> None:
    """A sound release often has no errors at all, so that each delivery would wait for a figure that never comes."""
    for ours in (0, 3):
        state = after(metric(RATIO), [(figure(ours), figure(0))])
        assert "is 0, by which nothing can be divided" in verdict(metric(RATIO), state).reason
        assert "clamp_min(x, 0.001)" in verdict(metric(RATIO), state).reason
    kept = after(metric(RATIO), [(figure(0.001), figure(0.001))])
    assert verdict(metric(RATIO), kept).standing is Standing.FINE


def test_nothing_counts_before_the_delay_is_over() -> None:
    value = metric(VALUE, initial_delay_seconds=25)
    assert standing(value, *[figure(1)] * 3) is Standing.UNDECIDED
    assert standing(value, *[figure(1)] * 6) is Standing.FAILS


def test_who_answers_no_more_is_not_forgotten() -> None:
    value = metric(VALUE)
    state = after(value, [(figure(0), None)])
    assert judged(value, state, 20.0, NEEDED, 40.0).standing is Standing.FINE
    assert judged(value, state, 30.0, NEEDED, 40.0).standing is Standing.UNKNOWN
    assert judged(value, MetricState(), 30.0, NEEDED, 40.0).standing is Standing.UNKNOWN


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_the_budget_of_a_delivery_stays_one_with_steps_that_begin_again(plan: Plan) -> None:
    metrics = metric(SHARE), metric(MEAN, name="boxes"), metric(VALUE, name="up")
    steps = len(all_steps(plan)) + MOST_TRIALS - 1
    own = 2 * steps * math.exp(-threshold(plan, metrics))
    assert own == pytest.approx(plan.alpha * ALPHA_PART)
    assert plan_beside(plan, metrics).alpha + own == pytest.approx(plan.alpha)
    assert plan_beside(plan, (metric(VALUE),)) == plan


def test_sound_candidates_are_turned_back_no_oftener_than_the_budget_says() -> None:
    draw, share, turned, step = random.Random(7), metric(SHARE), 0, ab_step(QUICK)
    level, deliveries = 0.1, 100  # So that there is something to count.
    for _ in range(deliveries):
        state, bad, most = MetricState(), 0, 0.0
        for number in range(20):
            state = measured(share, step, state, 2.0 * number, counted(bad, 20 * number), None)
            seen = judged(share, state, 2.0 * number, -math.log(level), step.ceiling_seconds).seen
            most = max(most, seen.share)
            bad += sum(draw.random() < 0.2 for _ in range(20))
        turned += most >= 1
    assert turned / deliveries <= level + 3 * math.sqrt(level * (1 - level) / deliveries)


def test_what_the_release_before_failed_while_it_had_users_is_held_against_nobody_who_has_them_all() -> None:
    """At 100 % nobody can say how the active release stands: it has no users."""
    share, value = metric(SHARE), metric(VALUE)
    beside = usual_after(after(share, [(counted(0, 0), counted(0, 0)), (counted(9, 20), counted(400, 1000))]))
    assert (beside.bad, beside.judged) == (400, 1000)
    alone = MetricState(usual=beside)
    for seconds, seen in ((0.0, counted(0, 0)), (10.0, counted(400, 1000))):
        alone = measured(share, WATCH, alone, seconds, seen, counted(400, 1000))
    assert verdict(share, alone).standing is Standing.SHARED
    assert verdict(share, alone.replace(usual=Usual(bad=20, judged=1000))).standing is Standing.FAILS
    for usual, standing_of in ((0.5, Standing.SHARED), (0.1, Standing.FAILS), (None, Standing.FAILS)):
        state = MetricState(usual=Usual(value=usual))
        for number in range(4):
            state = measured(value, WATCH, state, 10.0 * number, figure(1), Measurement(trouble="no users"))
        assert verdict(value, state).standing is standing_of


@pytest.mark.parametrize(
    ("usual", "standing_of"), [(50.0, Standing.FAILS), (0.5, Standing.SHARED), (None, Standing.FAILS)]
)
@pytest.mark.parametrize("step", [SHIFT_100, WATCH])
def test_a_figure_of_a_release_without_users_excuses_nobody(
    step: Step, usual: float | None, standing_of: Standing
) -> None:
    """Orders a second: the release before takes none any more, whatever becomes of those of the new one."""
    orders = metric(VALUE, failure_condition="< 1")
    state = begun(step, Usual(value=usual))
    for number in range(4):
        state = measured(orders, step, state, 10.0 * number, figure(0), figure(0))
    assert verdict(orders, state).standing is standing_of


def test_how_it_stood_before_counts_only_where_it_has_no_users_any_more() -> None:
    assert begun(SHIFT_20, Usual(value=0.5)) == MetricState()
    assert begun(WATCH, Usual(value=0.5)).usual == Usual(value=0.5)


@pytest.mark.parametrize(
    ("one", "step", "compared"),
    [
        (metric(VALUE), SHIFT_20, True),
        (metric(VALUE), WATCH, False),
        (metric(SHARE), SHIFT_20, True),
        (metric(SHARE), WATCH, True),
        (metric(SHARE, query="sum(a)", total="sum(b)"), SHIFT_20, False),
    ],
)
def test_a_release_without_users_has_counters_but_no_figures(one: OwnMetric, step: Step, compared: bool) -> None:
    assert is_compared(one, step) is compared
