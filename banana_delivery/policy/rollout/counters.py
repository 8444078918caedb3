"""Counters of traffic: what happened between two looks, and how fast the answers were.

Absolute counters are never trusted: colours are reused, routers and replicas restart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from banana_delivery.policy.model import Colour, Counters, TrafficSource

NOTHING = Counters()


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts that tests are made of; unlike counters they only ever grow.

    Plain, as hundreds are made at every look, and whoever reads a stored one checks it as part of what it stands in.

    Attributes:
        requests: requests that count, the overloads among them.
        failed: of these, failures of any class.
        overloads: of these, turned away with 503 and Retry-After.
        answered: requests whose latency the replicas reported.
        slow: of these, slower than the latency budget.
    """

    requests: int = 0
    failed: int = 0
    overloads: int = 0
    answered: int = 0
    slow: int = 0

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            requests=self.requests + other.requests,
            failed=self.failed + other.failed,
            overloads=self.overloads + other.overloads,
            answered=self.answered + other.answered,
            slow=self.slow + other.slow,
        )

    @property
    def accepted(self) -> int:
        """Requests that were not turned away: the ones that could fail or succeed."""
        return max(self.requests - self.overloads, self.failed)


def delta(newer: Counters, older: Counters) -> Counters:
    """What was counted between two looks.

    The router's counts and the replicas' latency come from different processes. Where any count of a process has
    fallen, the process restarted, and all that it shows now was counted since: then the new counts are the difference.
    """
    router = _router_counts(newer)
    previous = _router_counts(older)
    if any(router.get(name, 0) < count for name, count in previous.items()):
        previous = {}
    counted = {name: count - previous.get(name, 0) for name, count in router.items()}
    return Counters(
        requests=counted["requests"],
        overloads=counted["overloads"],
        retries=counted["retries"],
        unfinished=counted["unfinished"],
        failures={name: counted[_failure(name)] for name in newer.failures},
        latency=_increase(newer.latency, older.latency),
    )


def add(first: Counters, second: Counters) -> Counters:
    """Two differences, one after the other or of two sources, as one."""
    return Counters(
        requests=first.requests + second.requests,
        overloads=first.overloads + second.overloads,
        retries=first.retries + second.retries,
        unfinished=first.unfinished + second.unfinished,
        failures=_sum(first.failures, second.failures),
        latency=_sum(first.latency, second.latency),
    )


def tally(counters: Counters, budget_seconds: float) -> Tally:
    """The counts that tests need.

    Raises:
        ValueError: if the budget is no edge of the latency buckets.
    """
    answered = counters.latency.get("+Inf", 0)
    return Tally(
        requests=max(counters.requests, counters.failed + counters.overloads),
        failed=counters.failed,
        overloads=counters.overloads,
        answered=answered,
        slow=max(answered - _within(counters.latency, budget_seconds), 0),
    )


def p95(latency: dict[str, int]) -> float | None:
    """The 95th percentile in seconds, interpolated within its bucket as Prometheus does; None without answers.

    Args:
        latency: answers within each upper edge, cumulative. Beyond the last finite edge that edge is returned: the
            histogram knows no more than "at least so long".
    """
    edges = sorted((float(edge), count) for edge, count in latency.items())
    if not edges or edges[-1][1] == 0:
        return None
    rank = 0.95 * edges[-1][1]
    lower, below = 0.0, 0
    for edge, count in edges:
        if count >= rank:
            return lower if math.isinf(edge) else lower + (edge - lower) * (rank - below) / (count - below)
        lower, below = edge, count
    return lower


def _within(latency: dict[str, int], budget_seconds: float) -> int:
    if not latency:
        return 0
    for edge, count in latency.items():
        if float(edge) == budget_seconds:
            return count
    raise ValueError(
        f"The latency budget of {budget_seconds:g} s is no edge of the latency buckets ({', '.join(latency)}); "
        "choose one of these in the rollout plan."
    )


def _failure(name: str) -> str:
    return f"failures/{name}"


def _router_counts(counters: Counters) -> dict[str, int]:
    failures = {_failure(name): count for name, count in counters.failures.items()}
    return {
        "requests": counters.requests,
        "overloads": counters.overloads,
        "retries": counters.retries,
        "unfinished": counters.unfinished,
        **failures,
    }


def _increase(newer: dict[str, int], older: dict[str, int]) -> dict[str, int]:
    if any(newer.get(edge, 0) < count for edge, count in older.items()):
        return dict(newer)
    return {edge: count - older.get(edge, 0) for edge, count in newer.items()}


def _sum(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    return {name: first.get(name, 0) + second.get(name, 0) for name in {**first, **second}}


def latest(newer: Counters, older: Counters | None) -> Counters:
    """The newer counters, with the latency of the older ones where they have none: a look may lack it."""
    if older and older.latency and not newer.latency:
        return newer.replace(latency=older.latency)
    return newer


def counts_of(news: Mapping[str, Counters], colour: Colour, source: TrafficSource) -> Counters:
    """What one backend did; nothing if it is not among them."""
    return news.get(f"{colour}/{source}", NOTHING)
