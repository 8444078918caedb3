"""The way back: the active colour gets all traffic, by one weight change; everything else may take its time.

``rollback_on_exit`` undoes a release under way, whatever ended it. What takes a release out that was promoted is
``delivery.rescue.emergency``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.rescue.answering import ensure_answers
from banana_delivery.errors import (
    DriftError,
    FencedError,
    NotReadyError,
    TargetError,
)
from banana_delivery.evaluation.base import Log
from banana_delivery.policy import commands
from banana_delivery.policy.model import (
    COLOURS,
    Environment,
    Phase,
)
from banana_delivery.targets.base import Claim, ReleaseTarget
from banana_delivery.waiting import Clock, retry, wait_until

LOG = logging.getLogger(__name__)
RESTORE_SECONDS = 120.0
"""How long restoring traffic is tried before the reconcile sensor has to do it."""
READY_SECONDS = 20.0
"""How long a sensor waits for a colour that answers to nobody, and was started; its next tick goes on waiting."""

UNFINISHED_SECONDS = 90.0
"""How long a delivery waits for that: an owner is found dead within half of it."""


def restore_traffic(
    target: ReleaseTarget,
    claim: Claim,
    log: Log = LOG.info,
    ready_seconds: float = READY_SECONDS,
    check: Callable[[], None] = lambda: None,
) -> float:
    """Give the active colour of production all user traffic.

    Nobody is sent where nothing answers: its replicas are started first. Tried again while the target does not answer,
    for at most ``RESTORE_SECONDS``.

    Args:
        target: where releases run.
        claim: in force on production.
        log: told what is waited for.
        ready_seconds: how long the start of a replica may take, where none answers.
        check: called while that is waited for; may raise to give up.

    Returns:
        Seconds until the router had taken it up.

    Raises:
        FencedError: if somebody else has taken the environment over; then it is theirs to restore.
        NotReadyError: if nothing of the active colour answers, and cannot be started in time; users stay.
        TargetError: if it could not be done in time.
    """
    start = time.monotonic()
    no_other_try = (FencedError, DriftError, NotReadyError)

    def restore() -> None:
        record = target.record(claim.environment)
        wanted = record.deployments.get(record.active) if record.active else None
        if record.active and wanted:
            ensure_answers(target, claim, record.active, wanted, ready_seconds, log=log, check=check)
        target.set_weights(claim, record.resting_weights)

    retry(restore, RESTORE_SECONDS, give_up=no_other_try)
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


def scale_down_idle(target: ReleaseTarget, claim: Claim) -> None:
    """Scale every production colour that is not active to nothing, unless it is to stay warm for a rollback.

    For how long, only ``cool_down`` times.
    """
    record = target.record(claim.environment)
    if record.scale_down_at is not None:
        return
    for colour in COLOURS[claim.environment]:
        deployment = record.deployments.get(colour)
        if colour is not record.active and deployment and deployment.replicas > 0:
            target.scale(claim, colour, 0)


def scale_down_idle_if_possible(target: ReleaseTarget, claim: Claim) -> None:
    """The same where users are safe already: what cannot be scaled down now is left to the sensor that does it.

    Raises:
        FencedError: if somebody else has taken the environment over.
    """
    try:
        scale_down_idle(target, claim)
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
def rollback_on_exit(target: ReleaseTarget, lease: Lease) -> Iterator[RollbackGuard]:
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
            guard.rollback_seconds = _go_back_undisturbed(target, lease)


def _go_back_undisturbed(target: ReleaseTarget, lease: Lease) -> float:
    """The way back, begun anew if a cancel arrives on it; the cancel is raised at its end."""
    try:
        return _go_back(target, lease)
    except Exception:
        raise
    except BaseException:  # A cancel, however whoever runs this sends it.
        _go_back(target, lease)
        raise


def _go_back(target: ReleaseTarget, lease: Lease) -> float:
    retry(lambda: lease.enter(Phase.ROLLING_BACK), RESTORE_SECONDS)
    seconds = restore_traffic(target, lease.claim, ready_seconds=RESTORE_SECONDS, check=lease.check_claim)
    scale_down_idle_if_possible(target, lease.claim)
    retry(lambda: lease.enter(Phase.ROLLING_BACK, candidate=None), RESTORE_SECONDS)
    return seconds
