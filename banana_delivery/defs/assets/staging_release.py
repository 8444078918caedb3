"""``staging_release``: the image runs in staging and answers tests and labelled images over HTTP."""

import time

import dagster as dg

from banana_delivery.defs.assets._run import (
    GROUP,
    OWNERS,
    attempting,
    image_to_deliver,
    lease,
    quality,
    quality_picture,
)
from banana_delivery.defs.resources import Services
from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.readiness import wait_until_ready
from banana_delivery.delivery.record_attempt import Attempting
from banana_delivery.errors import NeverReadyError, RejectedModelError
from banana_delivery.evaluation.base import ReleaseEndpoint
from banana_delivery.policy.asset_records import StagingRecord
from banana_delivery.policy.model import Colour, Environment, ImageRef, Phase
from banana_delivery.reports.tables import quality_table, test_table
from banana_delivery.runs.instance import POOL
from banana_delivery.runs.partitions import MODEL_VERSIONS
from banana_delivery.runs.records import to_metadata


@dg.asset(
    partitions_def=MODEL_VERSIONS,
    deps=["image"],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"fastapi", "onnx"},
    pool=POOL,
    description="The image runs in staging; smoke, integration and performance tests and the labelled images say how.",
)
def staging_release(
    context: dg.AssetExecutionContext, services: dg.ResourceParam[Services]
) -> dg.MaterializeResult[None]:
    """Deploy the digest to staging, wait until it is ready, test it and measure its quality."""
    here = attempting(context, services)
    with here.recorded(), lease(context, services, Environment.STAGING) as held:
        record = _release(here, services, held, image_to_deliver(here))
    return dg.MaterializeResult(
        metadata=to_metadata(
            record,
            test_table=dg.MetadataValue.md(test_table(record.tests)),
            quality_table=dg.MetadataValue.md(quality_table(record.quality)),
            **quality_picture(record.quality),
        ),
        data_version=dg.DataVersion(record.ref.digest),
    )


def _release(here: Attempting, services: Services, held: Lease, ref: ImageRef) -> StagingRecord:
    start = time.monotonic()
    target, log = services.target, here.context.log.info
    held.enter(Phase.DEPLOYING, candidate=ref)
    replicas = target.default_replicas(Environment.STAGING)
    target.deploy(held.claim, Colour.SOLE, ref, replicas)
    try:
        ready = wait_until_ready(
            target, held, Environment.STAGING, Colour.SOLE, services.settings.ready_timeout_seconds, log
        )
    except NeverReadyError as error:
        raise RejectedModelError(str(error)) from error
    held.enter(Phase.TESTING, active=Colour.SOLE)
    staged = ReleaseEndpoint(target.url(Environment.STAGING), ref)
    tests = services.evaluator.tests(staged, log)
    judged = quality(here, services, ref, fresh=Environment.STAGING)
    held.verify()
    return StagingRecord(
        ref=ref,
        replicas=replicas,
        tests=tuple(tests),
        quality=judged,
        seconds_to_ready=ready,
        seconds=time.monotonic() - start,
    )
