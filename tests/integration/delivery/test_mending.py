"""What is broken now can be mended: production that fails or is down keeps no fix away from its users."""

from __future__ import annotations

import pytest

from banana_delivery.policy.asset_records import DecisionKind, ManualDecision, StagingRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.runs.audit_log import AuditLog
from tests.integration.delivery.outcome_rows import ends
from tests.integration.delivery.serving import FIRST
from tests.support.pipeline import PipelineHarness

BETTER = 0.9999
DOWN = 1000


def break_production(pipeline: PipelineHarness, unanswered: int, **behaviour: object) -> None:
    """The release that serves fails its users, and so many of the labelled images."""
    pipeline.break_image(pipeline.attempts(FIRST)[0].digest, **behaviour)
    pipeline.evaluator.unanswered[FIRST] = unanswered


def override(pipeline: PipelineHarness, version: str) -> None:
    word = ManualDecision(
        kind=DecisionKind.OVERRIDE, version=version, by="Ada", reason="Production is down.", at=pipeline.clock.far
    )
    AuditLog(pipeline.instance).record_decision(word)


@pytest.mark.parametrize("kept", [True, False], ids=["answers kept", "no answers kept"])
@pytest.mark.parametrize("how", ["5xx", "connection", "timeout"])
def test_a_fix_reaches_a_production_that_is_down(pipeline: PipelineHarness, how: str, kept: bool) -> None:
    break_production(pipeline, DOWN, error_rate=1.0, error_class=how)
    pipeline.evaluator.kept = kept
    fix = pipeline.stage(BETTER)
    ends(pipeline, fix, pipeline.run(fix), Outcome.RELEASED)
    assert pipeline.serving == fix


def test_production_that_fails_one_request_in_two_hundred_ends_no_delivery(pipeline: PipelineHarness) -> None:
    break_production(pipeline, 5, error_rate=0.005)
    pipeline.evaluator.kept = False
    version = pipeline.stage(BETTER)
    ends(pipeline, version, pipeline.run(version), Outcome.RELEASED)
    record = AuditLog(pipeline.instance).latest(StagingRecord, "staging_release", version)
    assert record is not None
    assert record.quality.unanswered == 5
    assert "Production left 5 of 1,000 images unanswered, which count as" in record.quality.reason


def test_a_worse_version_does_not_slip_in_because_production_is_down(pipeline: PipelineHarness) -> None:
    break_production(pipeline, DOWN, error_rate=1.0)
    worse = pipeline.stage(found=0.7)
    ends(pipeline, worse, pipeline.run(worse), Outcome.REJECTED)
    assert "the candidate loses more than" in pipeline.attempts(worse)[0].reason


def test_a_persons_word_will_do_instead_of_a_comparison_with_a_production_that_is_down(
    pipeline: PipelineHarness,
) -> None:
    break_production(pipeline, DOWN, error_rate=1.0)
    pipeline.evaluator.kept = False
    emergency = pipeline.stage(found=0.7)
    override(pipeline, emergency)
    ends(pipeline, emergency, pipeline.run(emergency), Outcome.RELEASED)
    assert pipeline.attempts(emergency)[0].basis == "override"


def test_a_persons_word_excuses_no_worse_version_while_production_answers(pipeline: PipelineHarness) -> None:
    worse = pipeline.stage(found=0.7)
    override(pipeline, worse)
    ends(pipeline, worse, pipeline.run(worse), Outcome.REJECTED)


def test_a_fix_that_is_below_the_minimum_stays_out_of_a_production_that_is_down(pipeline: PipelineHarness) -> None:
    break_production(pipeline, DOWN, error_rate=1.0)
    pipeline.evaluator.kept = False
    useless = pipeline.stage(found=0.2)
    override(pipeline, useless)
    ends(pipeline, useless, pipeline.run(useless), Outcome.REJECTED)
