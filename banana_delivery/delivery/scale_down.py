"""Letting the replaced colour go once its time to stay warm is over."""

from __future__ import annotations

from banana_delivery.delivery.lease import SCALER, Lease
from banana_delivery.delivery.rollback import scale_down_idle
from banana_delivery.policy.model import COLOURS, Environment, Phase, RolloutRecord
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget
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
