"""Sums over processes that come and go: each request counts once, whatever is seen of it at which moment."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest

from banana_delivery.policy.own_metrics.judging import MetricState, judged, measured
from banana_delivery.policy.own_metrics.metric import Measurement
from banana_delivery.policy.rollout.plan import ab_step
from tests.unit.policy.own_metrics.metrics import SHARE, metric
from tests.unit.policy.rollout.scene import QUICK, SHIFT_20

Replica = tuple[float, float]
"""What one replica has counted: how much on the wrong side, of how much."""


def seen(*replicas: Replica) -> Measurement:
    """The sum over the replicas that are seen."""
    return Measurement(value=sum(bad for bad, _ in replicas), total=sum(total for _, total in replicas))


def after(measurements: Sequence[Measurement], *, of_active: bool = False) -> tuple[float, float]:
    """How much was counted of a release of which one measurement comes every ten seconds."""
    state, nothing = MetricState(), seen()
    for number, one in enumerate(measurements):
        ours, theirs = (nothing, one) if of_active else (one, nothing)
        state = measured(metric(SHARE), SHIFT_20, state, 10.0 * number, ours, theirs)
    found = state.active if of_active else state.counted
    return found.bad, found.judged


def replica(number: int) -> Replica:
    """Of several that are alike, after so many tens of seconds."""
    return 10.0 * number, 100.0 * number


UNSEEN_AT_TIMES = [seen(replica(n), *([replica(n)] if n % 3 else [])) for n in range(1, 12)]
BY_TURNS = [seen(replica(n if n % 2 else n - 3), replica(n if n % 2 else n - 3)) for n in range(5, 16)]
BACK_ONE_BY_ONE = [seen(*[replica(n)] * (1 + (n + 1) % 3)) for n in range(1, 12)]


@pytest.mark.parametrize("of_active", [False, True])
@pytest.mark.parametrize(
    ("measurements", "most"),
    [(UNSEEN_AT_TIMES, 2000), (BY_TURNS, 2000), (BACK_ONE_BY_ONE, 3000)],
    ids=["a replica is not seen at times", "two servers take turns", "two go together and come back one by one"],
)
def test_what_comes_back_is_counted_once(measurements: Sequence[Measurement], most: float, of_active: bool) -> None:
    bad, everything = after(measurements, of_active=of_active)
    assert 0 < everything <= most
    assert bad == pytest.approx(everything / 10)


def test_what_comes_back_after_a_gap_is_counted_once() -> None:
    gap = Measurement(trouble="it does not answer")
    whole, half = [seen(replica(n), replica(n)) for n in range(1, 9)], [seen(replica(n)) for n in range(1, 9)]
    assert after([whole[3], whole[4], gap, half[6], whole[7]]) == (80, 800)


def test_while_one_is_missing_the_others_count() -> None:
    whole, half = [seen(replica(n), replica(n)) for n in range(1, 9)], [seen(replica(n)) for n in range(1, 9)]
    assert after([whole[3], whole[4], half[5], half[6]]) == (30, 300)
    assert after([whole[3], whole[4], half[5], half[6], whole[7]]) == (80, 800)


def test_one_that_began_anew_is_counted_on_from_where_it_is() -> None:
    anew = [seen((40, 400)), seen((50, 500)), seen((1, 10)), seen((11, 110)), seen((21, 210)), seen((31, 310))]
    assert after(anew) == (40, 400)


def test_one_that_began_anew_and_counts_beyond_what_it_had_goes_on() -> None:
    anew = [seen((0, 0)), seen((30, 100)), seen((0, 0)), *[seen((20.0 * n, 60.0 * n)) for n in range(1, 6)]]
    bad, everything = after(anew)
    assert 200 <= everything <= 400
    assert bad <= everything


def test_users_who_come_after_one_began_anew_are_counted_from_the_sixth_look_at_them() -> None:
    few = [seen((1000.0, 10_000.0 + n)) for n in range(3)]
    many = [seen((5.0 * n, 50.0 * n)) for n in range(1, 10)]
    assert after([*few, seen((0, 0)), seen((0, 1)), *many]) == (20, 203)


@pytest.mark.parametrize("of_active", [False, True])
@pytest.mark.parametrize("looks_before", [1, 2, 5], ids=["before any growth was seen", "after one", "after several"])
@pytest.mark.parametrize("slowly", [1, 2], ids=["one a look", "one every other look"])
@pytest.mark.parametrize("back", [3, 4], ids=["all", "all but one"])
def test_replicas_that_all_go_together_and_come_back_one_by_one_are_counted_once(
    looks_before: int, slowly: int, back: int, of_active: bool
) -> None:
    numbers = [0] * 2 + [1 + place // slowly for place in range(back * slowly)] + [back] * 3
    seen_of = [*[4] * looks_before, *numbers]
    # Each had a bad past: one in ten; since the step began it is one in a hundred.
    looks = [seen(*[(100 + 0.2 * n, 1000 + 20.0 * n)] * few) for n, few in enumerate(seen_of)]
    bad, everything = after(looks, of_active=of_active)
    assert everything <= 4 * 20 * (len(looks) - 1)
    assert bad <= everything / 50


def test_a_burst_is_counted_while_nothing_is_missing() -> None:
    assert after([seen((0, 0)), seen((1, 10)), seen((101, 1010))]) == (101, 1010)


@pytest.mark.parametrize(
    "seen_of",
    [
        lambda past, n: seen(past[-1][0], *([past[-1][1]] if n % 3 else [])),
        lambda past, n: seen(*past[-1][: 1 + (n + 1) % 2]),
    ],
    ids=["a replica is not seen at times", "a replica is seen at times"],
)
def test_sound_candidates_are_turned_back_no_oftener_where_replicas_come_and_go(
    seen_of: Callable[[list[tuple[Replica, Replica]], int], Measurement],
) -> None:
    draw, share, turned, step = random.Random(5), metric(SHARE), 0, ab_step(QUICK)
    level, deliveries = 0.01, 30
    for _ in range(deliveries):
        state, most, past = MetricState(), 0.0, [((0.0, 0.0), (0.0, 0.0))]
        for number in range(100):
            state = measured(share, step, state, 1.0 * number, seen_of(past, number), None)
            found = judged(share, state, 1.0 * number, -math.log(level), step.ceiling_seconds).seen
            most = max(most, found.share)
            one, other = past[-1]
            past.append((_more(one, draw), _more(other, draw)))
        turned += most >= 1
    assert turned / deliveries <= level + 3 * math.sqrt(level * (1 - level) / deliveries)


def _more(counted: Replica, draw: random.Random) -> Replica:
    bad, total = counted
    return bad + sum(draw.random() < 0.2 for _ in range(10)), total + 10
