"""Two who want production at once, and people who step in: one has it, the other is told and touches nothing."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest

from banana_delivery.delivery import rollback, traffic_shift
from banana_delivery.errors import NothingToRollBackError
from banana_delivery.names import STAGED_AT_TAG, SUPERSEDED_TAG, TRIGGER_TAG
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Colour, Environment, Outcome, Phase
from tests.integration.delivery.moments import is_at_rest
from tests.integration.delivery.outcome_rows import ends
from tests.integration.delivery.serving import FIRST
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

BETTER = 0.999
SHIFTING = PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)


def while_shifting(pipeline: PipelineHarness, happens: Callable[[], object]) -> None:
    pipeline.target.at[SHIFTING] = happens


def undo(pipeline: PipelineHarness) -> AttemptRecord:
    return pipeline.roll_back(actor="Ada", reason="It looks wrong.")


def test_the_second_of_two_pipelines_is_refused_with_one_sentence(pipeline: PipelineHarness) -> None:
    first, second = pipeline.stage(BETTER), pipeline.stage(BETTER)
    refused: list[dg.DagsterRun] = []

    def start_another() -> None:
        before = pipeline.weights, pipeline.target.record(Environment.PRODUCTION).deployments
        refused.append(pipeline.run(second))
        assert (pipeline.weights, pipeline.target.record(Environment.PRODUCTION).deployments) == before

    while_shifting(pipeline, start_another)
    ends(pipeline, first, pipeline.run(first), Outcome.RELEASED)
    assert refused[0].status is dg.DagsterRunStatus.FAILURE
    (attempt,) = pipeline.attempts(second)
    assert attempt.outcome is Outcome.ERROR
    assert "wait until its delivery ends" in attempt.reason
    is_at_rest(pipeline, first)


def test_a_run_that_was_taken_for_dead_and_wakes_up_moves_nothing(pipeline: PipelineHarness) -> None:
    sleeper, next_one = pipeline.stage(BETTER), pipeline.stage(BETTER)

    def sleep_through_the_next_release() -> None:
        pipeline.tick("reconcile")
        pipeline.clock.now += 3600
        pipeline.tick("reconcile")
        # Whoever sleeps sends nothing, and its proof as a probe is not that of the next one's replicas.
        asleep, pipeline.evaluator.loads = pipeline.evaluator.loads, []
        pipeline.run(next_one)
        pipeline.evaluator.loads = asleep
        pipeline.target.calls.clear()

    while_shifting(pipeline, sleep_through_the_next_release)
    pipeline.run(sleeper)
    assert pipeline.target.calls == []
    assert [attempt.outcome for attempt in pipeline.attempts(sleeper)] == [Outcome.ERROR]
    is_at_rest(pipeline, next_one)


def test_a_rollback_by_a_person_during_the_shift_undoes_it(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(BETTER)
    while_shifting(pipeline, lambda: undo(pipeline))
    ends(pipeline, second, pipeline.run(second), Outcome.ROLLED_BACK)
    (attempt,) = pipeline.attempts(second)
    assert (attempt.actor, attempt.revoked) == ("Ada", True)
    is_at_rest(pipeline, FIRST)


def test_a_rollback_of_a_held_release_undoes_that_release(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(BETTER)
    while_shifting(pipeline, lambda: pipeline.target.place.edit_replicas(Environment.PRODUCTION, Colour.GREEN, 7))
    pipeline.run(second)
    assert pipeline.target.record(Environment.PRODUCTION).phase is Phase.DRIFTED
    pipeline.target.place.edit_replicas(Environment.PRODUCTION, Colour.GREEN, 2)
    undone = undo(pipeline)
    assert (undone.version, undone.serving_version) == (second, FIRST)
    is_at_rest(pipeline, FIRST)


def test_a_re_execution_in_the_pages_is_an_attempt_of_its_own(pipeline: PipelineHarness) -> None:
    version = pipeline.stage(BETTER)
    parent = pipeline.cancelled(version, {TRIGGER_TAG: "sensor", STAGED_AT_TAG: "100.0", SUPERSEDED_TAG: "9"})
    copied = {**parent.tags, "dagster/parent_run_id": parent.run_id, "dagster/root_run_id": parent.run_id}
    again = pipeline.run(version, tags=copied)
    assert [attempt.outcome for attempt in pipeline.attempts(version)] == [Outcome.RELEASED, Outcome.SUPERSEDED]
    assert pipeline.attempts(version)[0].trigger == "manual"
    stopped = pipeline.cancelled(version, {**copied, "dagster/parent_run_id": again.run_id})
    assert pipeline.attempts(version)[0].run_id == stopped.run_id
    assert pipeline.attempts(version)[0].outcome is Outcome.CANCELLED


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_a_rollback_after_promotion_goes_back_to_the_release_before(pipeline: PipelineHarness, warm: bool) -> None:
    second = pipeline.stage(BETTER)
    pipeline.run(second)
    if not warm:
        pipeline.tick("cool_down")
        pipeline.clock.now += pipeline.resources.settings.warm_seconds
        pipeline.tick("cool_down")
        assert pipeline.target.record(Environment.PRODUCTION).deployments[Colour.BLUE].replicas == 0
    undone = undo(pipeline)
    assert (undone.version, undone.serving_version, undone.revoked) == (second, FIRST, True)
    is_at_rest(pipeline, FIRST)
    assert (pipeline.registry.describe(FIRST).stage, pipeline.registry.describe(second).stage) == (
        "Production",
        "Archived",
    )


def test_a_rollback_never_goes_back_to_what_was_only_tried_on_the_idle_colour(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(BETTER)
    digest = pipeline.attempts(FIRST)[0].digest
    pipeline.run(second)
    rejected = pipeline.stage(BETTER)
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.COMPARING)] = lambda: pipeline.break_candidate(
        error_rate=1.0
    )
    pipeline.run(rejected)
    record = pipeline.target.record(Environment.PRODUCTION)
    assert record.deployments[record.idle].image.version == rejected
    undo(pipeline)
    live = pipeline.target.record(Environment.PRODUCTION).live
    assert live is not None
    assert live.digest == digest
    is_at_rest(pipeline, FIRST)


def test_a_rollback_with_nothing_before_changes_nothing_and_says_so(pipeline: PipelineHarness) -> None:
    pipeline.target.calls.clear()
    with pytest.raises(NothingToRollBackError, match="deliver a good version instead"):
        undo(pipeline)
    assert pipeline.target.calls == []
    is_at_rest(pipeline, FIRST)


def test_traffic_that_a_run_could_not_bring_back_is_brought_back_by_the_sensor(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollback, "RESTORE_SECONDS", 0.0)
    monkeypatch.setattr(traffic_shift, "OUTAGE_SECONDS", 0.0)
    second = pipeline.stage(BETTER)

    def break_candidate_and_router() -> None:
        pipeline.break_candidate(error_rate=1.0)
        # Neither when the users are to be sent away, nor when the run gives up.
        pipeline.target.place.fail_next("set_weights", "The router does not answer.", times=2)

    while_shifting(pipeline, break_candidate_and_router)
    pipeline.run(second)
    assert pipeline.weights == {Colour.BLUE: 80, Colour.GREEN: 20}
    pipeline.tick("reconcile")
    is_at_rest(pipeline, FIRST)


def test_a_place_that_is_away_at_the_verdict_gets_the_traffic_back_as_soon_as_it_answers(
    pipeline: PipelineHarness,
) -> None:
    second = pipeline.stage(BETTER)

    def break_candidate_and_lose_the_place() -> None:
        pipeline.break_candidate(error_rate=1.0)
        pipeline.target.place.fail_next("write", "The place does not answer.")

    while_shifting(pipeline, break_candidate_and_lose_the_place)
    ends(pipeline, second, pipeline.run(second), Outcome.ROLLED_BACK)
    is_at_rest(pipeline, FIRST)
