"""Staging's replicas between deliveries; when they go is in the unit tests."""

from __future__ import annotations

from banana_delivery.policy.model import Colour, Deployment, Environment
from tests.support.pipeline import PipelineHarness

IDLE_SECONDS = 600.0


def test_staging_sleeps_and_rollback_redeploy_and_delivery_go_on_as_ever(pipeline: PipelineHarness) -> None:
    def staged() -> Deployment:
        return pipeline.target.record(Environment.STAGING).deployments[Colour.SOLE]

    def sleep() -> None:
        pipeline.tick("cool_down")
        pipeline.clock.now += IDLE_SECONDS
        pipeline.tick("cool_down")
        assert staged().replicas == 0

    settings = pipeline.resources.settings.model_copy(update={"staging_idle_seconds": IDLE_SECONDS})
    pipeline.change(settings=settings)
    pipeline.run(first := pipeline.stage(found=0.999))
    assert pipeline.serving == first
    sleep()
    pipeline.run(second := pipeline.stage(found=0.9995))
    assert pipeline.serving == second
    sleep()

    live = pipeline.target.record(Environment.PRODUCTION).live
    assert live is not None
    config = {"ops": {"roll_back_production": {"config": {"reason": "Errors.", "digest": live.digest}}}}
    rollback = pipeline.defs.resolve_job_def("rollback")
    assert rollback.execute_in_process(instance=pipeline.instance, run_config=config).success
    assert (pipeline.serving, staged().replicas) == (first, 0)

    assert pipeline.run(first).is_success
    assert pipeline.serving == first
