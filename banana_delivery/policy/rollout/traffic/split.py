"""Whether the candidate gets the share of the users that it was given, by a test that is valid at every look.

The counts of a step are compared with the share by their likelihood, averaged over all shares that there may be (a
Dirichlet prior: Lindon and Malek, *Anytime-valid inference for multinomial count data*, 2022; there are two colours),
against the best of those that are near enough to it. If each request goes where it goes by such a share, given all
before it, the ratio is never larger than a test martingale that starts at 1: the chance that it ever reaches 1/alpha is
at most alpha. A mismatch is no fault of a version. It says that the step is not what it seems: connections that are
kept were never shared out anew, or what should serve a share is not behind the router.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from banana_delivery.policy.model import Model, StoredModel, TrafficSource
from banana_delivery.policy.rollout.active import Poll, Tallies

ALPHA = 0.001
"""The chance that a step whose share is right is ever held by this; it costs a wait, and nobody a release."""
LEAST_ROOM = 0.03
ROOM = 0.25
"""Near enough is what differs by less than this part of the smaller colour's share, or by three points in any case."""
LEAST_OF_CONNECTIONS = 0.25
"""Where connections are shared out, those that are open stay where they are, and that is known: then near enough is
whatever is more than this part of the share that was given."""


class Split(StoredModel):
    """How users are meant to be shared out.

    Attributes:
        share: of all users that the candidate is given, 0 to 1: what the target can really give.
        by_connection: whether whole connections are shared out rather than requests.
    """

    share: float
    by_connection: bool = False

    @property
    def near(self) -> tuple[float, float]:
        """The least and the largest share that is near enough."""
        if self.by_connection:
            return LEAST_OF_CONNECTIONS * self.share, 1.0
        room = max(LEAST_ROOM, ROOM * min(self.share, 1 - self.share))
        return max(self.share - room, 0.0), min(self.share + room, 1.0)


class Mismatch(Model):
    """Users who do not arrive as they were given away.

    Attributes:
        share: of all users that the candidate was given.
        ours: requests of its users since the step began.
        everybody: requests of all users.
        log_e: the evidence.
    """

    share: float
    ours: int
    everybody: int
    log_e: float


def log_e_of_split(split: Split, ours: int, theirs: int) -> float:
    """The evidence that so many requests of users come from no share near the one that was given.

    Args:
        split: what was given.
        ours: requests of the candidate's users.
        theirs: of the active release's.

    Returns:
        The natural logarithm of an e-value.
    """
    if not ours + theirs:
        return 0.0
    averaged = math.lgamma(1 + ours) + math.lgamma(1 + theirs) - math.lgamma(2 + ours + theirs)
    least, most = split.near
    share = min(max(ours / (ours + theirs), least), most)
    return averaged - _log_likelihood(ours, share) - _log_likelihood(theirs, 1 - share)


def _log_likelihood(requests: int, share: float) -> float:
    return requests * math.log(share) if requests else 0.0


def mismatch(split: Split | None, ours: int, theirs: int, lately: Sequence[Poll]) -> Mismatch | None:
    """Whether users do not arrive as they were given away: since the step began, beyond chance, and still now.

    Args:
        split: what was given; None if nobody knows.
        ours: requests of the candidate's users since the step began.
        theirs: of the active release's.
        lately: what was counted in the last seconds. Whoever came back from there ends the mismatch.
    """
    if split is None:
        return None
    log_e = log_e_of_split(split, ours, theirs)
    if log_e < -math.log(ALPHA):
        return None
    now = [sum(of[TrafficSource.USER].requests for of in colour) for colour in _both(lately)]
    least, most = split.near
    if sum(now) and least <= now[0] / sum(now) <= most:
        return None
    return Mismatch(share=split.share, ours=ours, everybody=ours + theirs, log_e=log_e)


def _both(lately: Sequence[Poll]) -> tuple[list[Tallies], list[Tallies]]:
    return [poll.candidate for poll in lately], [poll.active for poll in lately]
