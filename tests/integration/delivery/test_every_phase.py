"""Killed, cancelled or fenced off at every phase of a delivery: production ends on one stable colour, told once."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import DagsterEventType

from banana_delivery.delivery.recovery import take_over
from banana_delivery.policy.model import Outcome, Phase
from banana_delivery.targets.base import Claim
from tests.integration.delivery.moments import MOMENTS, PROMOTED, cancel_at, is_at_rest, kill_at
from tests.integration.delivery.serving import Serving
from tests.support.claims import steal
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

GOOD = 0.999
at_every_moment = pytest.mark.parametrize("hook", MOMENTS, ids=str)


@pytest.fixture(scope="module")
def pipeline(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PipelineHarness]:
    """One world for the whole module: each test has to leave it fit for the next delivery."""
    with serving.open(tmp_path_factory.mktemp("shared") / "world") as opened:
        yield opened


def run_of_version(pipeline: PipelineHarness, version: str) -> dg.DagsterRun:
    (run,) = pipeline.instance.get_runs(filters=dg.RunsFilter(tags={"dagster/partition": version}))
    return run


def was_told_once(pipeline: PipelineHarness, run: dg.DagsterRun, outcome: Outcome) -> None:
    """However often the sensors look."""
    pipeline.after(run)
    pipeline.tick("reconcile")
    version = run.tags["dagster/partition"]
    assert [attempt.outcome for attempt in pipeline.attempts(version) if attempt.run_id == run.run_id] == [outcome]
    assert [notice.key for notice in pipeline.sent if run.run_id in notice.key] == [f"{run.run_id}/{version}/{outcome}"]


def test_every_phase_in_the_code_is_struck(pipeline: PipelineHarness) -> None:
    pipeline.target.passed.clear()
    pipeline.run(pipeline.stage(GOOD))
    assert [hook for hook in pipeline.target.passed if hook.phase is not Phase.IDLE] == list(MOMENTS)
    assert {hook.phase for hook in MOMENTS} == set(Phase) - {Phase.IDLE, Phase.DRIFTED}


@at_every_moment
def test_a_killed_run_is_found_and_undone(pipeline: PipelineHarness, hook: PhaseHook) -> None:
    live, version = pipeline.serving, pipeline.stage(GOOD)
    kill_at(hook, pipeline, version)
    dead = run_of_version(pipeline, version)
    record = pipeline.target.record(hook.environment)
    assert (dead.status, record.owner, record.phase) == (dg.DagsterRunStatus.STARTED, dead.run_id, hook.phase)
    pipeline.tick("reconcile")
    is_at_rest(pipeline, version if hook == PROMOTED else live)
    failed = pipeline.run_of(dead.run_id)
    assert failed.status is dg.DagsterRunStatus.FAILURE, "the pool's slot is held by what runs"
    pipeline.after(failed)
    was_told_once(pipeline, failed, Outcome.RELEASED if hook == PROMOTED else Outcome.ERROR)


@at_every_moment
def test_a_cancelled_run_restores_the_traffic_and_is_not_retried(pipeline: PipelineHarness, hook: PhaseHook) -> None:
    live, version = pipeline.serving, pipeline.stage(GOOD)
    cancel_at(hook, pipeline, version)
    run = pipeline.run(version)
    assert run.status is dg.DagsterRunStatus.CANCELED
    is_at_rest(pipeline, version if hook == PROMOTED else live)
    again = {DagsterEventType.STEP_UP_FOR_RETRY, DagsterEventType.STEP_RESTARTED}
    assert pipeline.instance.get_records_for_run(run.run_id, of_type=again).records == []
    was_told_once(pipeline, run, Outcome.RELEASED if hook == PROMOTED else Outcome.CANCELLED)
    assert run_of_version(pipeline, version).run_id == run.run_id


@at_every_moment
def test_a_run_whose_environment_was_taken_touches_nothing_more(pipeline: PipelineHarness, hook: PhaseHook) -> None:
    version = pipeline.stage(GOOD)
    taken: list[Claim] = []

    def take() -> None:
        taken.append(steal(pipeline.target, hook.environment, "Ada"))
        pipeline.target.calls.clear()

    pipeline.target.at[hook] = take
    run = pipeline.run(version)
    assert (pipeline.target.calls, pipeline.target.record(hook.environment).owner) == ([], "Ada")
    if hook != PROMOTED:
        assert run.status is dg.DagsterRunStatus.FAILURE
        assert "Ada has taken it over" in pipeline.attempts(version)[0].reason
    take_over(pipeline.target, hook.environment, "Ada", pipeline.clock)
    was_told_once(pipeline, run, Outcome.RELEASED if hook == PROMOTED else Outcome.ERROR)
