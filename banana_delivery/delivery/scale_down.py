"""Letting replicas go that nobody needs: the replaced colour's once it was warm long enough, staging's if told to."""

from __future__ import annotations

from contextlib import suppress

from banana_delivery.delivery.lease import SCALER, Lease
from banana_delivery.delivery.rollback import scale_down_idle
from banana_delivery.errors import FencedError, TargetError
from banana_delivery.policy.drift import is_at_rest
from banana_delivery.policy.model import COLOURS, Colour, Environment, Phase, RolloutRecord
from banana_delivery.settings import Settings
from banana_delivery.targets.base import Claim, ReleaseTarget
from banana_delivery.targets.sightings import Sightings


def is_due(record: RolloutRecord, warm_for: float, warm_seconds: float) -> bool:
    """Whether production rests, and a colour without traffic still runs although nobody needs it any more.

    Args:
        record: of production.
        warm_for: seconds for which it was seen to be warm since the latest promotion.
        warm_seconds: how long it stays so.
    """
    if record.owner is not None or record.phase is not Phase.IDLE or record.active is None:
        return False
    if record.scale_down_at is not None:
        return warm_for >= warm_seconds
    idle = record.deployments.get(record.active.other)
    return idle is not None and idle.replicas > 0


def scale_down_if_due(target: ReleaseTarget, sightings: Sightings, settings: Settings) -> str:
    """Scale the idle colour down if it is time, by the time that this observer has seen pass since the promotion.

    Args:
        target: where releases run.
        sightings: knows since when the present promotion has been seen.
        settings: how long the replaced colour stays warm.

    Returns:
        One sentence about what was done or why not.

    Raises:
        TargetError: if somebody else holds production, or it cannot be reached.
    """
    record = target.record(Environment.PRODUCTION)
    # The moment is no promise here, only what tells one promotion from every other.
    digest = record.live.digest if record.live else ""
    warm_for = sightings.lasted("promotion", f"{record.scale_down_at!r} {digest}")
    if not is_due(record, warm_for, settings.warm_seconds):
        return f"Nothing to cool down among {', '.join(COLOURS[Environment.PRODUCTION])}."
    every = settings.heartbeat_seconds
    with Lease(target, Environment.PRODUCTION, SCALER, heartbeat_seconds=every, seen=record) as lease:
        lease.enter(Phase.IDLE, scale_down_at=None)
        scale_down_idle(target, lease.claim)
    return f"{record.idle} was scaled down; its release stays known, and starts again when it is needed."


def staging_is_due(staging: RolloutRecord, quiet_for: float, idle_seconds: float | None) -> bool:
    """Whether staging rests, and replicas still run there that no delivery has needed for long enough.

    Args:
        staging: its record.
        quiet_for: seconds for which staging and production were seen to rest unchanged.
        idle_seconds: how long it keeps its replicas; None: for good.
    """
    deployment = staging.deployments.get(Colour.SOLE)
    runs = is_at_rest(staging) and deployment is not None and deployment.replicas > 0
    return runs and idle_seconds is not None and quiet_for >= idle_seconds


def scale_staging_down_if_due(target: ReleaseTarget, sightings: Sightings, settings: Settings) -> str:
    """Scale staging to nothing if no delivery was seen for long enough, by this observer's own time.

    A delivery has one of the two environments nearly all the time, and each claim makes the count begin anew. Nothing
    is taken from between its steps, and the next one deploys to staging again, whatever release it is.

    Args:
        target: where releases run.
        sightings: knows since when both environments have been seen to rest.
        settings: how long staging keeps its replicas.

    Returns:
        One sentence about what was done or why not.

    Raises:
        TargetError: if somebody else holds staging, or it cannot be reached.
    """
    if settings.staging_idle_seconds is None:
        return "Staging keeps its replicas."
    staging, production = target.record(Environment.STAGING), target.record(Environment.PRODUCTION)
    sign = " ".join(f"{one.generation} {one.owner} {one.phase}" for one in (staging, production))
    quiet_for = sightings.lasted("quiet", sign) if production.owner is None else 0.0
    if not staging_is_due(staging, quiet_for, settings.staging_idle_seconds):
        return "Nothing to scale down in staging."
    every = settings.heartbeat_seconds
    with Lease(target, Environment.STAGING, SCALER, heartbeat_seconds=every, seen=staging) as lease:
        _to_nothing(target, lease.claim, staging.deployments[Colour.SOLE].replicas)
    return "Staging was scaled to nothing; the next delivery starts its replicas again."


def _to_nothing(target: ReleaseTarget, claim: Claim, running: int) -> None:
    """Scale staging to nothing, or leave it on record as running: what says that it sleeps is never looked at again.

    Raises:
        TargetError: if it could not be scaled.
    """
    try:
        target.scale(claim, Colour.SOLE, 0)
    except FencedError:
        raise
    except TargetError:
        with suppress(TargetError):
            target.scale(claim, Colour.SOLE, running)
        raise
