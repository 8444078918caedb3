"""The way back: the active colour gets all traffic, by one weight change; everything else may take its time.

``rollback_on_exit`` undoes a release under way, whatever ended it. ``EmergencyRollback`` is what a person, or the watch
after a promotion, does. It needs the target alone: what serves instead, and that something is being revoked, stands in
the rollout record; the history, the registry and the people come after the traffic, and what cannot be done then is
made good later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.readiness import wait_until_ready
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.errors import DriftError, FencedError, NothingToRollBackError, TargetError
from banana_delivery.evaluation.base import Log
from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import (
    COLOURS,
    Colour,
    Environment,
    ImageRef,
    Outcome,
    Phase,
    RollbackIntent,
    RolloutRecord,
)
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.targets.base import Claim, ReleaseTarget
from banana_delivery.waiting import Clock, retry, wait_until

LOG = logging.getLogger(__name__)
RESTORE_SECONDS = 120.0
"""How long restoring traffic is tried before the reconcile sensor has to do it."""

UNFINISHED_SECONDS = 90.0
"""How long a delivery waits for that: an owner is found dead within half of it."""


def restore_traffic(target: ReleaseTarget, claim: Claim) -> float:
    """Give the active colour of production all user traffic.

    Tried again while the target does not answer, for at most ``RESTORE_SECONDS``.

    Returns:
        Seconds until the router had taken it up.

    Raises:
        FencedError: if somebody else has taken the environment over; then it is theirs to restore.
        TargetError: if it could not be done in time.
    """
    start = time.monotonic()
    retry(lambda: target.set_weights(claim, target.record(claim.environment).resting_weights), RESTORE_SECONDS)
    return time.monotonic() - start


def let_rollback_finish(target: ReleaseTarget, clock: Clock) -> None:
    """Wait until a rollback that somebody began and did not live to finish is finished by whoever reconciles.

    Until it is on record, nothing there says what it revoked; and who begins a delivery meanwhile would keep what has
    to go in service for as long as that takes.

    Raises:
        TargetError: if it is not finished in time, or the target does not answer.
    """
    wait_until(
        lambda: target.record(Environment.PRODUCTION).intent,
        UNFINISHED_SECONDS,
        lambda intent: TargetError(
            f"{intent.actor if intent else 'Somebody'} began to roll production back, and that is not finished or not "
            f"on record yet. See what hinders it with {commands.status()}, then deliver again."
        ),
        done=lambda intent: intent is None,
        pause=1.0,
        clock=clock,
    )


def scale_down_idle(target: ReleaseTarget, claim: Claim, now: float) -> None:
    """Scale every production colour that is not active to nothing, unless it is to stay warm for a rollback."""
    record = target.record(claim.environment)
    if record.scale_down_at is not None and now < record.scale_down_at:
        return
    for colour in COLOURS[claim.environment]:
        deployment = record.deployments.get(colour)
        if colour is not record.active and deployment and deployment.replicas > 0:
            target.scale(claim, colour, 0)


def scale_down_idle_if_possible(target: ReleaseTarget, claim: Claim, now: float) -> None:
    """The same where users are safe already: what cannot be scaled down now is left to the sensor that does it.

    Raises:
        FencedError: if somebody else has taken the environment over.
    """
    try:
        scale_down_idle(target, claim, now)
    except FencedError:
        raise
    except TargetError as error:
        LOG.warning("The colour without traffic was not scaled down yet: %s", error)


@dataclass
class RollbackGuard:
    """What ``rollback_on_exit`` needs to know at its end.

    Attributes:
        armed: whether the traffic has to go back when the block ends.
        rollback_seconds: how long the way back took; None if none was needed.
    """

    armed: bool = True
    rollback_seconds: float | None = None

    def disarm(self) -> None:
        """The candidate owns the traffic for good, or it is somebody else's: there is nothing to restore."""
        self.armed = False


@contextmanager
def rollback_on_exit(target: ReleaseTarget, lease: Lease, clock: Clock) -> Iterator[RollbackGuard]:
    """Whatever ends the block before promotion (a verdict, an error, a cancel), production's traffic is restored.

    Two ends are left alone on purpose: a hand edit, because a person is at work, and a lost claim, because somebody
    else is.
    """
    guard = RollbackGuard()
    try:
        yield guard
    except (DriftError, FencedError):
        guard.disarm()
        raise
    finally:
        if guard.armed:
            guard.rollback_seconds = _go_back_undisturbed(target, lease, clock)


def _go_back_undisturbed(target: ReleaseTarget, lease: Lease, clock: Clock) -> float:
    """The way back, begun anew if a cancel arrives on it; the cancel is raised at its end."""
    try:
        return _go_back(target, lease, clock)
    except Exception:
        raise
    except BaseException:  # A cancel, however whoever runs this sends it.
        _go_back(target, lease, clock)
        raise


def _go_back(target: ReleaseTarget, lease: Lease, clock: Clock) -> float:
    retry(lambda: lease.enter(Phase.ROLLING_BACK), RESTORE_SECONDS)
    seconds = restore_traffic(target, lease.claim)
    scale_down_idle_if_possible(target, lease.claim, clock.time())
    retry(lambda: lease.enter(Phase.ROLLING_BACK, candidate=None), RESTORE_SECONDS)
    return seconds


@dataclass(frozen=True)
class EmergencyRollback:
    """Takes releases out of production.

    Attributes:
        target: where releases run; all that the way back needs.
        recorder: puts the rollback on record.
        audit_log: knows what was released before, where the rollout record does not; None while it is away.
        log: told what is waited for.
    """

    target: ReleaseTarget
    recorder: AttemptRecorder
    audit_log: AuditLog | None
    log: Log

    def roll_back(
        self, *, actor: str, reason: str, run_id: str = "", version: str = "", digest: str = ""
    ) -> AttemptRecord:
        """Give production's traffic back to the release before, and revoke the one that had it.

        A release under way is fenced off and undone. After a promotion the colour before takes over: at once while it
        is warm, after one start of its replicas when it is not.

        Args:
            actor: who wants it.
            reason: why, in one sentence.
            run_id: the run that does it; empty if a person does.
            version: what has to go; empty for whatever is under way or else in production.
            digest: the same by image. Something else that is under way is fenced off without being revoked.

        Raises:
            NothingToRollBackError: if there is no release to go back to, what was named is not in production, or
                nothing was named although the last change of production was a rollback already.
            TargetError: if production cannot be changed.
        """
        settings, clock = self.recorder.settings, self.recorder.clock
        before = self.target.record(Environment.PRODUCTION)
        under_way = _is_under_way(before, version, digest)
        bad, good = self._sides(before, version, digest, under_way=under_way)
        intent = RollbackIntent(
            bad=bad,
            good=good,
            colour=before.idle if under_way else before.active,
            actor=actor,
            reason=reason,
            run_id=before.owner or "" if under_way else run_id,
            at=clock.time(),
        )
        start = time.monotonic()
        owner = run_id or f"{actor} (rollback)"
        heartbeat = settings.heartbeat_seconds
        with Lease(self.target, Environment.PRODUCTION, owner, heartbeat_seconds=heartbeat, takeover=True) as lease:
            lease.enter(Phase.ROLLING_BACK, intent=intent)
            if good and not under_way:
                self._make_active(lease, good)
            lease.enter(Phase.ROLLING_BACK, scale_down_at=None)
            restore_traffic(self.target, lease.claim)
            intent = intent.replace(seconds=time.monotonic() - start)
            lease.enter(Phase.ROLLING_BACK, intent=intent, previous=None, rolled_back=bad.version)
            # Before anything else: the run that was fenced off is about to notice, and would say less.
            attempt = attempt_of(intent)
            if before.intent and before.intent.bad.digest != bad.digest:
                self._put_on_record(attempt_of(before.intent))
            left = None if self._put_on_record(attempt) else intent
            scale_down_idle_if_possible(self.target, lease.claim, clock.time())
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
        if record.live and record.live.digest == intent.bad.digest:
            self.roll_back(actor=intent.actor, reason=intent.reason, run_id=intent.run_id, digest=intent.bad.digest)
            return f"the rollback of version {intent.bad.version} was finished"
        if not self._put_on_record(attempt_of(intent)):
            return ""
        owner, heartbeat = f"{intent.actor} (rollback)", self.recorder.settings.heartbeat_seconds
        with Lease(self.target, Environment.PRODUCTION, owner, heartbeat_seconds=heartbeat) as lease:
            # A release since then is the latest change of production, and this rollback is not.
            latest = intent.good is None or (record.live is not None and record.live.digest == intent.good.digest)
            lease.enter(Phase.IDLE, intent=None, rolled_back=intent.bad.version if latest else record.rolled_back)
        return f"the rollback of version {intent.bad.version} was put on record"

    def _put_on_record(self, attempt: AttemptRecord) -> bool:
        """Whether the audit trail has it and people know; they are told and the registry is marked in any case."""
        known = False
        try:
            if self.audit_log is not None:
                # Whoever began it may have died between the two.
                known = self.audit_log.knows(attempt)
                if not known:
                    return self.recorder.record(self.audit_log, attempt)
        except Exception:
            LOG.exception("The rollback of version %s is not on record yet.", attempt.version)
        try:
            return self.recorder.publisher.publish(attempt) and known
        except Exception:
            LOG.exception("Nobody could be told of the rollback of version %s yet.", attempt.version)
        return False

    def _sides(
        self, production: RolloutRecord, version: str, digest: str, *, under_way: bool
    ) -> tuple[ImageRef, ImageRef | None]:
        """What is taken out, and what serves afterwards: never something that was not released before."""
        live = production.live
        if under_way and production.candidate:
            return production.candidate, live
        if digest and (live is None or live.digest != digest):
            raise NothingToRollBackError(f"{digest[:19]} is not in production any more; nothing was changed.")
        if version and (live is None or live.version != version):
            serving = f"version {live.version} is" if live else "nothing is"
            raise NothingToRollBackError(f"Version {version} is not in production, {serving}; nothing was changed.")
        if live and production.rolled_back and not (version or digest):
            raise NothingToRollBackError(
                f"Version {production.rolled_back} was rolled back already, and version {live.version} serves; nothing "
                f"was changed. To take that one out too, type: {commands.rollback(live.version)}"
            )
        ref = self._release_before(production, live) if live else None
        if live is None or ref is None:
            raise NothingToRollBackError(
                "Production has no release before the present one to go back to; deliver a good version instead."
            )
        return live, ref

    def _release_before(self, production: RolloutRecord, live: ImageRef) -> ImageRef | None:
        if production.previous and production.previous.digest != live.digest:
            return production.previous
        if self.audit_log is None:
            raise NothingToRollBackError(
                "The record of production names no release before the present one, and the audit trail does not "
                "answer; bring Dagster's database back, or deliver a good version."
            )
        # What was rolled back while the audit trail was away is not revoked there yet.
        gone = {production.rolled_back, production.intent.bad.version if production.intent else ""}
        previous = previous_release(self.audit_log.attempts(), live.digest, gone)
        return self.audit_log.image(previous.version, previous.digest) if previous else None

    def _make_active(self, lease: Lease, good: ImageRef) -> None:
        """The idle colour runs the release before, started first if it is cold, and becomes the active one."""
        target = self.target
        colour = lease.enter(Phase.SCALING).idle
        if target.observed(Environment.PRODUCTION).weights.get(colour):
            # Somebody else's candidate was being tried there; it cannot be replaced under its users.
            restore_traffic(target, lease.claim)
        target.deploy(lease.claim, colour, good, self._replicas(colour, good))
        timeout = self.recorder.settings.ready_timeout_seconds
        wait_until_ready(target, lease, Environment.PRODUCTION, colour, timeout, self.log)
        lease.enter(Phase.ROLLING_BACK, active=colour, candidate=None)

    def _replicas(self, colour: Colour, good: ImageRef) -> int:
        """As many as are warm: a bad release may have grown to any number, and users do not wait for as many more."""
        warm = self.target.record(Environment.PRODUCTION).deployments.get(colour)
        if warm and warm.image.digest == good.digest and warm.replicas:
            return warm.replicas
        return self.target.default_replicas(Environment.PRODUCTION)


def attempt_of(intent: RollbackIntent) -> AttemptRecord:
    """The line of the audit trail about a rollback."""
    good, seconds = intent.good, intent.seconds or 0.0
    return AttemptRecord(
        version=intent.bad.version,
        outcome=Outcome.ROLLED_BACK,
        reason=f"{intent.actor} rolled production back: {intent.reason}",
        digest=intent.bad.digest,
        previous_digest=good.digest if good else "",
        serving_version=good.version if good else "",
        colour=intent.colour,
        rollback_seconds=seconds,
        trigger="rollback",
        actor=intent.actor,
        run_id=intent.run_id,
        at=intent.at,
        seconds=seconds,
        revoked=True,
    )


def _is_under_way(production: RolloutRecord, version: str, digest: str) -> bool:
    candidate = production.candidate
    if candidate is None or (production.owner is None and production.phase is not Phase.DRIFTED):
        return False
    if production.live and production.live.digest == candidate.digest:
        return False  # What serves is being delivered once more; undoing that alone would leave it in production.
    return digest in {"", candidate.digest} and version in {"", candidate.version}


def previous_release(
    attempts: Sequence[AttemptRecord], live_digest: str, gone: Collection[str] = ()
) -> AttemptRecord | None:
    """The newest release of another digest whose version was not revoked since.

    Args:
        attempts: the whole audit trail, newest first.
        live_digest: what production serves now.
        gone: versions that are revoked though the audit trail does not say so yet.
    """
    revoked = set(gone)
    for attempt in attempts:
        if attempt.revoked:
            revoked.add(attempt.version)
        elif attempt.outcome is Outcome.RELEASED and attempt.digest != live_digest and attempt.version not in revoked:
            return attempt
    return None
