"""Something else takes all of the machine while a good version is on its way: nobody blames the version for it.

`STARVED_DELIVERIES=7` plays so many of each kind; one each is part of the long suite.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from banana_delivery.policy.model import Environment, Outcome, Phase
from tests.e2e.stack import Stack, until

LOG = logging.getLogger(__name__)
pytestmark = pytest.mark.long
DELIVERIES = int(os.environ.get("STARVED_DELIVERIES", "1"))
GREEDY = 4 * (os.cpu_count() or 1)
"""Processes that want a core each: what is starved gets a fifth of the machine, in slices that come late."""
BURN = "import time\nend = time.monotonic() + 900\nwhile time.monotonic() < end: sum(range(1000))"
DELIVERY_SECONDS = 600.0


class Starver(threading.Thread):
    """Has greedy processes run whenever production is in one of these phases.

    Attributes:
        starved: the phases in which they ran.
    """

    def __init__(self, stack: Stack, phases: set[Phase]) -> None:
        super().__init__(daemon=True)
        self.starved: set[Phase] = set()
        self._stack = stack
        self._phases = phases
        self._greedy: list[subprocess.Popen[bytes]] = []
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.wait(0.05):
            phase = self._stack.resources.release_target.record(Environment.PRODUCTION).phase
            if phase not in self._phases:
                self._end()
            elif not self._greedy:
                self.starved.add(phase)
                self._greedy = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(GREEDY)]
        self._end()

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()

    def _end(self) -> None:
        for process in self._greedy:
            process.kill()
        for process in self._greedy:
            process.wait()
        self._greedy = []


@contextmanager
def starved(stack: Stack, phases: set[Phase]) -> Iterator[Starver]:
    starver = Starver(stack, phases)
    starver.start()
    try:
        yield starver
    finally:
        starver.stop()


def delivered_to_a_starved_machine(stack: Stack, phases: set[Phase]) -> Outcome:
    """How the delivery of a good version ends."""
    with starved(stack, phases) as starver:
        version = stack.stage("better")
        until(lambda: bool(stack.outcomes(version)), "the delivery's end", DELIVERY_SECONDS)
        until(lambda: stack.production.owner is None, "giving production back", 120)
    assert starver.starved
    (outcome,) = stack.outcomes(version)
    return outcome


@pytest.mark.timeout(DELIVERY_SECONDS * DELIVERIES)
@pytest.mark.parametrize(
    "phases",
    [{Phase.COMPARING}, {Phase.SHIFTING}, {Phase.WATCHING}, {Phase.COMPARING, Phase.SHIFTING, Phase.WATCHING}],
    ids=["A/B", "shift", "watch", "all three"],
)
def test_a_good_version_is_never_blamed_for_a_starved_machine(stack: Stack, phases: set[Phase]) -> None:
    ends: Counter[str] = Counter()
    with stack.clients(rate=5.0) as clients:
        for _ in range(DELIVERIES):
            ends[delivered_to_a_starved_machine(stack, phases)] += 1
    LOG.info("%s; of users: %s", dict(ends), clients.counts())
    assert set(ends) <= {Outcome.RELEASED, Outcome.ERROR}
    assert clients.failed_requests() == []
