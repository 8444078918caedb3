"""Letting the replaced colour go once its time to stay warm is over."""

from __future__ import annotations

from banana_delivery.delivery.lease import SCALER, Lease
from banana_delivery.delivery.rollback import scale_down_idle
from banana_delivery.policy.model import COLOURS, Environment, Phase, RolloutRecord
from banana_delivery.targets.base import ReleaseTarget


def is_due(record: RolloutRecord, now: float) -> bool:
    """Whether production rests, and a colour without traffic still runs although nobody needs it any more."""
    if record.owner is not None or record.phase is not Phase.IDLE or record.active is None:
        return False
    warm = record.scale_down_at is not None and now < record.scale_down_at
    idle = record.deployments.get(record.active.other)
    return not warm and idle is not None and idle.replicas > 0


def scale_down_if_due(target: ReleaseTarget, heartbeat_seconds: float, now: float) -> str:
    """Scale the idle colour down if it is time.

    Returns:
        One sentence about what was done or why not.

    Raises:
        TargetError: if somebody else holds production, or it cannot be reached.
    """
    record = target.record(Environment.PRODUCTION)
    if not is_due(record, now):
        return f"Nothing to cool down among {', '.join(COLOURS[Environment.PRODUCTION])}."
    with Lease(target, Environment.PRODUCTION, SCALER, heartbeat_seconds=heartbeat_seconds) as lease:
        scale_down_idle(target, lease.claim, now)
        lease.enter(Phase.IDLE, scale_down_at=None)
    return f"{record.idle} was scaled down; its release stays known, and starts again when it is needed."
