"""A way back leads to something that answers: where nobody does, replicas are started before any user is sent there.

One replica that answers is enough to go: it is better than a bad release, and the others come up after it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from banana_delivery.errors import FencedError, NeverReadyError, NotReadyError, TargetError
from banana_delivery.evaluation.base import Log
from banana_delivery.policy.model import Colour, Deployment, Environment
from banana_delivery.targets.base import Claim, Readiness, ReleaseTarget
from banana_delivery.waiting import wait_until

LOG = logging.getLogger(__name__)
POLL_SECONDS = 0.25


def ensure_answers(
    target: ReleaseTarget,
    claim: Claim,
    colour: Colour,
    wanted: Deployment,
    seconds: float,
    *,
    log: Log = LOG.info,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Return once at least one replica of a colour answers with the release that is wanted there.

    Args:
        target: where releases run.
        claim: in force on the environment.
        colour: where.
        wanted: what is to run there; started if nothing of it answers.
        seconds: how long a start may take.
        log: told what is waited for.
        check: called at each look; may raise to give up.

    Raises:
        NeverReadyError: if it cannot get ready, by its own fault.
        NotReadyError: the same, by the fault of the target.
        FencedError: if somebody else has taken the environment over.
        TargetError: if the target refuses.
    """
    if _answers(target, claim.environment, colour, wanted.image.digest):
        return
    log(f"{colour} does not answer; version {wanted.image.version} is started there before it gets users")
    target.deploy(claim, colour, wanted.image, wanted.replicas)

    def look() -> Readiness:
        check()
        return _readiness(target, claim.environment, colour)

    def late(now: Readiness) -> Exception:
        return _not_ready(colour, now, f"not one replica answered after {seconds:.0f} s. {now.waiting_for}".rstrip())

    now = wait_until(look, seconds, late, done=lambda now: now.ready or now.failure, pause=POLL_SECONDS)
    if not now.ready:
        raise _not_ready(colour, now, now.failure)


def complete(target: ReleaseTarget, claim: Claim, colour: Colour, wanted: Deployment) -> None:
    """Bring up what is missing of a colour that has the users already; failing to is only logged.

    Raises:
        FencedError: if somebody else has taken the environment over.
    """
    try:
        if not target.readiness(claim.environment, colour).complete:
            target.deploy(claim, colour, wanted.image, wanted.replicas)
    except FencedError:
        raise
    except TargetError as error:
        LOG.warning("%s has all users, but not all of its replicas yet: %s", colour.capitalize(), error)


def _answers(target: ReleaseTarget, environment: Environment, colour: Colour, digest: str) -> bool:
    """Whether a replica of the release answers. Where that cannot be asked, the way back is not closed for it."""
    told = target.record(environment).deployments.get(colour)
    if told is None or told.image.digest != digest or not told.replicas:
        return False
    try:
        runs = target.observed(environment).digests.get(colour) == digest
        return runs and target.readiness(environment, colour).ready > 0
    except TargetError as error:
        LOG.warning("Whether %s answers could not be asked, so it is taken for well: %s", colour, error)
        return True


def _readiness(target: ReleaseTarget, environment: Environment, colour: Colour) -> Readiness:
    try:
        return target.readiness(environment, colour)
    except FencedError:
        raise
    except TargetError as error:
        return Readiness(ready=0, wanted=1, waiting_for=str(error), place_at_fault=True)


def _not_ready(colour: Colour, now: Readiness, why: str) -> NotReadyError:
    kind = NotReadyError if now.place_at_fault else NeverReadyError
    return kind(f"Production's users stay where they are, since {colour} does not answer: {why}")
