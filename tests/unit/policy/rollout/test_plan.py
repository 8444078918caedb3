import math

import pytest

from banana_delivery.policies.reading import PLANS
from banana_delivery.policy.rollout.plan import (
    BLAME,
    PAIRED,
    TRAFFIC_SOURCES,
    Limit,
    Plan,
    StepKind,
    ab_step,
    all_steps,
    alpha_share,
    blame_threshold,
    rejection_threshold,
    release_steps,
    windows,
)

ODD = PLANS["standard"].replace(name="odd", steps=(1, 100), restart_seconds=7.0)


def all_allowances(plan: Plan) -> list[float]:
    """What every test of a whole delivery may spend."""
    spent = [
        alpha_share(plan, step, limit, window)
        for step in all_steps(plan)
        for limit in (Limit.FAILURES, Limit.SLOW, Limit.OVERLOAD)
        for window in range(windows(plan, step))
        for _ in TRAFFIC_SOURCES
    ]
    spent += [alpha_share(plan, step, Limit.WORSE_THAN_ACTIVE, 0) for step in all_steps(plan)]
    return [*spent, math.exp(-blame_threshold(plan, PAIRED))]


@pytest.mark.parametrize("plan", [*PLANS.values(), ODD], ids=lambda plan: plan.name)
def test_a_delivery_never_spends_more_than_alpha_over_all_its_tests(plan: Plan) -> None:
    spent = all_allowances(plan)
    assert min(spent) > 0
    assert math.fsum(spent) == pytest.approx(plan.alpha, rel=1e-12)


@pytest.mark.parametrize("plan", [*PLANS.values(), ODD], ids=lambda plan: plan.name)
def test_what_may_be_held_against_a_version_never_spends_more_than_alpha_either(plan: Plan) -> None:
    assert math.fsum(math.exp(-blame_threshold(plan, test)) for test in BLAME) == pytest.approx(plan.alpha, rel=1e-12)


@pytest.mark.parametrize("plan", PLANS.values(), ids=lambda plan: plan.name)
def test_failures_since_a_step_began_get_an_eighteenth_of_alpha(plan: Plan) -> None:
    for step in all_steps(plan):
        assert rejection_threshold(plan, step, Limit.FAILURES, 0) == pytest.approx(math.log(18 / 0.01))


@pytest.mark.parametrize(
    ("limit", "window"), [(Limit.FAILURES, 24), (Limit.FAILURES, -1), (Limit.WORSE_THAN_ACTIVE, 1)]
)
def test_a_test_that_the_plan_does_not_know_gets_nothing(limit: Limit, window: int) -> None:
    standard = PLANS["standard"]
    with pytest.raises(ValueError, match="has no test of"):
        alpha_share(standard, ab_step(standard), limit, window)


@pytest.mark.parametrize(
    ("name", "ab", "step", "watch"), [("standard", 240, 45, 240), ("seed", 300, 60, 300), ("demo", 15, 10, 15)]
)
def test_the_named_plans_have_their_ceilings(name: str, ab: float, step: float, watch: float) -> None:
    plan = PLANS[name]
    assert (ab_step(plan).kind, ab_step(plan).weight, ab_step(plan).ceiling_seconds) == (StepKind.AB, 10, ab)
    told = [(each.kind, each.weight, each.ceiling_seconds) for each in release_steps(plan)]
    shifts = [(StepKind.SHIFT, weight, step) for weight in (20, 40, 60, 80, 100)]
    assert told == [*shifts, (StepKind.WATCH, 100, watch)]


def test_the_named_plans_are_the_same_rules_with_other_ceilings() -> None:
    own = {"name", "ab_seconds", "step_seconds", "watch_seconds", "restart_seconds"}
    own |= {"probe_limit", "ab_minimum_seconds", "step_minimum_seconds", "watch_minimum_seconds"}
    standard, *others = [plan.model_dump(exclude=own) for plan in PLANS.values()]
    assert others == [standard] * 2


def test_the_demo_takes_its_shortest_steps_within_half_a_minute() -> None:
    assert sum(step.minimum_seconds for step in all_steps(PLANS["demo"])) <= 30


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": (20, 60, 40, 100)}, "must rise and end at 100"),
        ({"steps": (20, 80)}, "must rise and end at 100"),
        ({"steps": ()}, "must rise and end at 100"),
        ({"step_minimum_seconds": 46}, "the shift step lasts at least 46 s but at most 45 s"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused_in_a_sentence(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PLANS["standard"].replace(**change)
