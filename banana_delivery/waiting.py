"""Asking again while a place does not answer: it comes back sooner than a release can be done anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from banana_delivery.errors import DriftError, FencedError, TargetError

AGAIN_SECONDS = 1.0

Result = TypeVar("Result")


def retry(
    ask: Callable[[], Result], seconds: float, *, meanwhile: Callable[[TargetError], None] | None = None
) -> Result:
    """What the place answers, asked every ``AGAIN_SECONDS`` until it does.

    Args:
        ask: asks it.
        seconds: how long it may fail to answer.
        meanwhile: told why, before it is asked again; may raise to give up.

    Raises:
        FencedError: if somebody else has taken the environment over; asking again does not give it back.
        DriftError: if somebody changed it by hand; that is an answer.
        TargetError: if the place did not answer in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except (FencedError, DriftError):
            raise
        except TargetError as error:
            if time.monotonic() > deadline:
                raise
            if meanwhile:
                meanwhile(error)
            time.sleep(AGAIN_SECONDS)
