"""``ab_report``: the candidate answers a tenth of production's users, and the same labelled images as production."""

import time
from contextlib import ExitStack

import dagster as dg

from banana_delivery.defs.assets._run import (
    GROUP,
    OWNERS,
    attempting,
    gate_inputs,
    image_to_deliver,
    lease,
    quality,
    quality_picture,
)
from banana_delivery.defs.resources import Services
from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.readiness import wait_until_ready
from banana_delivery.delivery.record_attempt import Attempting
from banana_delivery.delivery.rollback import rollback_on_exit
from banana_delivery.delivery.traffic_shift import TrafficShift
from banana_delivery.errors import GateError, TargetError
from banana_delivery.policy.asset_records import AbRecord, AbVerdict, ShiftStep, Verdict
from banana_delivery.policy.gate import GateStatus, ab_verdict, standing_block
from banana_delivery.policy.model import Environment, ImageRef, Phase
from banana_delivery.policy.rollout.plan import PLANS, ab_step
from banana_delivery.reports.tables import quality_table, step_table
from banana_delivery.runs.instance import POOL
from banana_delivery.runs.partitions import MODEL_VERSIONS
from banana_delivery.runs.records import to_metadata


@dg.asset(
    partitions_def=MODEL_VERSIONS,
    deps=["staging_release"],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"fastapi", "onnx"},
    pool=POOL,
    description="The candidate as the idle colour with 10 % of production's users, and beside production on the "
    "same labelled images.",
)
def ab_report(context: dg.AssetExecutionContext, services: dg.ResourceParam[Services]) -> dg.MaterializeResult[None]:
    """Judge the candidate under production traffic; the traffic is back with the active colour at the end."""
    here = attempting(context, services)
    with here.recorded(), lease(context, services, Environment.PRODUCTION) as held:
        record = _report(here, services, held, image_to_deliver(here))
    steps = (record.traffic,) if record.traffic else ()
    return dg.MaterializeResult(
        metadata=to_metadata(
            record,
            verdict_of_report=dg.MetadataValue.text(record.verdict.verdict.value),
            reason=dg.MetadataValue.text(record.verdict.reason),
            traffic_table=dg.MetadataValue.md(step_table(steps)),
            quality_table=dg.MetadataValue.md(quality_table(record.quality)),
            **quality_picture(record.quality),
        ),
        data_version=dg.DataVersion(record.ref.digest),
    )


def _report(here: Attempting, services: Services, held: Lease, ref: ImageRef) -> AbRecord:
    start = time.monotonic()
    record = services.target.record(Environment.PRODUCTION)
    live, candidate = record.live, record.idle
    # Users of production are part of this report, so what may not meet them is kept away here already.
    closed = standing_block(here.version, ref.digest, **gate_inputs(here, services))
    if closed and closed.status is GateStatus.REFUSED:
        raise GateError(closed.reason)
    judged = quality(here, services, ref, fresh=Environment.PRODUCTION)
    step = None if closed or judged.verdict is Verdict.FAIL else _traffic(here, services, held, ref)
    if closed and judged.verdict is not Verdict.FAIL:
        verdict, reason = Verdict.INCONCLUSIVE, closed.reason
    else:
        verdict, reason = ab_verdict(step, judged)
    return AbRecord(
        ref=ref,
        colour=candidate,
        against=live,
        verdict=AbVerdict(verdict=verdict, digest=ref.digest, reason=reason, at=time.time()),
        traffic=step.metrics if step else None,
        quality=judged,
        seconds=time.monotonic() - start,
    )


def _traffic(here: Attempting, services: Services, held: Lease, ref: ImageRef) -> ShiftStep:
    target, log = services.target, here.context.log.info
    plan = PLANS[services.settings.plan]
    candidate = target.record(Environment.PRODUCTION).idle
    # The probe ends last: users do not wait for answers that a hanging candidate owes to it.
    with ExitStack() as load, rollback_on_exit(target, held):
        held.enter(Phase.DEPLOYING, candidate=ref, plan=plan.name, scale_down_at=None)
        target.deploy(held.claim, candidate, ref, 1)
        wait_until_ready(target, held, Environment.PRODUCTION, candidate, services.settings.ready_timeout_seconds, log)
        probe = load.enter_context(services.evaluator.probe(target.probe_url(Environment.PRODUCTION, candidate)))
        shift = TrafficShift(target, held, plan, candidate, ref, probe, log, services.sleep)
        action = shift.run(ab_step(plan))
        if action.wrong_release:
            # A report would hold against the model what went wrong with its delivery.
            raise TargetError(action.reason)
    return shift.steps[-1]
