"""Delivering old versions again: several, in an order, one asset of them or all, and by the job for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from banana_delivery.names import BACKFILL_TAG
from banana_delivery.policy.model import Environment, Outcome, Phase
from banana_delivery.runs.code_location import PIPELINE
from tests.integration.delivery.moments import cancel_at, is_at_rest
from tests.integration.delivery.outcome_rows import ends
from tests.integration.delivery.serving import FIRST, Serving
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

BACKFILL = {BACKFILL_TAG: "backfill"}


@pytest.fixture(scope="module")
def pipeline(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PipelineHarness]:
    """One world for the whole module, in which versions 1 and 2 were released and 2 serves."""
    with serving.open(tmp_path_factory.mktemp("shared") / "world") as opened:
        opened.run(opened.stage(0.999))
        yield opened


@pytest.mark.parametrize("assets", [(), tuple(PIPELINE), ("production_release",)], ids=["job", "all five", "the last"])
def test_backfilled_versions_are_redeployed_one_after_the_other_by_their_digests(
    pipeline: PipelineHarness, assets: tuple[str, ...]
) -> None:
    digests = {version: pipeline.attempts(version)[-1].digest for version in (FIRST, "2")}
    for version in (FIRST, "2"):
        run = pipeline.run(version, assets=assets, tags=BACKFILL)
        ends(pipeline, version, run, Outcome.RELEASED)
        attempt = pipeline.attempts(version)[0]
        assert (attempt.trigger, attempt.basis, attempt.digest) == ("backfill", "redeploy", digests[version])
        is_at_rest(pipeline, version)


def test_the_job_for_it_asks_neither_for_the_checkpoint_nor_for_a_conversion(pipeline: PipelineHarness) -> None:
    digest = pipeline.attempts(FIRST)[0].digest
    run = pipeline.run(FIRST, job="redeploy")
    ends(pipeline, FIRST, run, Outcome.RELEASED)
    attempt = pipeline.attempts(FIRST)[0]
    assert (attempt.trigger, attempt.digest) == ("redeploy", digest)
    steps = {stats.step_key for stats in pipeline.instance.get_run_step_stats(run.run_id)}
    assert "model_artifact" not in steps


def test_cancelling_a_backfill_midway_leaves_one_stable_colour(pipeline: PipelineHarness) -> None:
    serving = pipeline.serving
    assert serving in {FIRST, "2"}
    other = "2" if serving == FIRST else FIRST
    cancel_at(PhaseHook(Environment.PRODUCTION, Phase.SHIFTING), pipeline, other)
    cancelled = pipeline.run(other, tags=BACKFILL)
    assert (pipeline.attempts(other)[0].run_id, pipeline.attempts(other)[0].outcome) == (
        cancelled.run_id,
        Outcome.CANCELLED,
    )
    is_at_rest(pipeline, serving)
    never_started = pipeline.cancelled(serving, BACKFILL)
    assert pipeline.attempts(serving)[0].run_id == never_started.run_id
    is_at_rest(pipeline, serving)
