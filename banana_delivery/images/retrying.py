"""Trying again what failed for a reason that passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from banana_delivery.errors import ImageError, PassingError
from banana_delivery.images.base import Progress

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Retries:
    """How often and how patiently to try.

    Attributes:
        attempts: tries in all.
        first_wait: seconds before the second try; each further wait is twice as long.
        sleep: waits so many seconds.
    """

    attempts: int = 4
    first_wait: float = 1.0
    sleep: Callable[[float], None] = time.sleep

    def call(self, attempt: Callable[[], _Result], progress: Progress) -> _Result:
        """The attempt's result.

        Raises:
            ImageError: the last attempt's, which says how often it was tried; one that does not pass, at once.
        """
        for tried in range(1, self.attempts):
            try:
                return attempt()
            except PassingError as error:
                wait = self.first_wait * 2 ** (tried - 1)
                progress(f"{error} Trying again in {wait:g} s ({tried} of {self.attempts} tries).")
                self.sleep(wait)
        try:
            return attempt()
        except PassingError as error:
            raise ImageError(f"{error} Tried {self.attempts} times.") from error
