"""``staging_release``: the image runs in staging and answers tests and labelled images over HTTP."""

import time
from collections.abc import Iterator

import dagster as dg

from banana_delivery.defs.assets._quality import measure_quality
from banana_delivery.defs.assets._run import DeliveryRun, delivery_asset, start_run
from banana_delivery.delivery.image_build import refuse_stranger
from banana_delivery.delivery.lease import Lease, wait_for_rivals
from banana_delivery.delivery.readiness import wait_until_ready
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.errors import NeverReadyError, RejectedModelError
from banana_delivery.evaluation.base import Evaluator, ReleaseEndpoint
from banana_delivery.images.base import ImageStore
from banana_delivery.policy.asset_records import ImageRecord, StagingRecord, TestRow
from banana_delivery.policy.model import Colour, Environment, ImageRef, Phase
from banana_delivery.targets.base import ReleaseTarget


@delivery_asset(
    kinds={"fastapi", "onnx"},
    in_pool=True,
    output_required=False,
    description="The image runs in staging; smoke, integration and performance tests and the labelled images say how.",
)
def staging_release(
    context: dg.AssetExecutionContext,
    image: ImageRecord,
    release_target: dg.ResourceParam[ReleaseTarget],
    image_store: dg.ResourceParam[ImageStore],
    evaluator: dg.ResourceParam[Evaluator],
    recorder: dg.ResourceParam[AttemptRecorder],
) -> Iterator[dg.MaterializeResult[StagingRecord]]:
    """Deploy the digest to staging, wait until it is ready, test it and measure its quality.

    A delivery of what production serves already ends here, before it is compared with itself: it yields nothing.
    """
    run = start_run(context, recorder)
    with run.records_failure():
        wait_for_rivals(release_target, run.run_id, run.patience)
        if run.goes_to_production and run.already_live(release_target, image.ref):
            return
        refuse_stranger(run.audit_log, image_store, image.ref, run.version, run.settings)
        with run.lease(release_target, Environment.STAGING) as lease:
            record = _stage(run, release_target, evaluator, lease, image.ref)
    yield dg.MaterializeResult(value=record, data_version=dg.DataVersion(record.ref.digest))


def _stage(run: DeliveryRun, target: ReleaseTarget, evaluator: Evaluator, lease: Lease, ref: ImageRef) -> StagingRecord:
    start = time.monotonic()
    lease.enter(Phase.DEPLOYING, candidate=ref)
    replicas = target.default_replicas(Environment.STAGING)
    target.deploy(lease.claim, Colour.SOLE, ref, replicas)
    timeout = run.settings.ready_timeout_seconds
    try:
        ready = wait_until_ready(target, lease, Environment.STAGING, Colour.SOLE, timeout, run.say)
    except NeverReadyError as error:
        raise RejectedModelError(str(error)) from error
    lease.enter(Phase.TESTING, active=Colour.SOLE)
    tests = _test(run, target, evaluator, ref)
    quality = measure_quality(run, target, evaluator, ref, fresh=Environment.STAGING)
    lease.verify()
    return StagingRecord(
        ref=ref,
        replicas=replicas,
        tests=tests,
        quality=quality,
        seconds_to_ready=ready,
        seconds=time.monotonic() - start,
        observed=run.observes,
    )


def _test(run: DeliveryRun, target: ReleaseTarget, evaluator: Evaluator, ref: ImageRef) -> tuple[TestRow, ...]:
    """The table of the staged release, and how fast it is beside what serves, which a redeploy is not compared with."""
    staged = ReleaseEndpoint(target.url(Environment.STAGING), ref)
    rows = evaluator.tests(staged, run.say)
    live = target.record(Environment.PRODUCTION).live
    if live and not run.redeploying and all(row.passed for row in rows):
        serving = ReleaseEndpoint(target.url(Environment.PRODUCTION), live)
        speed = evaluator.speed(staged, serving, run.policy.performance, run.say)
        rows = [*rows, *(_let_through(row) if run.observes else row for row in speed)]
    return tuple(rows)


def _let_through(row: TestRow) -> TestRow:
    """A comparison by a policy that only observes."""
    return row if row.passed else row.replace(passed=True, detail=f"Failed, and the policy only observes: {row.detail}")
