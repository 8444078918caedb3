"""Parts of the stack are killed at every phase of a delivery: it ends right all the same, and users are served on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest

from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.supervisor import Supervisor
from banana_delivery.policy.model import Environment, Outcome, Phase
from tests.e2e.stack import Stack, until
from tests.integration.delivery.moments import MOMENTS
from tests.support.phases import PhaseHook

pytestmark = pytest.mark.long
POLL_SECONDS = 0.005
"""The shortest phases last some hundredths of a second."""


class Striker(threading.Thread):
    """Does something at the first sight of each moment of a delivery.

    Attributes:
        seen: the moments that were struck, in order.
    """

    def __init__(self, stack: Stack, strike: Callable[[PhaseHook], object]) -> None:
        super().__init__(daemon=True)
        self.seen: list[PhaseHook] = []
        self._stack = stack
        self._strike = strike
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.wait(POLL_SECONDS):
            for environment in Environment:
                record = self._stack.resources.release_target.record(environment)
                hook = PhaseHook(environment, record.phase)
                if record.owner and record.phase is not Phase.IDLE and hook not in self.seen:
                    self.seen.append(hook)
                    self._strike(hook)

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(timeout=60)


def supervisor(stack: Stack) -> Supervisor:
    return Supervisor(LocalPaths(stack.resources.settings.home))


def kill_service(stack: Stack, name: str) -> None:
    """SIGKILL a service, if it runs: it may still be on its way back from the last time."""
    pid = supervisor(stack).processes()[name].pid
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_supervisord(stack: Stack) -> None:
    os.kill(int(LocalPaths(stack.resources.settings.home).supervisor_pid.read_text()), signal.SIGKILL)


def is_at_rest(stack: Stack) -> bool:
    record = stack.production
    weights = stack.resources.release_target.observed(Environment.PRODUCTION).weights
    return record.owner is None and record.phase is Phase.IDLE and weights == record.resting_weights


def deliver(stack: Stack, strike: Callable[[PhaseHook], object], *, past: Sequence[PhaseHook] = MOMENTS) -> str:
    """Deliver a version while something is done at each moment; its version number. It must come past these moments."""
    striker = Striker(stack, strike)
    version = stack.stage("better")
    striker.start()
    until(lambda: bool(stack.outcomes(version)), "the delivery's end")
    striker.stop()
    assert set(past) <= set(striker.seen)
    return version


@pytest.mark.parametrize("name", ["mlflow", "dagster-daemon", "dagster-webserver"])
def test_a_service_killed_at_every_phase_delays_a_delivery_and_loses_no_request(stack: Stack, name: str) -> None:
    with stack.clients(rate=10.0) as clients:
        version = deliver(stack, lambda hook: kill_service(stack, name))
    assert stack.outcomes(version) == [Outcome.RELEASED]
    assert clients.failed_requests() == []
    until(lambda: is_at_rest(stack), "giving production back", 30)
    until(lambda: stack.resources.model_registry.describe(version).stage == "Production", "telling the registry")


def test_a_router_killed_at_every_phase_comes_back_and_nobody_is_blamed_for_it(stack: Stack) -> None:
    version = deliver(stack, lambda hook: kill_service(stack, "router"))
    assert stack.outcomes(version) == [Outcome.RELEASED]
    until(lambda: is_at_rest(stack), "the router's return", 30)


@pytest.mark.parametrize("hook", MOMENTS, ids=str)
def test_users_are_served_on_when_supervisord_is_killed_and_up_mends_the_stack(stack: Stack, hook: PhaseHook) -> None:
    before = stack.production.live
    with stack.clients(rate=10.0) as clients:
        version = deliver(stack, lambda seen: kill_supervisord(stack) if seen == hook else None, past=[hook])
        until(lambda: stack.production.owner is None, "giving production back", 90)
    (outcome,) = stack.outcomes(version)
    live = stack.production.live
    assert live is not None
    assert outcome in {Outcome.RELEASED, Outcome.ERROR}
    assert (live.version == version) if outcome is Outcome.RELEASED else (live == before)
    assert clients.failed_requests() == []
    stack.command("up")
    assert stack.production.live == live
    assert is_at_rest(stack)
