"""Dagster's daemon and the code server as the embedded stack starts them, alone, in a home of their own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg

from banana_delivery.embedded.processes import ManagedProcess, code_server, dagster_daemon
from banana_delivery.embedded.stack import EmbeddedStack
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.instance import open_instance
from banana_delivery.settings import Settings
from banana_delivery.waiting import wait_until
from tests import ROOT

MODULE = "--module-name="


@dataclass(frozen=True)
class Running:
    """The processes, and what they work on.

    Attributes:
        settings: theirs.
        instance: their instance of Dagster, opened by this process as well.
        stack: what started them.
    """

    settings: Settings
    instance: dg.DagsterInstance
    stack: EmbeddedStack

    @property
    def location(self) -> CodeLocation:
        """What of the instance is the pipeline's."""
        return CodeLocation.of(self.settings)

    @property
    def audit_log(self) -> AuditLog:
        """The audit trail."""
        return AuditLog(self.instance, self.location)

    def released(self, version: str, seconds: float, pause: float) -> AttemptRecord:
        """The attempt at a version, once it is there.

        Raises:
            RuntimeError: if there is none in time, or it released nothing.
        """
        attempts = wait_until(
            lambda: self.audit_log.attempts(version),
            seconds,
            lambda _: RuntimeError(f"Version {version} was not delivered within {seconds:.0f} s."),
            pause=pause,
        )
        if attempts[0].outcome is not Outcome.RELEASED:
            raise RuntimeError(f"Version {version} was not released ({attempts[0].outcome}): {attempts[0].reason}")
        return attempts[0]

    def pid(self, name: str) -> int:
        """Of one process, by its name in supervisord; 0 if it does not run."""
        return next(one.pid for one in self.stack.status() if one.name == name)


@contextmanager
def running(settings: Settings, *processes: ManagedProcess) -> Iterator[Running]:
    """Some processes of the stack of a home, for the block, or until this process is asked to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("The measurement was ended."))
    stack = EmbeddedStack(settings, processes)
    try:
        stack.up(print)
        with open_instance(settings) as instance:
            yield Running(settings, instance, stack)
    finally:
        stack.down(print)


@contextmanager
def playing(home: Path) -> Iterator[Running]:
    """The two processes alone, with a code location outside of which nothing takes any time."""
    settings = Settings(home=home, plan="demo", rival_wait_seconds=0.0)
    server = code_server(settings)
    command = [
        f"{MODULE}benchmarks.daemon.location" if part.startswith(MODULE) else part for part in server.program.command
    ]
    environment = {**server.program.environment, "PYTHONPATH": str(ROOT)}
    server = replace(server, program=replace(server.program, command=tuple(command), environment=environment))
    with running(settings, server, dagster_daemon(settings)) as started:
        yield started
