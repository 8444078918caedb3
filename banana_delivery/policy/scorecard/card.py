"""The scorecard: each figure beside what is promised of it, and whether the promise is kept as far as can be said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

from banana_delivery.policy.asset_records import AbRecord, AttemptRecord
from banana_delivery.policy.model import Model, Outcome
from banana_delivery.policy.outcomes import Score
from banana_delivery.policy.scorecard.deliveries import (
    Durations,
    changes,
    counts_as,
    last_words,
    lead_times,
    rollback_times,
    times_to_first_user,
    user_traffic,
)
from banana_delivery.policy.scorecard.estimates import Estimate, quantile, rate, share

DAY = 86_400.0
NEARLY_ALL = 0.95
"""Of durations, the one that so large a share of all stays within is judged: the mean hides the slow ones."""


class Unit(StrEnum):
    """What a figure counts."""

    SECONDS = "seconds"
    SHARE = "share"
    PER_DAY = "per day"


class Standing(StrEnum):
    """Whether a promise is kept."""

    KEPT = "kept"
    BROKEN = "broken"
    UNSURE = "unsure"
    UNKNOWN = "unknown"
    NO_PROMISE = "no promise"


class Promise(Model):
    """What is promised of a figure.

    Attributes:
        bound: where it ends, in the figure's unit.
        above: whether the figure has to be above it; below it otherwise.
    """

    bound: float
    above: bool = False

    def holds(self, value: float) -> bool:
        """Whether a figure keeps it."""
        return value > self.bound if self.above else value < self.bound


class Measure(Model):
    """A figure of the scorecard.

    Attributes:
        name: for programs.
        title: for people.
        unit: what it counts.
        estimate: the figure with its interval.
        promise: what is promised of it; None if nothing is.
        standing: whether that is kept.
        unknown: cases that would belong to it and do not say.
        note: what else has to be known to read it.
    """

    name: str
    title: str
    unit: Unit
    estimate: Estimate
    promise: Promise | None = None
    standing: Standing
    unknown: int = 0
    note: str = ""


class Scorecard(Model):
    """How the pipeline did in some time.

    Attributes:
        since: its begin, seconds since the epoch.
        until: its end.
        deliveries: how many ended.
        outcomes: how often each end was met.
        measures: the figures.
        left_out: lines of the audit trail that count for nothing, since nobody signed them or they cannot be read.
    """

    since: float
    until: float
    deliveries: int
    outcomes: dict[Outcome, int]
    measures: tuple[Measure, ...]
    left_out: int = 0

    def measure(self, name: str) -> Measure:
        """A figure by its name."""
        return next(one for one in self.measures if one.name == name)


LEAD_TIME = Promise(bound=15 * 60.0)
SUCCESS_RATE = Promise(bound=0.95, above=True)
ROLLBACK_TIME = Promise(bound=5 * 60.0)
USER_ERRORS = Promise(bound=0.01)
AVAILABILITY = Promise(bound=1.0, above=True)
"""All of it: not a second in which users asked and nobody was served."""


def scorecard(
    attempts: Sequence[AttemptRecord],
    reports: Sequence[AbRecord],
    *,
    since: float,
    until: float,
    left_out: int = 0,
) -> Scorecard:
    """The figures of what ended between two moments.

    Args:
        attempts: lines of the audit trail, in any order, as far as they count.
        reports: A/B reports.
        since: the first moment, seconds since the epoch.
        until: the last one.
        left_out: lines that count for nothing.
    """
    within = [one for one in attempts if since <= one.at <= until]
    compared = [one for one in reports if since <= one.verdict.at <= until]
    ends = last_words(within)
    return Scorecard(
        since=since,
        until=until,
        deliveries=len(ends),
        outcomes=dict(Counter(one.outcome for one in ends)),
        measures=(
            _frequency(within, since, until),
            _slowest("lead_time", "Lead time, staged to 100 %", lead_times(within), LEAD_TIME),
            _slowest("first_user", "Staged to first user", times_to_first_user(within, compared)),
            _success_rate(ends, within, left_out),
            _rollbacks(within, since, until),
            _slowest("rollback_time", "Rollback, verdict to all users back", rollback_times(within), ROLLBACK_TIME),
            *_users(within, compared),
        ),
        left_out=left_out,
    )


def standing(estimate: Estimate, promise: Promise | None, unknown: int = 0) -> Standing:
    """Whether a promise is kept: only if the whole interval keeps it, and nothing that belongs to it is unknown."""
    if promise is None:
        return Standing.NO_PROMISE
    if estimate.value is None:
        return Standing.UNKNOWN
    worst, best = (estimate.low, estimate.high) if promise.above else (estimate.high, estimate.low)
    if best is not None and not promise.holds(best):
        return Standing.BROKEN
    if worst is None or not promise.holds(worst) or unknown:
        return Standing.UNSURE
    return Standing.KEPT


def _measure(
    name: str,
    title: str,
    unit: Unit,
    estimate: Estimate,
    promise: Promise | None = None,
    *,
    unknown: int = 0,
    note: str = "",
) -> Measure:
    return Measure(
        name=name,
        title=title,
        unit=unit,
        estimate=estimate,
        promise=promise,
        standing=standing(estimate, promise, unknown),
        unknown=unknown,
        note=note,
    )


def _frequency(attempts: Sequence[AttemptRecord], since: float, until: float) -> Measure:
    """A pipeline that is younger than the time asked for was not idle before it was there."""
    begin = max(since, min((one.at for one in attempts), default=since))
    days = max((until - begin) / DAY, 1.0)
    known = rate(len(changes(attempts)), days)
    return _measure("frequency", "Releases", Unit.PER_DAY, known, note=f"in {days:.0f} days" if days > 1 else "")


def _slowest(name: str, title: str, taken: Durations, promise: Promise | None = None) -> Measure:
    longest = f"longest {max(taken.seconds):.0f} s" if taken.seconds else ""
    known = quantile(taken.seconds, NEARLY_ALL)
    return _measure(name, title, Unit.SECONDS, known, promise, unknown=taken.unknown, note=longest)


def _success_rate(ends: Sequence[AttemptRecord], attempts: Sequence[AttemptRecord], left_out: int) -> Measure:
    scores = Counter(counts_as(one, attempts) for one in ends)
    good, bad = scores[Score.GOOD], scores[Score.BAD]
    note = f"{scores[Score.NEUTRAL]} cancelled by people are not counted" if scores[Score.NEUTRAL] else ""
    known, title = share(good, good + bad), "Deliveries that did right"
    return _measure("success_rate", title, Unit.SHARE, known, SUCCESS_RATE, unknown=left_out, note=note)


def _rollbacks(attempts: Sequence[AttemptRecord], since: float, until: float) -> Measure:
    begin = max(since, min((one.at for one in attempts), default=since))
    days = max((until - begin) / DAY, 1.0)
    count = sum(one.outcome is Outcome.ROLLED_BACK for one in attempts)
    return _measure("rollbacks", "Rollbacks", Unit.PER_DAY, rate(count, days))


def _users(attempts: Sequence[AttemptRecord], reports: Sequence[AbRecord]) -> tuple[Measure, Measure]:
    met = user_traffic(attempts, reports)
    errors = share(met.failed, met.requests)
    lit = 1 - met.dark_seconds / met.seconds if met.seconds else None
    available = Estimate(value=lit, low=lit, high=lit, cases=round(met.seconds))
    return (
        _measure(
            "user_errors",
            "User requests that failed during deliveries",
            Unit.SHARE,
            errors,
            USER_ERRORS,
            unknown=met.unknown,
            note=f"{met.failed:,} of {met.requests:,}" if met.requests else "",
        ),
        Measure(
            name="availability",
            title="Time in which users were served during deliveries",
            unit=Unit.SHARE,
            estimate=available,
            promise=AVAILABILITY,
            standing=_availability(lit, met.unknown),
            unknown=met.unknown,
            note=f"{met.dark_seconds:.0f} s of {met.seconds:.0f} s without" if met.seconds else "",
        ),
    )


def _availability(lit: float | None, unknown: int) -> Standing:
    """Every second was looked at, so there is no interval; only all of them will do."""
    if lit is None:
        return Standing.UNKNOWN
    if lit < 1:
        return Standing.BROKEN
    return Standing.UNSURE if unknown else Standing.KEPT
