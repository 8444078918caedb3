"""What a team's metric says of a step, measurement by measurement.

A share or a mean is made of counters, and tested as the limits of a plan are: with the evidence of its whole step, and
of starts all along it, averaged. For observations between 0 and their largest value, with S their sum in that unit and
n their number, ``(q/p)^S ((1-q)/(1-p))^(n-S)`` has a mean of at most 1 while their mean is at most p, as ``e^(lx)``
lies below its chord; so the test of a share is one of a bounded mean too. A value or a ratio is a threshold: so many
measurements in a row decide, and no chance is promised.

What is missing, no number, too old, or begun anew is never a good figure and never a bad one: the step waits for it.
"""

from __future__ import annotations

import math
from enum import StrEnum

from banana_delivery.policy.model import Model, StoredModel
from banana_delivery.policy.own_metrics.counting import Counted, Reach, grown, why_unusable
from banana_delivery.policy.own_metrics.metric import (
    UNKNOWN,
    Measurement,
    MetricKind,
    OwnMetric,
    OwnSeen,
    Usual,
    usable,
)
from banana_delivery.policy.rollout import e_values
from banana_delivery.policy.rollout.active import Part, breaks
from banana_delivery.policy.rollout.plan import Plan, Step, all_steps
from banana_delivery.policy.rollout.trial.tried import MOST_TRIALS

ALPHA_PART = 0.1
"""Of a plan's alpha, for all counted metrics of a team together; the plan's own limits get the rest."""
STARTS = 24
"""Of the tests within a step, beside the one of the whole step, which gets half of what the step may spend."""
DOUBT = math.log(20)
"""With so much evidence a step does not end before its ceiling."""
GRACE_SECONDS = 15.0
"""How long an answer may be late before there is none."""
DIVIDED_BY_ZERO = (
    "the active release's is 0, by which nothing can be divided; keep the query above that, as clamp_min(x, 0.001) does"
)


class Standing(StrEnum):
    """What a metric says of a step, the gravest first."""

    FAILS = "fails"
    PARKS = "parks"
    """It fails, and cannot tell the candidate from what serves."""
    SHARED = "shared"
    """What serves breaks it as well."""
    UNKNOWN = "unknown"
    """There is no figure."""
    UNDECIDED = "undecided"
    """There is one that says neither, or too little was counted."""
    DOUBTFUL = "doubtful"
    FINE = "fine"


class MetricState(StoredModel):
    """A metric within one step.

    Attributes:
        ours: the last measurement of the candidate that could be used.
        theirs: the same of the active release.
        at: when the last answer came, seconds since the step began; None before the first.
        since: when what is counted began, seconds since the step did: later, where that was begun anew.
        counted: what was counted since the step began, or since the delay after it.
        active: the same of the active release.
        starts: what had been counted at the start of each later test.
        reach: how far the candidate's counters have come.
        active_reach: the same of the active release's.
        value: the latest figure; None if there is none.
        streak: measurements in a row that fail.
        shared: measurements in a row that fail with the active release's.
        trouble: why the latest measurement cannot be used; empty if it can.
        usual: how the active release stood in the steps before, where it has no users in this one.
    """

    ours: Measurement = Measurement()
    theirs: Measurement = Measurement()
    at: float | None = None
    since: float = 0.0
    counted: Counted = Counted()
    active: Counted = Counted()
    starts: tuple[Counted, ...] = ()
    reach: Reach = Reach()
    active_reach: Reach = Reach()
    value: float | None = None
    streak: int = 0
    shared: int = 0
    trouble: str = ""
    usual: Usual = UNKNOWN


class MetricVerdict(Model):
    """What a metric says of a step.

    Attributes:
        standing: in one word.
        reason: in one sentence.
        seen: in figures.
    """

    standing: Standing
    reason: str
    seen: OwnSeen


def plan_beside(plan: Plan, metrics: tuple[OwnMetric, ...]) -> Plan:
    """The plan with what of alpha is its own, where a team's counted metrics have a part."""
    if not any(one.counts for one in metrics):
        return plan
    return plan.replace(alpha=plan.alpha * (1 - ALPHA_PART))


def threshold(plan: Plan, metrics: tuple[OwnMetric, ...]) -> float:
    """The natural logarithm of the e-value at which a counted metric turns the candidate back: in each step the same.

    Args:
        plan: as its file says it, with all of alpha.
        metrics: all of the team's.
    """
    steps = len(all_steps(plan)) + MOST_TRIALS - 1  # A step begins again after each trial but the last.
    tests = max(sum(one.counts for one in metrics), 1) * steps
    return -math.log(plan.alpha * ALPHA_PART / tests)


def is_judged(metric: OwnMetric, step: Step, *, first: bool) -> bool:
    """Whether a metric can say anything in a step: a ratio needs an active release with users."""
    return metric.kind is not MetricKind.RATIO or (not first and step.weight < 100)


def is_compared(metric: OwnMetric, step: Step) -> bool:
    """Whether the active release is asked about in a step.

    Once the candidate has all users, a figure of the other one is of nobody: without orders there are none that fail,
    and none a second. Counters say so themselves, by not growing.
    """
    return metric.tells_colours and (metric.counts or step.weight < 100)


def begun(step: Step, usual: Usual) -> MetricState:
    """A metric as a step begins.

    Args:
        step: which one.
        usual: how the active release stood while it had users; that counts where it has none any more.
    """
    return MetricState(usual=usual if step.weight == 100 else UNKNOWN)


def measured(
    metric: OwnMetric, step: Step, before: MetricState, seconds: float, ours: Measurement, theirs: Measurement | None
) -> MetricState:
    """One measurement later.

    Args:
        metric: which.
        step: the step under way.
        before: its state until then.
        seconds: since the step began.
        ours: what was answered about the candidate.
        theirs: what was answered about the active release; None where it is not asked about (``is_compared``).
    """
    state = before.replace(at=seconds, trouble=why_unusable(metric, ours), theirs=theirs or Measurement())
    if seconds < metric.initial_delay_seconds:
        return state.replace(ours=ours, trouble="")
    if state.trouble:
        # What is counted until the next figure arrives belongs to no interval that anybody saw.
        return state.replace(ours=Measurement(), value=None, streak=0, shared=0)
    if metric.counts:
        return _counted(metric, step, before, state.replace(ours=ours))
    return _compared(metric, step, before, state.replace(ours=ours))


def begun_anew(state: MetricState, since: float) -> MetricState:
    """A metric whose step was begun anew after a pause: what was counted until then counts no more.

    Measurements in a row go on: a pause may be cut into pieces that are shorter than so many of them.

    Args:
        state: of it until then.
        since: when that was, seconds since the step began.
    """
    return state.replace(since=since, counted=Counted(), active=Counted(), starts=())


def usual_after(state: MetricState) -> Usual:
    """How the active release stood by a metric, after a step in which it had users."""
    before, latest = state.usual, state.theirs
    known = latest.value if not latest.trouble and usable(latest.value) else before.value
    return Usual(bad=before.bad + state.active.bad, judged=before.judged + state.active.judged, value=known)


def judged(
    metric: OwnMetric, state: MetricState, seconds: float, needed: float, ceiling_seconds: float
) -> MetricVerdict:
    """What a metric says now.

    Args:
        metric: which.
        state: of it.
        seconds: since the step began.
        needed: as ``threshold`` says; for a metric that counts.
        ceiling_seconds: of the step; a doubt holds it no longer than that.
    """
    late = seconds - (state.at or 0.0)
    trouble = state.trouble
    if late > metric.interval_seconds + GRACE_SECONDS:
        trouble = f"nobody has answered for {late:.0f} s"
    evidence = _evidence(metric, state) if metric.counts else 0.0
    standing = _standing(metric, state, evidence, needed)
    if standing in {Standing.FAILS, Standing.PARKS}:
        return _verdict(metric, state, standing, evidence, needed, "")
    if trouble:
        return _verdict(metric, state, Standing.UNKNOWN, evidence, needed, trouble)
    if standing is Standing.DOUBTFUL and seconds - state.since >= ceiling_seconds:
        standing = Standing.FINE
    return _verdict(metric, state, standing, evidence, needed, "")


def _counted(metric: OwnMetric, step: Step, before: MetricState, state: MetricState) -> MetricState:
    """With what the counters have grown by since the measurement before."""
    seconds = state.at or 0.0
    passed = seconds - (before.at or 0.0)
    news = grown(metric, before.ours, state.ours, passed, before.reach)
    theirs = grown(metric, before.theirs, state.theirs, passed, before.active_reach)
    due = min(int(max(seconds - before.since, 0.0) * STARTS / step.ceiling_seconds), STARTS)
    starts = (*state.starts, *[before.counted] * (due - len(state.starts)))
    return state.replace(
        trouble=news.trouble,
        counted=before.counted + news.counted,
        active=before.active + theirs.counted,
        reach=news.reach,
        active_reach=theirs.reach,
        starts=starts,
    )


def _compared(metric: OwnMetric, step: Step, before: MetricState, state: MetricState) -> MetricState:
    """With one more figure against its conditions."""
    value, theirs = state.ours.value, state.theirs.value
    if metric.kind is MetricKind.RATIO:
        value = value / theirs if value is not None and usable(theirs) and theirs else None
        if state.theirs.trouble or not usable(value):
            nothing = DIVIDED_BY_ZERO if theirs == 0 else "there is none of the active release that one could divide by"
            return state.replace(trouble=state.theirs.trouble or nothing, value=None, streak=0, shared=0)
    assert value is not None
    fails = metric.fails(value)
    if step.weight == 100:
        theirs = state.usual.value
    elif state.theirs.trouble:
        theirs = None
    excused = theirs is not None and usable(theirs) and metric.fails(theirs)
    together = fails and metric.kind is MetricKind.VALUE and excused
    new = not state.ours.repeats(before.ours)
    return state.replace(
        value=value,
        streak=state.streak + new if fails and not together else 0,
        shared=state.shared + 1 if together else 0,
    )


def _standing(metric: OwnMetric, state: MetricState, evidence: float, needed: float) -> Standing:
    against = Standing.FAILS if metric.tells_colours else Standing.PARKS
    if not metric.counts:
        if state.streak >= metric.consecutive_failures:
            return against
        if state.shared:
            return Standing.SHARED
        if state.value is None:
            return Standing.UNDECIDED
        return Standing.FINE if metric.succeeds(state.value) else Standing.UNDECIDED
    counted = state.counted
    if evidence >= DOUBT and _active_breaks(metric, state):
        return Standing.SHARED
    if evidence >= needed:
        return against
    if counted.judged < metric.minimum_sample:
        return Standing.UNDECIDED
    return Standing.DOUBTFUL if evidence >= DOUBT else Standing.FINE


def _active_breaks(metric: OwnMetric, state: MetricState) -> bool:
    rate = state.counted.bad / state.counted.judged
    parts = [Part(bad=math.floor(one.bad), judged=math.ceil(one.judged)) for one in (state.active, state.usual)]
    return rate > metric.limit and any(breaks(theirs, metric.limit, min(rate, 1.0)) for theirs in parts)


def _evidence(metric: OwnMetric, state: MetricState) -> float:
    """The log of the averaged e-value: half for the whole step, half for the starts along it that have begun."""
    tests = [(math.log(0.5), Counted()), *((math.log(0.5 / STARTS), start) for start in state.starts)]
    found = [weight + _too_much(metric, state.counted - start) for weight, start in tests]
    most = max(found)
    return most + math.log(math.fsum(math.exp(one - most) for one in found))


def _too_much(metric: OwnMetric, part: Counted) -> float:
    """Rounded against the evidence: what is counted may be no whole number."""
    bad, judged = math.floor(part.bad), math.ceil(part.judged)
    return e_values.log_e_too_many_errors(bad, judged - bad, metric.limit) if judged else 0.0


def _verdict(
    metric: OwnMetric, state: MetricState, standing: Standing, evidence: float, needed: float, trouble: str
) -> MetricVerdict:
    said, share = _said(metric, state, evidence, needed)
    active = usual_after(state)
    seen = OwnSeen(name=metric.name, said=trouble or said, share=round(share, 3), tested=metric.counts, active=active)
    return MetricVerdict(standing=standing, reason=_reason(metric, standing, said, trouble), seen=seen)


def _said(metric: OwnMetric, state: MetricState, evidence: float, needed: float) -> tuple[str, float]:
    if metric.counts:
        found = state.counted
        unit = "" if metric.kind is MetricKind.SHARE else f" of at most {metric.largest:g} each"
        said = (
            f"{found.bad:g} of {found.judged:g}{unit} on the wrong side of {metric.failure_condition} "
            f"(log E {max(evidence, 0.0):.1f} of {needed:.1f})"
        )
        return said, max(evidence, 0.0) / needed
    if state.value is None:
        return "no figure yet", 0.0
    times = "times the active release's, " if metric.kind is MetricKind.RATIO else ""
    said = (
        f"{state.value:.4g}, {times}{state.streak} in a row of the {metric.consecutive_failures} that are "
        f"{metric.failure_condition} (a threshold)"
    )
    return said, state.streak / metric.consecutive_failures


def _reason(metric: OwnMetric, standing: Standing, said: str, trouble: str) -> str:
    name = f"The metric {metric.name}"
    match standing:
        case Standing.FAILS:
            return f"{name} fails: {said}."
        case Standing.PARKS:
            return f"{name} fails, and does not tell the candidate from what serves: {said}."
        case Standing.SHARED:
            return f"{name} fails for the active release as well: {said}. Nothing is held against the candidate."
        case Standing.UNKNOWN:
            return f"{name} cannot be judged: {trouble}. The step waits for it; look at {metric.address}."
        case Standing.UNDECIDED:
            return f"{name} says too little yet: {said}."
    return f"{name}: {said}."
