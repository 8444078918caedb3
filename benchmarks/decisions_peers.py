"""What other rules would have done with the same traffic, for ``benchmarks.decisions``.

Each is judged on the stretch that such rules are made for: the candidate has 10 % of the users for 300 s, beside the
active release. All parameters are the ones that the tools' own documentation starts with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from banana_delivery.policy.simulation.traffic import ACTIVE, CANDIDATE, Maker, Traffic

SECONDS = 300
WEIGHT = 10
PROBES = 5.0
LIMIT = 0.05
ALPHA = 0.01

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Watched:
    """Requests of users, second by second.

    Attributes:
        ours: of the candidate.
        ours_bad: of these, failed or slow.
        theirs: of the active release.
        theirs_bad: of these, failed or slow.
        checked_bad: whether a request to the candidate's `/health` would have met what stops the whole platform.
    """

    ours: Counts
    ours_bad: Counts
    theirs: Counts
    theirs_bad: Counts
    checked_bad: NDArray[np.bool_]


def watch(traffic: Traffic) -> Watched:
    """300 s of an A/B."""
    seen = np.zeros((SECONDS + 1, 4))
    checked = np.zeros(SECONDS, dtype=bool)
    for second in range(SECONDS):
        traffic.second(WEIGHT, PROBES, PROBES)
        backends = traffic.snapshot().backends
        for column, colour in ((0, CANDIDATE), (2, ACTIVE)):
            counters = backends[f"{colour}/user"]
            slow = counters.latency["+Inf"] - counters.latency["1.0"]
            seen[second + 1, column : column + 2] = counters.requests, counters.failed + slow
        checked[second] = traffic.stalls(second + 1.0)
    ours, ours_bad, theirs, theirs_bad = np.diff(seen, axis=0).T
    return Watched(ours, ours_bad, theirs, theirs_bad, checked)


def any_look(seen: Watched) -> int | None:
    """More than 5 % bad since the beginning, at any second."""
    return _first(np.cumsum(seen.ours_bad) > LIMIT * np.cumsum(seen.ours))


def health_checks(seen: Watched) -> int | None:
    """`/health` every 10 s for 300 s: it is well as long as the process is, whatever `/predict` does."""
    return _first(seen.checked_bad & (np.arange(1, SECONDS + 1) % 10 == 0))


def flagger(seen: Watched) -> int | None:
    """Every minute at least 99 % of the last minute's requests succeed; the fifth minute that does not is the last."""
    return _intervals(seen, share=0.01, failures=5)


def argo(seen: Watched) -> int | None:
    """Every minute at least 95 % succeed, with `failureLimit: 3`: the fourth minute that does not is the last."""
    return _intervals(seen, share=0.05, failures=4)


def mann_whitney(seen: Watched) -> int | None:
    """The bad shares of all seconds of both, compared once, at the end (one-sided, 1 %)."""
    ours = seen.ours_bad[seen.ours > 0] / seen.ours[seen.ours > 0]
    theirs = seen.theirs_bad[seen.theirs > 0] / seen.theirs[seen.theirs > 0]
    if not len(ours) or not len(theirs):
        return None
    _, inverse, counts = np.unique(np.concatenate([ours, theirs]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    whole = len(ours) + len(theirs)
    ties = float((counts**3 - counts).sum()) / (whole * (whole - 1))
    variance = len(ours) * len(theirs) / 12 * (whole + 1 - ties)
    u = float(ranks[: len(ours)].sum()) - len(ours) * (len(ours) + 1) / 2
    beyond = (u - len(ours) * len(theirs) / 2) / math.sqrt(variance) if variance > 0 else 0.0
    return SECONDS if beyond > 2.326 else None


def confidence_sequence(seen: Watched) -> int | None:
    """An asymptotic confidence sequence of the difference, as GrowthBook's (5 %, tuned to 5,000), at any second."""
    ours, theirs = np.cumsum(seen.ours), np.cumsum(seen.theirs)
    bad, their_bad = np.cumsum(seen.ours_bad), np.cumsum(seen.theirs_bad)
    alpha, tuned = 0.05, 5000
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / tuned
    with np.errstate(divide="ignore", invalid="ignore"):
        mine, other = bad / ours, their_bad / theirs
        whole = ours + theirs
        variance = mine * (1 - mine) / ours + other * (1 - other) / theirs
        width = np.sqrt(variance * 2 * (whole * rho2 + 1) / (whole * rho2) * np.log(np.sqrt(whole * rho2 + 1) / alpha))
        return _first((mine - other > width) & (variance > 0) & (ours >= 30))


def oracle(seen: Watched) -> int | None:
    """A sequential likelihood ratio of the limit against the one share it is told of, twice the limit (1 %)."""
    worse = 2 * LIMIT
    good = np.cumsum(seen.ours - seen.ours_bad)
    ratio = np.cumsum(seen.ours_bad) * math.log(worse / LIMIT) + good * math.log((1 - worse) / (1 - LIMIT))
    return _first(ratio >= -math.log(ALPHA))


PEERS: dict[str, Callable[[Watched], int | None]] = {
    "> 5 % at any look": any_look,
    "/health every 10 s": health_checks,
    "Flagger's defaults": flagger,
    "Argo's failureLimit": argo,
    "Mann-Whitney, fixed": mann_whitney,
    "confidence sequence": confidence_sequence,
    "oracle SPRT, 10 %": oracle,
}
"""Each says after how many seconds it turns the candidate back; None if it does not."""


def _intervals(seen: Watched, share: float, failures: int) -> int | None:
    """Whether so many minutes had more bad requests than the share; one without requests had none."""
    minutes = seen.ours.reshape(-1, 60).sum(axis=1), seen.ours_bad.reshape(-1, 60).sum(axis=1)
    found = _first(np.cumsum(minutes[1] > share * minutes[0]) >= failures)
    return None if found is None else 60 * found


def _first(reached: NDArray[np.bool_]) -> int | None:
    return int(reached.argmax()) + 1 if reached.any() else None


def compared(makers: dict[str, Maker], users: float, runs: int) -> list[dict[str, object]]:
    """For each kind of traffic the share of candidates that each peer turns back, and when (median)."""
    rows = []
    for number, (name, make) in enumerate(makers.items()):
        watched = [watch(make(np.random.default_rng((100 + number, int(users), seed)), users)) for seed in range(runs)]
        row: dict[str, object] = {"condition": name, "users/s": users, "releases": runs}
        for peer, rule in PEERS.items():
            times = [time for time in map(rule, watched) if time is not None]
            row[peer] = f"{len(times) / runs:.0%}" + (f", {np.median(times):.0f} s" if times else "")
        rows.append(row)
        print(" ".join(str(value) for value in row.values()), flush=True)
    return rows
