"""An image that is built again is the same, or nothing is done and somebody is told why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from banana_delivery.delivery import image_build
from banana_delivery.delivery.image_build import rebuild
from banana_delivery.errors import ImageError
from banana_delivery.export.export import Artifact
from banana_delivery.export.precision.order import PrecisionOrder
from banana_delivery.images.fake import FakeImages
from banana_delivery.names import OCI_LICENSES_LABEL, OCI_SOURCE_LABEL
from banana_delivery.policy.asset_records import ArtifactRecord, ImageRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.quality.precision import Precision, PrecisionChoice
from tests.support.pipeline import PipelineHarness

BETTER = 0.95


@pytest.fixture
def replaced(pipeline: PipelineHarness) -> Iterator[tuple[PipelineHarness, str]]:
    """A world whose first release was replaced by a better one, and that first version."""
    first = pipeline.serving
    assert first is not None
    pipeline.run(pipeline.stage(BETTER))
    yield pipeline, first


def lose_images(pipeline: PipelineHarness, *, rebuild_missing: bool) -> FakeImages:
    images = FakeImages()
    settings = pipeline.resources.settings.model_copy(update={"rebuild_missing": rebuild_missing})
    pipeline.change(image_store=images, settings=settings)
    return images


def change_the_serving_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("VALUE = 2\n")
    monkeypatch.setattr(image_build, "SERVING_CODE", tmp_path)


def test_a_redeploy_whose_image_is_gone_ends_as_an_error_that_says_what_to_do(
    replaced: tuple[PipelineHarness, str],
) -> None:
    pipeline, first = replaced
    lose_images(pipeline, rebuild_missing=False)
    pipeline.run(first)
    ended = pipeline.attempts(first)[0]
    assert ended.outcome is Outcome.ERROR
    assert "BANANA_REBUILD_MISSING=true" in ended.reason
    assert pipeline.serving != first


def test_it_is_built_again_from_the_same_if_that_is_allowed(replaced: tuple[PipelineHarness, str]) -> None:
    pipeline, first = replaced
    lose_images(pipeline, rebuild_missing=True)
    pipeline.run(first)
    assert pipeline.attempts(first)[0].outcome is Outcome.RELEASED
    assert pipeline.serving == first


def test_it_is_not_built_from_anything_else(
    replaced: tuple[PipelineHarness, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pipeline, first = replaced
    images = lose_images(pipeline, rebuild_missing=True)
    change_the_serving_code(monkeypatch, tmp_path)
    pipeline.run(first)
    ended = pipeline.attempts(first)[0]
    assert ended.outcome is Outcome.ERROR
    assert "publish the model as a new version" in ended.reason
    assert images.resolve(first) is None, "something else got the version's tag"


def test_building_once_more_reports_parity_or_what_differs(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert pipeline.serving is not None
    log, store, settings = pipeline.audit_log, pipeline.resources.image_store, pipeline.resources.settings
    assert rebuild(log, store, pipeline.serving, print, settings).proven
    change_the_serving_code(monkeypatch, tmp_path)
    (difference,) = rebuild(log, store, pipeline.serving, print, settings).differences[:1]
    assert difference.startswith("layer code was ")


@pytest.mark.parametrize("moved", [False, True])
def test_an_image_is_redeployed_from_where_the_store_has_it_now(
    moved: bool, replaced: tuple[PipelineHarness, str]
) -> None:
    pipeline, first = replaced
    images = pipeline.resources.image_store
    assert isinstance(images, FakeImages)
    before = pipeline.audit_log.latest(ImageRecord, "image", first)
    images.repository = "registry.test/new" if moved else images.repository

    pipeline.run(first, job="redeploy")

    assert pipeline.serving == first, pipeline.attempts(first)[0].reason
    now = pipeline.audit_log.latest(ImageRecord, "image", first)
    assert before
    assert now
    assert now.ref == before.ref.replace(repository=images.repository)


def test_a_version_that_was_never_built_cannot_be_built_again(pipeline: PipelineHarness) -> None:
    with pytest.raises(ImageError, match="Version 99 has no image yet; deliver it as a whole"):
        rebuild(pipeline.audit_log, pipeline.resources.image_store, "99", print, pipeline.resources.settings)


@pytest.mark.parametrize("url", ["", "https://git.example.com/bananas"])
def test_an_image_says_where_its_source_is_if_somebody_publishes_it(pipeline: PipelineHarness, url: str) -> None:
    settings = pipeline.resources.settings.model_copy(update={"source_url": url})
    pipeline.change(settings=settings)
    pipeline.run(pipeline.stage(BETTER))
    assert pipeline.serving is not None
    image = pipeline.audit_log.latest(ImageRecord, "image", pipeline.serving)
    assert image is not None
    labels = pipeline.resources.image_store.labels(image.ref)
    assert labels.get(OCI_SOURCE_LABEL, "") == url
    assert labels[OCI_LICENSES_LABEL] == "AGPL-3.0-or-later"
    store, log = pipeline.resources.image_store, pipeline.audit_log
    assert rebuild(log, store, pipeline.serving, print, settings).proven
    elsewhere = settings.model_copy(update={"source_url": "https://elsewhere.example.com"})
    (difference,) = rebuild(log, store, pipeline.serving, print, elsewhere).differences
    assert difference.startswith(f"label {OCI_SOURCE_LABEL} was ")


def test_artifact_image_and_attempt_say_what_the_model_computes_in_and_why(pipeline: PipelineHarness) -> None:
    choice = PrecisionChoice(taken=Precision.INT8, reason="int8 is served: it loses nothing.", gain=1.5)
    export, asked = pipeline.resources.exporter, list[object]()

    def chooses(*arguments: object, precision: object = None, **named: object) -> Artifact:
        asked.append(precision)
        return export(*arguments, **named).replace(precision=choice)

    settings = pipeline.resources.settings.model_copy(update={"precision": "auto"})
    pipeline.change(exporter=chooses, settings=settings)
    version = pipeline.stage(BETTER)
    pipeline.run(version)
    (order,) = asked
    assert isinstance(order, PrecisionOrder)
    log = pipeline.audit_log
    artifact = log.latest(ArtifactRecord, "model_artifact", version)
    image = log.latest(ImageRecord, "image", version)
    for record in (artifact, image, pipeline.attempts(version)[0]):
        assert record
        assert (record.precision, record.precision_reason) == ("int8", choice.reason)
    assert pipeline.attempts(version)[0].outcome is Outcome.RELEASED


def test_a_second_delivery_of_a_checkpoint_gets_what_the_first_measured_on_each_kind_of_cpu(
    pipeline: PipelineHarness,
) -> None:
    choice = PrecisionChoice(taken=Precision.INT8, reason="int8 is served: it loses nothing.", gain=1.5, cpu="EPYC")
    export, orders = pipeline.resources.exporter, list[PrecisionOrder]()

    def chooses(*arguments: object, precision: PrecisionOrder, **named: object) -> Artifact:
        orders.append(precision)
        # Nothing is measured anew where the kind of CPU is known.
        measured = choice if len(orders) == 1 else choice.replace(gain=precision.gains.get("EPYC"))
        return export(*arguments, **named).replace(precision=measured)

    settings = pipeline.resources.settings.model_copy(update={"precision": "auto"})
    pipeline.change(exporter=chooses, settings=settings)
    version = pipeline.stage(BETTER)
    pipeline.evaluator.broken[version] = "no answer within 10 s"
    pipeline.run(version)
    pipeline.evaluator.broken.clear()
    pipeline.run(version)
    assert [order.gains for order in orders] == [{}, {"EPYC": 1.5}]
    artifact = pipeline.audit_log.latest(ArtifactRecord, "model_artifact", version)
    assert artifact is not None
    assert (artifact.precision, artifact.precision_gains) == ("int8", {"EPYC": 1.5})
    assert pipeline.attempts(version)[0].outcome is Outcome.RELEASED
