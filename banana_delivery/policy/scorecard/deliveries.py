"""What the lines of the audit trail say of deliveries: how each ended at last, how long it took, what users met."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from banana_delivery.policy.asset_records import AbRecord, AttemptRecord
from banana_delivery.policy.model import Outcome, TrafficSource
from banana_delivery.policy.outcomes import CONSEQUENCES, Score
from banana_delivery.policy.rollout.metrics import StepMetrics

ROLLBACK = "rollback"
"""The trigger of a line that no delivery wrote: somebody, or the watch, took a release out."""
QUEUES = ("backfill", "redeploy")
"""Triggers that ask for many deliveries at once: how long one of them waited for the others says nothing about it."""


class Durations(NamedTuple):
    """How long deliveries took.

    Attributes:
        seconds: of those that are known.
        unknown: how many others there were.
    """

    seconds: list[float]
    unknown: int


class UserTraffic(NamedTuple):
    """What users met while deliveries were under way, as the steps of rollouts counted it.

    Attributes:
        requests: how many they sent.
        failed: of these, failures of any class.
        seconds: of the steps in which users asked.
        dark_seconds: of these, those in which no user was served.
        unknown: steps that do not say.
    """

    requests: int
    failed: int
    seconds: float
    dark_seconds: float
    unknown: int


def last_words(attempts: Sequence[AttemptRecord]) -> list[AttemptRecord]:
    """One line for each delivery: how it ended at last.

    A release that was taken out later ends as that; a rollback of a release that is not among these is no delivery.

    Args:
        attempts: lines of the audit trail, in any order.
    """
    ends: dict[str, AttemptRecord] = {}
    for attempt in sorted(attempts, key=lambda one: one.order):
        if attempt.revokes in ends:
            ends[attempt.revokes] = attempt
        elif attempt.trigger != ROLLBACK and attempt.run_id:
            ends[attempt.run_id] = attempt
    return list(ends.values())


def counts_as(attempt: AttemptRecord, attempts: Sequence[AttemptRecord]) -> Score:
    """Whether a delivery is good, bad, or neither, by the table of consequences.

    A rollback was of a healthy release, and so is bad, if the very image was released later and stayed.

    Args:
        attempt: how it ended at last.
        attempts: all lines.
    """
    score = CONSEQUENCES[attempt.outcome].score
    if score is not Score.BAD_IF_HEALTHY:
        return score
    later = [one for one in attempts if one.digest == attempt.digest and one.order > attempt.order]
    taken_out = {one.revokes for one in later if one.revoked}
    healthy = any(one.outcome is Outcome.RELEASED and one.run_id not in taken_out for one in later)
    return Score.BAD if healthy and attempt.digest else Score.GOOD


def changes(attempts: Iterable[AttemptRecord]) -> list[AttemptRecord]:
    """The releases that changed what production serves."""
    return [one for one in attempts if one.outcome is Outcome.RELEASED and one.digest != one.previous_digest]


def lead_times(attempts: Iterable[AttemptRecord]) -> Durations:
    """From being staged, or asked for, to all users, of each release that was asked for alone."""
    return _durations(
        (one.asked_at, next((step.metrics.began_at for step in one.steps if step.metrics.weight == 100), None))
        for one in changes(attempts)
        if one.trigger not in QUEUES
    )


def times_to_first_user(attempts: Iterable[AttemptRecord], reports: Sequence[AbRecord]) -> Durations:
    """From being staged, or asked for, to the first share of the users, of each delivery that gave one away."""
    return _durations(
        (one.asked_at, began)
        for one in attempts
        if one.trigger not in (*QUEUES, ROLLBACK)
        if (steps := _steps_of(one, reports))
        if (began := min((step.began_at for step in steps if step.began_at), default=None)) or _old(steps)
    )


def rollback_times(attempts: Iterable[AttemptRecord]) -> Durations:
    """From the verdict to all users on the release before, of each rollback, whoever wanted it."""
    taken = [one.rollback_seconds for one in attempts if one.outcome is Outcome.ROLLED_BACK]
    return Durations([one for one in taken if one is not None], sum(one is None for one in taken))


def user_traffic(attempts: Iterable[AttemptRecord], reports: Iterable[AbRecord]) -> UserTraffic:
    """What users met in all steps together, those of A/B reports among them."""
    steps = [step.metrics for one in attempts for step in one.steps]
    steps += [step for report in reports for step in report.whole_traffic]
    told = [(step, _of_users(step)) for step in steps if step.active_users and step.dark_seconds is not None]
    asked = [step for step, (requests, _) in told if requests]
    return UserTraffic(
        requests=sum(requests for _, (requests, _) in told),
        failed=sum(failed for _, (_, failed) in told),
        seconds=sum(step.seconds for step in asked),
        dark_seconds=sum(step.dark_seconds or 0.0 for step in asked),
        unknown=len(steps) - len(told),
    )


def _of_users(step: StepMetrics) -> tuple[int, int]:
    """What users asked of both colours, and what of it failed."""
    parts = [part for part in (step.sources.get(TrafficSource.USER), step.active_users) if part]
    return sum(part.requests for part in parts), sum(part.failed for part in parts)


def _steps_of(attempt: AttemptRecord, reports: Sequence[AbRecord]) -> list[StepMetrics]:
    """The steps of a delivery, with that of the A/B report that was made during it."""
    start = attempt.at - attempt.seconds
    compared = [
        step
        for report in reports
        if report.ref.digest == attempt.digest and start <= report.verdict.at <= attempt.at
        for step in report.whole_traffic
    ]
    return [*compared, *(step.metrics for step in attempt.steps)]


def _old(steps: Iterable[StepMetrics]) -> bool:
    """Whether an earlier version wrote these, which did not say when a step began."""
    return any(step.active_users is None for step in steps)


def _durations(spans: Iterable[tuple[float | None, float | None]]) -> Durations:
    """The lengths of spans; one that ends before it begins was timed by two clocks, and is not known."""
    lengths = [None if begin is None or end is None else end - begin for begin, end in spans]
    known = [length for length in lengths if length is not None and length >= 0]
    return Durations(known, len(lengths) - len(known))
