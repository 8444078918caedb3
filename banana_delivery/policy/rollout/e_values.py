"""Tests that stay valid however often one looks: e-values for error shares and for candidate against active.

An e-value measures evidence against a hypothesis: while the hypothesis holds, the chance that it EVER reaches 1/alpha
is at most alpha, whether one looks after every request or every second, and whether one stops early or late (Ville's
inequality). All functions return natural logarithms, because counts of a million would overflow anything else.

This module needs nothing but ``math``: scipy's ``beta.logsf`` is the logarithm of a number that underflows to 0 on long
runs, and importing ``scipy.stats`` alone costs more than the pipeline may take to load. The unit tests compare with
exact rational arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

THETAS = (1.5, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""How many times as often as the active release a worse candidate may fail; all are believed equally."""

NO_SHARE_EVIDENCE = (0.0,) * len(THETAS)
"""The log likelihood ratios of ``THETAS`` before the first error."""

_TINY = 1e-300
_RELATIVE_PRECISION = 1e-15
_MOST_TERMS = 100_000


def log_e_too_many_errors(failures: int, successes: int, threshold: float) -> float:
    """Evidence that more than ``threshold`` of the requests fail.

    Args:
        failures: requests that failed.
        successes: requests that did not.
        threshold: the share of failures that is still allowed, between 0 and 1.

    Returns:
        The natural logarithm of the e-value against "the share is at most ``threshold``", with a uniform prior over
        the shares above it.

    Raises:
        ValueError: for negative counts or a threshold that is not between 0 and 1.
    """
    return _log_e_sides(failures, successes, threshold)[1]


def log_e_healthy(failures: int, successes: int, threshold: float) -> float:
    """Evidence that fewer than ``threshold`` of the requests fail; the mirror of ``log_e_too_many_errors``.

    Args:
        failures: requests that failed.
        successes: requests that did not.
        threshold: the share of failures that is too many, between 0 and 1.

    Returns:
        The natural logarithm of the e-value against "the share is at least ``threshold``".

    Raises:
        ValueError: for negative counts or a threshold that is not between 0 and 1.
    """
    return _log_e_sides(failures, successes, threshold)[0]


def log_e_worse_than_active(intervals: Iterable[tuple[int, int, float]]) -> float:
    """Evidence that the candidate fails more often than the active release, from their errors alone.

    If both fail equally often, an error belongs to the candidate with the probability of its share of the requests,
    however much the common error rate drifts. Near a share of 0 or 1 an error says nothing.

    Args:
        intervals: in order of time, (errors of the candidate, errors of the active, share of the requests that the
            candidate was OBSERVED to get meanwhile). An interval may be one error or all errors between two looks.

    Returns:
        The natural logarithm of the e-value against "the candidate fails no more often than the active".

    Raises:
        ValueError: for negative counts or a share outside [0, 1].
    """
    evidence = NO_SHARE_EVIDENCE
    for candidate_errors, active_errors, share in intervals:
        evidence = add_share_evidence(evidence, candidate_errors, active_errors, share)
    return log_e_of_share_evidence(evidence)


def add_share_evidence(
    evidence: tuple[float, ...], candidate_errors: int, active_errors: int, share: float
) -> tuple[float, ...]:
    """What one more interval adds to the log likelihood ratios of ``THETAS``.

    Within an interval the candidate's part of the errors is hypergeometric, which spreads less than the binomial that
    the ratio is made for. The ratio is convex in that part, so its expectation stays at or below 1 and the e-value
    valid although the share is measured over the same interval.
    """
    _check_counts(candidate_errors, active_errors)
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"The candidate's share of the requests is {share}; it must lie between 0 and 1.")
    if share in {0.0, 1.0}:
        return evidence
    return tuple(
        ratio
        + candidate_errors * math.log(theta)
        - (candidate_errors + active_errors) * math.log1p(share * (theta - 1))
        for ratio, theta in zip(evidence, THETAS, strict=True)
    )


def log_e_of_share_evidence(evidence: tuple[float, ...]) -> float:
    """The log of the mean likelihood ratio over ``THETAS``."""
    largest = max(evidence)
    return largest + math.log(math.fsum(math.exp(ratio - largest) for ratio in evidence) / len(evidence))


def _log_e_sides(failures: int, successes: int, threshold: float) -> tuple[float, float]:
    """The log e-values for "below" and "above" the threshold.

    With p the share of failures and L(p) its likelihood relative to the threshold's, the two are the means of L over
    the shares below and above. Their sum, weighted by the lengths of the two sides, is the mean over all shares, a
    plain beta function. So the smaller side comes from a continued fraction and the larger one is what remains.
    """
    _check_counts(failures, successes)
    if not 0.0 < threshold < 1.0:
        raise ValueError(f"The threshold is {threshold}; it must lie between 0 and 1, for example 0.05.")
    log_p, log_q = math.log(threshold), math.log1p(-threshold)
    log_mean = _log_beta(failures + 1, successes + 1) - failures * log_p - successes * log_q
    if threshold < (failures + 2) / (failures + successes + 4):
        below = log_q - math.log(failures + 1) + math.log(_fraction(failures + 1, successes + 1, threshold))
        return below, _rest(log_mean, below + log_p) - log_q
    above = log_p - math.log(successes + 1) + math.log(_fraction(successes + 1, failures + 1, 1 - threshold))
    return _rest(log_mean, above + log_q) - log_p, above


def _rest(log_whole: float, log_part: float) -> float:
    """Log of whole minus part."""
    return log_whole + math.log1p(-math.exp(log_part - log_whole))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _fraction(a: float, b: float, x: float) -> float:
    """Gauss's continued fraction of the incomplete beta function, evaluated with Lentz's method (DLMF 8.17.22)."""
    c, d = 1.0, 1.0 / _nonzero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _nonzero(1.0 + term * d)
            c = _nonzero(1.0 + term / c)
            value *= c * d
        if abs(c * d - 1.0) < _RELATIVE_PRECISION:
            return value
    raise ArithmeticError(f"The incomplete beta function did not converge for a = {a}, b = {b}, x = {x}.")


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _check_counts(first: int, second: int) -> None:
    if first < 0 or second < 0:
        raise ValueError(f"Counts of requests are never negative, but these are {first} and {second}.")
