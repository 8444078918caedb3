"""Two who want production at once, and people who step in: one has it, the other is told and touches nothing."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest

from banana_delivery.delivery import rollback
from banana_delivery.delivery.rollback import NothingToRollBackError, roll_back
from banana_delivery.names import STAGED_AT_TAG, SUPERSEDED_TAG, TRIGGER_TAG
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Colour, Environment, Outcome, Phase
from tests.integration.delivery.moments import is_at_rest
from tests.integration.delivery.outcome_rows import ends
from tests.integration.delivery.serving import FIRST
from tests.support.phases import Moment
from tests.support.pipeline import World

BETTER = 0.999
SHIFTING = Moment(Environment.PRODUCTION, Phase.SHIFTING)


def while_shifting(world: World, happens: Callable[[], object]) -> None:
    world.target.at[SHIFTING] = happens


def undo(world: World) -> AttemptRecord:
    return roll_back(world.instance, world.services, actor="Ada", reason="It looks wrong.", log=print)


def test_the_second_of_two_pipelines_is_refused_with_one_sentence(world: World) -> None:
    first, second = world.stage(BETTER), world.stage(BETTER)
    refused: list[dg.DagsterRun] = []

    def start_another() -> None:
        before = world.weights, world.target.record(Environment.PRODUCTION).deployments
        refused.append(world.run(second))
        assert (world.weights, world.target.record(Environment.PRODUCTION).deployments) == before

    while_shifting(world, start_another)
    ends(world, first, world.run(first), Outcome.RELEASED)
    assert refused[0].status is dg.DagsterRunStatus.FAILURE
    (attempt,) = world.attempts(second)
    assert attempt.outcome is Outcome.ERROR
    assert "wait until its delivery ends" in attempt.reason
    is_at_rest(world, first)


def test_a_run_that_was_taken_for_dead_and_wakes_up_moves_nothing(world: World) -> None:
    sleeper, next_one = world.stage(BETTER), world.stage(BETTER)

    def sleep_through_the_next_release() -> None:
        silent = world.target.record(Environment.PRODUCTION).but(heartbeat=0.0)
        world.target.place.records[Environment.PRODUCTION] = silent
        world.tick("reconcile")
        world.run(next_one)
        world.target.calls.clear()

    while_shifting(world, sleep_through_the_next_release)
    world.run(sleeper)
    assert world.target.calls == []
    assert [attempt.outcome for attempt in world.attempts(sleeper)] == [Outcome.ERROR]
    is_at_rest(world, next_one)


def test_a_rollback_by_a_person_during_the_shift_undoes_it(world: World) -> None:
    second = world.stage(BETTER)
    while_shifting(world, lambda: undo(world))
    ends(world, second, world.run(second), Outcome.ROLLED_BACK)
    (attempt,) = world.attempts(second)
    assert (attempt.actor, attempt.revoked) == ("Ada", True)
    is_at_rest(world, FIRST)


def test_a_rollback_of_a_held_release_undoes_that_release(world: World) -> None:
    second = world.stage(BETTER)
    while_shifting(world, lambda: world.target.place.edit_replicas(Environment.PRODUCTION, Colour.GREEN, 7))
    world.run(second)
    assert world.target.record(Environment.PRODUCTION).phase is Phase.HELD
    world.target.place.edit_replicas(Environment.PRODUCTION, Colour.GREEN, 2)
    undone = undo(world)
    assert (undone.version, undone.serving_version) == (second, FIRST)
    is_at_rest(world, FIRST)


def test_a_re_execution_in_the_pages_is_an_attempt_of_its_own(world: World) -> None:
    version = world.stage(BETTER)
    parent = world.cancelled(version, {TRIGGER_TAG: "sensor", STAGED_AT_TAG: "100.0", SUPERSEDED_TAG: "9"})
    copied = {**parent.tags, "dagster/parent_run_id": parent.run_id, "dagster/root_run_id": parent.run_id}
    again = world.run(version, tags=copied)
    assert [attempt.outcome for attempt in world.attempts(version)] == [Outcome.RELEASED, Outcome.SUPERSEDED]
    assert world.attempts(version)[0].trigger == "manual"
    stopped = world.cancelled(version, {**copied, "dagster/parent_run_id": again.run_id})
    assert world.attempts(version)[0].run_id == stopped.run_id
    assert world.attempts(version)[0].outcome is Outcome.CANCELLED


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_a_rollback_after_promotion_goes_back_to_the_release_before(world: World, warm: bool) -> None:
    second = world.stage(BETTER)
    world.run(second)
    if not warm:
        record = world.target.record(Environment.PRODUCTION)
        world.target.place.records[Environment.PRODUCTION] = record.but(warm_until=1.0)
        world.tick("cool_down")
        assert world.target.record(Environment.PRODUCTION).deployments[Colour.BLUE].replicas == 0
    undone = undo(world)
    assert (undone.version, undone.serving_version, undone.revoked) == (second, FIRST, True)
    is_at_rest(world, FIRST)
    assert (world.registry.describe(FIRST).stage, world.registry.describe(second).stage) == ("Production", "Archived")


def test_a_rollback_never_goes_back_to_what_was_only_tried_on_the_idle_colour(world: World) -> None:
    second = world.stage(BETTER)
    digest = world.attempts(FIRST)[0].digest
    world.run(second)
    rejected = world.stage(BETTER)
    world.target.at[Moment(Environment.PRODUCTION, Phase.COMPARING)] = lambda: world.break_candidate(error_rate=1.0)
    world.run(rejected)
    record = world.target.record(Environment.PRODUCTION)
    assert record.deployments[record.idle].image.version == rejected
    undo(world)
    live = world.target.record(Environment.PRODUCTION).live
    assert live is not None
    assert live.digest == digest
    is_at_rest(world, FIRST)


def test_a_rollback_with_nothing_before_changes_nothing_and_says_so(world: World) -> None:
    world.target.calls.clear()
    with pytest.raises(NothingToRollBackError, match="deliver a good version instead"):
        undo(world)
    assert world.target.calls == []
    is_at_rest(world, FIRST)


def test_traffic_that_a_run_could_not_bring_back_is_brought_back_by_the_sensor(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollback, "RESTORE_SECONDS", 0.0)
    second = world.stage(BETTER)

    def break_candidate_and_router() -> None:
        world.break_candidate(error_rate=1.0)
        world.target.place.fail_next("set_weights", "The router does not answer.")

    while_shifting(world, break_candidate_and_router)
    world.run(second)
    assert world.weights == {Colour.BLUE: 80, Colour.GREEN: 20}
    world.tick("reconcile")
    is_at_rest(world, FIRST)


def test_a_place_that_is_away_at_the_verdict_gets_the_traffic_back_as_soon_as_it_answers(world: World) -> None:
    second = world.stage(BETTER)

    def break_candidate_and_lose_the_place() -> None:
        world.break_candidate(error_rate=1.0)
        world.target.place.fail_next("write", "The place does not answer.")

    while_shifting(world, break_candidate_and_lose_the_place)
    ends(world, second, world.run(second), Outcome.ROLLED_BACK)
    is_at_rest(world, FIRST)
