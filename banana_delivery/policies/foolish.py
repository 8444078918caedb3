"""What a policy may say, and nobody should without meaning it: one sentence for each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime

from banana_delivery.policies.calendar import FreezeWindow
from banana_delivery.policies.document import ReleasePolicy
from banana_delivery.policies.lasting import longest_seconds
from banana_delivery.policy.gate import Approvers
from banana_delivery.policy.own_metrics.judging import is_judged
from banana_delivery.policy.own_metrics.metric import OwnMetric
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.rollout import e_values
from banana_delivery.policy.rollout.plan import Plan, all_steps

RISKY = 0.1
"""A chance above this is no exception any more."""
LONG_FREEZE_SECONDS = 31 * 86_400.0
LONG_DELIVERY_SECONDS = 6 * 3600.0
MOST_WINDOWS = 1_000
"""That may follow each other in one freeze before it counts as endless."""


def foolish(policy: ReleasePolicy, now: float) -> tuple[str, ...]:
    """Every sentence about a policy.

    Args:
        policy: valid.
        now: seconds since the epoch.
    """
    plan = policy.plan
    return (
        *_risks(plan),
        *_samples(plan),
        *_steps(plan),
        *_quality(policy.quality),
        *_metrics(policy.metrics, plan),
        *_approvers(policy.approvers),
        *_calendar(policy.freeze, now),
    )


def _metrics(metrics: tuple[OwnMetric, ...], plan: Plan) -> Iterator[str]:
    for metric in metrics:
        # What counts is what counters have grown by, so two answers are needed.
        first = metric.initial_delay_seconds + (metric.interval_seconds if metric.counts else 0.0)
        judged = [step for step in all_steps(plan) if is_judged(metric, step, first=False)]
        shortest = min(judged, key=lambda step: step.ceiling_seconds, default=None)
        if shortest and first >= 2 * shortest.ceiling_seconds:
            yield (
                f"The metric {metric.name} says nothing for {first:g} s, and the {shortest.kind} step's "
                f"{shortest.ceiling_seconds:g} s are waited for twice: every delivery is parked there."
            )
        if not metric.counts:
            yield (
                f"The metric {metric.name} is a threshold on {metric.consecutive_failures} measurements in a row and "
                "no test: plan.alpha says nothing of how often it turns a sound candidate back."
            )
        if not metric.tells_colours:
            yield (
                f"The metric {metric.name} names no release by $colour, $digest or $version: it parks where it fails, "
                "since nobody can tell the candidate from what serves."
            )


def _approvers(approvers: Approvers) -> Iterator[str]:
    needed, who = approvers.needed, approvers.who
    if who and len(set(who)) < needed:
        yield f"approvers.who names {len(set(who))} and {needed} are needed: nobody can ever approve or override."
    elif needed > 1 and not who:
        yield (
            f"approvers.needed is {needed} and approvers.who names nobody: off a cluster, one person who types under "
            "two names is two."
        )


def _risks(plan: Plan) -> Iterator[str]:
    if plan.alpha > RISKY:
        yield (
            f"plan.alpha is {plan.alpha:g}: one in {1 / plan.alpha:.3g} sound releases may be turned back; "
            "0.01 is usual."
        )
    if plan.healthy_alpha > RISKY:
        yield (
            f"plan.healthy_alpha is {plan.healthy_alpha:g}: at each step, one in {1 / plan.healthy_alpha:.3g} "
            "candidates beyond a limit may pass early; 0.01 is usual."
        )
    for name in ("error_threshold", "latency_share", "overload_share"):
        share = getattr(plan, name)
        if share > 2 * RISKY:
            yield f"plan.{name} is {share:g}: one in {1 / share:.2g} requests may be bad, and nothing is said of it."


def _samples(plan: Plan) -> Iterator[str]:
    """What can never be shown, or only by users that may not come."""
    slowest = min(all_steps(plan), key=lambda step: step.ceiling_seconds)
    most = plan.probe_limit * 2 * slowest.ceiling_seconds
    if most < plan.minimum_sample:
        yield (
            f"plan.minimum_sample is {plan.minimum_sample}, and in the {slowest.kind} step's "
            f"{slowest.ceiling_seconds:g} s, waited for twice, the probe sends {most:.0f} at most: "
            "without users, every delivery is parked there."
        )
    needed = _for_health(plan)
    longest = max(step.ceiling_seconds for step in all_steps(plan))
    if needed > plan.probe_limit * longest:
        yield (
            f"To show health under these limits takes {needed:,} requests without one that is bad, and the probe sends "
            f"{plan.probe_limit * longest:,.0f} in the longest step at most: with few users every step lasts to its "
            "ceiling."
        )
    if plan.minimum_failures > plan.minimum_sample * plan.error_threshold and plan.minimum_failures > 10:
        yield (
            f"plan.minimum_failures is {plan.minimum_failures}: so many requests have to fail before a release that "
            "answers nothing at all is turned back; 3 is usual."
        )
    if plan.probe_trickle > plan.probe_limit:
        yield (
            f"plan.probe_trickle is {plan.probe_trickle:g}, above plan.probe_limit, {plan.probe_limit:g}: the probe "
            "sends more where users suffice than where they do not."
        )


def _for_health(plan: Plan) -> int:
    """The fewest requests, all of them good, that show every limit kept."""
    enough = -math.log(plan.healthy_alpha)
    needed = 1
    for share in (plan.error_threshold, plan.latency_share, plan.overload_share):
        while e_values.log_e_healthy(0, needed, share) < enough:
            needed = math.ceil(needed * 1.05)
    return needed


def _steps(plan: Plan) -> Iterator[str]:
    if plan.ab_percent >= 50:
        yield f"plan.ab_percent is {plan.ab_percent}: so many percent meet a candidate of which nothing is known."
    elif plan.steps == (100,):
        yield (
            "plan.steps is 100 alone: after the A/B all users move at once, and a fault that load brings meets all of "
            "them."
        )
    if plan.watch_seconds <= plan.restart_seconds:
        yield (
            f"plan.watch_seconds is {plan.watch_seconds:g} and plan.restart_seconds {plan.restart_seconds:g}: tests "
            "never start afresh in the watch, so that what is good at first hides what begins late."
        )
    if (longest := longest_seconds(plan)) > LONG_DELIVERY_SECONDS:
        yield f"A delivery may take {longest / 3600:,.1f} hours, and no other one begins meanwhile."


def _quality(margins: QualityMargins) -> Iterator[str]:
    for name in ("map50", "recall", "map50_95", "class_ap50", "class_recall"):
        margin = getattr(margins, name)
        if margin > 3 * RISKY:
            yield f"quality.{name} is {margin:g}: a candidate may lose {margin:.0%} points of it and enter production."
    if margins.family_error > RISKY:
        yield (
            f"quality.family_error is {margins.family_error:g}: one in {1 / margins.family_error:.3g} equal models is "
            "turned back."
        )


def _calendar(windows: tuple[FreezeWindow, ...], now: float) -> Iterator[str]:
    for window in windows:
        if window.ends_after(now) <= now:
            yield f"freeze: the window {window.words} is over; take it out."
    for begin in sorted({now, *(start for window in windows if (start := window.begins_after(now)) >= now)}):
        end = _frozen_until(windows, begin)
        if end is None:
            yield "freeze: the windows follow each other without a gap, so nothing ever enters production."
            return
        if end - begin > LONG_FREEZE_SECONDS:
            yield (
                f"freeze: nothing enters production from {_day(begin)} to {_day(end)}, "
                f"{(end - begin) / 86_400:.0f} days in a row."
            )
            return


def _frozen_until(windows: tuple[FreezeWindow, ...], begin: float) -> float | None:
    """When a freeze ends that is in force at a moment; None if never."""
    at = begin
    for _ in range(MOST_WINDOWS):
        ends = [window.ends_after(at) for window in windows if window.contains(at)]
        if not ends:
            return at
        at = max(ends)
    return None


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
