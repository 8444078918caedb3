"""Tests that start afresh all the time, as one test: a fault may begin at any second of a step.

With E(s, t) the likelihood ratio of what came after start s, and w(s) the part of the risk that start gets, the sum of
w(s) E(s, t) over all starts so far is kept up by one multiplication and one addition a look (Shiryaev and Roberts'
recursion), for a few shares that the fault may have. As the w(s) sum to 1 and none is chosen by what is counted after
it, the sum and what is left of the 1 are together a test martingale: the chance that it ever reaches 1/alpha is at most
alpha.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from banana_delivery.policy.model import TrafficSource
from banana_delivery.policy.rollout.active import NOBODY, Part, exceeds, key, limits
from banana_delivery.policy.rollout.counters import Tally
from banana_delivery.policy.rollout.plan import TRAFFIC_SOURCES, Limit, Plan

EXCESSES = (0.03, 0.06, 0.16, 0.47, 0.99)
"""Shares that a fault may have, from the limit (0) to every request (1)."""
BELIEVED = (0.1, 0.13, 0.42, 0.15, 0.2)
"""How much each of them is; in all 1. Most goes where doubt costs users most time: of twice the limit the comparison by
probes tells before these do. What fails every request keeps a fifth, so that five in a row are enough.
"""
_MOST = 1e300
"""Evidence beyond this is as good as certain, and must not overflow."""
MOST_LOG = 600.0
"""That much evidence of one look is as good as any."""


@dataclass(frozen=True, slots=True)
class Onset:
    """One limit on one source's requests, tested from every start at once.

    Attributes:
        sums: for each of ``EXCESSES``, the weighted sum of the likelihood ratios since each start.
        part: requests since more of them than may broke the limit for the last time without a pause.
        actives: what the active release did since then, by source, without what both suffered together.
    """

    sums: tuple[float, ...] = (0.0,) * len(EXCESSES)
    part: Part = NOBODY
    actives: tuple[Part, ...] = ()

    @property
    def log_e(self) -> float:
        """The evidence that a fault has begun at some start; what is left of the risk is not counted."""
        return math.log(max(math.fsum(map(operator.mul, BELIEVED, self.sums)), 1 / _MOST))

    def after(
        self,
        part: Part,
        actives: tuple[Part, ...],
        share: float,
        started: float,
        *,
        shared: bool,
        most: float = MOST_LOG,
    ) -> Onset:
        """One look later.

        Args:
            part: requests of this look, and how many of them broke the limit.
            actives: the same of the active release, by source.
            share: that may break the limit.
            started: the part of the risk that starts with the end of this look get; decided by nothing but time.
            shared: whether the active release suffered it too. Then it may only weaken the evidence: a factor that is
                left out because of what was counted must not be one below 1.
            most: evidence that this look may add. A factor that is cut off has a mean that is no larger.
        """
        sums = self.sums
        if part.judged:
            good, most = part.judged - part.bad, 0.0 if shared else most
            sums = tuple(
                min(one * math.exp(min(part.bad * bad_ratio + good * good_ratio, most)), _MOST) if one else 0.0
                for one, (bad_ratio, good_ratio) in zip(sums, _log_ratios(share), strict=True)
            )
        if started:
            sums = tuple(one + started for one in sums)
        run = self.part if shared else self.part + part
        if not exceeds(run, share):
            return Onset(sums)
        before = self.actives or (NOBODY,) * len(actives)
        return replace(
            self, sums=sums, part=run, actives=tuple(old + new for old, new in zip(before, actives, strict=True))
        )


NO_ONSET = Onset()


def onsets_after(
    onsets: Mapping[str, Onset],
    plan: Plan,
    tallies: Mapping[TrafficSource, Tally],
    apart: Mapping[str, Part],
    shared: Mapping[str, Part],
    started: float,
    rule: Callable[[Limit, TrafficSource, float], tuple[float, float]],
) -> dict[str, Onset]:
    """Every limit on every source's requests one look later, without what both colours suffered together.

    Args:
        onsets: before it, by ``active.key``.
        plan: the rollout plan.
        tallies: of the candidate at this look.
        apart: of the active release, by ``active.key``; only where it was not suffered together.
        shared: of the candidate's, what was.
        started: as in ``Onset.after``.
        rule: by limit, source and the plan's share, the share that may break it, and ``most`` of ``Onset.after``.
    """
    found = {}
    for source, seen in tallies.items():
        for limit, part, share in limits(plan, seen):
            name = key(source, limit)
            actives = tuple(apart.get(key(each, limit), NOBODY) for each in TRAFFIC_SOURCES)
            before = onsets.get(name, NO_ONSET)
            allowed, most = rule(limit, source, share)
            found[name] = before.after(part, actives, allowed, started, shared=name in shared, most=most)
    return found


@cache
def _log_ratios(share: float) -> tuple[tuple[float, float], ...]:
    """For each of ``EXCESSES``, what one bad request adds to the log likelihood ratio, and what a good one does."""
    return tuple((math.log((share + excess * (1 - share)) / share), math.log1p(-excess)) for excess in EXCESSES)
