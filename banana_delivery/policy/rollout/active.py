"""The release that serves, in the same seconds as the candidate: whether it breaks a limit itself.

What both colours suffer together is the platform's fault and no candidate's. Two readings, both of the same seconds:
of one poll, where both have requests enough, and of a whole window, where they are few.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from banana_delivery.policy.model import StoredModel, TrafficSource
from banana_delivery.policy.rollout import e_values
from banana_delivery.policy.rollout.counters import Tally
from banana_delivery.policy.rollout.plan import TRAFFIC_SOURCES, Limit, Plan

Tallies = Mapping[TrafficSource, Tally]

BEYOND_CHANCE = math.log(20)
"""A release within its limit comes this far once in twenty steps at most. It costs a wait, and nobody a release."""
RECENT_SECONDS = 10.0
"""What production does now is what it did in so many seconds."""


@dataclass(frozen=True, slots=True)
class Part:
    """Requests that were judged by one limit, and how many of them broke it; plain, as ``Tally`` is."""

    bad: int = 0
    judged: int = 0

    def __add__(self, other: Part) -> Part:
        """Both together."""
        return Part(bad=self.bad + other.bad, judged=self.judged + other.judged)

    def __sub__(self, other: Part) -> Part:
        """Without the other one."""
        return Part(bad=self.bad - other.bad, judged=self.judged - other.judged)


NOBODY = Part()


class Poll(StoredModel):
    """What was counted between two polls.

    Attributes:
        at: when it ended, seconds since the epoch.
        candidate: by source.
        active: by source.
    """

    at: float
    candidate: dict[TrafficSource, Tally]
    active: dict[TrafficSource, Tally]


@dataclass(frozen=True)
class Trouble:
    """A limit that production breaks by itself.

    Attributes:
        limit: which one.
        source: whose requests.
        part: how many did; none judged where nobody is there to answer any.
        together: whether the candidate broke it in the same seconds.
    """

    limit: Limit
    source: TrafficSource
    part: Part
    together: bool = False


def limits(plan: Plan, seen: Tally) -> tuple[tuple[Limit, Part, float], ...]:
    """For each limit: requests that broke it, of those that could have, and the share that may."""
    return (
        (Limit.FAILURES, Part(bad=seen.failed, judged=seen.accepted), plan.error_threshold),
        (Limit.SLOW, Part(bad=seen.slow, judged=seen.answered), plan.latency_share),
        (Limit.OVERLOAD, Part(bad=seen.overloads, judged=seen.requests), plan.overload_share),
    )


def exceeds(part: Part, share: float) -> bool:
    """Whether more than the share broke the limit, chance aside."""
    return part.bad > share * part.judged


def breaks(part: Part, share: float, rate: float) -> bool:
    """Whether the active release breaks a limit as a candidate does that breaks it at this rate.

    Either its own requests show it beyond chance, or, where they are few, they speak rather for the candidate's rate
    than for the limit. One stray failure of a sound release excuses nobody that fails all the time.

    Args:
        part: of the active release.
        share: that may break the limit.
        rate: the share of the candidate's requests that did; above ``share``.
    """
    if not exceeds(part, share):
        return False
    good = part.judged - part.bad
    if good and rate >= 1.0:
        likelier = -math.inf
    else:
        likelier = part.bad * math.log(rate / share) + (good and good * math.log((1 - rate) / (1 - share)))
    return likelier > 0 or e_values.log_e_too_many_errors(part.bad, good, share) >= BEYOND_CHANCE


def shared_parts(plan: Plan, candidate: Tallies, *actives: Tallies) -> dict[str, Part]:
    """What of the candidate's requests is not held against it, as the active release broke the same limit meanwhile.

    Args:
        plan: the rollout plan.
        candidate: what it did between two polls.
        actives: what the active release did in the same time, and in the time before: one of two colours that fail
            together may be counted a poll later.

    Returns:
        By ``key`` of source and limit.
    """
    found: dict[str, Part] = {}
    for source, seen in candidate.items():
        for limit, part, share in limits(plan, seen):
            rate = part.bad / part.judged if part.judged else 0.0
            if exceeds(part, share) and any(
                breaks(theirs, share, rate) for active in actives for theirs in _parts(plan, active, limit)
            ):
                found[key(source, limit)] = part
    return found


def apart_from(plan: Plan, active: Tallies, shared: Mapping[str, Part]) -> dict[str, Part]:
    """What the active release did, by source and limit, where it was not what the candidate suffered with it."""
    return {
        key(source, limit): part
        for source, seen in active.items()
        for limit, part, _ in limits(plan, seen)
        if not any(key(each, limit) in shared for each in TRAFFIC_SOURCES)
    }


def is_dark(*colours: Tallies) -> bool:
    """Whether users asked, and none of them was served."""
    of_users = [tallies[TrafficSource.USER] for tallies in colours]
    asked = sum(tally.requests for tally in of_users)
    return asked > 0 and asked == sum(tally.failed + tally.overloads for tally in of_users)


@cache
def key(source: TrafficSource, limit: Limit) -> str:
    """How a limit on one source's requests is named in JSON."""
    return f"{source}/{limit}"


def recent_trouble(plan: Plan, polls: tuple[Poll, ...]) -> Trouble | None:
    """The limit that the active release breaks now, beyond chance; None if it keeps them all."""
    return next(_beyond_chance(plan, [poll.active for poll in polls]), None)


def candidate_keeps(plan: Plan, polls: tuple[Poll, ...]) -> bool:
    """Whether nothing speaks against the candidate just now."""
    return next(_beyond_chance(plan, [poll.candidate for poll in polls]), None) is None


def _beyond_chance(plan: Plan, tallies: list[dict[TrafficSource, Tally]]) -> Iterator[Trouble]:
    for source in TRAFFIC_SOURCES:
        whole = sum((one.get(source, Tally()) for one in tallies), Tally())
        for limit, part, share in limits(plan, whole):
            if exceeds(part, share):
                log_e = e_values.log_e_too_many_errors(part.bad, part.judged - part.bad, share)
                if log_e >= BEYOND_CHANCE:
                    yield Trouble(limit, source, part)


def _parts(plan: Plan, active: Tallies, limit: Limit) -> list[Part]:
    return [part for seen in active.values() for of, part, _ in limits(plan, seen) if of is limit]


def added(parts: Mapping[str, Part], more: Mapping[str, Part]) -> dict[str, Part]:
    """Both together, name by name."""
    return {name: parts.get(name, Part()) + more.get(name, Part()) for name in {**parts, **more}}


def keeps_limits(plan: Plan, seen: Tally) -> bool:
    """Whether no more of one source's requests broke a limit than may; chance is not considered."""
    return not any(exceeds(part, share) for _, part, share in limits(plan, seen))


def is_healthy(plan: Plan, seen: Tally) -> bool:
    """Whether one source shows, beyond chance, that the candidate keeps every limit."""
    enough = -math.log(plan.healthy_alpha)
    return all(
        e_values.log_e_healthy(part.bad, part.judged - part.bad, share) >= enough
        for _, part, share in limits(plan, seen)
    )


def sample(seen: Tally) -> int:
    """How many requests of one source can be judged: the ones that were not turned away and whose latency is known."""
    return min(seen.accepted, seen.answered + seen.failed)
