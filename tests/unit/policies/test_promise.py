"""What a policy promises is found by the functions that decide, and said with how many deliveries it rests on."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from banana_delivery import cli
from banana_delivery.policies import promise as promises
from banana_delivery.policies.lasting import longest_seconds, shortest_seconds
from banana_delivery.policies.promise import Cell, play_cell, play_part, promise
from banana_delivery.policies.reading import NAMED, PLANS, read_policy
from banana_delivery.policy.rollout.plan import all_steps, release_steps
from banana_delivery.policy.simulation.traffic import CANDIDATE, USUAL, Faulty
from banana_delivery.reports.promise import promise_view

DEMO = NAMED["demo"]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promises, "ERRORS", (1.0,))
    monkeypatch.setattr(promises, "USERS", (50.0,))


def shown(promised: promises.Promise, *warnings: str) -> str:
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(promise_view(promised, warnings))
    return captured.get()


@pytest.mark.usefixtures("few")
def test_the_same_rounds_promise_the_same() -> None:
    first, again = (promise(DEMO, rounds=1, workers=1) for _ in range(2))
    assert asdict(first) == asdict(again)
    assert [(one.onset, one.deliveries, one.turned_back) for one in first.figures] == [("early", 1, 1), ("late", 1, 1)]
    (sound,) = first.sound
    assert (sound.deliveries, sound.turned_back) == (1, 0)
    assert sound.median_seconds is not None
    assert first.shortest_seconds <= sound.median_seconds <= first.longest_seconds
    assert first.false_alarm_bound == DEMO.plan.alpha


def test_a_candidate_that_answers_nothing_is_turned_back_within_seconds_though_it_began_late() -> None:
    found = play_cell(DEMO.plan, Cell(1.0, 20.0, 7.0), np.random.default_rng(1))
    assert found.turned_back
    assert 0 < found.seconds <= 3
    assert found.requests >= found.hurt >= 3


def test_what_is_at_its_limit_is_not_found_and_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promises, "ERRORS", (0.02,))
    monkeypatch.setattr(promises, "USERS", (1.0,))
    late = promise(DEMO, rounds=1, workers=1).figures[-1]
    assert (late.turned_back, late.median_seconds, late.p95_requests) == (0, None, None)


@pytest.mark.usefixtures("few")
def test_what_there_was_no_time_for_is_said() -> None:
    promised = promise(DEMO, budget_seconds=0.0, workers=1)
    assert [one.deliveries for one in promised.figures] == [0, 0]
    assert [one.deliveries for one in promised.sound] == [0]
    assert "not played" in shown(promised)
    assert "--rounds 1" in shown(promised)


@pytest.mark.parametrize(
    "cell", [Cell(USUAL, 50.0), Cell(1.0, 50.0, 3600.0), Cell(0.05, 1.0)], ids=["sound", "found late", "never found"]
)
def test_a_delivery_that_outlasts_the_time_to_wait_is_broken_off_and_not_counted(
    monkeypatch: pytest.MonkeyPatch, cell: Cell
) -> None:
    monkeypatch.setattr(promises, "GRACE_SECONDS", 0.0)
    seconds = "ab_seconds: 7200, ab_minimum_seconds: 7200, watch_seconds: 7200, watch_minimum_seconds: 7200"
    plan = read_policy(f"plan: {{{seconds}, error_threshold: 0.06}}", "hours.yaml", "hours").plan
    assert play_part(plan, [cell], (0, 0), time.monotonic() + 0.01) == []


@pytest.mark.usefixtures("few")
def test_warnings_are_shown_beside_what_is_promised_and_a_program_reads_both() -> None:
    promised = promise(DEMO, rounds=1, workers=1)
    assert "Warning: It is odd." in shown(promised, "It is odd.")
    assert "1 of 1" in shown(promised)
    assert json.loads(json.dumps(promised.json()))["figures"][0]["errors"] == 1.0


def test_looks_grow_rarer_with_the_age_of_a_fault_and_none_skips_its_beginning() -> None:
    watch = release_steps(PLANS["standard"])[-1]
    now, looks = 0, []
    while now < 240:
        now += promises._seconds_to_next_look(60.0, watch, now)
        looks.append(now)
    assert 60 in looks
    after = [one for one in looks if one > 60]
    assert after[:10] == list(range(61, 71))
    assert all(later - one <= max(1, (one - 60) / 10) for one, later in pairwise(after))


def test_no_step_of_a_plan_is_looked_at_less_than_ten_times() -> None:
    for step in all_steps(DEMO.plan):
        assert promises._seconds_to_next_look(0.0, step, 10_000) * 10 <= max(step.ceiling_seconds, 10)


@pytest.mark.parametrize("name", PLANS)
def test_the_longest_delivery_is_longer_than_the_shortest(name: str) -> None:
    assert (
        shortest_seconds(PLANS[name])
        < sum(step.ceiling_seconds for step in all_steps(PLANS[name]))
        < longest_seconds(PLANS[name])
    )


def test_the_longest_delivery_has_all_its_trials_and_steps_that_begin_again() -> None:
    plan = PLANS["standard"]
    watch = release_steps(plan)[-1].ceiling_seconds
    of_one_trial = (
        2 * (sum(step.ceiling_seconds for step in all_steps(plan)) + plan.ab_seconds + plan.step_seconds) + 540
    )
    assert longest_seconds(plan) == of_one_trial + 3 * (540 + 2 * watch + 2 * watch)


def test_several_seconds_at_once_bring_as_many_requests_as_one_after_the_other() -> None:
    at_once, singly = (Faulty(np.random.default_rng(1), 50.0, share=0.5, onset=10.0) for _ in range(2))
    at_once.second(100, 10.0, 0.0, lasting=10)
    assert at_once.met == 0
    at_once.second(100, 10.0, 0.0, lasting=100)
    for _ in range(110):
        singly.second(100, 10.0, 0.0)
    assert at_once.now == singly.now
    for one in (at_once, singly):
        assert one.met == pytest.approx(6000, rel=0.05)
        assert one.of(f"{CANDIDATE}/user").failed == pytest.approx(2500, rel=0.1)


def test_a_policy_with_another_latency_budget_is_played_as_well() -> None:
    policy = read_policy("plan: {latency_budget_seconds: 0.25}", "mine.yaml", "mine")
    assert play_cell(policy.plan, Cell(1.0, 50.0), np.random.default_rng(1)).turned_back


def test_a_text_and_what_differs_are_shown() -> None:
    whole = CliRunner().invoke(cli.app, ["policy", "show", "seed"]).output
    assert read_policy(whole.replace("name: seed", "name: mine"), "x", "x").plan == PLANS["seed"].model_copy(
        update={"name": "mine"}
    )
    differs = CliRunner().invoke(cli.app, ["policy", "diff", "standard", "seed"]).output
    assert "-  ab_seconds: 240.0\n+  ab_seconds: 300.0\n" in differs
    assert "alpha" not in differs


@pytest.mark.parametrize("typed", [["check", "standard", "seed"], ["diff", "a", "b", "c"]])
def test_more_files_than_are_looked_at_are_refused(typed: list[str]) -> None:
    assert CliRunner().invoke(cli.app, ["policy", *typed]).exit_code == 2
