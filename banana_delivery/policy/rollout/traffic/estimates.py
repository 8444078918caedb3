"""Whether what was counted in a step keeps the limits at all, chance aside.

No evidence against a candidate is none for it: 8 of 60 users may fail before a test of the step says so, and a thousand
good probes tell nothing of what users send. So a source whose share of bad requests is over a limit keeps the step from
ending well, though it turns nobody back.
"""

from __future__ import annotations

from dataclasses import dataclass

from banana_delivery.policy.model import TrafficSource
from banana_delivery.policy.rollout.active import NOBODY, Part, breaks, exceeds, key, limits
from banana_delivery.policy.rollout.analysis import StepState
from banana_delivery.policy.rollout.plan import TRAFFIC_SOURCES, Limit, Plan
from banana_delivery.policy.rollout.trial.tried import allowed


@dataclass(frozen=True)
class Excess:
    """One source's requests broke a limit more often than may be.

    Attributes:
        limit: which one.
        source: whose requests.
        part: how many, without what the active release suffered with them.
        allowed: the share that may.
    """

    limit: Limit
    source: TrafficSource
    part: Part
    allowed: float


def over_limit(plan: Plan, state: StepState) -> Excess | None:
    """What breaks a limit by its share in the step so far; None if nothing does, or the active release does as well.

    Fewer bad requests than the plan's least are none: one client that fails says nothing of a release.

    Args:
        plan: the rollout plan.
        state: of the step.
    """
    whole = state.windows[0]
    for source in TRAFFIC_SOURCES:
        for limit, everything, share in limits(plan, whole.of(source)):
            part = everything - whole.shared.get(key(source, limit), NOBODY)
            met = state.tried.of(limit)
            most = allowed(met, share, source, state.step.weight) if met else share
            if part.bad < plan.minimum_failures or not exceeds(part, most):
                continue
            actives = [whole.active.get(key(each, limit), NOBODY) for each in TRAFFIC_SOURCES]
            if not any(_breaks_too(plan, theirs, share, part.bad / part.judged) for theirs in actives):
                return Excess(limit, source, part, most)
    return None


def _breaks_too(plan: Plan, theirs: Part, share: float, rate: float) -> bool:
    """Whether the active release breaks the limit by its own share, or its few requests speak for the candidate's."""
    by_share = theirs.bad >= plan.minimum_failures and exceeds(theirs, share)
    return by_share or breaks(theirs, share, rate)
