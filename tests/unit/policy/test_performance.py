"""A slower candidate is told from a noisy machine."""

from __future__ import annotations

import math

import numpy as np
import pytest

from banana_delivery.policy.performance import (
    ERROR,
    LEAST_ROUNDS,
    PerformanceMargins,
    SpeedRound,
    interval,
    judge_speed,
)

MARGINS = PerformanceMargins()


def rounds(factor: float, seed: int = 0, *, count: int = 12, images: int = 4, tail: float = 0.0) -> list[SpeedRound]:
    """Both on a machine whose load changes from round to round, and that stops for half a second now and then."""
    chance = np.random.default_rng(seed)

    def seconds(factor: float, load: float) -> tuple[float, ...]:
        base = 0.02 * factor * load * chance.lognormal(0, 0.25, images)
        return tuple((base + 0.5 * (chance.random(images) < tail)).tolist())

    return [
        SpeedRound(candidate=seconds(factor, load), production=seconds(1.0, load))
        for load in chance.lognormal(0, 0.7, count)
    ]


@pytest.mark.parametrize("factor", [12.0, 4.0, 2.2])
def test_a_model_that_is_several_times_slower_fails(factor: float) -> None:
    failed = sum(not judge_speed(rounds(factor, seed, tail=0.05), MARGINS).passed for seed in range(100))
    assert failed >= 95


@pytest.mark.parametrize("tail", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_noise_does_not_fail_an_equal_model_nor_a_faster_one(factor: float, tail: float) -> None:
    assert all(judge_speed(rounds(factor, seed, tail=tail), MARGINS).passed for seed in range(100))


def test_a_model_just_at_the_margin_fails_as_seldom_as_promised() -> None:
    latency_alone = PerformanceMargins(throughput_ratio=0.001)
    failed = sum(not judge_speed(rounds(1.5, seed), latency_alone).passed for seed in range(200))
    assert failed <= 14


def test_answers_a_second_count_where_the_middle_answer_hides_it() -> None:
    """One image in four takes a second: half of them are as fast as ever."""
    hidden = [SpeedRound(candidate=(0.02, 0.02, 0.02, 1.0), production=(0.02,) * 4)] * 12
    found = judge_speed(hidden, MARGINS)
    assert not found.passed
    assert "0.08 times [0.08, 0.08] its answers a second (at least 0.6)" in found.reason


def test_the_sentence_has_the_numbers_and_the_margins() -> None:
    twice = [SpeedRound(candidate=(0.2,), production=(0.1,))] * 12
    assert judge_speed(twice, MARGINS).reason == (
        "2.00 times [2.00, 2.00] production's answer time (at most 1.5) and 0.50 times [0.50, 0.50] its answers a "
        "second (at least 0.6), in 12 rounds beside each other"
    )


def test_too_few_rounds_judge_nothing() -> None:
    assert judge_speed(rounds(12.0, count=LEAST_ROUNDS - 1), MARGINS).passed


@pytest.mark.parametrize("count", [LEAST_ROUNDS, 8, 12, 30])
def test_the_interval_errs_as_seldom_as_it_says(count: int) -> None:
    at = interval(count)

    def beyond(at: int) -> float:
        return sum(math.comb(count, below) for below in range(at + 1)) * 0.5**count

    assert beyond(at) <= ERROR < beyond(at + 1)


def test_on_a_machine_that_stops_again_and_again_more_rounds_end_the_doubt_about_a_model_twelve_times_slower() -> None:
    first = [judge_speed(rounds(12.0, seed, tail=0.2), MARGINS) for seed in range(100)]
    passed = [seed for seed, found in enumerate(first) if found.passed]
    assert passed
    assert all(first[seed].doubtful for seed in passed)
    assert not any(judge_speed(rounds(12.0, seed, count=36, tail=0.2), MARGINS).passed for seed in passed)


def test_nobody_doubts_what_is_proven_or_within_its_margins() -> None:
    twice = [SpeedRound(candidate=(0.2,), production=(0.1,))] * 12
    assert not judge_speed(twice, MARGINS).doubtful
    assert not judge_speed([SpeedRound(candidate=(0.1,), production=(0.1,))] * 12, MARGINS).doubtful
