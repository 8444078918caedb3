"""Old images that cannot be removed are in nobody's way."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from typing_extensions import override

from banana_delivery.images.base import PruneDecision
from banana_delivery.images.fake import FakeImages
from banana_delivery.policy.asset_records import ImageRecord
from banana_delivery.policy.model import Outcome
from tests.support.pipeline import PipelineHarness

REFUSAL = "The registry localhost:5000 does not allow deletes, so old images stay; allow them there."


class Locked(FakeImages):
    """A store that refuses to remove what goes, and removes other things."""

    @override
    def prune(self, keep_versions: int, in_use: Callable[[], Collection[str]], *, dry_run: bool) -> list[PruneDecision]:
        decisions = super().prune(keep_versions, in_use, dry_run=True)
        return [replace(one, keep=True, reason="it is locked.", refused=True) for one in decisions]


def test_what_a_registry_refuses_of_some_images_is_on_record(empty_pipeline: PipelineHarness) -> None:
    empty_pipeline.change(image_store=Locked())
    empty_pipeline.run(version := empty_pipeline.stage(0.9))

    record = empty_pipeline.audit_log.latest(ImageRecord, "image", version)
    assert record is not None
    assert record.prune_trouble == f"{record.ref.digest[:19]} of version {version} stays: it is locked."


def test_a_registry_that_refuses_deletes_fails_neither_a_delivery_nor_the_redeploy_of_what_it_kept(
    empty_pipeline: PipelineHarness,
) -> None:
    pipeline = empty_pipeline
    at_once = pipeline.resources.settings.model_copy(update={"keep_versions": 1, "rollback_window_days": 0.0})
    pipeline.change(image_store=FakeImages(lease_seconds=0.0, removal_failure=REFUSAL), settings=at_once)
    first, second, third, fourth = (pipeline.stage(found) for found in (0.9, 0.95, 0.99, 0.999))
    for version in (first, second, third, fourth):
        pipeline.run(version)

    record = pipeline.audit_log.latest(ImageRecord, "image", fourth)
    assert record is not None
    assert (record.prune_trouble, record.pruned) == (REFUSAL, ())
    pipeline.run(first)
    assert [pipeline.attempts(version)[0].outcome for version in (first, second, third, fourth)] == [
        Outcome.RELEASED
    ] * 4
    assert pipeline.serving == first
