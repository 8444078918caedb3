"""Whether a candidate is as fast as what serves: both asked with the same images at the same moments, in rounds.

A round asks both, one right after the other, so that whatever else the machine does slows both alike. Each round gives
one ratio, and what is judged is their median: by the distribution-free interval of the sign test, to which it does not
matter how long the tail of a busy machine is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from pydantic import ConfigDict, Field

from banana_delivery.policy.model import Model

ERROR = 0.025
"""How often, at each of two looks at most, a candidate that is exactly at a margin fails it; an equal one practically
never does."""
LEAST_ROUNDS = 6
"""With fewer no interval of that error ends."""


class PerformanceMargins(Model):
    """How much slower than production a candidate may be in staging, before that turns it back.

    Attributes:
        latency_ratio: how many times production's answer time the candidate's may be, in the median.
        throughput_ratio: what share of production's answers a second it has to give, one client asking without pause.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    latency_ratio: float = Field(default=1.5, ge=1, le=1000)
    throughput_ratio: float = Field(default=0.6, gt=0, le=1)


class SpeedRound(Model):
    """The same images asked of both, in seconds of every answer.

    Attributes:
        candidate: one a image.
        production: the same.
    """

    candidate: tuple[float, ...]
    production: tuple[float, ...]

    @property
    def latency_ratio(self) -> float:
        """The candidate's median answer time, in production's."""
        return median(self.candidate) / median(self.production)

    @property
    def throughput_ratio(self) -> float:
        """The candidate's answers a second, in production's."""
        return sum(self.production) / sum(self.candidate)


class SpeedVerdict(Model):
    """What the rounds say.

    Attributes:
        passed: False only if a ratio is beyond its margin, and that is no chance.
        reason: one sentence with the numbers.
        doubtful: whether a ratio is beyond its margin, and it may be chance: more rounds would tell.
    """

    passed: bool
    reason: str
    doubtful: bool = False


def judge_speed(rounds: Sequence[SpeedRound], margins: PerformanceMargins) -> SpeedVerdict:
    """Judge a candidate beside production; it fails only for what the rounds prove."""
    if len(rounds) < LEAST_ROUNDS:
        return SpeedVerdict(
            passed=True, reason=f"Only {len(rounds)} rounds could be asked, by which nothing is judged."
        )
    latencies = sorted(one.latency_ratio for one in rounds)
    rates = sorted(one.throughput_ratio for one in rounds)
    at = interval(len(rounds))
    slower = latencies[at] > margins.latency_ratio
    fewer = rates[-1 - at] < margins.throughput_ratio
    reason = (
        f"{_times(latencies, at)} production's answer time (at most {margins.latency_ratio:g}) and {_times(rates, at)} "
        f"its answers a second (at least {margins.throughput_ratio:g}), in {len(rounds)} rounds beside each other"
    )
    seems = median(latencies) > margins.latency_ratio or median(rates) < margins.throughput_ratio
    failed = slower or fewer
    return SpeedVerdict(passed=not failed, reason=reason, doubtful=seems and not failed)


def interval(rounds: int) -> int:
    """Which of the sorted ratios, from either end, bounds their median with an error of at most ``ERROR``.

    >>> interval(12)
    2
    """
    beyond, at = 0.5**rounds, 0
    while (beyond := beyond + math.comb(rounds, at + 1) * 0.5**rounds) <= ERROR:
        at += 1
    return at


def _times(ratios: Sequence[float], at: int) -> str:
    return f"{median(ratios):.2f} times [{ratios[at]:.2f}, {ratios[-1 - at]:.2f}]"
