"""Estimates from a few cases, each with an interval that holds it 95 times of 100, however few they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

from banana_delivery.policy.model import Model

OUTSIDE = 0.025
"""Probability with which an interval lies wholly above what it is about, and again below: 95 % in all."""


class Estimate(Model):
    """A figure and how sure it is.

    Attributes:
        value: the figure; None where no case tells.
        low: what it is at least; None where the cases are too few to say.
        high: what it is at most; None likewise.
        cases: how many it is made of.
    """

    value: float | None
    low: float | None
    high: float | None
    cases: int


NO_CASE = Estimate(value=None, low=None, high=None, cases=0)


def share(of_these: int, cases: int) -> Estimate:
    """A share of cases, by Clopper and Pearson: exact for independent cases, and never too narrow for them."""
    from scipy.special import betaincinv  # Not at the top: the code location loads this module, and would pay for it.

    if cases == 0:
        return NO_CASE
    low = float(betaincinv(of_these, cases - of_these + 1, OUTSIDE)) if of_these else 0.0
    high = float(betaincinv(of_these + 1, cases - of_these, 1 - OUTSIDE)) if of_these < cases else 1.0
    return Estimate(value=of_these / cases, low=low, high=high, cases=cases)


def rate(events: int, units: float) -> Estimate:
    """Events for each unit of time, by the exact interval of Poisson's distribution.

    Args:
        events: how many.
        units: the time in which they happened.
    """
    from scipy.special import gammaincinv

    if units <= 0:
        return NO_CASE
    low = float(gammaincinv(events, OUTSIDE)) if events else 0.0
    high = float(gammaincinv(events + 1, 1 - OUTSIDE))
    return Estimate(value=events / units, low=low / units, high=high / units, cases=events)


def quantile(values: Sequence[float], fraction: float) -> Estimate:
    """What so large a fraction of all cases stays within, whatever their distribution: by the order of those seen.

    The smallest value seen that so many of them stay within, and the two between which the true one lies. For 0.95 no
    upper one can be named before there are 72 cases: the rarest may not have been among them.
    """
    from scipy.special import bdtr

    if not values:
        return NO_CASE
    ordered, cases = sorted(values), len(values)
    below = [float(bdtr(count, cases, fraction)) for count in range(cases)]
    """Probability that at most so many of the cases stay within the true one."""
    low = sum(probability <= OUTSIDE for probability in below)
    high = next((place for place, probability in enumerate(below) if probability >= 1 - OUTSIDE), None)
    return Estimate(
        value=ordered[math.ceil(round(cases * fraction, 9)) - 1],
        low=ordered[low - 1] if low else None,
        high=None if high is None else ordered[high],
        cases=cases,
    )
