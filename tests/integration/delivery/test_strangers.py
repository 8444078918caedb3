"""What a stranger writes into the log, as Dagster's pages let anybody do, moves nothing."""

from pathlib import Path

import dagster as dg
import pytest

from banana_delivery.delivery.deciding.decisions import claimed_by, decide
from banana_delivery.delivery.image_build import refuse_stranger
from banana_delivery.errors import GateError, ImageError, NothingToRollBackError, UnknownVersionError
from banana_delivery.images.fake import FakeImages
from banana_delivery.policy.asset_records import AbRecord, ArtifactRecord, DecisionKind, ImageRecord, ManualDecision
from banana_delivery.policy.model import Outcome, StoredRecord
from banana_delivery.runs.evidence.expiry import unexpired
from banana_delivery.runs.records import to_metadata
from banana_delivery.targets.sightings import sightings
from tests.support.pipeline import PipelineHarness

EVIL = "registry.evil.example/miner"


def report(pipeline: PipelineHarness, asset: str, record: StoredRecord, version: str) -> None:
    """A materialization without a run, as the pages report it."""
    key = pipeline.location.key(asset)
    event = dg.AssetMaterialization(asset_key=key, partition=version, metadata=to_metadata(record))
    pipeline.instance.report_runless_asset_event(event)


def by_foreign_run(pipeline: PipelineHarness, asset: str, metadata: dict[str, dg.MetadataValue], version: str) -> None:
    """A materialization by a run of somebody else's job, in a step of our step's name."""

    @dg.op(name=pipeline.location.step(asset))
    def make(context: dg.OpExecutionContext) -> None:
        key = pipeline.location.key(asset)
        context.log_event(dg.AssetMaterialization(asset_key=key, partition=version, metadata=metadata))

    @dg.job(name="theirs")
    def theirs() -> None:
        make()

    assert theirs.execute_in_process(instance=pipeline.instance).success


def test_a_forged_image_record_puts_nothing_into_production(pipeline: PipelineHarness) -> None:
    (version,) = [pipeline.serving]
    assert version
    ours = pipeline.audit_log.latest(ImageRecord, "image", version)
    assert ours
    miner = ours.replace(ref=ours.ref.replace(repository=EVIL, digest=f"sha256:{'6' * 64}"))
    report(pipeline, "image", miner, version)
    by_foreign_run(pipeline, "image", dict(to_metadata(miner)), version)
    by_foreign_run(pipeline, "image", pipeline.audit_log.sign(miner, "image", version, "a run of ours"), version)

    assert pipeline.audit_log.latest(ImageRecord, "image", version) == ours
    pipeline.run(version, job="redeploy")
    assert pipeline.attempts(version)[0].digest == ours.ref.digest
    deployments = pipeline.target.place.deployments.values()
    assert all(one.image.repository != EVIL for there in deployments for one in there.values())


def test_a_verdict_that_a_foreign_run_wrote_opens_no_gate(pipeline: PipelineHarness) -> None:
    version = pipeline.serving
    assert version
    verdicts = pipeline.audit_log.verdicts(version)
    found = pipeline.audit_log.latest(AbRecord, "ab_report", version)
    assert found
    by_foreign_run(pipeline, "ab_report", dict(to_metadata(found)), version)
    report(pipeline, "ab_report", found, version)
    assert pipeline.audit_log.verdicts(version) == verdicts


def test_an_image_is_what_its_own_labels_say_whatever_is_signed(pipeline: PipelineHarness) -> None:
    version, store, log = pipeline.serving, pipeline.resources.image_store, pipeline.audit_log
    assert version
    assert isinstance(store, FakeImages)
    image = log.latest(ImageRecord, "image", version)
    assert image
    refuse_stranger(log, store, image.ref, version, pipeline.resources.settings)
    with pytest.raises(ImageError, match=f"{EVIL}@sha256.* is not an image of memory"):
        refuse_stranger(log, store, image.ref.replace(repository=EVIL), version, pipeline.resources.settings)
    with pytest.raises(GateError, match=r"of version 1, not 9 .*It is not deployed\."):
        refuse_stranger(log, store, image.ref.replace(version="9"), "9", pipeline.resources.settings)
    with pytest.raises(GateError, match="built for the identity key"):
        refuse_stranger(log, store, image.ref.replace(key="0" * 64), version, pipeline.resources.settings)
    store._images[image.ref.digest].labels["banana.model.sha256"] = "f" * 64
    with pytest.raises(GateError, match=f"holds the model {'f' * 12}, not"):
        refuse_stranger(log, store, image.ref, version, pipeline.resources.settings)


def test_no_step_deploys_an_image_that_says_itself_that_it_is_another(pipeline: PipelineHarness) -> None:
    version = pipeline.stage(0.99)
    store = pipeline.resources.image_store
    assert isinstance(store, FakeImages)
    assert pipeline.run(version, assets=["model_artifact", "image"]).is_success
    image = pipeline.audit_log.latest(ImageRecord, "image", version)
    assert image
    store._images[image.ref.digest].labels["banana.version"] = "1"
    pipeline.target.calls.clear()
    for step in ("staging_release", "ab_report"):
        assert not pipeline.run(version, assets=[step]).is_success
        attempt = pipeline.attempts(version)[0]
        assert attempt.outcome is Outcome.REJECTED
        assert "is not the release of version" in attempt.reason
    assert not [call for call in pipeline.target.calls if "deploy" in str(call)]


def test_a_rollback_by_the_history_starts_no_image_that_is_another(pipeline: PipelineHarness) -> None:
    first = pipeline.serving
    assert first
    second, third = pipeline.stage(0.99), pipeline.stage(0.999)
    assert pipeline.run(second).is_success
    assert pipeline.run(third).is_success
    image, store = pipeline.audit_log.latest(ImageRecord, "image", first), pipeline.resources.image_store
    assert image
    assert isinstance(store, FakeImages)
    store._images[image.ref.digest].labels["banana.version"] = "77"
    with pytest.raises(NothingToRollBackError, match=r"is not the release of version 1 .* Nothing was changed"):
        pipeline.roll_back(reason="It looks wrong.", to=first)
    assert pipeline.serving == third
    # The way back to the warm colour asks no store.
    store._images.clear()
    pipeline.roll_back(reason="It looks wrong.")
    assert pipeline.serving == second


def test_a_rollback_needs_no_key(pipeline: PipelineHarness, tmp_path: Path) -> None:
    first, second = pipeline.serving, pipeline.stage(0.99)
    assert pipeline.run(second).is_success
    settings = pipeline.resources.settings.model_copy(update={"evidence_key_file": tmp_path / "nowhere"})
    pipeline.change(settings=settings)
    assert pipeline.attempts(second) == []
    pipeline.roll_back(reason="It looks wrong.")
    assert pipeline.serving == first


def test_an_override_expires_once_it_was_seen_for_its_time_whatever_its_date(pipeline: PipelineHarness) -> None:
    version = pipeline.serving
    assert version
    log, settings, clock = pipeline.audit_log, pipeline.resources.settings, pipeline.clock
    for at in (0.0, clock.far):
        kind = DecisionKind.OVERRIDE
        log.record_decision(ManualDecision(kind=kind, version=version, by="Ada", reason="I looked.", at=at))
    memory = sightings(settings, clock)
    assert len(unexpired(log.decisions(version), memory, settings)) == 2
    clock.now += settings.decision_hours * 3600 - 60
    assert len(unexpired(log.decisions(version), memory, settings)) == 2
    clock.now += 120
    pipeline.tick("reconcile")
    assert unexpired(log.decisions(version), memory, settings) == ()
    assert unexpired(log.decisions(version), sightings(settings, clock), settings) == (), "another process, too"


def test_the_model_of_an_image_is_one_that_was_exported_for_its_version(pipeline: PipelineHarness) -> None:
    version = pipeline.serving
    assert version
    found = [one.onnx_sha256 for one in pipeline.audit_log.all(ArtifactRecord, "model_artifact", version)]
    image = pipeline.audit_log.latest(ImageRecord, "image", version)
    assert image
    assert pipeline.resources.image_store.labels(image.ref)["banana.model.sha256"] in found


def test_a_decision_names_an_existing_version_its_image_and_a_reason(pipeline: PipelineHarness) -> None:
    parts, version = pipeline.resources, pipeline.serving
    assert version
    image = pipeline.audit_log.latest(ImageRecord, "image", version)
    assert image
    staged = pipeline.stage(0.99)

    def override(version: str, digest: str = "", reason: str = "I looked.") -> ManualDecision:
        kind = DecisionKind.OVERRIDE
        return decide(parts.settings, parts.model_registry, parts.clock, kind, version, digest, reason).said

    for empty in ("", "  ", "\n"):
        with pytest.raises(GateError, match="needs a reason"):
            override(version, reason=empty)
    with pytest.raises(UnknownVersionError):
        override("77")
    with pytest.raises(GateError, match=f"no image yet .*banana-delivery deliver {staged}"):
        override(staged)
    with pytest.raises(GateError, match="no image 0000"):
        override(version, digest="0000")
    assert pipeline.audit_log.decisions() == []

    for digest in ("", image.ref.digest, image.ref.digest[7:19]):
        said = override(version, digest)
        assert (said.version, said.digest, said.by) == (version, image.ref.digest, claimed_by())
    assert len(pipeline.audit_log.decisions(version)) == 3
    assert claimed_by().startswith("claimed by ")
    assert " on " in claimed_by()
