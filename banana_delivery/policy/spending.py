"""How the risk of turning back a good candidate is spent over the tests of a delivery.

A delivery runs many tests: per step, stratum and limit, and again from every restart. Each gets a part of ``alpha``,
and the parts sum to it, so that the chance that any of them ever raises a false alarm is at most ``alpha``, however the
tests depend on each other. Evidence is counted in logarithms, so a test with a hundredth of the risk needs only 4.6
more; that makes restarts cheap. Most of ``alpha`` goes where speed matters most: whole-step tests of failures.
"""

from __future__ import annotations

import math
from enum import StrEnum

from banana_delivery.policy.plans import Plan, Step, all_steps, windows
from banana_delivery.policy.records import Stratum


class Limit(StrEnum):
    """What a candidate may not do."""

    FAILURES = "failures"
    SLOW = "slow"
    OVERLOAD = "overload"
    WORSE_THAN_ACTIVE = "worse_than_active"


STRATA = tuple(Stratum)

WHOLE_STEP_FAILURES = 28 / 36
RESTARTED_FAILURES = 4 / 36
SLOW = 2 / 36
OVERLOAD = 1 / 36
WORSE_THAN_ACTIVE = 1 / 36
"""The parts of alpha. With the seven steps of the usual plans and two strata, 28/36 is alpha / 18 for each test."""


def allowance(plan: Plan, step: Step, limit: Limit, window: int) -> float:
    """The part of ``plan.alpha`` that one test may spend; the same for each stratum and each step of a kind.

    Args:
        plan: the rollout plan.
        step: the step in which the test runs.
        limit: what it looks at. ``WORSE_THAN_ACTIVE`` is judged for users alone and never restarts.
        window: 0 for the test that starts with the step, then 1, 2, ... for each restart.

    Raises:
        ValueError: if the step has no such test.
    """
    if not 0 <= window < (1 if limit is Limit.WORSE_THAN_ACTIVE else windows(plan, step)):
        raise ValueError(f"The {step.kind} step of plan {plan.name!r} has no test of {limit} number {window}.")
    steps = all_steps(plan)
    starts = sum(windows(plan, each) for each in steps)
    match limit:
        case Limit.FAILURES if window == 0:
            part = WHOLE_STEP_FAILURES / (len(steps) * len(STRATA))
        case Limit.FAILURES:
            part = RESTARTED_FAILURES / ((starts - len(steps)) * len(STRATA))
        case Limit.SLOW:
            part = SLOW / (starts * len(STRATA))
        case Limit.OVERLOAD:
            part = OVERLOAD / (starts * len(STRATA))
        case Limit.WORSE_THAN_ACTIVE:
            part = WORSE_THAN_ACTIVE / len(steps)
    return part * plan.alpha


def needed_log_e(plan: Plan, step: Step, limit: Limit, window: int) -> float:
    """The natural logarithm of the e-value at which a test turns the candidate back."""
    return -math.log(allowance(plan, step, limit, window))
