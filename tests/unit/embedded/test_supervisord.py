"""The end of supervisord, and of what one that was killed has left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from banana_delivery.embedded import supervisord
from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.supervisor import Supervisor
from banana_delivery.embedded.supervisord import Daemon
from banana_delivery.errors import StackError
from banana_delivery.settings import Settings

NEVER_REAPS = """
import subprocess, sys, time
says_that_it_runs = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", says_that_it_runs, *sys.argv[1:]])
time.sleep(600)
"""


@contextmanager
def child_of_one_that_never_looks(*words: str, **environment: str) -> Iterator[psutil.Process]:
    """As in a container whose first process looks after no other: whatever ends stays in the list of processes."""
    command = [sys.executable, "-c", NEVER_REAPS, *words]
    environment = {**os.environ, **environment}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        try:
            yield child
        finally:
            for process in (child, parent):
                process.kill()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(supervisord, "END_SECONDS", 5.0)
    return Settings(home=tmp_path)


def running(settings: Settings, process: psutil.Process) -> None:
    paths = LocalPaths(settings.home)
    paths.supervisor_pid.parent.mkdir(parents=True, exist_ok=True)
    paths.supervisor_pid.write_text(str(process.pid))


def test_one_that_has_ended_and_that_nobody_reaps_has_ended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with child_of_one_that_never_looks(str(LocalPaths(settings.home).supervisor_conf)) as process:
        running(settings, process)
        monkeypatch.setattr(Supervisor, "shut_down", lambda _: process.send_signal(signal.SIGTERM))
        Daemon(settings).end()
        assert process.status() == psutil.STATUS_ZOMBIE
        assert Daemon(settings).process is None


def test_one_that_goes_on_is_an_error(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisord, "END_SECONDS", 0.1)
    with child_of_one_that_never_looks(str(LocalPaths(settings.home).supervisor_conf)) as process:
        running(settings, process)
        monkeypatch.setattr(Supervisor, "shut_down", lambda _: None)
        with pytest.raises(StackError, match=f"pid {process.pid}"):
            Daemon(settings).end()


def test_what_a_killed_one_has_left_is_ended_whoever_its_parent_is_now(settings: Settings) -> None:
    mark = f"unix://{LocalPaths(settings.home).socket}"
    with child_of_one_that_never_looks(SUPERVISOR_SERVER_URL=mark) as process:
        assert Daemon(settings).end_orphans() == 2
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
