"""Notices that the sensors tick no more, and tells people: a process of its own, since the dead do not say so.

Without sensors nothing is delivered, nothing dead is found, and no release that goes bad is rolled back. The time
between two ticks is taken by this process's own monotonic clock; nobody's wall clock is compared with another's.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from banana_delivery.delivery.observing.exposition import PipelineMetrics
from banana_delivery.delivery.rescue.ticks import WATCHED, Ticks
from banana_delivery.notifications.alarms import bad_channels, sensors_are_back, silent_sensors
from banana_delivery.notifications.messages import Notice
from banana_delivery.notifications.notifier import notifier_for
from banana_delivery.settings import Settings, load_settings
from banana_delivery.waiting import Clock, SystemClock

LOG = logging.getLogger(__name__)
SILENT_SECONDS = 45.0
"""After so long without a tick people are told; the slowest sensor ticks every 15 s."""
START_SECONDS = 180.0
"""The same for a sensor that was never seen to tick: the daemon and the code location take a while to load."""
LOOK_SECONDS = 5.0


@dataclass
class DeadMan:
    """The look at the ticks.

    Attributes:
        model: registered model, for messages.
        ticks: the sensors' last ones.
        tell: tells people.
        clock: whose monotonic time counts.
    """

    model: str
    ticks: Ticks
    tell: Callable[[Notice], object]
    clock: Clock
    _marks: dict[str, int | None] = field(init=False)
    _seen: dict[str, float] = field(default_factory=dict)
    _silent: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._start = self.clock.monotonic()
        # What ticked before this process began says nothing about now.
        self._marks = {sensor: self.ticks.mark(sensor) for sensor in WATCHED}

    def look(self) -> set[str]:
        """Look once, and tell people what has changed for the worse or is well again.

        Returns:
            The sensors that are silent.
        """
        now = self.clock.monotonic()
        for sensor in WATCHED:
            mark = self.ticks.mark(sensor)
            if mark != self._marks[sensor]:
                self._marks[sensor], self._seen[sensor] = mark, now
        silent = {sensor for sensor in WATCHED if self._silence(sensor, now) > 0}
        # Before anybody is told: what cannot be written down is not told anew at every look.
        before, self._silent = self._silent, silent
        if silent - before:
            self.tell(silent_sensors(self.model, sorted(silent), SILENT_SECONDS, self.clock.time()))
        elif before and not silent:
            self.tell(sensors_are_back(self.model, self.clock.time()))
        return silent

    def _silence(self, sensor: str, now: float) -> float:
        """Seconds for which a sensor has been silent for too long."""
        if sensor in self._seen:
            return now - self._seen[sensor] - SILENT_SECONDS
        return now - self._start - START_SECONDS


def watch(settings: Settings, clock: Clock, rounds: int | None = None, metrics: PipelineMetrics | None = None) -> None:
    """Say which channels cannot be used, then look again and again; whatever goes wrong with one look is only logged.

    Args:
        settings: home, model and channels.
        clock: lets the time pass.
        rounds: how many looks; None for ever.
        metrics: what monitoring is told; one that only writes its file if none is given.
    """
    metrics = metrics or PipelineMetrics(settings.home)
    notifier = notifier_for(settings)
    dead_man = DeadMan(settings.model_name, Ticks(settings.home), notifier.send, clock)
    told = False
    while rounds is None or rounds > 0:
        try:
            if not told and (problems := notifier.problems()):
                notifier.send(bad_channels(settings.model_name, problems))
            told = True
            metrics.silent = dead_man.look()
            metrics.write()
            notifier.catch_up()
        except Exception:
            LOG.exception("A look at the sensors' ticks failed; the next one is in %g s.", LOOK_SECONDS)
        clock.sleep(LOOK_SECONDS)
        rounds = None if rounds is None else rounds - 1


def main() -> None:
    """Watch until told to stop, and answer monitoring if a port is named for it; one that is taken stops no watch."""
    settings = load_settings()
    parser = argparse.ArgumentParser(prog="python -m banana_delivery.delivery.rescue.deadman", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address on which monitoring asks")
    parser.add_argument("--port", type=int, default=settings.metrics_port, help="its port; without one, none is open")
    told = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    metrics = PipelineMetrics(settings.home)
    try:
        if told.port:
            metrics.serve(told.host, told.port)
    except OSError as error:
        LOG.error("Monitoring cannot ask on %s:%d: %s", told.host, told.port, error)  # noqa: TRY400 - a sentence
    watch(settings, SystemClock(), metrics=metrics)


if __name__ == "__main__":
    main()
