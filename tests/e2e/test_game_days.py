"""Game days on a real stack, one after the other: a bad release has to go while something else is broken.

Users are there all the time, and none of their requests fails.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.supervisor import Supervisor
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Environment, Phase
from banana_delivery.runs.instance import DATABASE, dagster_home, open_instance
from tests.e2e.stack import Stack, until

pytestmark = pytest.mark.long
AT_ONCE_SECONDS = 2.0
DAGSTER = ("dagster-daemon", "dagster-webserver", "code-server")
HOLDER = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def paths(stack: Stack) -> LocalPaths:
    return LocalPaths(stack.resources.settings.home)


@contextmanager
def database_moved_away(stack: Stack) -> Iterator[None]:
    """The daemon dies with it, as it cannot write any more, and comes back when it can."""
    supervisor, database = Supervisor(paths(stack)), dagster_home(stack.resources.settings) / DATABASE
    running = [name for name in DAGSTER if name in supervisor.processes()]
    os.kill(supervisor.processes()["dagster-daemon"].pid or 0, signal.SIGKILL)
    supervisor.stop(*running, wait=True)
    away = database.with_name("away.db")
    database.rename(away)
    yield
    away.rename(database)
    supervisor.start(*running)


@contextmanager
def old_replicas_killed(stack: Stack) -> Iterator[None]:
    """All of them at once; whatever looks after them starts them again."""
    warm = stack.production.idle
    for name, process in Supervisor(paths(stack)).processes().items():
        if name.startswith(f"{Environment.PRODUCTION}-{warm}") and process.pid:
            os.kill(process.pid, signal.SIGKILL)
    yield


@contextmanager
def record_truncated(stack: Stack) -> Iterator[None]:
    file = paths(stack).record(Environment.PRODUCTION)
    file.write_bytes(file.read_bytes()[:200])
    yield


@contextmanager
def lock_held_by_a_stopped_process(stack: Stack) -> Iterator[None]:
    file = paths(stack).record(Environment.PRODUCTION).with_suffix(".lock")
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGSTOP)
        yield
        assert holder.wait(timeout=30) == -signal.SIGKILL


def bad_release(stack: Stack) -> str:
    """One that was released over another, which is still warm."""
    version = stack.stage("better")
    stack.until_released(version)
    until(lambda: stack.production.owner is None, "giving production back", 60)
    return version


def line(stack: Stack, version: str) -> AttemptRecord | None:
    """What the audit trail says of the rollback of a version."""
    with open_instance(stack.resources.settings) as instance:
        attempts = stack.audit_log(instance).attempts(version)
    revoked = [one for one in attempts if one.revoked]
    assert len(revoked) <= 1
    return revoked[0] if revoked else None


@pytest.mark.parametrize(
    ("fault", "warm"),
    [
        (database_moved_away, True),
        (old_replicas_killed, False),
        (record_truncated, True),
        (lock_held_by_a_stopped_process, True),
    ],
)
def test_a_bad_release_goes_and_no_user_notices(
    stack: Stack, fault: Callable[[Stack], AbstractContextManager[None]], warm: bool
) -> None:
    version, target = bad_release(stack), stack.resources.release_target
    good = stack.production.previous
    assert good is not None
    with stack.clients(rate=10.0) as clients:
        with fault(stack):
            said = stack.command("rollback", "--reason", "It harms users.")
            record = stack.production
            assert record.live == good
            assert target.observed(Environment.PRODUCTION).weights == record.resting_weights
        assert f"Version {version} is out of production; version {good.version} serves" in said
        until(lambda: line(stack, version) is not None, "the line in the audit trail", 90)
        until(lambda: stack.production.intent is None and stack.production.owner is None, "the end", 60)
    assert clients.failed_requests() == []
    found = line(stack, version)
    assert found is not None
    assert found.rollback_seconds is not None
    if warm:
        assert found.rollback_seconds <= AT_ONCE_SECONDS
    record = stack.production
    assert (record.phase, record.live) == (Phase.IDLE, good)
    told = [one.title for one in stack.resources.notifier.sent() if f"version {version} was ROLLED BACK" in one.title]
    assert len(told) == 1
    until(lambda: stack.resources.model_registry.describe(version).stage == "Archived", "telling the registry", 60)
