"""The scorecard of deliveries that were really played, computed by its job."""

from __future__ import annotations

import dagster as dg

from banana_delivery.names import STAGED_AT_TAG, TRIGGER_TAG
from banana_delivery.policy.model import Outcome
from banana_delivery.runs.code_location import SCORE
from tests.integration.delivery.serving import FIRST
from tests.support.pipeline import PipelineHarness


def test_a_staged_release_is_in_the_scorecard_with_its_times_and_its_users(pipeline: PipelineHarness) -> None:
    second, staged_at = pipeline.stage(0.999), pipeline.clock.time()
    pipeline.run(second, tags={TRIGGER_TAG: "sensor", STAGED_AT_TAG: f"{staged_at:.3f}"})
    attempt = pipeline.attempts(second)[0]
    assert attempt.outcome is Outcome.RELEASED
    done = pipeline.defs.resolve_job_def(SCORE).execute_in_process(instance=pipeline.instance)
    (event,) = done.get_asset_materialization_events()
    shown = event.materialization.metadata
    lead, first = shown["lead_time"].value, shown["first_user"].value
    assert isinstance(lead, float)
    assert isinstance(first, float)
    assert 0 < first < lead <= attempt.at - staged_at
    assert shown["user_errors"].value == 0
    assert shown["availability"].value == 1
    assert shown["promises_broken"].value == 0
    page = pipeline.resources.settings.home / "reports" / "scorecard.html"
    assert "2 deliveries" in page.read_text()
    assert second != FIRST


def test_a_scorecard_whose_process_died_is_no_delivery_and_is_ended(pipeline: PipelineHarness) -> None:
    run = pipeline.instance.create_run_for_job(
        pipeline.defs.resolve_job_def(SCORE), status=dg.DagsterRunStatus.STARTED, tags=pipeline.location.tags
    )
    pipeline.tick("reconcile")
    pipeline.clock.sleep(130.0)
    pipeline.tick("reconcile")
    assert pipeline.run_of(run.run_id).status is dg.DagsterRunStatus.FAILURE
    assert pipeline.serving == FIRST
