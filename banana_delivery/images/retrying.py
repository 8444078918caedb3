"""Trying again what failed for a reason that passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from banana_delivery.images.base import ImageError, Progress

_Result = TypeVar("_Result")


class PassingError(ImageError):
    """An engine or registry failed in a way that another try may cure.

    Attributes:
        pause: seconds for which it asks to be left alone; 0 if it does not say.
    """

    pause: float = 0.0


@dataclass(frozen=True)
class Retries:
    """How often and how patiently to try.

    Attributes:
        attempts: tries in all.
        first_wait: seconds before the second try; each further wait is twice as long, or as long as was asked for.
        patience: seconds of waiting in all; who asks for more is not asked again.
        sleep: waits so many seconds.
    """

    attempts: int = 4
    first_wait: float = 1.0
    patience: float = 120.0
    sleep: Callable[[float], None] = time.sleep

    def call(self, attempt: Callable[[], _Result], progress: Progress) -> _Result:
        """The attempt's result.

        Raises:
            ImageError: the last attempt's, which says how often it was tried; one that does not pass, at once.
        """
        waited = 0.0
        for tried in range(1, self.attempts):
            try:
                return attempt()
            except PassingError as error:
                wait = max(self.first_wait * 2 ** (tried - 1), error.pause)
                waited += wait
                if error.pause and waited > self.patience:
                    raise ImageError(
                        f"{error} It asks to be left alone for {error.pause:.0f} s; wait that long."
                    ) from error
                progress(f"{error} Trying again in {wait:g} s ({tried} of {self.attempts} tries).")
                self.sleep(wait)
        try:
            return attempt()
        except PassingError as error:
            raise ImageError(f"{error} Tried {self.attempts} times.") from error
