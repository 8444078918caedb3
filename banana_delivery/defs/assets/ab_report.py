"""``ab_report``: the candidate answers a tenth of production's users, and the same labelled images as production."""

import time
from contextlib import ExitStack

import dagster as dg

from banana_delivery.defs.assets._quality import measure_quality
from banana_delivery.defs.assets._run import DeliveryRun, delivery_asset, start_run
from banana_delivery.defs.assets._shift import equip
from banana_delivery.delivery.image_build import refuse_stranger
from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.readiness import wait_until_ready
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.delivery.rollback import let_rollback_finish, rollback_on_exit
from banana_delivery.delivery.signing.images import ImageSigner
from banana_delivery.delivery.signing.publication import publish
from banana_delivery.delivery.signing.statements import VERDICT, verdict
from banana_delivery.delivery.traffic_shift import TrafficShift, probing
from banana_delivery.errors import BananaDeliveryError, GateError, TargetError
from banana_delivery.evaluation.base import Evaluator
from banana_delivery.evaluation.own_metrics.base import MetricSource
from banana_delivery.images.base import ImageStore
from banana_delivery.images.supply_chain.publication import Publication
from banana_delivery.policy.asset_records import AbRecord, AbVerdict, ImageRecord, ShiftStep, StagingRecord, Verdict
from banana_delivery.policy.gate import GateStatus, ab_verdict, standing_block
from banana_delivery.policy.model import Environment, ImageRef, Phase
from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.policy.rollout.plan import ab_step
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.waiting import Clock


@delivery_asset(
    deps=["staging_release"],
    kinds={"fastapi", "onnx"},
    in_pool=True,
    description="The candidate as the idle colour with 10 % of production's users, and beside production on the "
    "same labelled images.",
)
def ab_report(
    context: dg.AssetExecutionContext,
    image: ImageRecord,
    release_target: dg.ResourceParam[ReleaseTarget],
    image_store: dg.ResourceParam[ImageStore],
    evaluator: dg.ResourceParam[Evaluator],
    clock: dg.ResourceParam[Clock],
    metric_source: dg.ResourceParam[MetricSource],
    recorder: dg.ResourceParam[AttemptRecorder],
) -> dg.MaterializeResult[AbRecord]:
    """Judge the candidate under production traffic; the traffic is back with the active colour at the end."""
    run = start_run(context, recorder)
    with run.records_failure():
        refuse_stranger(run.audit_log, image_store, image.ref, run.version, run.settings)
        let_rollback_finish(release_target, clock)
        with run.lease(release_target, Environment.PRODUCTION) as lease:
            record = _report(run.fresh(), release_target, evaluator, metric_source, clock, lease, image.ref)
        _attest(run, image_store, image, record)
    return dg.MaterializeResult(
        value=record,
        metadata={"verdict_of_report": record.verdict.verdict.value, "reason": record.verdict.reason},
        data_version=dg.DataVersion(record.ref.digest),
    )


def _report(
    run: DeliveryRun,
    target: ReleaseTarget,
    evaluator: Evaluator,
    source: MetricSource,
    clock: Clock,
    lease: Lease,
    ref: ImageRef,
) -> AbRecord:
    start = time.monotonic()
    production = target.record(Environment.PRODUCTION)
    # Users of production are part of this report, so what may not meet them is kept away here already.
    block = standing_block(run.version, ref.digest, **run.gate_inputs)
    if block and block.status is GateStatus.REFUSED:
        raise GateError(block.reason)
    quality = measure_quality(run, target, evaluator, ref, fresh=Environment.PRODUCTION)
    steps: list[ShiftStep] = []
    lets = run.observes and quality.absolute.passed
    if not block and (lets or quality.verdict is not Verdict.FAIL):
        steps = _meet_users(run, target, evaluator, source, clock, lease, ref)
    step = steps[-1] if steps else None
    verdict, reason = ab_verdict(step, quality, block)
    observed = lets and step is not None and step.decision == ActionKind.SET_WEIGHT
    return AbRecord(
        ref=ref,
        colour=production.idle,
        against=production.live,
        verdict=AbVerdict(verdict=verdict, digest=ref.digest, reason=reason, at=clock.time(), observed=observed),
        traffic=step.metrics if step else None,
        quality=quality,
        seconds=time.monotonic() - start,
        observed=step.observed if step else None,
        before=tuple(one.metrics for one in steps[:-1]),
    )


def _attest(run: DeliveryRun, store: ImageStore, image: ImageRecord, report: AbRecord) -> None:
    """Say the verdict of the image under our signature, where there is a key; the record counts without it."""
    try:
        if image.signed_by or ImageSigner(store, run.settings).key:
            staging = run.audit_log.latest(StagingRecord, "staging_release", run.version)
            said = {VERDICT: verdict(report, staging, run.policy, run.run_id)}
            publish(store, run.settings, Publication(ref=report.ref, said=said))
    except BananaDeliveryError as error:
        run.say(f"The verdict does not lie beside the image: {error}")


def _meet_users(
    run: DeliveryRun,
    target: ReleaseTarget,
    evaluator: Evaluator,
    source: MetricSource,
    clock: Clock,
    lease: Lease,
    ref: ImageRef,
) -> list[ShiftStep]:
    """The A/B, as often as it began again.

    Raises:
        TargetError: if it ends by what is no fault of the model.
    """
    production = target.record(Environment.PRODUCTION)
    rules = run.rules(production)
    plan, candidate, timeout = rules.plan_of_limits, production.idle, run.settings.ready_timeout_seconds
    # The probe ends last: users do not wait for answers that a hanging candidate owes to it.
    with ExitStack() as load, rollback_on_exit(target, lease):
        kept = {"plan": plan.name, "rules": rules.model_dump_json(), "baseline": None}
        lease.enter(Phase.DEPLOYING, candidate=ref, scale_down_at=None, **kept)
        target.deploy(lease.claim, candidate, ref, 1)
        wait_until_ready(target, lease, Environment.PRODUCTION, candidate, timeout, run.say)
        probe = load.enter_context(probing(evaluator, target, candidate))
        shift = TrafficShift(target, lease, plan, candidate, ref, probe, run.say, clock.sleep, now=clock.time)
        if target.record(Environment.PRODUCTION).active:
            control = probing(evaluator, target, candidate.other)
            shift.control = load.enter_context(control)
        action = equip(shift, run, rules, production, source).run(ab_step(plan))
        if action.wrong_release or action.kind is ActionKind.STAND_BACK:
            # A report would hold against the model what went wrong with its delivery, or with production.
            raise TargetError(action.reason)
    if action.kind is ActionKind.ROLL_BACK:
        shift.look_back()
    return shift.steps
