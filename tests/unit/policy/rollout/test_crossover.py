"""Blocks with users, drawn by lot: what they say is right on average whatever the users do."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banana_delivery.policy.rollout.plan import CROSSOVER, blame_threshold
from banana_delivery.policy.rollout.trial.crossover import (
    BLOCKS,
    GROUPS,
    QUIET_GROUPS,
    STEEPNESS,
    Crossover,
    begin_crossover,
    crossover_after,
    log_factor,
    lot,
)
from tests.unit.policy.rollout.scene import QUICK

COUNTS = st.lists(st.floats(0, 1e6), min_size=BLOCKS, max_size=BLOCKS)


def begin(seed: int = 3, users: float = 50.0, weight: int = 20, *, loaded: bool = False) -> Crossover:
    return begin_crossover(seed=seed, users_per_second=users, most_weight=weight, loaded=loaded, now=0.0)


@given(counts=COUNTS, steepness=st.sampled_from(STEEPNESS))
@settings(max_examples=60)
def test_over_all_lots_a_group_says_nothing_whatever_was_counted_in_its_blocks(
    counts: list[float], steepness: float
) -> None:
    """So for an outsider with any share of the requests, all of them: he may choose the counts, but not the lot."""
    factors = [math.exp(log_factor(tuple(counts), drawn, steepness)) for drawn in range(BLOCKS)]
    assert math.fsum(factors) / BLOCKS == pytest.approx(1.0)
    assert max(factors) <= BLOCKS + 1e-9


def test_lots_are_spread_and_depend_on_the_seed() -> None:
    drawn = [lot(seed, group) for seed in range(200) for group in range(3)]
    assert {drawn.count(block) > 40 for block in range(BLOCKS)} == {True}


@pytest.mark.parametrize(
    ("users", "weight", "loaded", "given_weight"),
    [
        (5.0, 100, False, 100),
        (50.0, 100, False, 20),
        (500.0, 100, False, 2),
        (500.0, 10, True, 10),
        (5.0, 10, False, 10),
    ],
)
def test_a_block_gives_as_few_users_away_as_tell_and_never_more_than_the_step_did(
    users: float, weight: int, given_weight: int, *, loaded: bool
) -> None:
    assert begin(users=users, weight=weight, loaded=loaded).weight == given_weight


def play(crossover: Crossover, *, with_candidate: int, without: int, seconds: float = 1.0) -> Crossover:
    """All groups, with so many bad requests a look while the candidate has users, and while it has none."""
    now = 0.0
    while crossover.groups_left:
        now += seconds
        bad = with_candidate if crossover.current_weight else without
        crossover = crossover_after(crossover, bad, now)
    return crossover


def test_what_comes_with_the_candidate_is_shown_and_what_is_always_there_is_not() -> None:
    needed = blame_threshold(QUICK, CROSSOVER)
    assert play(begin(), with_candidate=4, without=0).log_e > needed
    assert play(begin(), with_candidate=4, without=4).log_e == pytest.approx(0.0, abs=1e-9)
    assert play(begin(), with_candidate=0, without=4).log_e < 0


def test_a_block_that_lasted_longer_than_another_says_no_more() -> None:
    slow = begin()
    drawn = lot(slow.seed, 0)
    now = 0.0
    for block in range(BLOCKS):
        lasts = 9 * slow.block_seconds if block == drawn else slow.block_seconds
        now += lasts
        slow = crossover_after(slow, round(lasts), now)
    assert slow.log_e == pytest.approx(0.0, abs=0.6)
    assert slow.groups_left == GROUPS - 1


def test_the_users_of_a_block_leave_when_it_has_told_enough() -> None:
    crossover, now = begin(), 0.0
    while not crossover.current_weight:
        now += 1
        crossover = crossover_after(crossover, 0, now)
    crossover = crossover_after(crossover, 4, now + 0.5)
    assert crossover.current_weight == 0


@pytest.mark.parametrize(("with_candidate", "quiet"), [(0, True), (1, False)])
def test_it_ends_after_three_groups_in_which_the_candidates_users_met_nothing(
    with_candidate: int, *, quiet: bool
) -> None:
    crossover, now = begin(), 0.0
    while crossover.block < QUIET_GROUPS * BLOCKS:
        assert not crossover.is_quiet
        now += 1
        crossover = crossover_after(crossover, with_candidate if crossover.current_weight else 2, now)
    assert crossover.is_quiet is quiet
