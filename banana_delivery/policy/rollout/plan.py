"""Rollout plans: which share of the users a candidate gets, for how long at most, and what it may not do meanwhile.

How the risk of turning back a good candidate is spent over the tests of a delivery.

A delivery runs many tests: per step, source and limit, and again from every restart. Each gets a part of ``alpha``,
and the parts sum to it, so that the chance that any of them ever raises a false alarm is at most ``alpha``, however the
tests depend on each other. Evidence is counted in logarithms, so a test with a hundredth of the risk needs only 4.6
more; that makes restarts cheap. Most of ``alpha`` goes where speed matters most: whole-step tests of failures.
"""

from __future__ import annotations

import math
from enum import StrEnum
from functools import cache
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from banana_delivery.policy.model import Model, StoredModel, TrafficSource

Share = Annotated[float, Field(gt=0, lt=1)]
Percent = Annotated[int, Field(gt=0, le=100)]
DAY_SECONDS = 86_400.0
Seconds = Annotated[float, Field(gt=0, le=DAY_SECONDS)]
Minimum = Annotated[float, Field(ge=0, le=DAY_SECONDS)]


class StepKind(StrEnum):
    """What a step is for: comparing, taking over, or keeping an eye on the release once it has all traffic."""

    AB = "ab"
    SHIFT = "shift"
    WATCH = "watch"


class Step(StoredModel):
    """One stretch of a rollout with a constant weight.

    Attributes:
        kind: what it is for.
        weight: percent of user traffic for the candidate.
        ceiling_seconds: the step ends here at the latest, if the minimum sample was seen.
        minimum_seconds: evidence of health never ends the step before; evidence of failure may.
    """

    kind: StepKind
    weight: Percent
    ceiling_seconds: Seconds
    minimum_seconds: float = Field(ge=0)


class Plan(Model):
    """A rollout plan. Seconds are ceilings: evidence ends a step early.

    Attributes:
        name: how settings name it.
        ab_percent: percent of user traffic during the A/B step.
        ab_seconds: ceiling of the A/B step.
        steps: percent of user traffic, step by step, ending at 100.
        step_seconds: ceiling of each of these steps.
        watch_seconds: ceiling of the watch at 100 %.
        ab_minimum_seconds: the A/B step is at least this long for a healthy candidate.
        step_minimum_seconds: the same for each shift step.
        watch_minimum_seconds: the same for the watch.
        restart_seconds: within a step, fresh tests start this often, so that a late fault is not hidden by a long
            healthy past.
        error_threshold: share of requests that may fail.
        latency_budget_seconds: a request that takes longer is slow; must be a bucket edge of the latency histogram.
        latency_share: share of requests that may be slow.
        overload_share: share of requests that may be turned away with 503 and Retry-After.
        alpha: chance that a candidate within all limits is turned back, over the whole delivery.
        healthy_alpha: chance, at each step, that evidence ends it early although a limit is exceeded.
        minimum_sample: requests that one source must have seen before a step may end well.
        minimum_failures: fewer bad requests than this never turn a candidate back.
        probe_limit: requests per second that the probe sends at most.
        probe_trickle: requests per second that the probe sends when users suffice.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    name: str
    ab_percent: Percent = 10
    ab_seconds: Seconds
    steps: tuple[Percent, ...] = (20, 40, 60, 80, 100)
    step_seconds: Seconds
    watch_seconds: Seconds
    ab_minimum_seconds: Minimum
    step_minimum_seconds: Minimum
    watch_minimum_seconds: Minimum
    restart_seconds: float = Field(default=1.0, ge=1, le=DAY_SECONDS)
    error_threshold: Share = 0.05
    latency_budget_seconds: Seconds = 1.0
    latency_share: Share = 0.05
    overload_share: Share = 0.10
    alpha: Share = 0.01
    healthy_alpha: Share = 0.01
    minimum_sample: int = Field(default=130, gt=0, le=1_000_000)
    minimum_failures: int = Field(default=3, gt=0, le=1_000)
    probe_limit: float = Field(default=30.0, gt=0, le=1_000)
    probe_trickle: float = Field(default=5.0, gt=0, le=1_000)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if not self.steps or self.steps[-1] != 100 or list(self.steps) != sorted(set(self.steps)):
            raise ValueError(f"Plan {self.name!r} has the steps {self.steps}; they must rise and end at 100.")
        for step in all_steps(self):
            if step.minimum_seconds > step.ceiling_seconds:
                raise ValueError(
                    f"Plan {self.name!r}: the {step.kind} step lasts at least {step.minimum_seconds:g} s but at most "
                    f"{step.ceiling_seconds:g} s; lower its minimum or raise its ceiling."
                )
        return self


def ab_step(plan: Plan) -> Step:
    """The step that compares the candidate with the active release on a small share of the users."""
    return Step(
        kind=StepKind.AB,
        weight=plan.ab_percent,
        ceiling_seconds=plan.ab_seconds,
        minimum_seconds=plan.ab_minimum_seconds,
    )


def release_steps(plan: Plan) -> tuple[Step, ...]:
    """The steps that give the candidate all traffic, and the watch after them."""
    shifts = tuple(
        Step(
            kind=StepKind.SHIFT,
            weight=weight,
            ceiling_seconds=plan.step_seconds,
            minimum_seconds=plan.step_minimum_seconds,
        )
        for weight in plan.steps
    )
    watch = Step(
        kind=StepKind.WATCH,
        weight=100,
        ceiling_seconds=plan.watch_seconds,
        minimum_seconds=plan.watch_minimum_seconds,
    )
    return (*shifts, watch)


def all_steps(plan: Plan) -> tuple[Step, ...]:
    """Every step of a delivery, in order: the A/B, the shifts, the watch."""
    return (ab_step(plan), *release_steps(plan))


def starts(plan: Plan, step: Step) -> int:
    """How many times tests start in a step: at its beginning, then every ``restart_seconds`` up to its ceiling."""
    return math.ceil(step.ceiling_seconds / plan.restart_seconds)


def windows(plan: Plan, step: Step) -> int:
    """How many tests of one limit and source a step has: from its beginning, and one from all later starts together."""
    return min(starts(plan, step), 2)


class Limit(StrEnum):
    """What a candidate may not do."""

    FAILURES = "failures"
    SLOW = "slow"
    OVERLOAD = "overload"
    WORSE_THAN_ACTIVE = "worse_than_active"


TRAFFIC_SOURCES = tuple(TrafficSource)

WHOLE_STEP_FAILURES = 28 / 36
LATE_FAILURES = 7 / 72
WHOLE_STEP_SLOW = LATE_SLOW = 1 / 72
WHOLE_STEP_OVERLOAD = LATE_OVERLOAD = 1 / 144
WORSE_THAN_ACTIVE = 1 / 36
"""The parts of alpha; 1/18 is left for the comparison by probes. With the seven steps of the usual plans and two
sources, 28/36 is alpha / 18 for each test."""
_PARTS = {
    Limit.FAILURES: (WHOLE_STEP_FAILURES, LATE_FAILURES),
    Limit.SLOW: (WHOLE_STEP_SLOW, LATE_SLOW),
    Limit.OVERLOAD: (WHOLE_STEP_OVERLOAD, LATE_OVERLOAD),
}


def alpha_share(plan: Plan, step: Step, limit: Limit, window: int) -> float:
    """The part of ``plan.alpha`` that one test may spend; the same for each source and each step of a kind.

    Args:
        plan: the rollout plan.
        step: the step in which the test runs.
        limit: what it looks at. ``WORSE_THAN_ACTIVE`` is judged for users alone and has no later starts.
        window: 0 for the test that starts with the step, 1 for the one of all later starts together; steps get as much
            for the latter as they are long.

    Raises:
        ValueError: if the step has no such test.
    """
    if not 0 <= window < (1 if limit is Limit.WORSE_THAN_ACTIVE else windows(plan, step)):
        raise ValueError(f"The {step.kind} step of plan {plan.name!r} has no test of {limit} number {window}.")
    steps = all_steps(plan)
    if limit is Limit.WORSE_THAN_ACTIVE:
        return WORSE_THAN_ACTIVE / len(steps) * plan.alpha
    part = _PARTS[limit][window] / len(TRAFFIC_SOURCES)
    if window == 0:
        return part / len(steps) * plan.alpha
    lasting = sum(each.ceiling_seconds for each in steps if windows(plan, each) > 1)
    return part * step.ceiling_seconds / lasting * plan.alpha


@cache
def rejection_threshold(plan: Plan, step: Step, limit: Limit, window: int) -> float:
    """The natural logarithm of the e-value at which a test turns the candidate back."""
    return -math.log(alpha_share(plan, step, limit, window))


PAIRED, TRIAL, CROSSOVER = "paired", "trial", "crossover"
BLAME = {PAIRED: 1 / 18, TRIAL: 1 / 2, CROSSOVER: 4 / 9}
"""How ``alpha`` is spent once more, on what is held against a version: it is one thing to send users away for a while,
and another to revoke. The comparison by probes that runs all the time does both, so its part is in both budgets."""


def blame_threshold(plan: Plan, test: str) -> float:
    """The natural logarithm of the e-value at which a version is blamed.

    Args:
        plan: the rollout plan.
        test: a key of ``BLAME``.
    """
    return -math.log(BLAME[test] * plan.alpha)


class PolicyStamp(StoredModel):
    """The release policy that something was judged by.

    Attributes:
        name: what it is called.
        digest: sha256 of its text.
        text: all that it says, as a policy file; empty if nobody has it any more.
    """

    name: str
    digest: str
    text: str = ""
