"""The way back: the active colour gets all traffic, by one weight change; everything else may take its time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg

from banana_delivery.delivery.lease import HeldError, Lease
from banana_delivery.delivery.patience import patiently
from banana_delivery.policy.records import COLOURS, Environment, Phase
from banana_delivery.targets.base import Claim, FencedError, ReleaseTarget, TargetError

LOG = logging.getLogger(__name__)
RESTORE_SECONDS = 120.0
"""How long restoring traffic is tried before the reconcile sensor has to do it."""


def restore_traffic(target: ReleaseTarget, claim: Claim) -> float:
    """Give the active colour of production all user traffic.

    Tried again while the place does not answer, for at most ``RESTORE_SECONDS``.

    Returns:
        Seconds until the router had taken it up.

    Raises:
        FencedError: if somebody else has taken the environment over; then it is theirs to restore.
        TargetError: if it could not be done in time.
    """
    start = time.monotonic()
    patiently(lambda: target.set_weights(claim, target.record(claim.environment).resting_weights), RESTORE_SECONDS)
    return time.monotonic() - start


def cool_down(target: ReleaseTarget, claim: Claim) -> None:
    """Scale every production colour that is not active to nothing, unless it is to stay warm for a rollback."""
    record = target.record(claim.environment)
    if record.warm_until is not None and time.time() < record.warm_until:
        return
    for colour in COLOURS[claim.environment]:
        deployment = record.deployments.get(colour)
        if colour is not record.active and deployment and deployment.replicas > 0:
            target.scale(claim, colour, 0)


def cool_down_if_possible(target: ReleaseTarget, claim: Claim) -> None:
    """The same where users are safe already: what cannot be scaled down now is left to the sensor that does it.

    Raises:
        FencedError: if somebody else has taken the environment over.
    """
    try:
        cool_down(target, claim)
    except FencedError:
        raise
    except TargetError as error:
        LOG.warning("The colour without traffic was not scaled down yet: %s", error)


@dataclass
class Guard:
    """What ``guarded`` needs to know at its end.

    Attributes:
        promoted: set once the candidate owns the traffic for good; then there is nothing to restore.
        rollback_seconds: how long the way back took; None if none was needed.
    """

    promoted: bool = False
    rollback_seconds: float | None = None


@contextmanager
def guarded(target: ReleaseTarget, lease: Lease) -> Iterator[Guard]:
    """Whatever ends the block before promotion (a verdict, an error, a cancel), production's traffic is restored.

    Two ends are left alone on purpose: a hand edit, because a person is at work, and a lost claim, because somebody
    else is.
    """
    guard = Guard()
    try:
        yield guard
    except (HeldError, FencedError):
        guard.promoted = True
        raise
    finally:
        if not guard.promoted:
            guard.rollback_seconds = _go_back_undisturbed(target, lease)


def _go_back_undisturbed(target: ReleaseTarget, lease: Lease) -> float:
    """The way back, begun anew if a cancel arrives on it; the cancel is raised at its end."""
    try:
        return _go_back(target, lease)
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        _go_back(target, lease)
        raise


def _go_back(target: ReleaseTarget, lease: Lease) -> float:
    patiently(lambda: lease.enter(Phase.ROLLING_BACK), RESTORE_SECONDS)
    seconds = restore_traffic(target, lease.claim)
    cool_down_if_possible(target, lease.claim)
    patiently(lambda: lease.enter(Phase.ROLLING_BACK, candidate=None), RESTORE_SECONDS)
    return seconds


def resume(target: ReleaseTarget, environment: Environment, owner: str) -> None:
    """End the hold after a hand edit: the active colour runs as recorded and has all traffic, and work may go on.

    Raises:
        TargetError: if the environment is not held, or the place cannot be reached.
    """
    record = target.record(environment)
    if record.phase is not Phase.HELD:
        raise TargetError(f"{environment.capitalize()} is not held, so there is nothing to resume.")
    claim = target.claim(environment, owner, steal=True)
    deployment = record.deployments.get(record.active) if record.active else None
    if record.active and deployment:
        observed = target.observed(environment)
        if observed.digests.get(record.active) != deployment.image.digest:
            target.deploy(claim, record.active, deployment.image, deployment.replicas)
        elif observed.replicas.get(record.active) != deployment.replicas:
            target.scale(claim, record.active, deployment.replicas)
    _settle(target, claim)


def take_over(target: ReleaseTarget, environment: Environment, owner: str, *, steal: bool = True) -> None:
    """Take an environment, by default from whoever has it, and bring it back to one stable colour at rest.

    Raises:
        TargetError: if the place cannot be reached, or it may not be stolen and somebody has it.
    """
    _settle(target, target.claim(environment, owner, steal=steal))


def _settle(target: ReleaseTarget, claim: Claim) -> None:
    if claim.environment is Environment.PRODUCTION:
        restore_traffic(target, claim)
        cool_down_if_possible(target, claim)
    target.write(claim, target.record(claim.environment).but(phase=Phase.IDLE, candidate=None, note=""))
    target.release(claim)
