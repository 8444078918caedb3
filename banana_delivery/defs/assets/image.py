"""``image``: model and serving code as an image, pinned by its digest."""

import dagster as dg

from banana_delivery.defs.assets._run import delivery_asset, start_run
from banana_delivery.delivery.image_build import ImageBuild
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.images.base import ImageStore
from banana_delivery.policy.asset_records import ArtifactRecord, ImageRecord
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget


@delivery_asset(
    kinds={"docker"},
    description="Model and serving code as an image: found if it exists exactly so, built if not, pinned by digest.",
)
def image(
    context: dg.AssetExecutionContext,
    model_artifact: ArtifactRecord,
    settings: dg.ResourceParam[Settings],
    image_store: dg.ResourceParam[ImageStore],
    release_target: dg.ResourceParam[ReleaseTarget],
    recorder: dg.ResourceParam[AttemptRecorder],
) -> dg.MaterializeResult[ImageRecord]:
    """Find or build the image, tag it, test it, and make room; a redeploy takes its original digest."""
    run = start_run(context, recorder)
    build = ImageBuild(image_store, release_target, settings, run.audit_log, recorder.clock, run.say, run.run_id)
    with run.records_failure():
        run.refuse_if_held(release_target)  # The first step of a redeploy.
        original = build.original(model_artifact) if run.redeploying else None
        record = original or build.make(model_artifact)
    return dg.MaterializeResult(value=record, data_version=dg.DataVersion(record.ref.digest))
