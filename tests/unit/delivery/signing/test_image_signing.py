"""Whose image is signed, what is said of it and what is refused, without the framework around it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from banana_delivery.bundle import serving_lock
from banana_delivery.delivery import image_build
from banana_delivery.delivery.image_build import ImageBuild, build_context
from banana_delivery.delivery.signing.images import ImageSigner, refuse_unsigned
from banana_delivery.delivery.signing.statements import PROVENANCE, SBOM, VERDICT, verdict
from banana_delivery.errors import BadSettingsError, GateError, ImageError, SelfTestFailedError, UnreachableError
from banana_delivery.files import file_sha256
from banana_delivery.images.base import BuildContext, BuiltImage, Parity, Progress
from banana_delivery.images.fake import FakeImages
from banana_delivery.images.supply_chain.attachments import AttachmentKind
from banana_delivery.images.supply_chain.keys import signing_key
from banana_delivery.images.supply_chain.signatures import statements
from banana_delivery.policies.reading import NAMED
from banana_delivery.policy.asset_records import ImageRecord
from banana_delivery.policy.model import ImageRef
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.settings import Settings
from banana_delivery.targets.fake import FakeTarget
from tests.support.artifacts import artifact_record
from tests.support.clock import HandClock
from tests.support.signing_keys import key_pair
from tests.unit.reports.scenes import ab, quality, staging


class Log:
    """The image records of an audit trail, which is all that a build asks of it."""

    def __init__(self) -> None:
        self.images: list[ImageRecord] = []

    def all(self, kind: type, asset: str, version: str) -> list[ImageRecord]:
        return [one for one in self.images if one.ref.version == version]

    def latest(self, kind: type, asset: str, version: str) -> ImageRecord | None:
        return next(iter(self.all(kind, asset, version)), None)

    def said_attempts(self) -> list[object]:
        return []

    def attempts(self, *_: object) -> list[object]:
        return []


class Scene:
    """A store, a model to put into it, and keys."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.log = folder, FakeImages(), Log()
        self.key, self.public = key_pair(folder, "ours")
        (folder / "model.onnx").write_bytes(b"weights")
        (folder / "version.json").write_text("{}")
        self.artifact = artifact_record(folder, "7", source="https://user:secret@store.test/run")

    def settings(self, *, key: Path | None = None, public: Path | None = None) -> Settings:
        return Settings(home=self.folder / "home", cosign_key=key, cosign_public_key=public)

    def build(self, settings: Settings) -> ImageBuild:
        log = cast(AuditLog, self.log)
        return ImageBuild(self.store, FakeTarget(), settings, log, HandClock(), lambda _: None, "the run")

    def make(self, settings: Settings) -> ImageRecord:
        record = self.build(settings).make(self.artifact)
        self.log.images.insert(0, record)
        return record

    def said(self, ref: ImageRef) -> dict[str, Any]:
        parts = self.store.attached(ref, AttachmentKind.ATTESTATION)
        return dict(statements(ref, parts, signing_key(self.key).public))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(ImageBuild, "_make_room", lambda *_: ((), ""))
    yield Scene(tmp_path)


def test_what_is_built_is_signed_and_told_of_and_may_be_deployed(scene: Scene) -> None:
    settings = scene.settings(key=scene.key, public=scene.public)

    record = scene.make(settings)

    refuse_unsigned(scene.store, record.ref, settings)
    assert record.signed_by == signing_key(scene.key).name
    told = scene.said(record.ref)
    assert told.keys() == {SBOM, PROVENANCE}
    build = told[PROVENANCE]
    files = {one["name"]: one for one in build["buildDefinition"]["resolvedDependencies"]}
    assert files["best.pt"]["digest"] == {"sha256": "c" * 64}
    assert files["model.onnx"]["digest"] == {"sha256": scene.store.labels(record.ref)["banana.model.sha256"]}
    assert build["runDetails"]["metadata"]["invocationId"] == "the run"
    assert "secret" not in json.dumps(told)


@pytest.mark.parametrize(("device", "lock"), [("cpu", "serving.txt"), ("cuda", "serving-gpu.txt")])
def test_it_is_said_which_lock_the_packages_are_of(scene: Scene, device: str, lock: str) -> None:
    record = scene.make(scene.settings(key=scene.key).model_copy(update={"serving_device": device}))

    built_of = scene.said(record.ref)[PROVENANCE]["buildDefinition"]["resolvedDependencies"]
    locks = {one["name"]: one["digest"] for one in built_of if one["name"].startswith("requirements/")}
    assert locks == {f"requirements/{lock}": {"sha256": file_sha256(serving_lock(device))}}


def test_without_a_key_nothing_is_signed_and_nothing_is_refused(scene: Scene) -> None:
    record = scene.make(scene.settings())

    refuse_unsigned(scene.store, record.ref, scene.settings())
    assert record.signed_by == ""
    assert scene.store.attached(record.ref, AttachmentKind.SIGNATURE) == ()
    assert scene.store.attached(record.ref, AttachmentKind.ATTESTATION) == ()


def test_what_nobody_signed_who_is_believed_is_refused_with_what_to_do(scene: Scene) -> None:
    stranger, _ = key_pair(scene.folder, "stranger")
    asked = scene.settings(public=scene.public)

    for key in (None, stranger):
        scene.store = FakeImages()
        record = scene.make(scene.settings(key=key))
        with pytest.raises(GateError, match=r"bears no signature of [0-9a-f]{16}.*cosign sign") as refusal:
            refuse_unsigned(scene.store, record.ref, asked)
        assert record.ref.pinned in str(refusal.value)


def test_an_image_that_somebody_put_there_is_signed_if_the_same_is_made_of_its_inputs(scene: Scene) -> None:
    ref = scene.store.build(build_context(scene.artifact, scene.settings()), print).ref

    record = scene.make(scene.settings(key=scene.key))

    assert record.ref == ref
    refuse_unsigned(scene.store, ref, scene.settings(public=scene.public))
    assert PROVENANCE in scene.said(ref)


def test_an_image_that_somebody_altered_is_not_signed_and_named(scene: Scene) -> None:
    ref = scene.store.build(build_context(scene.artifact, scene.settings()), print).ref
    layers = scene.store._images[ref.digest].layers
    layers["code"] += b"a miner"

    with pytest.raises(ImageError, match=r"is another image \(layer code.*Find out who put it there"):
        scene.make(scene.settings(key=scene.key))

    assert scene.store.attached(ref, AttachmentKind.SIGNATURE) == ()


def test_an_image_on_our_record_is_signed_without_being_made_again_and_nobody_says_how_it_was_made(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = scene.make(scene.settings())
    monkeypatch.setattr(scene.store, "rebuild", lambda *_: pytest.fail("It is ours."))

    record = scene.make(scene.settings(key=scene.key))

    assert record.ref == old.ref
    refuse_unsigned(scene.store, old.ref, scene.settings(public=scene.public))
    assert scene.said(old.ref).keys() == {SBOM}


def test_a_redeploy_signs_the_original_where_there_is_a_key(scene: Scene) -> None:
    old = scene.make(scene.settings())
    assert scene.build(scene.settings()).original(scene.artifact) == old.replace(
        reused=True, new_bytes=0, layers_new=(), layers_reused=("code", "model", "version"), seconds=0.0
    )

    again = scene.build(scene.settings(key=scene.key)).original(scene.artifact)

    assert again
    assert again.signed_by == signing_key(scene.key).name
    refuse_unsigned(scene.store, old.ref, scene.settings(public=scene.public))


def test_what_is_signed_already_is_neither_signed_nor_told_twice(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = scene.make(scene.settings(key=scene.key)).ref
    before = {kind: scene.store.attached(ref, kind) for kind in AttachmentKind}
    monkeypatch.setattr(image_build, "git_revision", lambda length=12: "f" * length)

    scene.make(scene.settings(key=scene.key))

    assert {kind: scene.store.attached(ref, kind) for kind in AttachmentKind} == before


def test_a_second_key_adds_its_signature_to_the_first(scene: Scene) -> None:
    second, its_public = key_pair(scene.folder, "second")
    ref = scene.make(scene.settings(key=scene.key)).ref

    scene.make(scene.settings(key=second))

    for public in (scene.public, its_public):
        refuse_unsigned(scene.store, ref, scene.settings(public=public))


def test_a_key_that_is_not_there_ends_the_build_with_its_setting(scene: Scene) -> None:
    with pytest.raises(BadSettingsError, match="BANANA_COSIGN_KEY"):
        scene.make(scene.settings(key=scene.folder / "gone.key"))


def test_a_verdict_is_said_with_its_evidence_and_the_rules_that_it_went_by(scene: Scene) -> None:
    ref = scene.make(scene.settings(key=scene.key)).ref
    seen = quality(3.0)
    report = ab(seen).replace(ref=ref)
    policy = NAMED["standard"]

    told = verdict(report, staging(seen).replace(ref=ref), policy, "the run")
    ImageSigner(scene.store, scene.settings(key=scene.key)).say(ref, {VERDICT: told})

    assert scene.said(ref)[VERDICT] == told
    assert (told["verdict"], told["reason"]) == ("PASS", "Not worse.")
    assert told["policy"] == {"name": "standard", "digest": {"sha256": policy.digest.removeprefix("sha256:")}}
    assert told["evidence"]["tests"][0] == {"name": "is alive", "passed": True}
    assert told["evidence"]["quality"]["reason"] == seen.reason
    assert told["evidence"]["traffic"]["requests"] == report.traffic.requests if report.traffic else False
    # Tests of another image are no evidence about this one.
    assert verdict(report, staging(seen), policy, "")["evidence"]["tests"] == []


@pytest.mark.parametrize("with_key", [False, True])
def test_an_image_that_stands_on_packages_of_a_stranger_loses_its_place_to_one_that_is_built_anew(
    scene: Scene, with_key: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = scene.store.build(build_context(scene.artifact, scene.settings()), print).ref
    anew, build = [], scene.store.build

    def watched(context: BuildContext, progress: Progress) -> BuiltImage:
        anew.append(context.anew)
        return build(context, progress)

    monkeypatch.setattr(scene.store, "rebuild", lambda *_: Parity(ref, ("layer runtime 1 was a and is now b",), True))
    monkeypatch.setattr(scene.store, "build", watched)

    record = scene.make(scene.settings(key=scene.key if with_key else None))

    assert anew == [True]
    assert not record.reused
    if with_key:
        assert PROVENANCE in scene.said(record.ref)


def test_an_image_that_somebody_altered_is_not_taken_where_nothing_is_signed_either(scene: Scene) -> None:
    ref = scene.store.build(build_context(scene.artifact, scene.settings()), print).ref
    scene.store._images[ref.digest].layers["code"] += b"a miner"

    with pytest.raises(ImageError, match="is another image"):
        scene.make(scene.settings())


@pytest.mark.parametrize(
    ("error", "says_of_the_image"),
    [(SelfTestFailedError, True), (ImageError, False), (UnreachableError, False)],
)
def test_only_a_self_test_that_ran_and_failed_is_held_against_a_version(
    error: type[ImageError], says_of_the_image: bool, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: ImageRef) -> dict[str, object]:
        raise error("It is so.")

    monkeypatch.setattr(scene.store, "self_test", fails)
    build = ImageBuild(
        scene.store, FakeTarget(), Settings(home=scene.folder), cast(AuditLog, scene.log), HandClock(), print
    )
    ref = ImageRef(repository="memory", digest="sha256:" + "a" * 64, version="7", key="k")

    if says_of_the_image:
        assert build._self_test(ref) == (False, "It is so.")
    else:
        with pytest.raises(error, match="It is so"):
            build._self_test(ref)
