"""What is told of an image beside its layers, over whole deliveries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typing_extensions import override

from banana_delivery import bundle
from banana_delivery.delivery import image_build
from banana_delivery.errors import ImageError
from banana_delivery.files import bytes_digest
from banana_delivery.images.fake import FakeImages
from banana_delivery.images.scanning import Audit, Finding, LockScan
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


@pytest.mark.parametrize("found", [Audit.CLEAN, Audit.VULNERABLE])
def test_a_redeploy_asks_nothing_again_where_a_warning_is_enough(
    found: Audit, pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_build, "scan", lambda *_, **__: LockScan(trouble="no route to host"))
    first = with_unaudited(pipeline, "warn")
    pipeline.run(pipeline.stage(0.97))
    asked: list[str] = []

    def scan(*_: object, **__: object) -> LockScan:
        asked.append("the database")
        weakness = Finding(package="torch", version="1", id="X-1")
        return LockScan(audited=3, findings=(weakness,) if found is Audit.VULNERABLE else ())

    monkeypatch.setattr(image_build, "scan", scan)

    pipeline.run(first, job="redeploy")

    assert pipeline.serving == first
    assert asked == []
    assert recorded(pipeline, first).audit == Audit.UNKNOWN


@pytest.mark.parametrize("found", [Audit.CLEAN, Audit.VULNERABLE])
def test_todays_lock_says_nothing_of_an_image_that_was_built_for_another(
    found: Audit, pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(image_build, "scan", lambda *_, **__: LockScan(trouble="no route to host"))
    first = with_unaudited(pipeline, "warn")
    newest = pipeline.stage(0.97)
    pipeline.run(newest)
    (tmp_path / "serving.txt").write_text("numpy==9.9.9\n")
    monkeypatch.setattr(bundle, "SERVING_LOCK", tmp_path / "serving.txt")
    weakness = Finding(package="numpy", version="9.9.9", id="X-1")
    findings = (weakness,) if found is Audit.VULNERABLE else ()
    monkeypatch.setattr(image_build, "scan", lambda *_, **__: LockScan(audited=3, findings=findings))
    monkeypatch.setattr(image_build, "audit_system", lambda *_, **__: None)
    pipeline.change(settings=pipeline.resources.settings.model_copy(update={"unaudited": "reject"}))

    pipeline.run(first, job="redeploy")

    assert pipeline.serving == newest
    image = recorded(pipeline, first)
    assert image.audit == Audit.UNKNOWN
    assert "built for another lock than today's" in image.audit_detail
    assert "numpy" not in image.audit_detail
