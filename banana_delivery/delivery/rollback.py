"""The way back: the active colour gets all traffic, by one weight change; everything else may take its time.

``rollback_on_exit`` undoes a release under way, whatever ended it; ``roll_back`` undoes one because a person, or the
watch after a promotion, says so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.readiness import wait_until_ready
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.errors import DriftError, FencedError, NothingToRollBackError, TargetError
from banana_delivery.evaluation.base import Log
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import COLOURS, Colour, Environment, ImageRef, Outcome, Phase, RolloutRecord
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.targets.base import Claim, ReleaseTarget
from banana_delivery.waiting import Clock, retry

LOG = logging.getLogger(__name__)
RESTORE_SECONDS = 120.0
"""How long restoring traffic is tried before the reconcile sensor has to do it."""


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


def resume(target: ReleaseTarget, environment: Environment, owner: str, now: float) -> None:
    """End the hold after a hand edit: the active colour runs as recorded and has all traffic, and work may go on.

    Raises:
        TargetError: if the environment is not held, or the target cannot be reached.
    """
    record = target.record(environment)
    if record.phase is not Phase.DRIFTED:
        raise TargetError(f"{environment.capitalize()} is not held, so there is nothing to resume.")
    claim = target.claim(environment, owner, takeover=True)
    deployment = record.deployments.get(record.active) if record.active else None
    if record.active and deployment:
        observed = target.observed(environment)
        if observed.digests.get(record.active) != deployment.image.digest:
            target.deploy(claim, record.active, deployment.image, deployment.replicas)
        elif observed.replicas.get(record.active) != deployment.replicas:
            target.scale(claim, record.active, deployment.replicas)
    _settle(target, claim, now)


def take_over(
    target: ReleaseTarget, environment: Environment, owner: str, now: float, *, takeover: bool = True
) -> None:
    """Take an environment, by default from whoever has it, and bring it back to one stable colour at rest.

    Raises:
        TargetError: if the target cannot be reached, or production may not be taken over and somebody has it.
    """
    _settle(target, target.claim(environment, owner, takeover=takeover), now)


def _settle(target: ReleaseTarget, claim: Claim, now: float) -> None:
    if claim.environment is Environment.PRODUCTION:
        restore_traffic(target, claim)
        scale_down_idle_if_possible(target, claim, now)
    target.write(claim, target.record(claim.environment).replace(phase=Phase.IDLE, candidate=None, note=""))
    target.release(claim)


def roll_back(
    audit_log: AuditLog,
    target: ReleaseTarget,
    recorder: AttemptRecorder,
    *,
    actor: str,
    reason: str,
    run_id: str = "",
    digest: str = "",
    log: Log,
) -> AttemptRecord:
    """Give production's traffic back to the release before, and revoke the one that had it.

    A release under way is fenced off and undone. After a promotion the colour before takes over: at once while it is
    warm, after one start of its replicas when it is not.

    Args:
        audit_log: knows what was released before.
        target: where releases run.
        recorder: puts the rollback on record.
        actor: who wants it.
        reason: why, in one sentence.
        run_id: the run that does it; empty if a person does.
        digest: the image that has to go; empty for whatever is under way or else in production. Something else that is
            under way is fenced off without being revoked.
        log: told what is waited for.

    Raises:
        NothingToRollBackError: if there is no release to go back to.
        TargetError: if production cannot be changed.
    """
    settings, clock = recorder.settings, recorder.clock
    before = target.record(Environment.PRODUCTION)
    under_way = _is_under_way(before, digest)
    bad, good = _sides(audit_log, before, digest, under_way=under_way)
    start = time.monotonic()
    owner = run_id or f"{actor} (rollback)"
    with Lease(
        target, Environment.PRODUCTION, owner, heartbeat_seconds=settings.heartbeat_seconds, takeover=True
    ) as lease:
        if good and not under_way:
            _make_active(target, lease, good, settings.ready_timeout_seconds, log)
        lease.enter(Phase.ROLLING_BACK, scale_down_at=None)
        restore_traffic(target, lease.claim)
        seconds = time.monotonic() - start
        attempt = AttemptRecord(
            version=bad.version,
            outcome=Outcome.ROLLED_BACK,
            reason=f"{actor} rolled production back: {reason}",
            digest=bad.digest,
            previous_digest=good.digest if good else "",
            serving_version=good.version if good else "",
            colour=before.idle if under_way else before.active,
            rollback_seconds=seconds,
            trigger="rollback",
            actor=actor,
            run_id=before.owner or "" if under_way else run_id,
            at=clock.time(),
            seconds=seconds,
            revoked=True,
        )
        # Before anything else: the run that was fenced off is about to notice, and would write down less.
        recorder.record(audit_log, attempt)
        scale_down_idle_if_possible(target, lease.claim, clock.time())
        lease.enter(Phase.IDLE, candidate=None, note="")
    return attempt


def _is_under_way(production: RolloutRecord, digest: str) -> bool:
    if production.candidate is None or (production.owner is None and production.phase is not Phase.DRIFTED):
        return False
    return digest in {"", production.candidate.digest}


def _sides(
    audit_log: AuditLog, production: RolloutRecord, digest: str, *, under_way: bool
) -> tuple[ImageRef, ImageRef | None]:
    """What is taken out, and what serves afterwards: never something that was not released before."""
    if under_way and production.candidate:
        return production.candidate, production.live
    if digest and (production.live is None or production.live.digest != digest):
        raise NothingToRollBackError(f"{digest[:19]} is not in production any more; nothing was changed.")
    previous = previous_release(audit_log.attempts(), production.live.digest) if production.live else None
    ref = audit_log.image(previous.version, previous.digest) if previous else None
    if production.live is None or ref is None:
        raise NothingToRollBackError(
            "Production has no release before the present one to go back to; deliver a good version instead."
        )
    return production.live, ref


def previous_release(attempts: Sequence[AttemptRecord], live_digest: str) -> AttemptRecord | None:
    """The newest release of another digest whose version was not revoked since.

    Args:
        attempts: the whole audit trail, newest first.
        live_digest: what production serves now.
    """
    revoked = set()
    for attempt in attempts:
        if attempt.revoked:
            revoked.add(attempt.version)
        elif attempt.outcome is Outcome.RELEASED and attempt.digest != live_digest and attempt.version not in revoked:
            return attempt
    return None


def _make_active(target: ReleaseTarget, lease: Lease, good: ImageRef, ready_seconds: float, log: Log) -> None:
    """The idle colour runs the release before, started first if it is cold, and becomes the active one."""
    colour = lease.enter(Phase.SCALING).idle
    if target.observed(Environment.PRODUCTION).weights.get(colour):
        # Somebody else's candidate was being tried there; it cannot be replaced under its users.
        restore_traffic(target, lease.claim)
    target.deploy(lease.claim, colour, good, _replicas(target, colour, good))
    wait_until_ready(target, lease, Environment.PRODUCTION, colour, ready_seconds, log)
    lease.enter(Phase.ROLLING_BACK, active=colour, candidate=None)


def _replicas(target: ReleaseTarget, colour: Colour, good: ImageRef) -> int:
    """As many as are warm: a bad release may have grown to any number, and users do not wait for as many more."""
    warm = target.record(Environment.PRODUCTION).deployments.get(colour)
    if warm and warm.image.digest == good.digest and warm.replicas:
        return warm.replicas
    return target.default_replicas(Environment.PRODUCTION)
