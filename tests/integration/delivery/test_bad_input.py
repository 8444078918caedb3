"""What cannot be delivered ends with one sentence, and production serves on as if nothing had been asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.export.export import export_model
from banana_delivery.images.base import BuildContext, BuiltImage, Progress
from banana_delivery.images.fake import FakeImages
from banana_delivery.policy.model import Environment, Outcome, Phase
from examples.broken import pickle_that_runs_code
from tests.integration.delivery.moments import is_at_rest
from tests.integration.delivery.outcome_rows import ends
from tests.integration.delivery.serving import FIRST
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

NEVER_READY = "its replicas crash: no module named leaves"


class FullDisk(FakeImages):
    """An image store on a disk that has no room left."""

    def build(self, context: BuildContext, progress: Progress) -> BuiltImage:
        raise ImageError("The disk under /images is full; make room and deliver again.")


def without_checkpoint(pipeline: PipelineHarness) -> str:
    return pipeline.stage(checkpoint=None)


def never_ready(pipeline: PipelineHarness) -> str:
    def crash() -> None:
        candidate = pipeline.target.record(Environment.STAGING).candidate
        assert candidate is not None
        pipeline.break_image(candidate.digest, unready=NEVER_READY)

    pipeline.target.at[PhaseHook(Environment.STAGING, Phase.DEPLOYING)] = crash
    return pipeline.stage()


def hanging(pipeline: PipelineHarness) -> str:
    version = pipeline.stage()
    pipeline.evaluator.broken[version] = "no answer within 10 s"
    return version


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (without_checkpoint, "There is no best.pt in version 2: publish it with one."),
        (never_ready, f"Staging sole cannot get ready: {NEVER_READY}"),
        (hanging, "1 of 1 tests failed. answers: no answer within 10 s"),
    ],
)
def test_a_bad_version_is_rejected_with_one_sentence(
    pipeline: PipelineHarness, bad: Callable[[PipelineHarness], str], sentence: str
) -> None:
    version = bad(pipeline)
    ends(pipeline, version, pipeline.run(version), Outcome.REJECTED)
    assert pipeline.attempts(version)[0].reason == sentence
    is_at_rest(pipeline, FIRST)


@pytest.mark.parametrize(("known", "wrong"), [(("streak", "leaf"), ("leaf", "streak")), (("streak",), ("rust",))])
def test_other_classes_than_productions_are_rejected_also_in_another_order(
    empty_pipeline: PipelineHarness, known: tuple[str, ...], wrong: tuple[str, ...]
) -> None:
    first = empty_pipeline.stage()
    empty_pipeline.classes[first] = known
    empty_pipeline.run(first)
    second = empty_pipeline.stage()
    empty_pipeline.classes[second] = wrong
    ends(empty_pipeline, second, empty_pipeline.run(second), Outcome.REJECTED)
    assert "whoever reads class numbers would misread them" in empty_pipeline.attempts(second)[0].reason
    is_at_rest(empty_pipeline, first)


def test_classes_may_grow_behind_productions(empty_pipeline: PipelineHarness) -> None:
    first = empty_pipeline.stage()
    empty_pipeline.classes[first] = ("streak", "leaf")
    empty_pipeline.run(first)
    second = empty_pipeline.stage(0.999)
    empty_pipeline.classes[second] = ("streak", "leaf", "rust")
    ends(empty_pipeline, second, empty_pipeline.run(second), Outcome.RELEASED)


def test_a_version_that_does_not_exist_is_rejected_and_named(pipeline: PipelineHarness) -> None:
    run = pipeline.run("99")
    (attempt,) = pipeline.attempts("99")
    assert (attempt.outcome, attempt.run_id) == (Outcome.REJECTED, run.run_id)
    assert attempt.reason == "The registry in memory has no version '99': it has 1."
    is_at_rest(pipeline, FIRST)


def test_a_disk_that_is_full_while_building_is_an_error_and_the_next_try_succeeds(pipeline: PipelineHarness) -> None:
    version, images = pipeline.stage(0.999), pipeline.resources.image_store
    pipeline.change(image_store=FullDisk())
    ends(pipeline, version, pipeline.run(version), Outcome.ERROR)
    assert pipeline.attempts(version)[0].reason == "The disk under /images is full; make room and deliver again."
    is_at_rest(pipeline, FIRST)
    pipeline.change(image_store=images)
    ends(pipeline, version, pipeline.run(version), Outcome.RELEASED)


def test_a_pickle_that_runs_code_is_rejected_without_running_it(pipeline: PipelineHarness, tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    hostile = pickle_that_runs_code(tmp_path / "hostile", marker)
    pipeline.change(exporter=export_model)
    version = pipeline.stage(checkpoint=hostile.read_bytes())
    ends(pipeline, version, pipeline.run(version), Outcome.REJECTED)
    assert "exec" in pipeline.attempts(version)[0].reason
    assert not marker.exists()
    is_at_rest(pipeline, FIRST)
