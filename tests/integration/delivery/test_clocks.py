"""Clocks that step, and looks that are out of date by the time of the claim: neither moves anything it should not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from banana_delivery.delivery.lease import Lease
from banana_delivery.errors import ClaimRefusedError
from banana_delivery.model_registry.base import StagedVersion
from banana_delivery.policy.model import Colour, Environment, Outcome, Phase, RolloutRecord
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.targets import claims
from banana_delivery.targets.base import Claim
from tests.integration.delivery.moments import is_at_rest
from tests.integration.delivery.serving import FIRST
from tests.integration.delivery.test_runs_elsewhere import split_production
from tests.support.claims import steal
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

BETTER = 0.999
PRODUCTION = Environment.PRODUCTION
STEPS = (-3600.0, -90.0, 120.0, 3600.0)


def production(pipeline: PipelineHarness) -> RolloutRecord:
    return pipeline.target.record(PRODUCTION)


def before_a_claim_of(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch, owner: str, happens: Callable[[], object]
) -> None:
    """Let something happen between the look of ``owner`` and its claim, once."""
    claim = pipeline.target.claim
    left = [happens]

    def late(environment: Environment, by: str, **how: Any) -> Claim:
        if by == owner and left:
            left.pop()()
        return claim(environment, by, **how)

    monkeypatch.setattr(pipeline.target, "claim", late)


def test_whoever_claims_after_reconcile_has_looked_keeps_production(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_production(pipeline, "a run on another machine")
    pipeline.tick("reconcile")
    pipeline.clock.now += 3600
    before_a_claim_of(pipeline, monkeypatch, "reconcile", lambda: steal(pipeline.target, PRODUCTION, "Ada"))

    said = pipeline.tick("reconcile")

    assert production(pipeline).owner == "Ada"
    assert pipeline.weights == {Colour.BLUE: 60, Colour.GREEN: 40}
    assert isinstance(said, dg.SkipReason)
    assert "production was left to whoever works there" in str(said.skip_message)


def test_whoever_claims_what_reconcile_found_at_rest_and_unsettled_keeps_it(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_production(pipeline, "a run")
    pipeline.target.release(claims.claim_on(production(pipeline)))
    mine = pipeline.target.claim
    before_a_claim_of(pipeline, monkeypatch, "reconcile", lambda: mine(PRODUCTION, "Ada"))

    pipeline.tick("reconcile")

    assert (production(pipeline).owner, pipeline.weights) == ("Ada", {Colour.BLUE: 60, Colour.GREEN: 40})


def test_an_owner_that_shows_life_after_it_was_judged_dead_is_left_alone(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_production(pipeline, "a run on another machine")
    held = claims.claim_on(production(pipeline))
    pipeline.tick("reconcile")
    pipeline.clock.now += 3600
    before_a_claim_of(pipeline, monkeypatch, "reconcile", lambda: pipeline.target.heartbeat(held))

    pipeline.tick("reconcile")

    assert (production(pipeline).owner, pipeline.weights[Colour.GREEN]) == (held.owner, 40)


def test_a_release_that_is_promoted_between_the_look_and_the_claim_of_a_rollback_is_taken_out(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Carried out as it was decided, all users would go to the active colour: by then the bad one."""
    split_production(pipeline, "a run")
    held, before = claims.claim_on(production(pipeline)), production(pipeline)
    bad = before.deployments[Colour.GREEN].image.replace(version="66")
    pipeline.target.write(held, production(pipeline).replace(candidate=bad, phase=Phase.WATCHING))

    def promote() -> None:
        pipeline.target.set_weights(held, {Colour.GREEN: 100})
        facts = {"active": Colour.GREEN, "candidate": None, "previous": before.live, "scale_down_at": 1.0}
        pipeline.target.write(held, production(pipeline).replace(phase=Phase.PROMOTING, **facts))

    before_a_claim_of(pipeline, monkeypatch, "Ada (rollback)", promote)

    undone = pipeline.roll_back(reason="It looks wrong.", digest=bad.digest)

    assert (undone.digest, undone.serving_version) == (bad.digest, FIRST)
    is_at_rest(pipeline, FIRST)


def test_a_rollback_that_was_finished_by_somebody_else_is_not_wiped_out_by_who_looked_before(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = pipeline.stage(BETTER)
    pipeline.run(second)
    pipeline.roll_back(reason="It looks wrong.", audit_log=False)
    newer = production(pipeline).intent
    assert newer is not None

    def write_another_intent() -> None:
        claim = steal(pipeline.target, PRODUCTION, "Grace (rollback)")
        pipeline.target.write(claim, production(pipeline).replace(intent=newer.replace(reason="The newer one.")))
        pipeline.target.release(claim)

    before_a_claim_of(pipeline, monkeypatch, "Ada (rollback)", write_another_intent)

    pipeline.tick("reconcile")

    kept = production(pipeline).intent
    assert kept is not None
    assert kept.reason == "The newer one."


def test_a_lease_that_was_decided_by_another_record_is_refused_in_one_sentence(pipeline: PipelineHarness) -> None:
    seen = production(pipeline)
    steal(pipeline.target, PRODUCTION, "Ada")

    with (
        pytest.raises(ClaimRefusedError, match="Ada has it now"),
        Lease(pipeline.target, PRODUCTION, "cool_down", heartbeat_seconds=1.0, seen=seen),
    ):
        pass


@pytest.mark.parametrize("step", STEPS)
def test_the_way_back_stays_warm_for_its_time_and_no_longer_whatever_the_clock_does(
    pipeline: PipelineHarness, step: float
) -> None:
    second, warm = pipeline.stage(BETTER), pipeline.resources.settings.warm_seconds
    pipeline.run(second)
    pipeline.tick("cool_down")

    pipeline.clock.stepped = step
    pipeline.clock.now += warm - 1
    pipeline.tick("cool_down")
    assert production(pipeline).deployments[Colour.BLUE].replicas == 2
    assert isinstance(watch(pipeline), dg.SkipReason)
    pipeline.clock.stepped = -step
    pipeline.clock.now += 1
    pipeline.tick("cool_down")

    assert production(pipeline).deployments[Colour.BLUE].replicas == 0
    assert "long past" in str(watch(pipeline).skip_message)
    is_at_rest(pipeline, second)


def watch(pipeline: PipelineHarness) -> dg.SkipReason:
    said = pipeline.tick("production_watch")
    assert isinstance(said, dg.SkipReason)
    return said


def test_a_first_release_has_no_way_back_to_keep_warm_and_its_watch_ends_all_the_same(
    pipeline: PipelineHarness,
) -> None:
    assert production(pipeline).scale_down_at is not None
    pipeline.tick("cool_down")
    pipeline.clock.now += pipeline.resources.settings.warm_seconds

    pipeline.tick("cool_down")

    assert (production(pipeline).scale_down_at, production(pipeline).owner) == (None, None)
    assert "long past" in str(watch(pipeline).skip_message)


def test_deliveries_and_rollbacks_go_through_while_the_clock_steps_to_and_fro(pipeline: PipelineHarness) -> None:
    steps = iter(range(10**6))

    def step() -> None:
        pipeline.clock.stepped = STEPS[next(steps) % len(STEPS)]

    pipeline.clock.on_sleep.append(step)
    good, bad, last = pipeline.stage(BETTER), pipeline.stage(BETTER), pipeline.stage(BETTER)

    assert pipeline.run(good).is_success
    pipeline.target.at[PhaseHook(PRODUCTION, Phase.SHIFTING)] = lambda: pipeline.break_candidate(error_rate=1.0)
    pipeline.run(bad)
    assert pipeline.run(last).is_success
    pipeline.roll_back(reason="It looks wrong.", version=last)
    pipeline.tick("reconcile")

    assert [one.outcome for one in pipeline.attempts(bad)] == [Outcome.ROLLED_BACK]
    assert [one.outcome for one in pipeline.attempts(last)] == [Outcome.ROLLED_BACK, Outcome.RELEASED]
    is_at_rest(pipeline, good)


@pytest.mark.parametrize("step", STEPS)
def test_a_rollback_that_was_never_begun_keeps_no_watch_from_going_back_whatever_the_clock_does(
    pipeline: PipelineHarness, step: float
) -> None:
    version = pipeline.stage(BETTER)
    pipeline.run(version)
    config = {"ops": {"roll_back_production": {"config": {"reason": "Errors."}}}}
    job, tags = pipeline.defs.resolve_job_def("rollback"), pipeline.location.tags
    pipeline.instance.create_run_for_job(job, status=dg.DagsterRunStatus.NOT_STARTED, run_config=config, tags=tags)
    sensor = pipeline.defs.resolve_sensor_def("production_watch")
    context = dg.build_sensor_context(instance=pipeline.instance, resources=pipeline.resources.by_key())
    live = production(pipeline).live
    assert live is not None
    sensor(context)
    pipeline.break_image(live.digest, error_rate=0.6)
    pipeline.clock.stepped = step
    pipeline.clock.sleep(2.0)

    sensor(context)

    assert pipeline.serving == FIRST
    assert [one.outcome for one in pipeline.attempts(version)] == [Outcome.ROLLED_BACK, Outcome.RELEASED]


def test_a_staging_that_was_tried_is_known_by_its_moment_and_not_by_what_came_after(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry's clock went back an hour between two stagings, and the sensor's cursor was lost."""
    version, at = pipeline.stage(BETTER), pipeline.clock.time()

    def staged(moment: float) -> None:
        one = StagedVersion(version=version, staged_at=moment, by_stage=True, by_alias=False)
        monkeypatch.setattr(pipeline.registry, "staged", lambda: [one])

    staged(at)
    (request,) = requests(pipeline)
    pipeline.run(version, tags=request.tags)
    assert requests(pipeline) == [], "It was tried."

    staged(at - 3600)

    assert [one.partition_key for one in requests(pipeline)] == [version]
    assert Runs(pipeline.instance).staging_of(f"{version}@{round(at * 1000)}#1") == f"{at:.3f}"


def requests(pipeline: PipelineHarness) -> list[dg.RunRequest]:
    """What the sensor asks for without a cursor."""
    result = pipeline.tick("staged_versions")
    return list(result.run_requests or []) if isinstance(result, dg.SensorResult) else []
