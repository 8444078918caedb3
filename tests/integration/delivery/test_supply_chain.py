"""What is told of an image beside its layers, over whole deliveries."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from typing_extensions import override

from banana_delivery.delivery import image_build
from banana_delivery.errors import ImageError
from banana_delivery.files import bytes_digest
from banana_delivery.images.fake import FakeImages
from banana_delivery.images.scanning import Audit, LockScan
from banana_delivery.images.supply_chain.attachments import Attachment, AttachmentKind
from banana_delivery.policy.asset_records import ImageRecord
from banana_delivery.policy.model import ImageRef, Outcome
from tests.support.pipeline import PipelineHarness

BETTER = 0.95


def recorded(pipeline: PipelineHarness, version: str) -> ImageRecord:
    image = pipeline.audit_log.latest(ImageRecord, "image", version)
    assert image
    return image


def test_a_delivered_image_has_a_bill_of_materials_and_its_record_names_it(pipeline: PipelineHarness) -> None:
    version = pipeline.stage(BETTER)
    pipeline.run(version)

    image = recorded(pipeline, version)

    (bill,) = pipeline.resources.image_store.attached(image.ref, AttachmentKind.SBOM)
    components = json.loads(bill.content)["components"]
    assert image.sbom == bytes_digest(bill.content)
    assert image.sbom_components == len(components) > 2
    assert image.sbom_trouble == ""
    labels = pipeline.resources.image_store.labels(image.ref)
    (model,) = [one for one in components if one["type"] == "machine-learning-model"]
    assert model["version"] == version
    assert model["hashes"][0]["content"] == labels["banana.model.sha256"]


class Stubborn(FakeImages):
    """A store that keeps images and nothing beside them."""

    @override
    def attach(self, ref: ImageRef, kind: AttachmentKind, parts: Sequence[Attachment]) -> None:
        raise ImageError("The registry takes no such thing.")


def test_a_store_that_keeps_no_documents_delivers_all_the_same_and_the_record_says_why(
    pipeline: PipelineHarness,
) -> None:
    pipeline.change(image_store=Stubborn())
    version = pipeline.stage(BETTER)
    pipeline.run(version)

    image = recorded(pipeline, version)

    assert pipeline.attempts(version)[0].outcome is Outcome.RELEASED
    assert (image.sbom, image.sbom_components) == ("", 0)
    assert image.sbom_trouble == "The registry takes no such thing."


class Packed(FakeImages):
    """A store whose images bring packages along."""

    brings_packages = True


def with_unaudited(pipeline: PipelineHarness, choice: str) -> str:
    """A version delivered where no database answers."""
    settings = pipeline.resources.settings.model_copy(
        update={"unaudited": choice, "osv_url": "http://127.0.0.1:9/v1/query"}
    )
    pipeline.change(image_store=Packed(), settings=settings)
    version = pipeline.stage(BETTER)
    pipeline.run(version)
    assert recorded(pipeline, version).audit == Audit.UNKNOWN
    return version


def test_an_image_that_no_database_was_asked_about_is_delivered_with_a_warning_or_not_at_all_as_chosen(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_build, "scan", lambda *_, **__: LockScan(trouble="no route to host"))
    warned = with_unaudited(pipeline, "warn")
    assert pipeline.serving == warned

    refused = with_unaudited(pipeline, "reject")

    assert pipeline.serving == warned
    ended = pipeline.attempts(refused)[0]
    assert ended.outcome is Outcome.REJECTED
    assert "NOT CHECKED" in ended.reason
    assert "BANANA_UNAUDITED" in ended.reason


def test_a_redeploy_asks_again_about_an_image_that_nobody_could_be_asked_about(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_build, "scan", lambda *_, **__: LockScan(trouble="no route to host"))
    first = with_unaudited(pipeline, "warn")
    pipeline.run(pipeline.stage(0.97))
    monkeypatch.setattr(image_build, "scan", lambda *_, **__: LockScan(audited=3))
    monkeypatch.setattr(image_build, "audit_system", lambda *_, **__: None)
    pipeline.change(settings=pipeline.resources.settings.model_copy(update={"unaudited": "reject"}))

    pipeline.run(first, job="redeploy")

    assert pipeline.serving == first
    assert recorded(pipeline, first).audit == Audit.CLEAN
