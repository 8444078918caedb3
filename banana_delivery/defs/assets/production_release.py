"""``production_release``: blue-green, with a gradual shift of the users, watched, promoted or rolled back."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import takewhile

import dagster as dg

from banana_delivery.defs.assets._run import DeliveryRun, delivery_asset, start_run
from banana_delivery.defs.assets._shift import equip
from banana_delivery.delivery.deciding.going_on import KEPT_OUT, began_by_itself
from banana_delivery.delivery.deciding.wanted import froze_since, why_unwanted
from banana_delivery.delivery.image_build import refuse_stranger
from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.readiness import wait_until_ready
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.delivery.rollback import RollbackGuard, let_rollback_finish, rollback_on_exit
from banana_delivery.delivery.traffic_shift import TrafficShift, probing
from banana_delivery.errors import FencedError, GateError, ImageError, TargetError
from banana_delivery.evaluation.base import Evaluator
from banana_delivery.evaluation.own_metrics.base import MetricSource
from banana_delivery.images.base import ImageStore
from banana_delivery.names import REQUEST_TAG, STABLE_TAG
from banana_delivery.policies.document import Rules
from banana_delivery.policy import commands
from banana_delivery.policy.approvals.wanted import unapproved
from banana_delivery.policy.asset_records import (
    AbRecord,
    AttemptRecord,
    DecisionKind,
    ImageRecord,
    ManualDecision,
    StagingRecord,
)
from banana_delivery.policy.gate import GateDecision, GateStatus, evaluate_gate
from banana_delivery.policy.hindsight.whole import observed_of
from banana_delivery.policy.hindsight.would_have import WouldHave, summary
from banana_delivery.policy.model import Environment, ImageRef, Outcome, Phase, RolloutRecord
from banana_delivery.policy.outcomes import decisive
from banana_delivery.policy.rollout.decision import Action, ActionKind
from banana_delivery.policy.rollout.plan import Plan, Step, release_steps
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.waiting import Clock


@delivery_asset(
    deps=["ab_report"],
    kinds={"fastapi", "onnx"},
    in_pool=True,
    output_required=False,
    description="The candidate takes over production step by step while errors and latency are watched; it is "
    "promoted, or the traffic goes back by one weight change.",
)
def production_release(
    context: dg.AssetExecutionContext,
    image: ImageRecord,
    release_target: dg.ResourceParam[ReleaseTarget],
    image_store: dg.ResourceParam[ImageStore],
    evaluator: dg.ResourceParam[Evaluator],
    metric_source: dg.ResourceParam[MetricSource],
    clock: dg.ResourceParam[Clock],
    recorder: dg.ResourceParam[AttemptRecorder],
) -> Iterator[dg.MaterializeResult[AttemptRecord]]:
    """Re-check the gate, shift, watch, promote or roll back. A parked release yields nothing and succeeds."""
    run = start_run(context, recorder)
    with run.records_failure(release_target) as facts:
        decision = _pass_gate(run, image.ref)
        if decision.status is GateStatus.PARKED:
            _park(run, image.ref, decision)
            return
        refuse_stranger(run.audit_log, image_store, image.ref, run.version, run.settings)
        let_rollback_finish(release_target, clock)
        with run.lease(release_target, Environment.PRODUCTION) as lease:
            # From here on nothing is revoked but by whoever takes production over, and that fences us.
            run = run.fresh()
            decision = _if_wanted(run, _pass_gate(run, image.ref), image.ref)
            if decision.status is GateStatus.PARKED:
                _park(run, image.ref, decision)
                return
            facts["basis"] = decision.basis
            if lease.waited or _is_late(run, decision, image.ref):
                _check_that_report_is_about(run, release_target, image.ref)
            release = _Release(
                run,
                release_target,
                image_store,
                evaluator,
                metric_source,
                clock,
                lease,
                image.ref,
                decision,
                run.rules(release_target.record(Environment.PRODUCTION)),
            )
            attempt = run.already_live(release_target, image.ref, decision.basis) or release.carry_out()
    if attempt.outcome in {Outcome.ROLLED_BACK, Outcome.ERROR}:
        raise dg.Failure(attempt.reason, allow_retries=False)
    if attempt.outcome is Outcome.RELEASED:
        yield dg.MaterializeResult(value=attempt, data_version=dg.DataVersion(attempt.digest))


def _pass_gate(run: DeliveryRun, ref: ImageRef) -> GateDecision:
    """Open or parked.

    Raises:
        GateError: if the gate refuses.
    """
    verdicts = run.audit_log.verdicts(run.version)
    decision = evaluate_gate(run.version, ref.digest, verdicts=verdicts, observing=run.observes, **run.gate_inputs)
    if decision.status is GateStatus.REFUSED:
        raise GateError(decision.reason)
    return decision


def _if_wanted(run: DeliveryRun, decision: GateDecision, ref: ImageRef) -> GateDecision:
    """The same, or parked, where a delivery began by itself and nobody wants its version any more.

    It is asked as late as can be: an approval may have waited for hours, and its run for another delivery's end. Its
    report alone may let the version in then, which it did before, and nobody had it begun but whoever approved it. Nor
    did whoever overrode it, who has it delivered himself.
    """
    if decision.status is not GateStatus.OPEN or not began_by_itself(run.run.tags):
        return decision
    approval = max(_approvals(run, ref), key=lambda one: one.order, default=None)
    if approval is None:
        why = unapproved(run.version)
    else:
        waited = approval.frozen or KEPT_OUT in run.run.tags[REQUEST_TAG] or froze_since(run.audit_log, approval)
        why = why_unwanted(run.recorder.publisher.registry, run.audit_log, run.version, waited=waited)
    return GateDecision(status=GateStatus.PARKED, basis="", reason=why) if why else decision


def _approvals(run: DeliveryRun, ref: ImageRef) -> list[ManualDecision]:
    return [one for one in run.decisions if one.kind is DecisionKind.APPROVAL and one.digest in {"", ref.digest}]


def _is_late(run: DeliveryRun, decision: GateDecision, ref: ImageRef) -> bool:
    """Whether production took in or threw out anything since somebody approved, who knew nothing of that.

    Only what was begun by itself: whoever starts a delivery looks what is now, and whoever overrides wants it in any
    case. What a freeze put off may be let in by its own report after it, or as a redeploy.
    """
    said = _approvals(run, ref)
    # Where none of them may, its report lets it in, and whoever said so had it begun.
    approvals = [one for one in said if run.policy.approvers.may(one.by)] or said
    if decision.basis == "override" or REQUEST_TAG not in run.run.tags or not approvals:
        return False
    approved = max(one.order for one in approvals)
    return bool(decisive([*takewhile(lambda one: one.order > approved, run.audit_log.each_readable())]))


def _park(run: DeliveryRun, ref: ImageRef, decision: GateDecision) -> None:
    run.end(Outcome.PARKED, decision.reason, digest=ref.digest, frozen=decision.frozen)


def _check_that_report_is_about(run: DeliveryRun, target: ReleaseTarget, ref: ImageRef) -> None:
    """What was compared with the production of before says nothing about the one that somebody released meanwhile.

    Raises:
        TargetError: if the report of this image is about another production.
    """
    live = target.record(Environment.PRODUCTION).live
    report = run.audit_log.latest(AbRecord, "ab_report", run.version)
    if live is None or report is None or report.ref.digest != ref.digest or live.digest == ref.digest:
        return
    if report.against is None or report.against.digest != live.digest:
        raise TargetError(
            f"Another delivery released {live.digest[:19]} while this one waited, and its A/B report compares with "
            f"{report.against.digest[:19] if report.against else 'nothing'}; to compare anew, type: "
            f"{commands.deliver(run.version)}"
        )


@dataclass
class _Release:
    """One release under way in production."""

    run: DeliveryRun
    target: ReleaseTarget
    image_store: ImageStore
    evaluator: Evaluator
    metric_source: MetricSource
    clock: Clock
    lease: Lease
    ref: ImageRef
    decision: GateDecision
    rules: Rules

    def carry_out(self) -> AttemptRecord:
        """Scale up, shift, watch; promote, or let the guard restore the traffic."""
        before = self.target.record(Environment.PRODUCTION)
        # The probe ends last: users do not wait for answers that a hanging candidate owes to it.
        with ExitStack() as load, rollback_on_exit(self.target, self.lease) as guard:
            self._bring_up(before)
            probe = probing(self.evaluator, self.target, before.idle)
            shift = TrafficShift(
                self.target,
                self.lease,
                self._plan,
                before.idle,
                self.ref,
                load.enter_context(probe),
                self.run.say,
                self.clock.sleep,
                now=self.clock.time,
            )
            equip(shift, self.run, self.rules, before, self.metric_source)
            self._go_on_from(shift, before)
            if before.active:
                control = probing(self.evaluator, self.target, before.active)
                shift.control = load.enter_context(control)
            action = self._shift(shift)
            if action.kind is ActionKind.PROMOTE:
                self._promote(before, shift, guard)
        if action.kind is ActionKind.PROMOTE:
            self._verify_that_it_is_still_ours()
        else:
            shift.look_back()
        attempt = self._end(before, shift, action, guard)
        if attempt.outcome is Outcome.RELEASED:
            self._tag_stable()
        return attempt

    def _go_on_from(self, shift: TrafficShift, before: RolloutRecord) -> None:
        """What the A/B found about the same two releases, by its probes and in its trials, counts from there on."""
        report = self.run.audit_log.latest(AbRecord, "ab_report", self.run.version)
        if report is None or report.traffic is None or report.against is None or before.live is None:
            return
        if report.ref.digest == self.ref.digest and report.against.digest == before.live.digest:
            shift.paired, shift.tried = report.traffic.paired, report.traffic.tried
            if shift.own:
                shift.own.usual = {seen.name: seen.active for seen in report.traffic.own}

    @property
    def _plan(self) -> Plan:
        return self.rules.plan_of_limits

    def _bring_up(self, before: RolloutRecord) -> None:
        kept = {"plan": self._plan.name, "rules": self.rules.model_dump_json(), "baseline": None}
        self.lease.enter(Phase.SCALING, candidate=self.ref, scale_down_at=None, **kept)
        replicas = self.target.default_replicas(Environment.PRODUCTION)
        self.target.deploy(self.lease.claim, before.idle, self.ref, replicas)
        timeout = self.run.settings.ready_timeout_seconds
        wait_until_ready(self.target, self.lease, Environment.PRODUCTION, before.idle, timeout, self.run.say)

    def _shift(self, shift: TrafficShift) -> Action:
        """Follow the policy from step to step until it promotes, rolls back or parks."""
        first_release = self.target.record(Environment.PRODUCTION).active is None
        steps = release_steps(self._plan)
        step: Step | None = next(one for one in steps if one.weight == 100) if first_release else steps[0]
        while step:
            action = shift.run(step)
            step = action.step
        return action

    def _promote(self, before: RolloutRecord, shift: TrafficShift, guard: RollbackGuard) -> None:
        """The candidate becomes the active colour; the one before it stays warm for a while."""
        scale_down_at = self.clock.time() + self.run.settings.warm_seconds
        facts: dict[str, object] = {
            "active": before.idle,
            "candidate": None,
            "scale_down_at": scale_down_at,
            "previous": before.live,
            "rolled_back": "",
            "promoted_by": self.run.run_id,
        }
        if shift.own and shift.own.metrics:
            facts["rules"] = self.rules.replace(usual=shift.own.known_usual()).model_dump_json()
        shift.retry(lambda: self.lease.enter(Phase.PROMOTING, **facts))
        guard.disarm()

    def _verify_that_it_is_still_ours(self) -> None:
        """Nobody says that a release is out which somebody took out meanwhile.

        Raises:
            FencedError: if production was taken over since the promotion.
        """
        try:
            self.lease.verify()
        except FencedError:
            raise
        except TargetError as error:
            self.run.say(f"Production does not answer right after the promotion: {error}")

    def _tag_stable(self) -> None:
        """The release is out whatever the registry says; only whoever pulls `stable` by hand gets the one before."""
        try:
            self.image_store.tag(self.ref, {STABLE_TAG})
        except ImageError as error:
            self.run.say(f"The tag stable was not moved to {self.ref.digest}: {error}")

    def _end(self, before: RolloutRecord, shift: TrafficShift, action: Action, guard: RollbackGuard) -> AttemptRecord:
        outcomes = {
            ActionKind.PROMOTE: Outcome.RELEASED,
            ActionKind.PARK: Outcome.PARKED,
            ActionKind.STAND_BACK: Outcome.ERROR,
            ActionKind.ROLL_BACK: Outcome.ERROR if action.wrong_release else Outcome.ROLLED_BACK,
        }
        outcome = outcomes[action.kind]
        live = self.ref if outcome is Outcome.RELEASED else before.live
        metrics = [step.metrics for step in shift.steps]
        observed = self._observed(shift) if self.rules.observes else ()
        tells = observed or (self.rules.observes and outcome is Outcome.RELEASED)
        return self.run.end(
            outcome,
            f"{summary(observed)} {action.reason}" if tells else action.reason,
            digest=self.ref.digest,
            previous_digest=before.live.digest if before.live else "",
            serving_version=live.version if live else "",
            colour=before.idle,
            steps=tuple(shift.steps),
            requests=sum(one.requests + one.active.requests for one in metrics),
            failed=sum(one.failed + one.active.failed for one in metrics),
            rollback_seconds=guard.rollback_seconds,
            basis=self.decision.basis,
            revoked=outcome is Outcome.ROLLED_BACK,
            observed=observed,
        )

    def _observed(self, shift: TrafficShift) -> tuple[WouldHave, ...]:
        """What a policy that only observes would have done, from staging on."""
        log, version = self.run.audit_log, self.run.version
        staging = log.latest(StagingRecord, "staging_release", version)
        report = log.latest(AbRecord, "ab_report", version)
        return observed_of(self.ref, staging, report, shift.steps)
