"""How many requests a test needs, without chance: the distribution of when its evidence is reached, request by request.

A test of a share is decided by how many of so many requests failed. So the chance of every number of failures that has
not decided yet is carried from request to request, and what crosses the line is the chance that the test ends there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from banana_delivery.policy.rollout import e_values

Counts = np.ndarray[tuple[int], np.dtype[np.int64]]


def fewest_failures(evidence: Callable[[int, int], float], needed: float, longest: int, least: int) -> Counts:
    """For 1, 2, ... requests, the fewest failures that reach the evidence; more than the requests where none do.

    Args:
        evidence: of so many failures and successes; grows with the former.
        needed: how much decides.
        longest: the last number of requests.
        least: failures without which nothing decides.
    """
    fewest, failures = [], 0
    for requests in range(1, longest + 1):
        while failures <= requests and evidence(failures, requests - failures) < needed:
            failures += 1
        fewest.append(max(failures, least))
    return np.array(fewest)


def too_many_errors(threshold: float) -> Callable[[int, int], float]:
    """The product's own evidence that more than this share fails."""
    return lambda failures, successes: e_values.log_e_too_many_errors(failures, successes, threshold)


def requests_until(fewest: Counts, rate: float, shares: Sequence[float]) -> list[int]:
    """After how many requests such shares of all tests have ended, where every request fails with this chance.

    Args:
        fewest: as ``fewest_failures`` returns it.
        rate: the chance of a failure.
        shares: in ascending order.

    Raises:
        ValueError: if too few have ended by the last request that ``fewest`` tells of.
    """
    open_by_failures = np.zeros(len(fewest) + 2)
    open_by_failures[0] = 1.0
    ended = 0.0
    found: list[int] = []
    for requests, decides in enumerate(fewest, start=1):
        failed = rate * open_by_failures[:-1]
        open_by_failures *= 1 - rate
        open_by_failures[1:] += failed
        ended += float(open_by_failures[decides:].sum())
        open_by_failures[decides:] = 0.0
        while len(found) < len(shares) and ended >= shares[len(found)]:
            found.append(requests)
    if len(found) < len(shares):
        raise ValueError(f"Only {ended:.1%} of the tests have ended after {len(fewest)} requests.")
    return found
