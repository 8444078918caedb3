"""Waiting until a colour answers, with a deadline and a sentence about what it waited for."""

from __future__ import annotations

import time

from banana_delivery.delivery.lease import Lease
from banana_delivery.errors import NeverReadyError, NotReadyError
from banana_delivery.evaluation.base import Log
from banana_delivery.policy.model import Colour, Environment
from banana_delivery.targets.base import ReleaseTarget

POLL_SECONDS = 0.25


def wait_until_ready(
    target: ReleaseTarget, lease: Lease, environment: Environment, colour: Colour, timeout_seconds: float, log: Log
) -> float:
    """Wait until every replica of a colour answers.

    Returns:
        Seconds waited.

    Raises:
        NeverReadyError: by the release's own fault, at the deadline or as soon as waiting cannot help any more.
        NotReadyError: the same, by the fault of the target.
        FencedError: if somebody else has taken the environment over.
    """
    start = time.monotonic()
    said = ""
    while True:
        lease.check()
        now = target.readiness(environment, colour)
        waited = time.monotonic() - start
        if now.complete:
            return waited
        error = NotReadyError if now.place_at_fault else NeverReadyError
        if now.failure:
            raise error(f"{environment.capitalize()} {colour} cannot get ready: {now.failure}")
        if waited > timeout_seconds:
            raise error(
                f"{environment.capitalize()} {colour} was not ready after {timeout_seconds:.0f} s: {now.ready} of "
                f"{now.wanted} replicas answer. {now.waiting_for}".rstrip()
            )
        line = f"{environment} {colour}: {now.ready}/{now.wanted} replicas ready"
        if line != said:
            log(line)
            said = line
        time.sleep(POLL_SECONDS)
