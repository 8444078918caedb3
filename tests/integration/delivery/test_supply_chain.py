"""What is told of an image beside its layers, over whole deliveries."""

from __future__ import annotations

import json
from collections.abc import Sequence

from typing_extensions import override

from banana_delivery.errors import ImageError
from banana_delivery.files import bytes_digest
from banana_delivery.images.fake import FakeImages
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
