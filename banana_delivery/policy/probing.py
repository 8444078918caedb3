"""How much internal load a candidate gets: enough to judge it where users are few, next to none where they suffice."""

from __future__ import annotations

from banana_delivery.policy.evidence import StepState, is_healthy, observe, sample
from banana_delivery.policy.plans import Plan, Step
from banana_delivery.policy.records import Colour, Stratum, TrafficSnapshot

SETTLED_SECONDS = 3.0
"""The users' rate is not believed before."""


def probe_rate(plan: Plan, state: StepState, snapshot: TrafficSnapshot, candidate: Colour) -> float:
    """Requests per second that the probe should send to the candidate from now on.

    Full rate fills the minimum sample within the first quarter of the step, or within its minimum time if that is
    longer, so that a healthy candidate need not wait for the ceiling. It ends as soon as the probe's own requests have
    shown health, or the users' have, or will in the same time at their present rate.
    """
    state = observe(plan, state, snapshot, candidate)
    aim = aim_seconds(state.step)
    users, probes = (state.windows[0].of(stratum) for stratum in (Stratum.USER, Stratum.PROBE))
    if any(sample(seen) >= plan.minimum_sample and is_healthy(plan, seen) for seen in (users, probes)):
        return plan.probe_trickle
    expected = sample(users) * aim / state.seconds if state.seconds >= SETTLED_SECONDS else 0.0
    if expected >= plan.minimum_sample and state.seconds < aim:
        return plan.probe_trickle
    return min(plan.minimum_sample / aim, plan.probe_limit)


def aim_seconds(step: Step) -> float:
    """By when the sample should be complete."""
    return max(step.minimum_seconds, step.ceiling_seconds / 4)
