"""``model_artifact``: a version's ``best.pt``, scanned, exported to ONNX, and proven to answer like the checkpoint."""

import math
import tempfile
import time
from pathlib import Path

import dagster as dg

from banana_delivery.defs.assets._run import DeliveryRun, delivery_asset, start_run
from banana_delivery.defs.resources import Exporter
from banana_delivery.delivery.image_build import in_use
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.delivery.upkeep.home import prune_home
from banana_delivery.delivery.upkeep.room import Room
from banana_delivery.evaluation.base import Evaluator
from banana_delivery.export.model_signature import require_signature
from banana_delivery.export.parity import PARITY_IMAGES
from banana_delivery.export.precision.cpu import MOST
from banana_delivery.export.precision.order import order_for
from banana_delivery.files import file_sha256
from banana_delivery.model_registry.base import ModelRegistry, ModelVersion
from banana_delivery.policy.asset_records import ArtifactRecord
from banana_delivery.policy.quality.precision import PrecisionChoice
from banana_delivery.quoting import in_path, one_line
from banana_delivery.targets.base import ReleaseTarget


@delivery_asset(
    kinds={"mlflow", "pytorch", "onnx"},
    description="The version's best.pt from MLflow: scanned, exported to ONNX in a process of its own, and compared "
    "with the checkpoint on labelled images.",
)
def model_artifact(
    context: dg.AssetExecutionContext,
    model_registry: dg.ResourceParam[ModelRegistry],
    exporter: dg.ResourceParam[Exporter],
    evaluator: dg.ResourceParam[Evaluator],
    release_target: dg.ResourceParam[ReleaseTarget],
    recorder: dg.ResourceParam[AttemptRecorder],
) -> dg.MaterializeResult[ArtifactRecord]:
    """Resolve, download, scan, export and compare; a redeploy takes the files of its first delivery."""
    run = start_run(context, recorder)
    with run.records_failure():
        run.refuse_if_held(release_target)
        Room(run.settings).refuse_if_none(lambda: _tidy(run, release_target))
        described = model_registry.describe(run.version)
        record = _reused(run) if run.redeploying else None
        record = record or _made(run, model_registry, exporter, evaluator, described)
    return dg.MaterializeResult(
        value=record,
        metadata={"mlflow": dg.MetadataValue.url(model_registry.url(run.version))},
        data_version=dg.DataVersion(record.onnx_sha256),
    )


def _tidy(run: DeliveryRun, target: ReleaseTarget) -> None:
    """Remove at once what old deliveries left, which the image step would do too late."""
    now = run.recorder.clock.time()
    prune_home(run.audit_log, run.settings, in_use(run.audit_log, target, run.settings, now), now, dry_run=False)


def _reused(run: DeliveryRun) -> ArtifactRecord | None:
    """The record of an earlier delivery, if its files are still there and still the same."""
    earlier = run.audit_log.latest(ArtifactRecord, "model_artifact", run.version)
    if earlier is None or (run.settings.model_signing_public_key and not earlier.model_signed_by):
        return None
    model = Path(earlier.directory) / "model.onnx"
    if not model.is_file() or file_sha256(model) != earlier.onnx_sha256:
        return None
    run.say(f"Redeploy: taking the model of the first delivery from {earlier.directory}")
    return earlier.replace(reused=True, seconds=0.0)


def _made(
    run: DeliveryRun, registry: ModelRegistry, exporter: Exporter, evaluator: Evaluator, described: ModelVersion
) -> ArtifactRecord:
    start = time.monotonic()
    kept = run.settings.home / "artifacts" / in_path(described.name) / in_path(described.version)
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        run.say(f"Downloading best.pt of version {described.version} from {described.source}")
        checkpoint = registry.download(described.version, Path(scratch))
        signed_by = _signer(run, registry, described, checkpoint)
        images = evaluator.sample_images(PARITY_IMAGES)
        known = evaluator.class_names
        judged = {"judged": known, "judged_by": evaluator.judges_by} if known else {}
        ordered = order_for(run.settings, evaluator, run.policy.quality)
        gains = _gains(run, checkpoint)
        tried = {"precision": ordered.replace(gains=gains)} if ordered else {}
        artifact = exporter(checkpoint, kept, described, images, run.say, **judged, **tried)
    return ArtifactRecord(
        version=described.version,
        mlflow_run_id=described.run_id,
        source=described.source,
        directory=str(kept),
        checkpoint_sha256=artifact.checkpoint_sha256,
        onnx_sha256=artifact.onnx_sha256,
        classes=artifact.classes,
        input_size=artifact.input_size,
        parity_passed=artifact.parity.passed,
        parity_reason=artifact.parity.reason,
        reused=False,
        model_signed_by=signed_by,
        precision=artifact.precision.taken,
        precision_reason=artifact.precision.reason,
        precision_gains=gains | _measured(artifact.precision),
        seconds=time.monotonic() - start,
    )


def _gains(run: DeliveryRun, checkpoint: Path) -> dict[str, float]:
    """What an earlier export of the same checkpoint measured, so that this one chooses the same."""
    earlier = run.audit_log.latest(ArtifactRecord, "model_artifact", run.version)
    if earlier is None or not earlier.precision_gains or earlier.checkpoint_sha256 != file_sha256(checkpoint):
        return {}
    return earlier.precision_gains


def _measured(choice: PrecisionChoice) -> dict[str, float]:
    """Where it was tried; the name of the CPU is that of whoever exported."""
    if choice.gain is None or not math.isfinite(choice.gain):
        return {}
    return {one_line(choice.cpu, MOST): choice.gain}


def _signer(run: DeliveryRun, registry: ModelRegistry, described: ModelVersion, checkpoint: Path) -> str:
    """The name of the key that signed a checkpoint; empty if nobody asks for one.

    Raises:
        UnsignedModelError: if the settings ask for a signature, and nobody who is believed made one of this file.
    """
    keys = run.settings.model_signing_public_key
    if keys is None:
        return ""
    bundle = registry.signature(described.version, checkpoint.parent)
    signed_by = require_signature(checkpoint, bundle, keys, f"version {described.version}")
    run.say(f"The checkpoint is signed by {signed_by}")
    return signed_by
