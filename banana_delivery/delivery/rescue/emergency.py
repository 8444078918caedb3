"""What a person, or the watch after a promotion, does to take a release out of production.

It needs the target alone: what serves instead, and that something is being revoked, stands in the rollout record; the
history, the registry and the people come after the traffic, and what cannot be done then is made good later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from banana_delivery.delivery.image_build import refuse_stranger
from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.live.beside import Beside
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.delivery.rescue.answering import complete, ensure_answers
from banana_delivery.delivery.rescue.choice import History, Sides, choose_sides
from banana_delivery.delivery.rescue.intents import attempt_of, intent_of, serves, with_figures
from banana_delivery.delivery.rollback import restore_traffic, scale_down_idle_if_possible
from banana_delivery.errors import (
    BadSettingsError,
    BananaDeliveryError,
    ClaimOutdatedError,
    GateError,
    ImageError,
    NothingToRollBackError,
    UnreachableError,
    redacted,
)
from banana_delivery.evaluation.base import Log
from banana_delivery.images.base import ImageStore
from banana_delivery.notifications.alarms import rollback_failed
from banana_delivery.policies.document import Rules
from banana_delivery.policy.asset_records import AttemptRecord, ManualDecision, ShiftStep
from banana_delivery.policy.model import (
    Colour,
    Deployment,
    Environment,
    ImageRef,
    Phase,
    RollbackIntent,
    RolloutRecord,
)
from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.policy.rollout.live import step_of
from banana_delivery.policy.rollout.metrics import metrics_since
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.evidence.expiry import unexpired
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget, Takeover
from banana_delivery.targets.sightings import sightings
from banana_delivery.waiting import retry

LOG = logging.getLogger(__name__)
Find = Callable[[str], ImageRef | None]
CLAIM_SECONDS = 30.0
"""How long production may go on changing between a look at it and the claim; each try looks and judges anew."""


@dataclass(frozen=True)
class EmergencyRollback:
    """Takes releases out of production.

    Attributes:
        target: where releases run; all that the way back needs.
        recorder: puts the rollback on record.
        audit_log: knows what was released before, where the rollout record does not; None while it is away. Or what
            opens it: then it is opened only once the users are safe, or where nothing else knows where to go.
        log: told what is waited for.
        images: says what an image from the history really is. What the rollout record names is started without asking.
    """

    target: ReleaseTarget
    recorder: AttemptRecorder
    audit_log: AuditLog | History | None
    log: Log
    images: ImageStore | None = None

    def roll_back(
        self, *, actor: str, reason: str, run_id: str = "", version: str = "", digest: str = "", to: str = ""
    ) -> AttemptRecord:
        """Give production's traffic back to the release before, and revoke the one that had it.

        A release under way is fenced off and undone. After a promotion the colour before takes over: at once while
        one of its replicas answers, after one start of them when none does.

        Args:
            actor: who wants it.
            reason: why, in one sentence.
            run_id: the run that does it; empty if a person does.
            version: what has to go; empty for whatever is under way or else in production.
            digest: the same by image. Something else that is under way is fenced off without being revoked.
            to: the version that is to serve; empty for the one before.

        Raises:
            GoneAlreadyError: if the image that has to go is not in production any more.
            NothingToRollBackError: if there is no release to go back to, what was named is not in production, or
                nothing was named although the last change of production was a rollback already.
            TargetError: if production cannot be changed.
        """
        actor, reason = redacted(actor), redacted(reason)  # They are kept in more than one place.

        def judge() -> tuple[RolloutRecord, Sides]:
            before = self.target.record(Environment.PRODUCTION)
            return before, self._judged(before, version, digest, to)

        return self._carry_out(judge, actor, reason, run_id, CLAIM_SECONDS)

    def sides(self, *, version: str = "", to: str = "") -> Sides:
        """What ``roll_back`` would take out of production, and what would serve; nothing is changed.

        Raises:
            NothingToRollBackError: as ``roll_back`` does.
            TargetError: if production cannot be seen.
        """
        return self._judged(self.target.record(Environment.PRODUCTION), version, "", to, rehearsed=True)

    def _judged(self, before: RolloutRecord, version: str, digest: str, to: str, *, rehearsed: bool = False) -> Sides:
        sides = choose_sides(before, self._history, version=version, digest=digest, to=to, standing=self._standing)
        return sides._replace(good=self._checked(before, sides.good, rehearsed=rehearsed))

    def _carry_out(
        self, judge: Callable[[], tuple[RolloutRecord, Sides]], actor: str, reason: str, run_id: str, seconds: float
    ) -> AttemptRecord:
        """The intent, the traffic, and then everything that may take its time.

        Args:
            judge: looks at production and says what goes and what comes.
            actor: who wants it.
            reason: why.
            run_id: the run that does it; empty for none.
            seconds: how long to look and judge anew while production changes between the look and the claim.
        """
        start, ready_seconds = time.monotonic(), self.recorder.settings.ready_timeout_seconds
        with ExitStack() as held:

            def take() -> tuple[Lease, RolloutRecord, Sides]:
                before, sides = judge()
                lease = self._lease(run_id or f"{actor} (rollback)", before, Takeover.ANYBODY)
                return held.enter_context(lease), before, sides

            # What is under way may be promoted between the look and the claim: then something else has to go back.
            lease, before, (bad, good) = retry(take, seconds, on=(ClaimOutdatedError,), pause=0.1)
            at = self.recorder.clock.time()
            intent = intent_of(before, bad, good, actor=actor, reason=reason, run_id=run_id, at=at)
            lease.enter(Phase.ROLLING_BACK, intent=intent)
            wanted = self._make_active(lease, good) if good and not serves(before, good) else None
            lease.enter(Phase.ROLLING_BACK, scale_down_at=None)
            restore_traffic(self.target, lease.claim, self.log, ready_seconds, lease.check)
            intent = intent.replace(seconds=time.monotonic() - start)
            record = lease.enter(Phase.ROLLING_BACK, intent=intent, previous=None, rolled_back=bad.version)
            # Before anything else: the run that was fenced off is about to notice, and would say less.
            attempt = with_figures(attempt_of(intent), self._seen_at_once(before, intent))
            recorded = [self._put_on_record(line) for line in (attempt, *map(attempt_of, intent.earlier))]
            left = None if all(recorded) else intent
            wanted = wanted or (record.deployments.get(record.active) if record.active else None)
            if record.active and wanted:
                complete(self.target, lease.claim, record.active, wanted)
            scale_down_idle_if_possible(self.target, lease.claim)
            lease.enter(Phase.IDLE, candidate=None, note="", intent=left)
        return attempt

    def finish(self) -> str:
        """Finish a rollback that whoever began it did not.

        Returns:
            One sentence about what was done; empty if there was nothing to finish.

        Raises:
            NothingToRollBackError: if there is no release to go back to.
            TargetError: if production cannot be changed, or somebody else has it.
        """
        record = self.target.record(Environment.PRODUCTION)
        intent = record.intent
        if intent is None or record.owner is not None:
            return ""
        try:
            return self._finish(record, intent)
        except BananaDeliveryError as error:
            publisher = self.recorder.publisher
            digest, occasion = intent.bad.digest, f"not finished/{intent.at}"
            publisher.tell(
                rollback_failed(publisher.model, "", digest, publisher.dagster_url, why=str(error), occasion=occasion)
            )
            raise

    def _finish(self, record: RolloutRecord, intent: RollbackIntent) -> str:
        if record.live and record.live.digest == intent.bad.digest:
            sides = Sides(intent.bad, intent.good)
            if intent.good is None or intent.good.digest == intent.bad.digest:
                sides = choose_sides(record, self._history, digest=intent.bad.digest)
            self._carry_out(lambda: (record, sides), intent.actor, intent.reason, intent.run_id, 0.0)
            return f"the rollback of version {intent.bad.version} was finished"
        recorded = [self._put_on_record(attempt_of(one)) for one in record.pending]
        if not all(recorded):
            return ""
        with self._lease(f"{intent.actor} (rollback)", record) as lease:
            # A release since then is the latest change of production, and this rollback is not.
            latest = intent.good is None or (record.live is not None and record.live.digest == intent.good.digest)
            rolled_back = intent.bad.version if latest else record.rolled_back
            lease.enter(Phase.IDLE, candidate=None, intent=None, rolled_back=rolled_back)
        return f"the rollback of version {intent.bad.version} was put on record"

    def _seen_at_once(self, before: RolloutRecord, intent: RollbackIntent) -> tuple[ShiftStep, ...]:
        """What the users got, if that can be seen in a moment: a router that hangs keeps no line waiting."""
        found: list[ShiftStep] = []
        Beside("counting what users got").do(lambda: found.extend(self._seen(before, intent)))
        return tuple(found)

    def _seen(self, before: RolloutRecord, intent: RollbackIntent) -> tuple[ShiftStep, ...]:
        """What the users got of it since its last step began; nothing where that cannot be seen."""
        if before.baseline is None or intent.colour is None:
            return ()
        try:
            rules = Rules.kept(before.rules)
            plan = rules.plan if rules else self.recorder.policy_file.plan_in_any_case
            snapshot = self.target.traffic(Environment.PRODUCTION)
            step = step_of(plan, before, intent.colour)
            metrics = metrics_since(plan, before.baseline, snapshot, intent.colour, step)
        except (BananaDeliveryError, ValueError) as error:
            LOG.warning("What users got of version %s could not be counted: %s", intent.bad.version, error)
            return ()
        decision, reason = ActionKind.ROLL_BACK.value, intent.reason
        return (ShiftStep(metrics=metrics, decision=decision, reason=reason),) if metrics.requests else ()

    def _lease(self, owner: str, seen: RolloutRecord, takeover: Takeover | None = None) -> Lease:
        """A hold on production, if it still is as it was seen."""
        every = self.recorder.settings.heartbeat_seconds
        return Lease(self.target, Environment.PRODUCTION, owner, heartbeat_seconds=every, seen=seen, takeover=takeover)

    def _put_on_record(self, attempt: AttemptRecord) -> bool:
        """Whether the audit trail has it and people know; they are told and the registry is marked in any case."""
        known = False
        try:
            audit_log = self._history()
            if audit_log is not None:
                # Whoever began it may have died between the two.
                known = audit_log.knows(attempt)
                if not known:
                    return self.recorder.record(audit_log, attempt)
        except Exception:
            LOG.exception("The rollback of version %s is not on record yet.", attempt.version)
        try:
            return self.recorder.publisher.publish(attempt) and known
        except Exception:
            LOG.exception("Nobody could be told of the rollback of version %s yet.", attempt.version)
        return False

    def _history(self) -> AuditLog | None:
        return self.audit_log() if callable(self.audit_log) else self.audit_log

    def _make_active(self, lease: Lease, good: ImageRef) -> Deployment:
        """The idle colour runs the release before, started first where nothing answers, and becomes the active one."""
        target = self.target
        record = lease.enter(Phase.SCALING)
        colour, there = record.idle, record.deployments.get(record.idle)
        if (there is None or there.image.digest != good.digest) and self._has_users(colour):
            # Somebody else's candidate was being tried there; it cannot be replaced under its users.
            restore_traffic(target, lease.claim, self.log)
        wanted = Deployment(image=good, replicas=self._replicas(colour, good))
        timeout = self.recorder.settings.ready_timeout_seconds
        ensure_answers(target, lease.claim, colour, wanted, timeout, log=self.log, check=lease.check)
        lease.enter(Phase.ROLLING_BACK, active=colour, candidate=None, promoted_by="")
        return wanted

    def _standing(self, decisions: Iterable[ManualDecision]) -> tuple[ManualDecision, ...]:
        settings = self.recorder.settings
        return unexpired(decisions, sightings(settings, self.recorder.clock), settings)

    def _checked(self, production: RolloutRecord, good: ImageRef | None, *, rehearsed: bool = False) -> ImageRef | None:
        """What only the history knows is looked at before it is started; the record of production is believed.

        It may have moved since, or the repository of releases: what it is, the record says by its digest, and the store
        where.

        Raises:
            NothingToRollBackError: if it is not the release that it is said to be, or that cannot be seen.
        """
        known = {deployment.image.digest for deployment in production.deployments.values()}
        known |= {production.previous.digest} if production.previous else set()
        if good is None or good.digest in known or self.images is None:
            return good
        audit_log = self._history()
        if audit_log is None:
            return good
        try:
            at_home = self.images.peek if rehearsed else self.images.resolve
            return _proven(audit_log, self.images, good, self.recorder.settings, at_home)
        except (BadSettingsError, GateError, ImageError) as error:
            raise NothingToRollBackError(f"{error} Nothing was changed.") from error

    def _has_users(self, colour: Colour) -> bool:
        return bool(self.target.observed(Environment.PRODUCTION).weights.get(colour))

    def _replicas(self, colour: Colour, good: ImageRef) -> int:
        """As many as are warm: a bad release may have grown to any number, and users do not wait for as many more."""
        warm = self.target.record(Environment.PRODUCTION).deployments.get(colour)
        if warm and warm.image.digest == good.digest and warm.replicas:
            return warm.replicas
        return self.target.default_replicas(Environment.PRODUCTION)


def _proven(audit_log: AuditLog, images: ImageStore, good: ImageRef, settings: Settings, at_home: Find) -> ImageRef:
    """The release itself, where it is now; ``at_home`` finds it where releases are kept.

    Raises:
        BadSettingsError: see ``refuse_stranger``.
        GateError: likewise.
        ImageError: if it cannot be seen, neither where it was nor where releases are kept now.
    """
    try:
        refuse_stranger(audit_log, images, good, good.version, settings)
    except UnreachableError:
        raise  # Whoever waits for a way back does not wait for the same silence twice.
    except ImageError:
        # Not where it was: asking for it elsewhere leases it, for which an account may not suffice that reads.
        good = _moved(at_home(good.digest), good)
        refuse_stranger(audit_log, images, good, good.version, settings)
    return good


def _moved(there: ImageRef | None, good: ImageRef) -> ImageRef:
    """An image where releases are kept now, as it was found there.

    Raises:
        ImageError: if it is not there.
    """
    if there is None:
        raise ImageError(
            f"The image of version {good.version}, {good.digest}, was released from {good.repository} and is not where "
            "the settings keep releases now: copy it there by its digest, or, if BANANA_REGISTRY_REPOSITORY changed, "
            "set it back for this command."
        )
    return good.replace(repository=there.repository)
