"""What the trials of one delivery have found so far, and what follows for the steps after them.

A trial that shows nothing lets its step begin again. That must not cost the bound on blaming a sound version: however
many trials there are, each is one more start of the same two tests, with a part of their risk that was fixed before
anything was counted, as in ``onset``. What an earlier trial gathered counts in the later ones.

It has also told something about those who ask: what users meet though the candidate has none of them, they will meet
again when it has some, and requests that break a limit together are no independent evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field

from banana_delivery.policy.model import Colour, Counters, StoredModel, TrafficSource
from banana_delivery.policy.rollout.active import BEYOND_CHANCE, NOBODY, Part, key
from banana_delivery.policy.rollout.comparison import users_compared
from banana_delivery.policy.rollout.onset import EXCESSES, MOST_LOG, Onset
from banana_delivery.policy.rollout.plan import TRAFFIC_SOURCES, Limit

STARTS = (0.5, 0.25, 0.125, 0.125)
"""The part of the risk of each trial's tests that starts with the first, second, ... of them; together all of it."""
MOST_TRIALS = len(STARTS)
"""Of one delivery. The steps begin again after each of them but the last."""
MOST_OF_A_LOOK, MOST_OF_A_COMPARISON = math.log(2.0), math.log(10.0)
"""How much one look adds, at most, to a test whose limit was tried: it is one event, as in the comparison by probes.
More where both colours' users are compared, since few failures tell much there."""
STOPPED = 5
"""What falls to less than a fifth without the candidate's users has stopped with them."""
MOST_ALLOWED = 0.95
"""A limit that no request can break any more is none."""


class Met(StoredModel):
    """How users meet one limit whichever colour serves them.

    Attributes:
        anyway: requests of users in trials while the candidate had none of them. Nobody's, where production itself
            broke the limit then: that was a moment.
        goes_on: whether it is what some of them meet wherever they are; so which colour met more of it told of them.
    """

    anyway: Part = NOBODY
    goes_on: bool = False

    def __add__(self, other: Met) -> Met:
        """Both together."""
        return Met(anyway=self.anyway + other.anyway, goes_on=self.goes_on or other.goes_on)


class Tried(StoredModel):
    """What the trials of a delivery have found so far.

    Attributes:
        trials: how many are over.
        crossovers: in how many of them users were given away again.
        probes: for each of ``e_values.THETAS``, the log of the sum over their starts; none before the first.
        users: for each of ``crossover.STEEPNESS``, the same.
        met: by limit that a trial was about.
    """

    trials: int = Field(default=0, ge=0)
    crossovers: int = Field(default=0, ge=0)
    probes: tuple[float, ...] = ()
    users: tuple[float, ...] = ()
    met: dict[Limit, Met] = Field(default_factory=dict)

    def of(self, limit: Limit) -> Met | None:
        """What is known of a limit; None if no trial was about it."""
        return self.met.get(kind_of(limit))


NOTHING_TRIED = Tried()


def kind_of(limit: Limit) -> Limit:
    """Which requests a limit is about: failing too often, and failing oftener than what serves, are about the same."""
    return Limit.FAILURES if limit is Limit.WORSE_THAN_ACTIVE else limit


def started(before: tuple[float, ...], number: int, size: int) -> tuple[float, ...]:
    """The logs of a test's sums when it starts for the so-many-th time, from 0.

    Args:
        before: those it had at the end of the last trial; none before the first.
        number: how often it started before.
        size: how many sums it has.
    """
    more = math.log(STARTS[min(number, MOST_TRIALS - 1)])
    if not before:
        return (more,) * size
    return tuple(max(one, more) + math.log1p(math.exp(-abs(one - more))) for one in before)


def goes_on(ours: Part, theirs: Part, anyway: Part) -> bool:
    """Whether it is what some users meet wherever they are, rather than the candidate's, beyond chance.

    If it is the candidate's, the active release's users met it as often before as all of them in the trial. If it is
    some users', all of them together did. The likelihoods of both are compared, each at the rates that fit it best.

    Args:
        ours: requests of the candidate's users, in the step.
        theirs: of the active release's meanwhile.
        anyway: of all of them, in the trial while the candidate had none.
    """
    if not ours.bad or theirs.bad * anyway.judged >= anyway.bad * theirs.judged:
        return False
    together = ours + theirs
    of_users = _likely((together, anyway)) + _split(ours.bad, theirs.bad)
    of_candidate = _likely((ours,)) + _likely((theirs, anyway))
    return of_users - of_candidate >= BEYOND_CHANCE


def _likely(parts: tuple[Part, ...]) -> float:
    """The log likelihood of counts at the rate that fits all of them best (Poisson's, without the factorials)."""
    bad, judged = sum(one.bad for one in parts), sum(one.judged for one in parts)
    return math.fsum(one.bad * math.log(bad / judged * one.judged) for one in parts if one.bad) - bad


def _split(first: int, second: int) -> float:
    """The log likelihood of the split of a count into two, at the share that fits it best."""
    return math.fsum(one * math.log(one / (first + second)) for one in (first, second) if one)


def stops(ours: Part, theirs: Part, anyway: Part) -> bool:
    """Whether users met it less than a fifth as often while the candidate had none of them, beyond chance."""
    together = ours + theirs
    if not together.judged or not anyway.judged:
        return False
    expected = together.bad / together.judged / STOPPED * anyway.judged
    if anyway.bad >= expected:
        return False
    likelier = anyway.bad * math.log(anyway.bad / expected) if anyway.bad else 0.0
    return likelier + expected - anyway.bad >= BEYOND_CHANCE


def allowed(met: Met, share: float, source: TrafficSource, weight: int) -> float:
    """The share that may break a limit which was tried: for users, beside it all that they meet anyway.

    Args:
        met: what is known of it.
        share: that may break it otherwise.
        source: whose requests.
        weight: percent of the users that the candidate has; all that they meet may be with it.
    """
    if source is not TrafficSource.USER or not met.anyway.judged:
        return share
    return min(share + met.anyway.bad / met.anyway.judged * 100 / weight, max(MOST_ALLOWED, share))


def first_onsets(tried: Tried) -> dict[str, Onset]:
    """The tests of limits that were tried, as a step begins: one that starts with it stands in for that of all of it.

    It spends what that one would: its part of the risk is no smaller than that of all later starts.
    """
    return {key(source, limit): Onset((1.0,) * len(EXCESSES)) for source in TRAFFIC_SOURCES for limit in tried.met}


def rule_after(tried: Tried, weight: int, limit: Limit, source: TrafficSource, share: float) -> tuple[float, float]:
    """The share that may break a limit, and how much evidence one look may add.

    Args:
        tried: what the trials have found.
        weight: percent of the users that the candidate has.
        limit: which one.
        source: whose requests.
        share: that the plan allows.
    """
    met = tried.of(limit)
    return (allowed(met, share, source, weight), MOST_OF_A_LOOK) if met else (share, MOST_LOG)


def users_compared_after(
    evidence: tuple[float, ...], news: Mapping[str, Counters], candidate: Colour, tried: Tried
) -> tuple[float, ...]:
    """What failed requests of users say of which colour is worse, one look later, after what the trials have found.

    Nothing any more, where it told of its users.
    """
    met = tried.of(Limit.WORSE_THAN_ACTIVE)
    if met is None:
        return users_compared(evidence, news, candidate)
    if met.goes_on:
        return evidence
    after = users_compared(evidence, news, candidate)
    return tuple(min(new, old + MOST_OF_A_COMPARISON) for new, old in zip(after, evidence, strict=True))
