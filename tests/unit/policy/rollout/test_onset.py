"""One test for every start: what it is made of, what it finds, and how seldom it is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banana_delivery.policy.rollout.active import Part
from banana_delivery.policy.rollout.onset import BELIEVED, EXCESSES, Onset

SHARE = 0.05
NOBODY = (Part(), Part())


def after(onset: Onset, bad: int, judged: int, started: float, *, shared: bool = False) -> Onset:
    return onset.after(Part(bad, judged), NOBODY, SHARE, started, shared=shared)


LOOKS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 40)), min_size=1, max_size=15)


def test_all_belief_is_given_away_once() -> None:
    assert math.fsum(BELIEVED) == pytest.approx(1, abs=1e-12)


@given(looks=LOOKS)
@settings(max_examples=50)
def test_it_is_the_weighted_sum_over_all_starts_of_what_came_after_each(looks: list[tuple[int, int]]) -> None:
    onset, weight = Onset(), 1 / len(looks)
    for bad, good in looks:
        onset = after(onset, bad, bad + good, weight)
    whole = 0.0
    for start in range(1, len(looks) + 1):
        for excess, believed in zip(EXCESSES, BELIEVED, strict=True):
            share = SHARE + excess * (1 - SHARE)
            whole += believed * math.prod(
                (share / SHARE) ** bad * ((1 - share) / (1 - SHARE)) ** good for bad, good in looks[start:]
            )
    assert onset.log_e == pytest.approx(math.log(weight * whole))


def test_what_comes_in_the_look_that_a_start_begins_with_the_end_of_does_not_count_for_it() -> None:
    assert after(Onset(), 50, 50, 0.1).log_e == pytest.approx(math.log(0.1))


def test_at_its_limit_a_release_reaches_1_over_alpha_no_oftener_than_alpha() -> None:
    """4,000 stretches of 60 looks at the very limit, at an alpha of 5 %."""
    rng, alarms, runs = np.random.default_rng(11), 0, 4000
    counts = rng.binomial(5, SHARE, size=(runs, 60))
    for row in counts:
        onset = Onset()
        for bad in row:
            onset = after(onset, int(bad), 5, 1 / 60)
            if onset.log_e >= math.log(20):
                alarms += 1
                break
    assert 0 < alarms / runs <= 0.05


@pytest.mark.parametrize(("bad", "most"), [(50, 1), (25, 1), (10, 4), (5, 25)])
def test_a_fault_after_a_long_healthy_past_is_found_as_if_there_were_none(bad: int, most: int) -> None:
    onset = Onset()
    for _ in range(1000):
        onset = after(onset, 0, 50, 0.001)
    seconds = 0
    while onset.log_e < 14:
        onset = after(onset, bad, 50, 0.001)
        seconds += 1
    assert seconds <= most


def test_what_both_colours_suffered_never_adds_to_the_evidence_and_may_take_from_it() -> None:
    onset = after(Onset(), 0, 0, 0.5)
    assert after(onset, 50, 50, 0.0, shared=True).log_e == pytest.approx(onset.log_e)
    weaker = after(onset, 5, 50, 0.0, shared=True)
    assert weaker.log_e < onset.log_e
    assert weaker.part == Part()


def test_the_run_of_too_many_begins_anew_when_no_more_are_bad_than_may() -> None:
    onset = after(Onset(), 3, 10, 0.1)
    assert onset.part == Part(3, 10)
    onset = after(onset, 0, 50, 0.1)
    assert onset.part == Part()
    assert after(onset, 2, 4, 0.1).part == Part(2, 4)


def test_evidence_beyond_all_numbers_stays_a_number() -> None:
    onset = after(Onset(), 0, 0, 1.0)
    for _ in range(20):
        onset = after(onset, 1_000_000, 1_000_000, 0.0)
    assert math.isfinite(onset.log_e)
    for _ in range(20):
        onset = after(onset, 0, 1_000_000_000, 0.0)
    assert math.isfinite(onset.log_e)
