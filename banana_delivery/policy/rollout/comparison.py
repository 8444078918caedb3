"""Both colours asked the same in the same seconds, by our own probes: is the candidate worse than what serves?

Requests of one second hang together: a node stalls, a connection breaks. So a look is one event here, however many
requests it holds. Its factor is the smaller of two, each of which has the mean 1 where both colours are alike: the
likelihood ratio, for requests that are independent of each other; and that ratio against the look with the colours
swapped, which is at most 2, for a look in which anything may hang together as long as it might as well have met the
other colour. The smaller of both is valid in either case, and a product of such factors is a supermartingale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from banana_delivery.policy.model import Colour, Counters, TrafficSource
from banana_delivery.policy.rollout.active import NOBODY, Part
from banana_delivery.policy.rollout.counters import Tally, counts_of
from banana_delivery.policy.rollout.e_values import (
    NO_SHARE_EVIDENCE,
    THETAS,
    add_share_evidence,
    log_e_of_share_evidence,
)
from banana_delivery.policy.rollout.plan import Limit

_LARGEST = 700.0
"""``math.exp`` takes no more; a factor of e to minus that is as good as none."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Probes of both colours, compared look by look.

    Attributes:
        ratios: for each of ``e_values.THETAS``, the log of the product of all factors.
        ours: probes of the candidate, and how many of them were bad.
        theirs: of the active release.
    """

    ratios: tuple[float, ...] = NO_SHARE_EVIDENCE
    ours: Part = NOBODY
    theirs: Part = NOBODY

    @property
    def log_e(self) -> float:
        """The evidence that the candidate is worse; all of ``THETAS`` are believed equally."""
        return log_e_of_share_evidence(self.ratios)

    def after(self, ours: Part, theirs: Part) -> Paired:
        """One look later; one in which a colour was not asked says nothing."""
        if not ours.judged or not theirs.judged:
            return self
        ratios = self.ratios
        if ours.bad or theirs.bad:
            ratios = tuple(ratio + log_factor(ours, theirs, theta) for ratio, theta in zip(ratios, THETAS, strict=True))
        return Paired(ratios, self.ours + ours, self.theirs + theirs)


NOT_COMPARED = Paired()


def log_factor(ours: Part, theirs: Part, theta: float) -> float:
    """What one look says of a candidate that is bad ``theta`` times as often: at most log 2."""
    share = ours.judged / (ours.judged + theirs.judged)
    each = math.log1p(share * (theta - 1))
    ratio = ours.bad * math.log(theta) - (ours.bad + theirs.bad) * each
    swapped_ours = theirs.bad * ours.judged / theirs.judged
    swapped_theirs = ours.bad * theirs.judged / ours.judged
    swapped = swapped_ours * math.log(theta) - (swapped_ours + swapped_theirs) * each
    difference = swapped - ratio
    against = difference if difference > _LARGEST else math.log1p(math.exp(difference))
    return min(ratio, math.log(2) - against)


def compare(
    before: Paired, limit: Limit, ours: Mapping[TrafficSource, Tally], theirs: Mapping[TrafficSource, Tally]
) -> Paired:
    """One look later, by the probes of that look.

    Args:
        before: the comparison until then.
        limit: what is bad.
        ours: what the candidate did in the look.
        theirs: what the active release did.
    """
    return before.after(_probes(limit, ours), _probes(limit, theirs))


def _probes(limit: Limit, tallies: Mapping[TrafficSource, Tally]) -> Part:
    return judged_by(limit, tallies.get(TrafficSource.PROBE, Tally()))


def judged_by(limit: Limit, seen: Tally) -> Part:
    """The requests that a limit is about, and how many of them were bad by it."""
    if limit is Limit.SLOW:
        return Part(bad=seen.slow, judged=seen.answered)
    if limit is Limit.OVERLOAD:
        return Part(bad=seen.overloads, judged=seen.requests)
    return Part(bad=seen.failed, judged=seen.accepted)


def users_compared(evidence: tuple[float, ...], news: Mapping[str, Counters], candidate: Colour) -> tuple[float, ...]:
    """What failed requests of users say of which colour is worse, one look later."""
    ours, theirs = (counts_of(news, one, TrafficSource.USER) for one in (candidate, candidate.other))
    requests = ours.requests + theirs.requests
    if requests == 0:
        return evidence
    return add_share_evidence(evidence, ours.failed, theirs.failed, ours.requests / requests)


def unfinished_compared(
    evidence: tuple[float, ...], news: Mapping[str, Counters], candidate: Colour
) -> tuple[float, ...]:
    """The same of uploads that their clients broke off."""
    ours, theirs = (counts_of(news, one, TrafficSource.USER) for one in (candidate, candidate.other))
    sent = ours.requests + ours.unfinished
    everything = sent + theirs.requests + theirs.unfinished
    if everything == 0:
        return evidence
    return add_share_evidence(evidence, ours.unfinished, theirs.unfinished, sent / everything)
