"""The end of Dagster's code server while a run, its child, goes on: under a real supervisord, with a real run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
import yaml

from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.processes import code_server
from banana_delivery.embedded.supervisor import Supervisor
from banana_delivery.embedded.supervisord import Daemon
from banana_delivery.settings import Settings
from banana_delivery.waiting import wait_until
from tests import ROOT

JOBS = """
import logging, os, subprocess, sys, time
from pathlib import Path
import dagster as dg

FOLDER = Path({folder!r})

@dg.op
def talk():
    (FOLDER / "run.pid").write_text(str(os.getpid()))
    while not (FOLDER / "alone").exists():
        time.sleep(0.05)
    for stream in (sys.stdout, sys.stderr):
        print("a line of a run", file=stream, flush=True)
    os.write(1, b"more than a pipe holds " * 10_000)
    subprocess.run(["sh", "-c", "echo a line of a program"], check=True)
    (FOLDER / "done").touch()
    time.sleep(600)

@dg.job(executor_def=dg.in_process_executor)
def talking():
    talk()

defs = dg.Definitions(jobs=[talking])
"""


INSTANCE = {
    # Whoever launches a run has the code server start it at once.
    "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
    "telemetry": {"enabled": False},
    # All that the run prints goes where what it prints beside its steps goes.
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"},
}


@dataclass(frozen=True)
class Played:
    """A code server under supervisord, with a job of one run.

    Attributes:
        folder: where the job and the run's marks are.
        supervisor: what keeps the server running.
        name: the server's, there.
    """

    folder: Path
    supervisor: Supervisor
    name: str

    @property
    def pid(self) -> int:
        """Of the server."""
        return self.supervisor.processes()[self.name].pid

    def launch(self) -> psutil.Process:
        """Launch the job; returns the process of its run."""
        launch = (sys.executable, "-m", "dagster", "job", "launch", "-w", "workspace.yaml", "-j", "talking")
        environment = {**os.environ, "DAGSTER_HOME": str(self.folder)}
        subprocess.run(launch, cwd=self.folder, env=environment, check=True, timeout=60, stdout=subprocess.DEVNULL)
        mark = self.folder / "run.pid"
        waits(lambda: mark.exists() and mark.read_text() != "", "no run")
        return psutil.Process(int(mark.read_text()))


def waits(condition: Callable[[], bool], otherwise: str) -> None:
    wait_until(condition, 60.0, lambda _: AssertionError(otherwise), pause=0.1)


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    settings = Settings(home=tmp_path / "home")
    paths = LocalPaths(settings.home)
    process = code_server(settings)
    assert process.socket is not None
    (tmp_path / "played.py").write_text(JOBS.format(folder=str(tmp_path)))
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(INSTANCE))
    location = {"grpc_server": {"socket": str(process.socket), "location_name": "played"}}
    (tmp_path / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [location]}))
    command = (*process.program.command[:-2], "--module-name=played", "--location-name=played")
    environment = {**process.program.environment, "DAGSTER_HOME": str(tmp_path), "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    program = replace(process.program, command=command, directory=tmp_path, environment=environment)
    daemon, supervisor = Daemon(settings), Supervisor(paths)
    paths.programs.mkdir(parents=True)
    supervisor.write(program)
    daemon.start()
    try:
        waits(process.socket.exists, "it does not serve")
        yield Played(tmp_path, supervisor, program.name)
    finally:
        daemon.end()
        daemon.end_orphans()


@pytest.mark.parametrize("by", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.long)])
def test_it_ends_when_asked_or_killed_and_its_run_goes_on_and_prints(played: Played, by: signal.Signals) -> None:
    run, server = played.launch(), played.pid
    os.kill(server, by)
    waits(lambda: not psutil.pid_exists(server), "it does not end")
    # supervisord has seen it, and with that closed the pipe into which both printed.
    waits(lambda: played.pid not in {0, server}, "no successor")
    (played.folder / "alone").touch()

    waits((played.folder / "done").exists, "its run was ended by what it printed")
    assert run.is_running() and run.status() != psutil.STATUS_ZOMBIE
    [log] = (played.folder / "home" / "logs" / "runs").iterdir()
    said = log.read_text()
    assert said.count("a line of a run") == 2
    assert "a line of a program" in said
