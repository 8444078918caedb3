"""How long the steps of a delivery may take by its plan, users or not."""

from __future__ import annotations

from banana_delivery.policy.rollout.plan import Plan, all_steps
from banana_delivery.policy.rollout.trial.judge import CROSSOVER_SECONDS, LONGEST_SECONDS
from banana_delivery.policy.rollout.trial.tried import MOST_TRIALS

LEAST_LOOKED_AT_SECONDS = 2.0
"""Production, before the A/B and before the first shift."""
BESIDE_STEPS_SECONDS = 3600.0
"""What a delivery takes beside its steps, at most: an export, an image, staging, replicas that have to come up."""


def shortest_seconds(plan: Plan) -> float:
    """Of the steps, and of the looks at production before the A/B and before the first shift."""
    return 2 * LEAST_LOOKED_AT_SECONDS + sum(step.minimum_seconds for step in all_steps(plan))


def longest_seconds(plan: Plan) -> float:
    """Each step may wait for its sample for one more ceiling, and the two that give users away for production.

    A candidate whose users were sent away is tried, and after each trial but the last its step may begin again, once
    production was waited for.
    """
    first, second = all_steps(plan)[:2]
    ceilings = [step.ceiling_seconds for step in all_steps(plan)]
    waits = first.ceiling_seconds + second.ceiling_seconds
    trials, again = MOST_TRIALS * (LONGEST_SECONDS + CROSSOVER_SECONDS), (MOST_TRIALS - 1) * 2 * max(ceilings)
    return 2 * (sum(ceilings) + waits + again) + trials


def wait_for_another(plan: Plan) -> float:
    """How long to wait for somebody else's delivery: so long may one by the same plan take that shows life."""
    return longest_seconds(plan) + BESIDE_STEPS_SECONDS
