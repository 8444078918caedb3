"""The simulator of the rollout's decisions: it is the real functions that it drives, and it tells a fault from none."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from banana_delivery.policies.reading import PLANS
from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.policy.simulation.deliveries import deliver
from banana_delivery.policy.simulation.traffic import (
    ACTIVE,
    CANDIDATE,
    CONDITIONS,
    Faulty,
    Outage,
    Pinned,
    Poison,
    Traffic,
)
from benchmarks import decisions
from benchmarks.decisions import requests_until_found

PLAN = PLANS["demo"]


def test_the_same_seed_delivers_alike_to_the_last_request() -> None:
    first, again = (deliver(PLAN, Traffic(np.random.default_rng(7), 20.0)) for _ in range(2))
    assert first == again
    assert first.kind is ActionKind.PROMOTE


def test_a_candidate_that_fails_half_of_its_requests_is_turned_back_and_its_users_are_counted() -> None:
    end = deliver(PLAN, Faulty(np.random.default_rng(7), 200.0, share=0.5))
    assert end.kind is ActionKind.ROLL_BACK
    assert 0 < end.hurt < 60


def test_the_tests_of_a_step_reach_the_published_medians() -> None:
    rows = requests_until_found(100)
    assert [(row["errors"], row["median"]) for row in rows[:2]] == [("100%", 3), ("50%", 9)]
    medians = [int(str(row["median"])) for row in rows]
    assert medians[2] <= 64
    assert medians[3] <= 510
    for median, row in zip(medians, rows, strict=True):
        assert int(str(row["one that knows the rate (median)"])) <= median


def failed(traffic: Traffic, colour: str, seconds: int, weight: int = 50) -> list[int]:
    """The user requests that fail on a colour, second by second."""
    counts = [0]
    for _ in range(seconds):
        traffic.second(weight, 0.0, 0.0)
        counts.append(traffic.snapshot().backends[f"{colour}/user"].failed)
    return [later - earlier for earlier, later in pairwise(counts)]


def test_a_shared_outage_fails_both_colours_in_the_same_seconds_and_in_no_other() -> None:
    traffic = Outage(np.random.default_rng(3), 400.0, seconds=2.0)
    many = [second for second, bad in enumerate(failed(traffic, CANDIDATE, 130)) if bad > 20]
    again = Outage(np.random.default_rng(3), 400.0, seconds=2.0)
    assert many == [second for second, bad in enumerate(failed(again, ACTIVE, 130)) if bad > 20]
    assert many
    assert many[-1] - many[0] <= 2


def test_an_outage_every_minute_comes_every_minute() -> None:
    traffic = Outage(np.random.default_rng(4), 4000.0, seconds=0.5, every=60.0)
    total = sum(failed(traffic, CANDIDATE, 600))
    assert total == pytest.approx(600 / 60 * 0.5 * 2000 + 600 * 2000 * 0.001, rel=0.05)


def test_a_poisonous_request_fails_eleven_times_wherever_it_lands() -> None:
    traffic = Poison(np.random.default_rng(5), 1000.0)
    total = sum(failed(traffic, CANDIDATE, 300))
    assert total == pytest.approx(300 * 500 * (0.001 + 11 * 0.001), rel=0.15)


@pytest.mark.parametrize("weight", [10, 100])
def test_the_bad_client_of_twenty_is_with_one_colour_at_a_time(weight: int) -> None:
    rng = np.random.default_rng(6)
    with_candidate = []
    for _ in range(60):
        traffic = Pinned(rng, 400.0)
        with_candidate.append(sum(failed(traffic, CANDIDATE, 3, weight)) > 6)
    assert np.mean(with_candidate) == pytest.approx(weight / 100, abs=0.12)


def test_every_condition_is_played_and_bounded_from_above(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "PLAN", PLAN)
    monkeypatch.setattr(decisions, "WORKERS", 1)
    rows = decisions.dependence(1, (5.0,))
    assert [row["condition"] for row in rows] == list(CONDITIONS)
    assert {row["at most (97.5 %)"] for row in rows} <= {"97.5%", "100.0%"}
    assert "| deliveries |" in decisions.markdown(rows)
