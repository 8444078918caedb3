"""The rollout policy: look at the counters, judge the candidate, say what to do next. Facts in, decisions out.

A step goes: ``begin`` once its weight is set; then every second ``judge`` with the newest counters, ``next_action`` for
what follows, and ``probe_rate`` while it goes on. ``docs/rollout-policy.md`` tells how a decision is made.
"""

from __future__ import annotations

from enum import StrEnum

from banana_delivery.policy import reasons
from banana_delivery.policy.counting import delta, p95
from banana_delivery.policy.evidence import DOUBT, StepState, begin, findings, is_healthy, observe, sample
from banana_delivery.policy.figures import StepFigures, TrafficFigures, step_figures
from banana_delivery.policy.plans import PLANS, Plan, Step, StepKind, ab_step, release_steps
from banana_delivery.policy.probing import probe_rate
from banana_delivery.policy.records import Colour, TrafficSnapshot, Value
from banana_delivery.policy.spending import STRATA, Limit

__all__ = [
    "PLANS",
    "Action",
    "ActionKind",
    "Judgement",
    "Limit",
    "Plan",
    "Step",
    "StepFigures",
    "StepKind",
    "StepState",
    "TrafficFigures",
    "Verdict",
    "ab_step",
    "begin",
    "delta",
    "judge",
    "next_action",
    "p95",
    "probe_rate",
    "release_steps",
]


SILENT_LOOKS = 3
"""A router has no replica to count the failure of a request on when there is none, so that no test would ever tell."""


class Verdict(StrEnum):
    """What one look says of a step."""

    CONTINUE = "CONTINUE"
    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class Judgement(Value):
    """What one look says of a step, and why.

    Attributes:
        verdict: whether the step goes on, and how it ended if not.
        reason: one sentence with the numbers.
        figures: what was seen so far.
        limit: what the candidate broke; None unless traffic turned it back.
        wrong_release: whether it FAILed because another digest than meant was running. That says nothing about the
            model: the delivery went wrong, the version did not.
    """

    verdict: Verdict
    reason: str
    figures: StepFigures
    limit: Limit | None = None
    wrong_release: bool = False


class ActionKind(StrEnum):
    """What to do after a look."""

    WAIT = "wait"
    SET_WEIGHT = "set_weight"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    PARK = "park"


class Action(Value):
    """What to do after a look.

    Attributes:
        kind: what.
        weight: percent of user traffic that the candidate is to have now.
        step: the step that begins with it; None if none does.
        reason: one sentence with the numbers.
        wrong_release: as in ``Judgement``.
    """

    kind: ActionKind
    weight: int
    step: Step | None = None
    reason: str
    wrong_release: bool = False


def judge(
    plan: Plan, state: StepState, snapshot: TrafficSnapshot, candidate: Colour, digest: str
) -> tuple[Judgement, StepState]:
    """Judge a step by the newest counters.

    Args:
        plan: the rollout plan.
        state: what ``begin`` or the last look returned.
        snapshot: the newest counters.
        candidate: the production colour under judgement.
        digest: the image digest that is meant to run there.

    Returns:
        The judgement, and the state for the next look.

    Raises:
        ValueError: if the plan's latency budget is no edge of the buckets that are counted.
    """
    state = observe(plan, state, snapshot, candidate)
    state = _extended(state)
    reported = snapshot.digests.get(candidate)
    figures = step_figures(state, candidate)
    if reported not in (None, digest):
        reason = reasons.wrong_release(candidate, str(reported), digest)
        return Judgement(verdict=Verdict.FAIL, reason=reason, figures=figures, wrong_release=True), state
    if state.silent_looks >= SILENT_LOOKS:
        return Judgement(verdict=Verdict.FAIL, reason=reasons.silent(state, candidate), figures=figures), state
    against = findings(plan, state, candidate)
    for finding in against:
        if finding.excess >= 0 and finding.bad >= plan.minimum_failures:
            reason = reasons.turned_back(plan, state, candidate, finding)
            return Judgement(verdict=Verdict.FAIL, reason=reason, figures=figures, limit=finding.limit), state
    doubtful = any(finding.log_e >= DOUBT for finding in against)
    verdict, reason = _unless_bad(plan, state, candidate, identified=reported is not None, doubtful=doubtful)
    return Judgement(verdict=verdict, reason=reason, figures=figures), state


def next_action(plan: Plan, state: StepState, judgement: Judgement) -> Action:
    """What to do after a judgement.

    A passed A/B step hands its share of the traffic back (weight 0): taking over is decided anew, by the gate.
    """
    kind, weight, step = _follows(plan, state, judgement.verdict)
    return Action(kind=kind, weight=weight, step=step, reason=judgement.reason, wrong_release=judgement.wrong_release)


def _unless_bad(
    plan: Plan, state: StepState, candidate: Colour, *, identified: bool, doubtful: bool
) -> tuple[Verdict, str]:
    """The verdict on a candidate that nothing turns back."""
    step = state.step
    sampled = [seen for seen in map(state.windows[0].of, STRATA) if sample(seen) >= plan.minimum_sample]
    may_pass = identified and bool(sampled) and state.seconds >= step.minimum_seconds
    if may_pass and not doubtful and all(is_healthy(plan, seen) for seen in sampled):
        return Verdict.PASS, reasons.healthy(state, candidate)
    if may_pass and state.seconds >= step.ceiling_seconds:
        return Verdict.PASS, reasons.no_evidence(state, candidate)
    if state.ceilings == 1:
        return Verdict.CONTINUE, reasons.going_on(state, candidate)
    lacking = reasons.unidentified(state, candidate) if sampled else reasons.too_few(plan, state, candidate)
    waited = state.seconds >= step.ceiling_seconds * state.ceilings
    return Verdict.INCONCLUSIVE if waited else Verdict.CONTINUE, lacking


def _extended(state: StepState) -> StepState:
    """Past the first ceiling a step may last one more: it passes as soon as the sample is there, or is parked."""
    if state.ceilings == 1 and state.seconds >= state.step.ceiling_seconds:
        return state.but(ceilings=2)
    return state


def _follows(plan: Plan, state: StepState, verdict: Verdict) -> tuple[ActionKind, int, Step | None]:
    match verdict:
        case Verdict.CONTINUE:
            return ActionKind.WAIT, state.step.weight, None
        case Verdict.FAIL:
            return ActionKind.ROLL_BACK, 0, None
        case Verdict.INCONCLUSIVE:
            return ActionKind.PARK, 0, None
        case Verdict.PASS if state.step.kind is StepKind.AB:
            return ActionKind.SET_WEIGHT, 0, None
        case Verdict.PASS if state.step.kind is StepKind.WATCH:
            return ActionKind.PROMOTE, 100, None
        case Verdict.PASS:
            steps = release_steps(plan)
            following = steps[steps.index(state.step) + 1]
            return ActionKind.SET_WEIGHT, following.weight, following
