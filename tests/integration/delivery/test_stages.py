"""Labelled images are asked about by stages, in staging and in the A/B, and all of them before anybody is parked."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from banana_delivery.evaluation.base import Log, ProductionAnswers, ReleaseEndpoint
from banana_delivery.evaluation.fake import IMAGES
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.quality.matching import Matches
from banana_delivery.policy.quality.stages.parts import chosen
from tests.integration.delivery.outcome_rows import ends
from tests.support.pipeline import PipelineHarness

BETTER, WORSE = 0.999, 0.7


@dataclass
class Stages:
    """What was asked of whom: version, whether afresh, and about how many images; how many were answered before."""

    asked: list[tuple[str, bool, int]] = field(default_factory=list)
    said: list[int] = field(default_factory=list)


@pytest.fixture
def stages(pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch) -> Stages:
    """The pipeline's evaluator, which can be asked about some of its images now."""
    seen, whole = Stages(), pipeline.evaluator.answers

    def answers(
        release: ReleaseEndpoint, log: Log, *, fresh: bool, first: int = 0, said: Matches | None = None
    ) -> Matches:
        seen.asked.append((release.ref.version, fresh, first or IMAGES))
        seen.said.append(len(said.names) if said else 0)
        return chosen(whole(release, log, fresh=fresh), np.arange(first or IMAGES))

    def production(
        release: ReleaseEndpoint, log: Log, *, fresh: bool, first: int = 0, said: Matches | None = None
    ) -> ProductionAnswers:
        return ProductionAnswers(answers(release, log, fresh=fresh, first=first, said=said))

    monkeypatch.setattr(pipeline.evaluator, "image_count", lambda: IMAGES)
    monkeypatch.setattr(pipeline.evaluator, "answers", answers)
    monkeypatch.setattr(pipeline.evaluator, "production_answers", production)
    return seen


def test_a_clear_loss_is_told_by_the_first_stage(pipeline: PipelineHarness, stages: Stages) -> None:
    version = pipeline.stage(found=WORSE)
    ends(pipeline, version, pipeline.run(version), Outcome.REJECTED)
    assert "on 300 of 1,000 labelled images" in pipeline.attempts(version)[0].reason
    assert {count for _, _, count in stages.asked} == {300}


def test_what_a_stage_does_not_decide_is_asked_further_and_afresh_as_the_first(
    pipeline: PipelineHarness, stages: Stages
) -> None:
    version = pipeline.stage(BETTER)
    ends(pipeline, version, pipeline.run(version), Outcome.RELEASED)
    by_candidate = [(fresh, count) for who, fresh, count in stages.asked if who == version]
    assert by_candidate[0] == (True, 300)
    assert (True, IMAGES) in by_candidate


def test_a_sibling_passes_on_all_images_at_the_latest(pipeline: PipelineHarness, stages: Stages) -> None:
    version = pipeline.stage(found=0.9)
    ends(pipeline, version, pipeline.run(version), Outcome.RELEASED)
    in_staging = stages.asked[: stages.asked.index((version, True, IMAGES)) + 2]
    assert [count for _, _, count in in_staging] == [300, 300, IMAGES, IMAGES]
    assert [fresh for _, fresh, _ in in_staging] == [True, False, True, False]
    assert stages.said[:4] == [0, 0, 300, 300]
    assert stages.said[4:] == [0, 0, 300, 300], "the A/B asks afresh, and once"
