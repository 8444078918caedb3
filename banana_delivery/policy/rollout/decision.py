"""The rollout policy: look at the counters, judge the candidate, say what to do next. Facts in, decisions out.

A step goes: ``begin_step`` once its weight is set; then every second ``assess_step`` with the newest counters,
``next_action`` for what follows, and ``probe_rate`` while it goes on. ``docs/rollout-policy.md`` tells how a decision
is made.

How much internal load a candidate gets: enough to judge it where users are few, next to none where they suffice.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import partial

from banana_delivery.policy.model import Colour, Model, TrafficSnapshot, TrafficSource
from banana_delivery.policy.rollout import e_values, reasons
from banana_delivery.policy.rollout.active import Trouble, candidate_keeps, is_healthy, keeps_limits, sample
from banana_delivery.policy.rollout.analysis import (
    EARLY_PASS_VETO,
    MAX_SILENT_POLLS,
    Finding,
    StepState,
    Window,
    findings,
    observe,
    production_trouble,
)
from banana_delivery.policy.rollout.metrics import StepMetrics, step_metrics
from banana_delivery.policy.rollout.plan import TRAFFIC_SOURCES, Limit, Plan, Step, StepKind, release_steps
from banana_delivery.policy.rollout.traffic.estimates import Excess, over_limit
from banana_delivery.policy.rollout.traffic.split import mismatch
from banana_delivery.policy.rollout.trial.tried import first_onsets


class StepVerdict(StrEnum):
    """What one look says of a step."""

    CONTINUE = "CONTINUE"
    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    TROUBLED = "TROUBLED"
    """Production itself breaks the limits, so that nothing can be said of the candidate."""


class StepAssessment(Model):
    """What one look says of a step, and why.

    Attributes:
        verdict: whether the step goes on, and how it ended if not.
        reason: one sentence with the numbers.
        metrics: what was seen so far.
        limit: what the candidate broke; None unless traffic turned it back, or kept its step from ending well.
        source: whose requests showed it.
        proven: whether the version is to blame; otherwise a trial has to tell (``rollout.trial``).
        wrong_release: whether it FAILed because another digest than meant was running. That says nothing about the
            model: the delivery went wrong, the version did not.
        against: the tests that point against the candidate.
    """

    verdict: StepVerdict
    reason: str
    metrics: StepMetrics
    limit: Limit | None = None
    source: TrafficSource = TrafficSource.USER
    proven: bool = False
    wrong_release: bool = False
    against: tuple[Finding, ...] = ()


class ActionKind(StrEnum):
    """What to do after a look."""

    WAIT = "wait"
    SET_WEIGHT = "set_weight"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    PARK = "park"
    RESUME = "resume"
    """The candidate's users were taken away, and nothing showed that it is to blame: its step begins again."""
    STAND_BACK = "stand_back"
    """As ``PARK``, by the fault of what serves or what it runs on: an error, held against no version."""


class Action(Model):
    """What to do after a look.

    Attributes:
        kind: what.
        weight: percent of user traffic that the candidate is to have now.
        step: the step that begins with it; None if none does.
        reason: one sentence with the numbers.
        wrong_release: as in ``StepAssessment``.
    """

    kind: ActionKind
    weight: int
    step: Step | None = None
    reason: str
    wrong_release: bool = False


def assess_step(
    plan: Plan,
    state: StepState,
    snapshot: TrafficSnapshot,
    candidate: Colour,
    digest: str,
    *,
    overridden: bool = False,
    first: bool = False,
) -> tuple[StepAssessment, StepState]:
    """Judge a step by the newest counters.

    Args:
        plan: the rollout plan.
        state: what ``begin_step`` or the last look returned.
        snapshot: the newest counters.
        candidate: the production colour that is assessed.
        digest: the image digest that is meant to run there.
        overridden: whether a person wants it out whatever production does. The candidate's own faults count as ever.
        first: whether nothing serves yet, so that its users have nowhere else to go, and no trial has what to compare
            it with.

    Returns:
        The assessment, and the state for the next poll.

    Raises:
        ValueError: if the plan's latency budget is no edge of the buckets that are counted.
    """
    state = observe(plan, state, snapshot, candidate)
    state = _extended(state)
    reported = snapshot.digests.get(candidate)
    metrics, against = step_metrics(state, candidate), findings(plan, state, candidate)
    seen = partial(StepAssessment, metrics=metrics, against=against)
    if reported not in (None, digest):
        reason = reasons.wrong_release(candidate, str(reported), digest)
        return seen(verdict=StepVerdict.FAIL, reason=reason, wrong_release=True), state
    if state.silent_polls >= MAX_SILENT_POLLS:
        return seen(verdict=StepVerdict.FAIL, reason=reasons.silent(state, candidate)), state
    for finding in against:
        if finding.counts(plan) and not finding.active:
            reason = reasons.turned_back(plan, state, candidate, finding)
            found = seen(
                limit=finding.limit,
                source=finding.source,
                proven=finding.proven,
                verdict=StepVerdict.FAIL,
                reason=reason,
            )
            return found, state
    doubtful = any(finding.doubt >= EARLY_PASS_VETO for finding in against) or _loses_uploads(state)
    trouble = None if overridden else _holding(plan, state, against)
    misled = "" if overridden else _misled(state, candidate)
    verdict, reason, over = _unless_bad(
        plan,
        state,
        candidate,
        identified=reported is not None,
        doubtful=doubtful,
        trouble=trouble,
        misled=misled,
        first=first,
    )
    if over:
        return seen(verdict=verdict, reason=reason, limit=over.limit, source=over.source), state
    return seen(verdict=verdict, reason=reason), state


def next_action(plan: Plan, state: StepState, judgement: StepAssessment, *, paused: bool = False) -> Action:
    """What to do after an assessment.

    A passed A/B step hands its share of the traffic back (weight 0): taking over is decided anew, by the gate.

    Args:
        plan: the rollout plan.
        state: of the step.
        judgement: what the look said.
        paused: whether a person keeps it where it is: then it turns back, or waits.
    """
    verdict = judgement.verdict
    waits = paused and verdict is not StepVerdict.FAIL
    kind, weight, step = _follows(plan, state, StepVerdict.CONTINUE if waits else verdict)
    return Action(kind=kind, weight=weight, step=step, reason=judgement.reason, wrong_release=judgement.wrong_release)


def around_pause(state: StepState, *, paused: bool, before: bool) -> StepState:
    """The state for the next look, where a person keeps a step where it is, or let it go on just now.

    A pause costs a step none of its time: it begins anew when that is over, so that a fault is found as fast as ever,
    and when the pause ends. Each time, its tests spend their part of the plan's alpha once more.

    Args:
        state: of the step.
        paused: whether it is kept.
        before: whether it was at the look before.
    """
    over = state.seconds >= state.step.ceiling_seconds
    return _begun_anew(state) if (paused and over) or (before and not paused) else state


def _begun_anew(state: StepState) -> StepState:
    """The same step with all its time before it and tests that know nothing; what was counted is still counted."""
    return state.replace(
        windows=(Window(index=0),),
        onsets=first_onsets(state.tried),
        starts=0,
        share_evidence=e_values.NO_SHARE_EVIDENCE,
        unfinished_evidence=e_values.NO_SHARE_EVIDENCE,
        ceilings=1,
        before_seconds=state.whole_seconds,
    )


def may_begin(plan: Plan, state: StepState, candidate: Colour, *, overridden: bool = False) -> str:
    """Why a step must not begin, though it would: one sentence; empty if it may.

    Args:
        plan: the rollout plan.
        state: what production, and the candidate by its probe, did while it was looked at without giving any user away.
        candidate: the colour that would get users.
        overridden: as in ``assess_step``.
    """
    trouble = None if overridden else production_trouble(plan, state, findings(plan, state, candidate))
    if trouble is None or (trouble.limit is Limit.FAILURES and candidate_keeps(plan, state.lately)):
        return ""
    return reasons.troubled(plan, state, candidate, trouble)


def stand_back(reason: str) -> Action:
    """What to do if a step cannot begin."""
    return Action(kind=ActionKind.STAND_BACK, weight=0, reason=reason)


def _misled(state: StepState, candidate: Colour) -> str:
    """Why the step shows less than it seems to: users do not arrive as they were given away; empty if they do."""
    ours, theirs = (state.total(colour, TrafficSource.USER).requests for colour in (candidate, candidate.other))
    found = mismatch(state.split, ours, theirs, state.lately)
    return reasons.misled(state, candidate, found) if found else ""


def _holding(plan: Plan, state: StepState, against: Sequence[Finding]) -> Trouble | None:
    """The trouble of production that no step ends well in; None if there is none, or the candidate mends it.

    Where production fails its users and the candidate keeps every limit in the same seconds, the fault is the old
    release's, and the new one is the way out. Being slow or turned away tells of load rather than of a release.
    """
    trouble = production_trouble(plan, state, against)
    if trouble and trouble.limit is Limit.FAILURES and not trouble.together:
        seen = [state.windows[0].of(source) for source in TRAFFIC_SOURCES]
        if all(keeps_limits(plan, one) for one in seen):
            return None
    return trouble


def _loses_uploads(state: StepState) -> bool:
    """Whether the candidate's clients break off more of their uploads than the active release's, beyond chance.

    They may have their own reasons, so this never turns anybody back; it only keeps a step from ending early.
    """
    return e_values.log_e_of_share_evidence(state.unfinished_evidence) >= EARLY_PASS_VETO


def _unless_bad(
    plan: Plan,
    state: StepState,
    candidate: Colour,
    *,
    identified: bool,
    doubtful: bool,
    trouble: Trouble | None,
    misled: str,
    first: bool,
) -> tuple[StepVerdict, str, Excess | None]:
    """The verdict on a candidate that nothing turns back; and what it is to be tried for, if the step ends by that."""
    step = state.step
    sampled = [seen for seen in map(state.windows[0].of, TRAFFIC_SOURCES) if sample(seen) >= plan.minimum_sample]
    may_pass = identified and bool(sampled) and state.seconds >= step.minimum_seconds and not trouble
    over = over_limit(plan, state)
    may_pass = may_pass and not misled
    if may_pass and not over and not doubtful and all(is_healthy(plan, seen) for seen in sampled):
        return StepVerdict.PASS, reasons.healthy(state, candidate), None
    if may_pass and (not over or first) and state.seconds >= step.ceiling_seconds:
        return StepVerdict.PASS, reasons.no_evidence(plan, state, candidate, over), None
    waited = state.seconds >= step.ceiling_seconds * state.ceilings
    if trouble:
        verdict = StepVerdict.TROUBLED if waited else StepVerdict.CONTINUE
        return verdict, reasons.troubled(plan, state, candidate, trouble), None
    unknown = StepVerdict.INCONCLUSIVE if waited else StepVerdict.CONTINUE
    if misled:
        return unknown, misled, None
    if state.ceilings == 1:
        return unknown, reasons.going_on(state, candidate), None
    if not sampled:
        return unknown, reasons.too_few(plan, state, candidate), None
    if not identified or not over:
        return unknown, reasons.unidentified(state, candidate), None
    return unknown, reasons.over_limit(plan, state, candidate, over), over if waited else None


def _extended(state: StepState) -> StepState:
    """Past the first ceiling a step may last one more: it passes as soon as the sample is there, or is parked."""
    if state.ceilings == 1 and state.seconds >= state.step.ceiling_seconds:
        return state.replace(ceilings=2)
    return state


def _follows(plan: Plan, state: StepState, verdict: StepVerdict) -> tuple[ActionKind, int, Step | None]:
    match verdict:
        case StepVerdict.CONTINUE:
            return ActionKind.WAIT, state.step.weight, None
        case StepVerdict.FAIL:
            return ActionKind.ROLL_BACK, 0, None
        case StepVerdict.INCONCLUSIVE:
            return ActionKind.PARK, 0, None
        case StepVerdict.TROUBLED:
            return ActionKind.STAND_BACK, 0, None
        case StepVerdict.PASS if state.step.kind is StepKind.AB:
            return ActionKind.SET_WEIGHT, 0, None
        case StepVerdict.PASS if state.step.kind is StepKind.WATCH:
            return ActionKind.PROMOTE, 100, None
        case StepVerdict.PASS:
            steps = release_steps(plan)
            following = steps[steps.index(state.step) + 1]
            return ActionKind.SET_WEIGHT, following.weight, following


SETTLED_SECONDS = 3.0
"""The users' rate is not believed before."""


def probe_rate(plan: Plan, state: StepState, snapshot: TrafficSnapshot, candidate: Colour) -> float:
    """Requests per second that the probe should send to the candidate from now on.

    Full rate fills the minimum sample within the first quarter of the step, or within its minimum time if that is
    longer, so that a healthy candidate need not wait for the ceiling. It ends as soon as the probe's own requests have
    shown health, or the users' have, or will in the same time at their present rate.
    """
    if snapshot != state.seen:
        state = observe(plan, state, snapshot, candidate)
    aim = aim_seconds(state.step)
    users, probes = (state.windows[0].of(source) for source in (TrafficSource.USER, TrafficSource.PROBE))
    if any(sample(seen) >= plan.minimum_sample and is_healthy(plan, seen) for seen in (users, probes)):
        return plan.probe_trickle
    expected = sample(users) * aim / state.seconds if state.seconds >= SETTLED_SECONDS else 0.0
    if expected >= plan.minimum_sample and state.seconds < aim:
        return plan.probe_trickle
    return min(plan.minimum_sample / aim, plan.probe_limit)


CONTROL_RATE = 5.0
"""Requests a second that show how the active release does; a candidate's worst second finds some of them under way."""


def control_rate(state: StepState) -> float:
    """Requests per second that the probe should send to the active release from now on, beside the candidate's.

    All the time: both colours asked the same in the same seconds is the one comparison that no user can lead astray.
    """
    del state
    return CONTROL_RATE


def aim_seconds(step: Step) -> float:
    """By when the sample should be complete."""
    return max(step.minimum_seconds, step.ceiling_seconds / 4)
