"""Each interval against what it promises: the figures of the tables, and how often it holds the truth."""

from __future__ import annotations

from math import comb

import pytest

from banana_delivery.policy.scorecard.estimates import quantile, rate, share


@pytest.mark.parametrize(
    ("of_these", "cases", "low", "high"),
    [(0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (19, 20, 0.7513, 0.9987), (1, 1000, 0.0000253, 0.00556)],
)
def test_a_share_has_the_interval_of_clopper_and_pearson(of_these: int, cases: int, low: float, high: float) -> None:
    known = share(of_these, cases)
    assert (known.value, known.cases) == (of_these / cases, cases)
    assert known.low == pytest.approx(low, abs=1e-4)
    assert known.high == pytest.approx(high, abs=1e-4)


def test_a_rate_has_the_exact_interval_of_poisson() -> None:
    none, three = rate(0, 10.0), rate(3, 10.0)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(0.3689, abs=1e-4)
    assert three.low == pytest.approx(0.0619, abs=1e-4)
    assert three.high == pytest.approx(0.8767, abs=1e-4)


@pytest.mark.parametrize("known", [share(0, 0), rate(3, 0.0), quantile([], 0.95)])
def test_what_no_case_tells_is_not_known(known: object) -> None:
    assert known == share(0, 0)
    assert share(0, 0).value is None


def holds(cases: int, fraction: float, low: int, high: int) -> float:
    """Probability that the true one lies between the values of these places (from 1), by counting."""
    chance = [comb(cases, k) * fraction**k * (1 - fraction) ** (cases - k) for k in range(cases + 1)]
    return sum(chance[low:high])


@pytest.mark.parametrize("cases", [72, 100, 250])
def test_the_slowest_of_many_lies_in_its_interval_95_times_of_100(cases: int) -> None:
    known = quantile([float(one) for one in range(1, cases + 1)][::-1], 0.95)
    assert known.low is not None
    assert known.high is not None
    assert 0.95 <= holds(cases, 0.95, int(known.low), int(known.high)) < 0.99


@pytest.mark.parametrize("cases", [1, 5, 20, 71])
def test_of_few_nobody_can_say_how_slow_the_slowest_are(cases: int) -> None:
    known = quantile([1.0] * cases, 0.95)
    assert (known.value, known.high) == (1.0, None)


@pytest.mark.parametrize(("cases", "place"), [(1, 1), (19, 19), (20, 19), (100, 95)])
def test_95_of_100_stay_within_the_value_that_is_told(cases: int, place: int) -> None:
    assert quantile([float(one) for one in range(1, cases + 1)], 0.95).value == place
