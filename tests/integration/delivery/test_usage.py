"""What retention may not take: an image that production can still be asked to go back to."""

from __future__ import annotations

from banana_delivery.delivery.image_build import in_use
from tests.integration.delivery.serving import FIRST
from tests.support.pipeline import PipelineHarness


def test_an_image_that_served_within_the_rollback_window_is_in_use_though_nothing_runs_it(
    pipeline: PipelineHarness,
) -> None:
    digest = pipeline.attempts(FIRST)[0].digest
    for found in (0.95, 0.999):
        pipeline.run(pipeline.stage(found))
    assert digest in in_use(pipeline.audit_log, pipeline.target, pipeline.resources.settings, pipeline.clock.time())
    at_once = pipeline.resources.settings.model_copy(update={"rollback_window_days": 0.0})
    assert digest not in in_use(pipeline.audit_log, pipeline.target, at_once, pipeline.clock.time())
