"""Killed, cancelled or fenced off at every phase of a delivery: production ends on one stable colour, told once."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import DagsterEventType

from banana_delivery.delivery.rollback import take_over
from banana_delivery.policy.model import Outcome, Phase
from banana_delivery.targets.base import Claim
from tests.integration.delivery.moments import MOMENTS, PROMOTED, cancel_at, is_at_rest, kill_at
from tests.integration.delivery.serving import Serving
from tests.support.phases import Moment
from tests.support.pipeline import World

GOOD = 0.999
at_every_moment = pytest.mark.parametrize("moment", MOMENTS, ids=str)


@pytest.fixture(scope="module")
def world(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for the whole module: each test has to leave it fit for the next delivery."""
    with serving.open(tmp_path_factory.mktemp("shared") / "world") as opened:
        yield opened


def run_of_version(world: World, version: str) -> dg.DagsterRun:
    (run,) = world.instance.get_runs(filters=dg.RunsFilter(tags={"dagster/partition": version}))
    return run


def was_told_once(world: World, run: dg.DagsterRun, outcome: Outcome) -> None:
    """However often the sensors look."""
    world.after(run)
    world.tick("reconcile")
    version = run.tags["dagster/partition"]
    assert [attempt.outcome for attempt in world.attempts(version) if attempt.run_id == run.run_id] == [outcome]
    assert [notice.key for notice in world.told if run.run_id in notice.key] == [f"{run.run_id}/{version}/{outcome}"]


def test_every_phase_in_the_code_is_struck(world: World) -> None:
    world.target.passed.clear()
    world.run(world.stage(GOOD))
    assert [moment for moment in world.target.passed if moment.phase is not Phase.IDLE] == list(MOMENTS)
    assert {moment.phase for moment in MOMENTS} == set(Phase) - {Phase.IDLE, Phase.HELD}


@at_every_moment
def test_a_killed_run_is_found_and_undone(world: World, moment: Moment) -> None:
    live, version = world.serving, world.stage(GOOD)
    kill_at(moment, world, version)
    dead = run_of_version(world, version)
    record = world.target.record(moment.environment)
    assert (dead.status, record.owner, record.phase) == (dg.DagsterRunStatus.STARTED, dead.run_id, moment.phase)
    world.tick("reconcile")
    is_at_rest(world, version if moment == PROMOTED else live)
    failed = world.run_of(dead.run_id)
    assert failed.status is dg.DagsterRunStatus.FAILURE, "the pool's slot is held by what runs"
    world.after(failed)
    was_told_once(world, failed, Outcome.RELEASED if moment == PROMOTED else Outcome.ERROR)


@at_every_moment
def test_a_cancelled_run_restores_the_traffic_and_is_not_retried(world: World, moment: Moment) -> None:
    live, version = world.serving, world.stage(GOOD)
    cancel_at(moment, world, version)
    run = world.run(version)
    assert run.status is dg.DagsterRunStatus.CANCELED
    is_at_rest(world, version if moment == PROMOTED else live)
    again = {DagsterEventType.STEP_UP_FOR_RETRY, DagsterEventType.STEP_RESTARTED}
    assert world.instance.get_records_for_run(run.run_id, of_type=again).records == []
    was_told_once(world, run, Outcome.RELEASED if moment == PROMOTED else Outcome.CANCELLED)
    assert run_of_version(world, version) == run


@at_every_moment
def test_a_run_whose_environment_was_taken_touches_nothing_more(world: World, moment: Moment) -> None:
    version = world.stage(GOOD)
    taken: list[Claim] = []

    def take() -> None:
        taken.append(world.target.claim(moment.environment, "Ada", steal=True))
        world.target.calls.clear()

    world.target.at[moment] = take
    run = world.run(version)
    assert (world.target.calls, world.target.record(moment.environment).owner) == ([], "Ada")
    if moment != PROMOTED:
        assert run.status is dg.DagsterRunStatus.FAILURE
        assert "Ada has taken it over" in world.attempts(version)[0].reason
    take_over(world.target, moment.environment, "Ada")
    was_told_once(world, run, Outcome.RELEASED if moment == PROMOTED else Outcome.ERROR)
