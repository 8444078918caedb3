"""The arithmetic of what the daemon and the code server cost: pure, of times and sizes that others saw."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from statistics import fmean
from typing import NamedTuple

from banana_delivery.policy.asset_records import AbRecord, AttemptRecord, StagingRecord
from banana_delivery.policy.scorecard.deliveries import times_to_first_user
from banana_delivery.policy.tracing.spans import Interval

BATCHES = 10
"""Samples of memory that follow each other are alike; the means of so many stretches of them hardly are."""


class Backfill(NamedTuple):
    """How long several deliveries took, one at a time.

    Attributes:
        seconds: from the launch to the end of the last one.
        deliveries: of that, while an asset of one of them was being made.
        before_first: from the launch to the first asset of the first one.
        longest_between: from the last asset of one to the first asset of the next, at most.
        overlapping: how many began before the one before had ended.
    """

    seconds: float
    deliveries: float
    before_first: float
    longest_between: float
    overlapping: int

    @property
    def net(self) -> float:
        """Seconds without the deliveries themselves."""
        return self.seconds - self.deliveries


def backfill(launched: float, deliveries: Sequence[Interval]) -> Backfill:
    """What a backfill took.

    Args:
        launched: when, seconds since the epoch.
        deliveries: from the begin of the first asset to the end of the last one, of each, in any order.

    Raises:
        ValueError: if there is none, or one has not ended.
    """
    spans = sorted((one.start, one.end) for one in deliveries if one.end is not None)
    if not spans or len(spans) < len(deliveries):
        raise ValueError(f"{len(spans)} of {len(deliveries)} deliveries have ended; there is nothing to add up.")
    between = [begin - end for (_, end), (begin, _) in pairwise(spans)]
    return Backfill(
        seconds=max(end for _, end in spans) - launched,
        deliveries=sum(end - start for start, end in spans),
        before_first=spans[0][0] - launched,
        longest_between=max(between, default=0.0),
        overlapping=sum(gap < 0 for gap in between),
    )


class FirstUser(NamedTuple):
    """How long it took from staging to the first user.

    Attributes:
        whole: seconds, all together.
        own: without those in which staging was tested and asked about labelled images.
    """

    whole: float
    own: float


def to_first_user(attempt: AttemptRecord, staging: StagingRecord, report: AbRecord) -> FirstUser | None:
    """Of one delivery; None if it gave no user away, or does not say when."""
    known = times_to_first_user([attempt], [report]).seconds
    if not known:
        return None
    return FirstUser(whole=known[0], own=known[0] - (staging.seconds - staging.seconds_to_ready))


class Slope(NamedTuple):
    """What a process grows by.

    Attributes:
        per_tick: KiB.
        low: at least, 95 times of 100.
        high: at most, likewise.
    """

    per_tick: float
    low: float
    high: float


def slope(samples: Sequence[tuple[int, float]], warm_up: int) -> Slope:
    """Growth by a line through the means of stretches with equally many samples.

    Args:
        samples: how many ticks there had been, and KiB then, in that order.
        warm_up: ticks before which a process has not yet loaded what it works with.

    Raises:
        ValueError: if too little was seen after them.
    """
    from scipy.special import stdtrit

    seen = [(float(ticks), size) for ticks, size in samples if ticks >= warm_up]
    each = len(seen) // BATCHES
    if not each or seen[0][0] == seen[-1][0]:
        raise ValueError(f"{len(seen)} samples after {warm_up} ticks are too few for a slope.")
    seen = seen[len(seen) - each * BATCHES :]
    means = [
        (fmean(ticks for ticks, _ in batch), fmean(size for _, size in batch))
        for batch in (seen[first : first + each] for first in range(0, len(seen), each))
    ]
    middle, level = fmean(ticks for ticks, _ in means), fmean(size for _, size in means)
    spread = sum((ticks - middle) ** 2 for ticks, _ in means)
    grows = sum((ticks - middle) * (size - level) for ticks, size in means) / spread
    left = sum((size - level - grows * (ticks - middle)) ** 2 for ticks, size in means)
    off = float(stdtrit(BATCHES - 2, 0.975)) * sqrt(left / (BATCHES - 2) / spread)
    return Slope(grows, grows - off, grows + off)
