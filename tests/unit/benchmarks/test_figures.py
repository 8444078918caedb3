"""What a backfill, the way to the first user and memory add up to, from times and sizes that others saw."""

from __future__ import annotations

import random

import pytest

from banana_delivery.policy.model import Outcome
from banana_delivery.policy.scorecard.card import DAY
from banana_delivery.policy.tracing.spans import Interval
from benchmarks.daemon.figures import backfill, slope, to_first_user
from tests.unit.policy.scorecard.test_card import NOW, line, released, report, step
from tests.unit.reports import scenes


def test_a_backfill_is_told_without_its_deliveries() -> None:
    took = backfill(100.0, [Interval(150.0, 170.0), Interval(110.0, 140.0)])
    assert took == (70.0, 50.0, 10.0, 10.0, 0)
    assert took.net == 20.0


def test_deliveries_at_once_are_counted() -> None:
    assert backfill(0.0, [Interval(0.0, 10.0), Interval(9.0, 20.0), Interval(20.0, 30.0)]).overlapping == 1


def test_a_backfill_that_is_not_over_has_no_figures() -> None:
    with pytest.raises(ValueError, match="1 of 2 deliveries have ended"):
        backfill(0.0, [Interval(1.0, 2.0), Interval(3.0)])
    with pytest.raises(ValueError, match="0 of 0"):
        backfill(0.0, [])


def test_what_staging_was_asked_is_not_the_pipelines_own_part() -> None:
    asked = NOW - 2 * DAY
    attempt, compared = released(seconds=2 * DAY), report(step(10, asked + 60.0).metrics)
    staged = scenes.staging(scenes.quality(0.1))
    took = to_first_user(attempt, staged, compared)
    assert took is not None
    assert took.whole == 60.0
    assert took.own == pytest.approx(60.0 - (staged.seconds - staged.seconds_to_ready))


def test_a_delivery_without_users_has_no_first_one() -> None:
    turned_back = line(Outcome.REJECTED, asked_at=NOW - 2 * DAY, trigger="sensor")
    assert to_first_user(turned_back, scenes.staging(scenes.quality(0.1)), report(step(10, None).metrics)) is None


def test_a_process_grows_by_what_it_holds_more_after_each_tick() -> None:
    samples = [(ticks, 5_000.0 - 40 * min(ticks, 50) + 2.0 * ticks) for ticks in range(250)]
    grown = slope(samples, warm_up=50)
    assert grown.per_tick == pytest.approx(2.0)
    assert grown.low == pytest.approx(2.0)
    assert grown.high == pytest.approx(2.0)


def test_one_that_goes_up_and_down_is_not_said_to_grow() -> None:
    noise = random.Random(3)
    grown = slope([(ticks, noise.gauss(1_000.0, 100.0)) for ticks in range(400)], warm_up=0)
    assert grown.low < 0 < grown.high


def test_a_few_samples_say_nothing() -> None:
    with pytest.raises(ValueError, match="9 samples after 11 ticks are too few"):
        slope([(ticks, 1.0) for ticks in range(20)], warm_up=11)
    with pytest.raises(ValueError, match="too few"):
        slope([(3, 1.0)] * 100, warm_up=0)
