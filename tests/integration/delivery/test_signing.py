"""Signed images over whole deliveries: what is signed, what is said, and what is not deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from banana_delivery.delivery import image_build
from banana_delivery.delivery.image_build import build_context
from banana_delivery.delivery.signing.statements import PROVENANCE, SBOM, VERDICT
from banana_delivery.errors import NothingToRollBackError
from banana_delivery.images.base import BuildContext, BuiltImage, ImageKey, Progress
from banana_delivery.images.fake import FakeImages
from banana_delivery.images.release import LAYERS
from banana_delivery.images.supply_chain.attachments import AttachmentKind
from banana_delivery.images.supply_chain.installed import Installed
from banana_delivery.images.supply_chain.keys import signing_key
from banana_delivery.images.supply_chain.signatures import is_signed, signature, statements
from banana_delivery.policy.asset_records import AbRecord, ArtifactRecord, ImageRecord
from banana_delivery.policy.model import Environment, ImageRef, Outcome
from tests.support.pipeline import PipelineHarness
from tests.support.signing_keys import key_pair

BETTER = 0.95
BEST = 0.97


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return key_pair(tmp_path, "ours")


def choose(pipeline: PipelineHarness, **settings: Any) -> None:
    pipeline.change(settings=pipeline.resources.settings.model_copy(update=settings))


def deliver(pipeline: PipelineHarness, found: float = BETTER) -> str:
    version = pipeline.stage(found)
    pipeline.run(version)
    return version


def image(pipeline: PipelineHarness, version: str) -> ImageRecord:
    record = pipeline.audit_log.latest(ImageRecord, "image", version)
    assert record
    return record


def said(pipeline: PipelineHarness, ref: ImageRef, key: Path) -> dict[str, Any]:
    parts = pipeline.resources.image_store.attached(ref, AttachmentKind.ATTESTATION)
    return dict(statements(ref, parts, signing_key(key).public))


def signed(pipeline: PipelineHarness, ref: ImageRef, key: Path) -> bool:
    parts = pipeline.resources.image_store.attached(ref, AttachmentKind.SIGNATURE)
    return is_signed(ref, parts, signing_key(key).public)


def test_a_delivery_with_a_key_signs_its_image_and_says_how_it_was_made_and_judged(
    pipeline: PipelineHarness, keys: tuple[Path, Path]
) -> None:
    key, public = keys
    choose(pipeline, cosign_key=key, cosign_public_key=public)

    version = deliver(pipeline)

    assert pipeline.serving == version
    record = image(pipeline, version)
    artifact = pipeline.audit_log.latest(ArtifactRecord, "model_artifact", version)
    report = pipeline.audit_log.latest(AbRecord, "ab_report", version)
    assert artifact
    assert report
    assert record.signed_by == signing_key(key).name
    assert signed(pipeline, record.ref, key)
    statements_made = said(pipeline, record.ref, key)
    assert statements_made.keys() == {SBOM, PROVENANCE, VERDICT}
    made = statements_made[PROVENANCE]
    files = {one["name"]: one["digest"] for one in made["buildDefinition"]["resolvedDependencies"]}
    assert files["best.pt"] == {"sha256": artifact.checkpoint_sha256}
    assert files["model.onnx"] == {"sha256": artifact.onnx_sha256}
    runs = {run.run_id for run in pipeline.instance.get_runs()}
    assert made["runDetails"]["metadata"]["invocationId"] in runs
    judged = statements_made[VERDICT]
    assert judged["verdict"] == report.verdict.verdict.value
    assert judged["reason"] == report.verdict.reason
    assert len(judged["policy"]["digest"]["sha256"]) == 64
    assert judged["evidence"]["tests"]
    assert judged["evidence"]["quality"]["verdict"] == "PASS"


def test_without_a_key_nothing_is_signed_and_everything_is_delivered(pipeline: PipelineHarness) -> None:
    version = deliver(pipeline)

    ref = image(pipeline, version).ref

    assert pipeline.serving == version
    assert image(pipeline, version).signed_by == ""
    assert pipeline.resources.image_store.attached(ref, AttachmentKind.SIGNATURE) == ()
    assert pipeline.resources.image_store.attached(ref, AttachmentKind.ATTESTATION) == ()


def test_what_nobody_signed_who_is_believed_reaches_no_environment(
    pipeline: PipelineHarness, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    before = pipeline.serving
    stranger, _ = key_pair(tmp_path, "stranger")
    for key in (None, stranger):
        choose(pipeline, cosign_key=key, cosign_public_key=keys[1])

        version = deliver(pipeline)

        ended = pipeline.attempts(version)[0]
        assert ended.outcome is Outcome.REJECTED
        assert "bears no signature" in ended.reason
        staging = pipeline.target.record(Environment.STAGING)
        assert all(one.image.version != version for one in staging.deployments.values())
    assert pipeline.serving == before


def test_a_signature_that_is_taken_away_before_production_keeps_the_image_out_of_it(
    pipeline: PipelineHarness, keys: tuple[Path, Path]
) -> None:
    before = pipeline.serving
    choose(pipeline, cosign_key=keys[0], cosign_public_key=keys[1])
    version, store = pipeline.stage(BETTER), pipeline.resources.image_store
    pipeline.run(version, assets=["model_artifact", "image", "staging_release", "ab_report"])
    ref = image(pipeline, version).ref
    store.attach(ref, AttachmentKind.SIGNATURE, [])

    pipeline.run(version, assets=["production_release"])

    assert pipeline.serving == before
    assert "bears no signature" in pipeline.attempts(version)[0].reason
    store.attach(ref, AttachmentKind.SIGNATURE, [signature(ref, signing_key(keys[0]))])
    pipeline.run(version, assets=["production_release"])
    assert pipeline.serving == version


def test_an_old_image_is_redeployed_unsigned_until_signatures_are_asked_for_and_signed_where_there_is_a_key(
    pipeline: PipelineHarness, keys: tuple[Path, Path]
) -> None:
    old = pipeline.serving
    assert old
    deliver(pipeline)
    pipeline.run(old, job="redeploy")
    assert pipeline.serving == old
    newest = deliver(pipeline, BEST)
    choose(pipeline, cosign_public_key=keys[1])
    pipeline.run(old, job="redeploy")
    assert pipeline.serving == newest

    choose(pipeline, cosign_key=keys[0])
    pipeline.run(old, job="redeploy")

    assert pipeline.serving == old
    # How it was built is not known any more, so nothing is said of that.
    assert PROVENANCE not in said(pipeline, image(pipeline, old).ref, keys[0])


def test_a_way_back_that_only_the_history_knows_is_asked_for_its_signature_and_the_release_before_is_not(
    pipeline: PipelineHarness, keys: tuple[Path, Path]
) -> None:
    oldest = pipeline.serving
    assert oldest
    middle, newest = deliver(pipeline), deliver(pipeline, BEST)
    choose(pipeline, cosign_public_key=keys[1])

    with pytest.raises(NothingToRollBackError, match="bears no signature"):
        pipeline.roll_back(reason="a drill", to=oldest)
    assert pipeline.serving == newest
    pipeline.roll_back(reason="in earnest")

    assert pipeline.serving == middle


def planted(pipeline: PipelineHarness, version: str, *, altered: bool) -> ImageRef:
    """An image that somebody who may push put where the pipeline looks first."""
    artifact = pipeline.audit_log.latest(ArtifactRecord, "model_artifact", version)
    store = pipeline.resources.image_store
    assert artifact
    assert isinstance(store, FakeImages)
    ref = store.build(build_context(artifact, pipeline.resources.settings), print).ref
    if altered:
        layers = store._images[ref.digest].layers
        layers["code"] = layers["code"] + b"a miner"
    return ref


class Careful(FakeImages):
    """A store that remembers which images were run."""

    def __init__(self) -> None:
        super().__init__()
        self.ran: list[str] = []

    @override
    def self_test(self, ref: ImageRef) -> dict[str, object]:
        self.ran.append(ref.digest)
        return super().self_test(ref)

    @override
    def installed(self, ref: ImageRef) -> Installed:
        self.ran.append(ref.digest)
        return super().installed(ref)


class Late(Careful):
    """A store where somebody pushes between the look and the build, which then finds what is there."""

    @override
    def find(self, key: ImageKey) -> ImageRef | None:
        return None

    @override
    def build(self, context: BuildContext, progress: Progress) -> BuiltImage:
        if found := FakeImages.find(self, self.key(context)):
            return BuiltImage(found, size_bytes=1, new_bytes=0, layers_new=(), layers_reused=LAYERS, seconds=0.0)
        return super().build(context, progress)


@pytest.mark.parametrize("altered", [False, True])
@pytest.mark.parametrize("store", [Careful, Late])
def test_what_wrote_no_layer_is_neither_named_nor_run_nor_signed_before_it_is_proven(
    store: type[Careful], altered: bool, pipeline: PipelineHarness, keys: tuple[Path, Path]
) -> None:
    choose(pipeline, cosign_key=keys[0], cosign_public_key=keys[1])
    images = store()
    pipeline.change(image_store=images)
    version = pipeline.stage(BETTER)
    pipeline.run_alone(version, assets=["model_artifact"])
    ref = planted(pipeline, version, altered=altered)

    pipeline.run(version)

    assert (pipeline.serving == version) is not altered
    assert signed(pipeline, ref, keys[0]) is not altered
    assert (ref.digest in images.ran) is not altered
    assert ({version, "latest"} <= images.tags(ref)) is not altered
    if altered:
        assert images.tags(ref) == frozenset()
        assert "is another image" in pipeline.attempts(version)[0].reason


@pytest.mark.parametrize("altered", [False, True])
def test_an_image_that_was_there_already_is_signed_only_if_the_same_comes_of_its_inputs(
    altered: bool, pipeline: PipelineHarness, keys: tuple[Path, Path]
) -> None:
    choose(pipeline, cosign_key=keys[0], cosign_public_key=keys[1])
    version = pipeline.stage(BETTER)
    pipeline.run_alone(version, assets=["model_artifact"])
    ref = planted(pipeline, version, altered=altered)

    pipeline.run(version)

    assert signed(pipeline, ref, keys[0]) is not altered
    assert (pipeline.serving == version) is not altered
    if altered:
        ended = pipeline.attempts(version)[0]
        assert ended.outcome is Outcome.ERROR
        assert "is another image (layer code" in ended.reason
    else:
        assert PROVENANCE in said(pipeline, ref, keys[0])


def test_a_key_that_cannot_be_used_ends_the_delivery_in_one_sentence(pipeline: PipelineHarness, tmp_path: Path) -> None:
    choose(pipeline, cosign_key=tmp_path / "gone.key")

    version = deliver(pipeline)

    ended = pipeline.attempts(version)[0]
    assert ended.outcome is Outcome.ERROR
    assert "BANANA_COSIGN_KEY" in ended.reason


def test_what_is_signed_already_is_neither_signed_nor_told_twice(
    pipeline: PipelineHarness, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(pipeline, cosign_key=keys[0], cosign_public_key=keys[1])
    version = deliver(pipeline)
    store, ref = pipeline.resources.image_store, image(pipeline, version).ref
    before = {kind: store.attached(ref, kind) for kind in AttachmentKind}
    monkeypatch.setattr(image_build, "git_revision", lambda length=12: "f" * length)

    pipeline.run(version, assets=["model_artifact", "image"])

    assert {kind: store.attached(ref, kind) for kind in AttachmentKind} == before


def test_a_checkpoint_is_delivered_only_if_somebody_signed_it_who_is_believed(pipeline: PipelineHarness) -> None:
    made = Path(__file__).parents[2] / "fixtures" / "model_signing"
    choose(pipeline, model_signing_public_key=made / "p256.pub")
    weights, bundle = (made / "best.pt").read_bytes(), (made / "folder-p256.sig").read_bytes()
    ends: list[tuple[Outcome, str] | None] = []
    for content in (weights + b"a miner", weights):
        version = pipeline.registry.publish(content, signature=bundle)
        pipeline.registry.stage(version)
        pipeline.evaluator.found[version] = BETTER
        pipeline.run(version, assets=["model_artifact"])
        ends += [(one.outcome, one.reason) for one in pipeline.attempts(version)] or [None]

    assert [end and end[0] for end in ends] == [Outcome.REJECTED, None]
    assert "is not the file that was signed" in str(ends[0])
    record = pipeline.audit_log.latest(ArtifactRecord, "model_artifact", version)
    assert record
    assert record.model_signed_by
