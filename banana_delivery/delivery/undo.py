"""Rolling production back because a person, or the watch after a promotion, says so."""

from __future__ import annotations

import time
from collections.abc import Sequence

import dagster as dg

from banana_delivery.delivery.history import History
from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.ready import wait_until_ready
from banana_delivery.delivery.recording import record
from banana_delivery.delivery.restore import cool_down_if_possible, restore_traffic
from banana_delivery.policy.outcomes import Outcome
from banana_delivery.policy.records import Colour, Environment, ImageRef, Phase, RolloutRecord
from banana_delivery.policy.releases import AttemptRecord
from banana_delivery.services import Services
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.traffic.evidence import Log


class NothingToRollBackError(Exception):
    """Production has no release to go back to; one sentence."""


def roll_back(
    instance: dg.DagsterInstance,
    services: Services,
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
        instance: where the audit trail is.
        services: what the pipeline works with.
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
    target = services.target
    before = target.record(Environment.PRODUCTION)
    under_way = _is_under_way(before, digest)
    bad, good = _sides(instance, before, digest, under_way=under_way)
    start = time.monotonic()
    owner = run_id or f"{actor} (rollback)"
    with Lease(
        target, Environment.PRODUCTION, owner, heartbeat_seconds=services.settings.heartbeat_seconds, steal=True
    ) as held:
        if good and not under_way:
            _make_active(services, held, good, log)
        held.enter(Phase.ROLLING_BACK, warm_until=None)
        restore_traffic(target, held.claim)
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
            at=time.time(),
            seconds=seconds,
            revoked=True,
        )
        # Before anything else: the run that was fenced off is about to notice, and would write down less.
        record(instance, services, attempt)
        cool_down_if_possible(target, held.claim)
        held.enter(Phase.IDLE, candidate=None, note="")
    return attempt


def _is_under_way(production: RolloutRecord, digest: str) -> bool:
    if production.candidate is None or (production.owner is None and production.phase is not Phase.HELD):
        return False
    return digest in {"", production.candidate.digest}


def _sides(
    instance: dg.DagsterInstance, production: RolloutRecord, digest: str, *, under_way: bool
) -> tuple[ImageRef, ImageRef | None]:
    """What is taken out, and what serves afterwards: never something that was not released before."""
    if under_way and production.candidate:
        return production.candidate, production.live
    if digest and (production.live is None or production.live.digest != digest):
        raise NothingToRollBackError(f"{digest[:19]} is not in production any more; nothing was changed.")
    history = History(instance)
    previous = previous_release(history.attempts(), production.live.digest) if production.live else None
    ref = history.image(previous.version, previous.digest) if previous else None
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


def _make_active(services: Services, held: Lease, good: ImageRef, log: Log) -> None:
    """The idle colour runs the release before, started first if it is cold, and becomes the active one."""
    target = services.target
    colour = held.enter(Phase.SCALING).idle
    if target.observed(Environment.PRODUCTION).weights.get(colour):
        # Somebody else's candidate was being tried there; it cannot be replaced under its users.
        restore_traffic(target, held.claim)
    target.deploy(held.claim, colour, good, _replicas(target, colour, good))
    wait_until_ready(target, held, Environment.PRODUCTION, colour, services.settings.ready_timeout_seconds, log)
    held.enter(Phase.ROLLING_BACK, active=colour, candidate=None)


def _replicas(target: ReleaseTarget, colour: Colour, good: ImageRef) -> int:
    """As many as are warm: a bad release may have grown to any number, and users do not wait for as many more."""
    warm = target.record(Environment.PRODUCTION).deployments.get(colour)
    if warm and warm.image.digest == good.digest and warm.replicas:
        return warm.replicas
    return target.default_replicas(Environment.PRODUCTION)
