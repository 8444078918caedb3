"""What a team's counters have grown by from one measurement to the next, each request counted once.

They are sums over processes that nobody names. Such a sum falls where one of them begins again, and also where one is
not seen for a while: a scrape fails, or two Prometheus servers take turns and one is behind. What comes back then has
been counted before, and to count it again would make strong evidence of weak.
"""

from __future__ import annotations

from banana_delivery.policy.model import StoredModel
from banana_delivery.policy.own_metrics.metric import Measurement, OwnMetric, usable

MOST_COUNTED = 2.0**53
"""Of a counter: beyond it one more makes no other number, and sums have no end."""
BURST = 2.0
"""So many times as fast as before may counters grow that have fallen; what is faster has come back.

What then grows on may be so many times as fast again, and so on: users come and stay, while processes that come back
one by one are few, and each brings much.
"""
UNKNOWN = BURST**4
"""Where nobody has seen how fast counters grow that have fallen, what comes is taken to be so many times too fast."""


class Counted(StoredModel):
    """Of counters, how much was on the wrong side, of how much."""

    bad: float = 0.0
    judged: float = 0.0

    def __add__(self, other: Counted) -> Counted:
        """Both together."""
        return Counted(bad=self.bad + other.bad, judged=self.judged + other.judged)

    def __sub__(self, before: Counted) -> Counted:
        """What came after a part of it."""
        return Counted(bad=self.bad - before.bad, judged=self.judged - before.judged)


class Reach(StoredModel):
    """How far the counters of one release have come within a step.

    Attributes:
        value: where the one of what is counted stood when it stood highest.
        total: the same of everything; None before the first measurement.
        since: how much of both was counted since they fell below that.
        fastest: how much a second the one of everything has grown at most, while nothing was missing.
        latest: how much a second it has grown last, whatever was missing; what had come back is no growth.
    """

    value: float = 0.0
    total: float | None = None
    since: tuple[float, float] = (0.0, 0.0)
    fastest: float = 0.0
    latest: float = 0.0

    def has(self, seen: Measurement) -> bool:
        """Whether a measurement shows all that was seen before."""
        return self.total is None or (_of(seen)[0] >= self.value and _of(seen)[1] >= self.total)

    def at(self, seen: Measurement) -> Reach:
        """After a measurement of which nothing is counted."""
        value, total = _of(seen)
        return self.replace(value=value, total=total, since=(0.0, 0.0)) if self.has(seen) else self


class Growth(StoredModel):
    """What one measurement adds.

    Attributes:
        counted: so much.
        reach: how far the counters have come with it.
        trouble: why nobody knows how much it is, as a clause; empty if it is known.
    """

    counted: Counted = Counted()
    reach: Reach
    trouble: str = ""


def why_unusable(metric: OwnMetric, seen: Measurement) -> str:
    """Why a measurement is none, as a clause; empty if it is one."""
    if seen.trouble:
        return seen.trouble
    figures = [seen.value, *([seen.total] if metric.counts else [])]
    if not all(map(usable, figures)):
        return "what it gives is no number"
    if metric.counts and any(abs(one or 0.0) > MOST_COUNTED for one in figures):
        return "it counts more than can be told apart"
    return ""


def grown(metric: OwnMetric, older: Measurement, newer: Measurement, seconds: float, reach: Reach) -> Growth:
    """What was counted between two measurements.

    Args:
        metric: whose.
        older: the one before; one that cannot be used where there was none.
        newer: the new one.
        seconds: from one to the other.
        reach: until the older one.
    """
    if why_unusable(metric, newer):
        return Growth(reach=reach)
    if why_unusable(metric, older):
        return Growth(reach=reach.at(newer))
    reach = reach if reach.total is not None else reach.at(older)
    (value, total), (value_before, total_before) = _of(newer), _of(older)
    news = value - value_before, total - total_before
    if min(news) < 0:
        return Growth(reach=reach, trouble="its counters fell: one of them began anew, or was not seen")
    if not 0 <= metric.broken(*news) <= news[1]:
        return Growth(reach=reach.at(newer), trouble=f"it counted {news[0]:g} of {news[1]:g}, which cannot be")
    rate = news[1] / seconds if seconds > 0 else 0.0
    usual, reach = max(reach.fastest, reach.latest), reach.replace(latest=rate)
    if not reach.has(newer):
        usual = usual or rate / UNKNOWN
        if rate > BURST * usual:
            return Growth(reach=reach.replace(latest=BURST * usual))
        since = reach.since[0] + news[0], reach.since[1] + news[1]
        return Growth(counted=_counted(metric, news), reach=reach.replace(since=since))
    if reach.has(older):
        fastest = max(reach.fastest, rate)
        return Growth(counted=_counted(metric, news), reach=reach.at(newer).replace(fastest=fastest))
    # What was missing is back. Where one began anew it has only counted as much again, and this comes to less than 0.
    assert reach.total is not None
    beyond = value - reach.value - reach.since[0], total - reach.total - reach.since[1]
    return Growth(counted=_counted(metric, beyond), reach=reach.at(newer))


def _counted(metric: OwnMetric, news: tuple[float, float]) -> Counted:
    """As much of what is new as can be true."""
    bad, judged = metric.broken(*news), news[1]
    return Counted(bad=bad, judged=judged) if min(news) >= 0 and 0 <= bad <= judged else Counted()


def _of(seen: Measurement) -> tuple[float, float]:
    assert seen.value is not None and seen.total is not None
    return seen.value, seen.total
