"""``production_release``: blue-green, with a gradual shift of the users, watched, promoted or rolled back."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import dagster as dg

from banana_delivery.defs.assets._run import GROUP, OWNERS, attempting, gate_inputs, image_to_deliver, lease
from banana_delivery.defs.resources import Services
from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.readiness import wait_until_ready
from banana_delivery.delivery.record_attempt import Attempting, rollout_picture
from banana_delivery.delivery.rollback import RollbackGuard, rollback_on_exit
from banana_delivery.delivery.traffic_shift import TrafficShift
from banana_delivery.errors import GateError, ImageError
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.gate import GateDecision, GateStatus, evaluate_gate
from banana_delivery.policy.model import Environment, ImageRef, Outcome, Phase, RolloutRecord
from banana_delivery.policy.rollout.decision import Action, ActionKind
from banana_delivery.policy.rollout.plan import PLANS, Plan, Step, release_steps
from banana_delivery.reports.tables import step_table
from banana_delivery.runs.instance import POOL
from banana_delivery.runs.partitions import MODEL_VERSIONS
from banana_delivery.runs.records import to_metadata


@dg.asset(
    partitions_def=MODEL_VERSIONS,
    deps=["ab_report"],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"fastapi", "onnx"},
    pool=POOL,
    output_required=False,
    description="The candidate takes over production step by step while errors and latency are watched; it is "
    "promoted, or the traffic goes back by one weight change.",
)
def production_release(
    context: dg.AssetExecutionContext, services: dg.ResourceParam[Services]
) -> Iterator[dg.MaterializeResult[None]]:
    """Re-check the gate, shift, watch, promote or roll back. A parked release yields nothing and succeeds."""
    here = attempting(context, services)
    with here.recorded():
        attempt = _deliver(here, services)
    if attempt.outcome in {Outcome.ROLLED_BACK, Outcome.ERROR}:
        raise dg.Failure(attempt.reason, allow_retries=False)
    if attempt.outcome is Outcome.RELEASED:
        table = dg.MetadataValue.md(step_table([step.metrics for step in attempt.steps]))
        picture = dg.MetadataValue.md(rollout_picture(services, attempt))
        yield dg.MaterializeResult(
            metadata=to_metadata(attempt, step_table=table, rollout=picture),
            data_version=dg.DataVersion(attempt.digest),
        )


def _deliver(here: Attempting, services: Services) -> AttemptRecord:
    ref = image_to_deliver(here)
    verdicts = here.history.verdicts(here.version)
    decision = evaluate_gate(here.version, ref.digest, verdicts=verdicts, **gate_inputs(here, services))
    if decision.status is GateStatus.REFUSED:
        raise GateError(decision.reason)
    if decision.status is GateStatus.PARKED:
        return here.ended(Outcome.PARKED, decision.reason, digest=ref.digest)
    with lease(here.context, services, Environment.PRODUCTION) as held:
        live = services.target.record(Environment.PRODUCTION).live
        if live and live.digest == ref.digest:
            return _already_live(here, ref, decision)
        release = _Release(here, services, held, ref, decision)
        return release.run()


def _already_live(here: Attempting, ref: ImageRef, decision: GateDecision) -> AttemptRecord:
    reason = f"Version {here.version} ({ref.digest[:19]}) is in production already; nothing had to change."
    return here.ended(
        Outcome.RELEASED,
        reason,
        digest=ref.digest,
        previous_digest=ref.digest,
        serving_version=here.version,
        basis=decision.basis,
    )


@dataclass
class _Release:
    """One release under way in production."""

    here: Attempting
    services: Services
    held: Lease
    ref: ImageRef
    decision: GateDecision

    def run(self) -> AttemptRecord:
        """Scale up, shift, watch; promote, or let the guard restore the traffic."""
        target = self.services.target
        before = target.record(Environment.PRODUCTION)
        shift: TrafficShift | None = None
        # The probe ends last: users do not wait for answers that a hanging candidate owes to it.
        with ExitStack() as load, rollback_on_exit(target, self.held) as guard:
            self._bring_up(before)
            url = target.probe_url(Environment.PRODUCTION, before.idle)
            shift = TrafficShift(
                target,
                self.held,
                self._plan,
                before.idle,
                self.ref,
                load.enter_context(self.services.evaluator.probe(url)),
                self.here.context.log.info,
                self.services.sleep,
            )
            action = self._shift(shift)
            if action.kind is ActionKind.PROMOTE:
                self._promote(before, shift, guard)
        attempt = self._ended(before, shift, action, guard)
        if guard.promoted:
            self._tag_stable()
        return attempt

    @property
    def _plan(self) -> Plan:
        return PLANS[self.services.settings.plan]

    def _bring_up(self, before: RolloutRecord) -> None:
        target = self.services.target
        self.held.enter(Phase.SCALING, candidate=self.ref, plan=self._plan.name, scale_down_at=None)
        target.deploy(self.held.claim, before.idle, self.ref, target.default_replicas(Environment.PRODUCTION))
        wait_until_ready(
            target,
            self.held,
            Environment.PRODUCTION,
            before.idle,
            self.services.settings.ready_timeout_seconds,
            self.here.context.log.info,
        )

    def _shift(self, shift: TrafficShift) -> Action:
        """Follow the policy from step to step until it promotes, rolls back or parks."""
        first_release = shift.target.record(Environment.PRODUCTION).active is None
        steps = release_steps(self._plan)
        step: Step | None = next(one for one in steps if one.weight == 100) if first_release else steps[0]
        while step:
            action = shift.run(step)
            step = action.step
        return action

    def _promote(self, before: RolloutRecord, shift: TrafficShift, guard: RollbackGuard) -> None:
        """The candidate becomes the active colour; the one before it stays warm for a while."""
        facts = {
            "active": before.idle,
            "candidate": None,
            "scale_down_at": time.time() + self.services.settings.warm_seconds,
        }
        shift.retry(lambda: self.held.enter(Phase.PROMOTING, **facts))
        guard.promoted = True

    def _tag_stable(self) -> None:
        """The release is out whatever the registry says; only whoever pulls `stable` by hand gets the one before."""
        try:
            self.services.images.tag(self.ref, {"stable"})
        except ImageError as error:
            self.here.context.log.warning(f"The tag stable was not moved to {self.ref.digest}: {error}")

    def _ended(self, before: RolloutRecord, shift: TrafficShift, action: Action, guard: RollbackGuard) -> AttemptRecord:
        outcomes = {
            ActionKind.PROMOTE: Outcome.RELEASED,
            ActionKind.PARK: Outcome.PARKED,
            ActionKind.ROLL_BACK: Outcome.ERROR if action.wrong_release else Outcome.ROLLED_BACK,
        }
        outcome = outcomes[action.kind]
        live = self.ref if guard.promoted else before.live
        metrics = [step.metrics for step in shift.steps]
        return self.here.ended(
            outcome,
            action.reason,
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
        )
