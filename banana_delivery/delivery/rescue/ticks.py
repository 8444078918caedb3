"""When each sensor last came to its end: the times of some empty files, so that even a full disk takes them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from banana_delivery.settings import Settings

LOG = logging.getLogger(__name__)
WATCHED = ("staged_versions", "reconcile", "production_watch", "cool_down")
"""The sensors that come to an end every few seconds, whatever happens."""

Args = ParamSpec("Args")
Result = TypeVar("Result")


class Ticks:
    """The files.

    Args:
        home: everything the pipeline keeps.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "ticks"

    def note(self, sensor: str) -> None:
        """A sensor came to its end; not being able to say so stops no sensor."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / sensor).touch()
        except OSError as error:
            LOG.warning("The tick of %s could not be written down: %s", sensor, error)

    def mark(self, sensor: str) -> int | None:
        """Something that changes with each tick; None before the first one."""
        try:
            return (self._folder / sensor).stat().st_mtime_ns
        except OSError:
            return None

    def last(self) -> dict[str, float | None]:
        """When each sensor ticked last by the clock of its machine, seconds since the epoch; None if never."""
        marks = {sensor: self.mark(sensor) for sensor in WATCHED}
        return {sensor: None if mark is None else mark / 1e9 for sensor, mark in marks.items()}


def noted(sensor: str) -> Callable[[Callable[Args, Result]], Callable[Args, Result]]:
    """Note each tick of a sensor that ends well; one that fails each time is as good as dead."""

    def decorate(tick: Callable[Args, Result]) -> Callable[Args, Result]:
        @wraps(tick)
        def ticking(*args: Args.args, **kwargs: Args.kwargs) -> Result:
            answer = tick(*args, **kwargs)
            settings = kwargs.get("settings") or getattr(kwargs.get("recorder"), "settings", None)
            if isinstance(settings, Settings):
                Ticks(settings.home).note(sensor)
            return answer

        return ticking

    return decorate
