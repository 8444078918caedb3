"""``model_artifact``: a version's ``best.pt``, scanned, exported to ONNX, and proven to answer like the checkpoint."""

import tempfile
import time
from pathlib import Path

import dagster as dg

from banana_delivery.defs.assets._run import GROUP, OWNERS, attempting, redeploying
from banana_delivery.defs.resources import Services
from banana_delivery.delivery.record_attempt import Attempting
from banana_delivery.files import file_sha256 as sha256_of
from banana_delivery.model_registry.base import ModelVersion
from banana_delivery.policy.asset_records import ArtifactRecord
from banana_delivery.runs.partitions import MODEL_VERSIONS
from banana_delivery.runs.records import to_metadata

PARITY_IMAGES = 24
"""Enough to show a wrong preprocessing or class order on any of them, few enough to cost a second."""


@dg.asset(
    partitions_def=MODEL_VERSIONS,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"mlflow", "pytorch", "onnx"},
    description="The version's best.pt from MLflow: scanned, exported to ONNX in a process of its own, and compared "
    "with the checkpoint on labelled images.",
)
def model_artifact(
    context: dg.AssetExecutionContext, services: dg.ResourceParam[Services]
) -> dg.MaterializeResult[None]:
    """Resolve, download, scan, export and compare; a redeploy takes the files of its first delivery."""
    here = attempting(context, services)
    with here.recorded():
        described = services.registry.describe(here.version)
        record = _reused(here) if redeploying(here) else None
        record = record or _made(here, services, described)
    return dg.MaterializeResult(
        metadata=to_metadata(record, mlflow=dg.MetadataValue.url(services.registry.url(here.version))),
        data_version=dg.DataVersion(record.onnx_sha256),
    )


def _reused(here: Attempting) -> ArtifactRecord | None:
    """The record of an earlier delivery, if its files are still there and still the same."""
    earlier = here.history.latest(ArtifactRecord, "model_artifact", here.version)
    if earlier is None:
        return None
    model = Path(earlier.directory) / "model.onnx"
    if not model.is_file() or sha256_of(model) != earlier.onnx_sha256:
        return None
    here.context.log.info(f"Redeploy: taking the model of the first delivery from {earlier.directory}")
    return earlier.replace(reused=True, seconds=0.0)


def _made(here: Attempting, services: Services, described: ModelVersion) -> ArtifactRecord:
    start = time.monotonic()
    kept = services.settings.home / "artifacts" / described.name / described.version
    kept.mkdir(parents=True, exist_ok=True)
    log = here.context.log.info
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        log(f"Downloading best.pt of version {described.version} from {described.source}")
        checkpoint = services.registry.download(described.version, Path(scratch))
        images = services.evaluator.sample_images(PARITY_IMAGES)
        artifact = services.convert(checkpoint, kept, described, images, log)
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
        seconds=time.monotonic() - start,
    )
