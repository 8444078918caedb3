"""Time, and asking again while a place does not answer: it comes back sooner than a release can be done anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from banana_delivery.delivery.lease import DriftError
from banana_delivery.targets.base import FencedError, TargetError

AGAIN_SECONDS = 1.0

Result = TypeVar("Result")


class Clock(Protocol):
    """Time as the pipeline knows it; tests let it pass as they like."""

    def time(self) -> float:
        """Seconds since the epoch, for records and people."""

    def monotonic(self) -> float:
        """Seconds since some moment, never set back: for all that is decided by how long something took."""

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""


class SystemClock:
    """This machine's clocks."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment, never set back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""
        time.sleep(seconds)


def retry(
    ask: Callable[[], Result], seconds: float, *, meanwhile: Callable[[TargetError], None] | None = None
) -> Result:
    """What the target answers, asked every ``AGAIN_SECONDS`` until it does.

    Args:
        ask: asks it.
        seconds: how long it may fail to answer.
        meanwhile: told why, before it is asked again; may raise to give up.

    Raises:
        FencedError: if somebody else has taken the environment over; asking again does not give it back.
        DriftError: if somebody changed it by hand; that is an answer.
        TargetError: if the target did not answer in time.
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
