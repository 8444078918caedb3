"""The simulator of the rollout's decisions: it is the real functions that it drives, and it tells a fault from none."""

from __future__ import annotations

import math
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
from benchmarks import decisions, rollout_policy
from benchmarks.decisions import requests_until_found
from benchmarks.decisions_exact import fewest_failures, requests_until, too_many_errors

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
    rows = requests_until_found()
    assert [(row["errors"], row["median"]) for row in rows] == [("100%", 3), ("50%", 9), ("20%", 61), ("10%", 473)]
    for row in rows:
        assert int(str(row["one that knows the rate (median)"])) <= int(str(row["median"]))
    assert int(str(rows[-1]["median"])) <= 1.5 * int(str(rows[-1]["one that knows the rate (median)"]))


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5])
def test_what_is_computed_of_a_test_s_end_is_what_chance_shows(rate: float) -> None:
    fewest = fewest_failures(too_many_errors(0.05), math.log(100), 1500, 3)
    failed = np.random.default_rng(11).random((4000, len(fewest))) < rate
    reached = np.cumsum(failed, axis=1) >= fewest
    ends = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, len(fewest) + 1)
    for share, requests in zip((0.25, 0.5, 0.9), requests_until(fewest, rate, (0.25, 0.5, 0.9)), strict=True):
        assert np.mean(ends <= requests) >= share - 0.03
        assert np.mean(ends < requests) <= share + 0.03


def test_too_few_requests_for_an_answer_are_said() -> None:
    fewest = fewest_failures(too_many_errors(0.05), math.log(1800), 50, 3)
    with pytest.raises(ValueError, match="have ended after 50 requests"):
        requests_until(fewest, 0.1, (0.5,))


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


def test_good_and_bad_candidates_end_as_they_should() -> None:
    ends = {row["candidate"]: row for row in rollout_policy.endings(2)}
    assert ends["fails 0.1 %, as the active does"]["released"] == 2
    assert ends["fails 20 %"]["rolled back"] == ends["20 % slow"]["rolled back"] == 2
