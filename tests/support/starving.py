"""Something else that takes all of the machine while production is in certain phases."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from banana_delivery.errors import TargetError
from banana_delivery.policy.model import Phase

DELIVERIES = int(os.environ.get("STARVED_DELIVERIES", "1"))
"""Of each kind."""
KINDS = {
    "A/B": {Phase.COMPARING},
    "shift": {Phase.SHIFTING},
    "watch": {Phase.WATCHING},
    "all three": {Phase.COMPARING, Phase.SHIFTING, Phase.WATCHING},
}
GREEDY = 4 * (os.cpu_count() or 1)
"""Processes that want a core each: what is starved gets a fifth of the machine, in slices that come late."""
BURN = "import time\nend = time.monotonic() + 900\nwhile time.monotonic() < end: sum(range(1000))"
LOOK_SECONDS = 0.1


class Starver(threading.Thread):
    """Has greedy processes run whenever production is in one of some phases.

    Attributes:
        starved: the phases in which they ran.
    """

    def __init__(self, phase: Callable[[], Phase], phases: set[Phase]) -> None:
        super().__init__(daemon=True)
        self.starved: set[Phase] = set()
        self._phase = phase
        self._phases = phases
        self._greedy: list[subprocess.Popen[bytes]] = []
        self._stop_asked = threading.Event()

    def run(self) -> None:
        """Until it is stopped."""
        while not self._stop_asked.wait(LOOK_SECONDS):
            try:
                phase = self._phase()
            except TargetError:
                # A starved target may be late; what takes the machine goes on meanwhile.
                continue
            if phase not in self._phases:
                self._end()
            elif not self._greedy:
                self.starved.add(phase)
                self._greedy = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(GREEDY)]
        self._end()

    def stop(self) -> None:
        """Give the machine back."""
        self._stop_asked.set()
        self.join()

    def _end(self) -> None:
        for process in self._greedy:
            process.kill()
        for process in self._greedy:
            process.wait()
        self._greedy = []


@contextmanager
def starved(phase: Callable[[], Phase], phases: set[Phase]) -> Iterator[None]:
    """Whatever runs within gets a fifth of the machine in these phases of production, of which one has to come."""
    starver = Starver(phase, phases)
    starver.start()
    try:
        yield
    finally:
        starver.stop()
    assert starver.starved
