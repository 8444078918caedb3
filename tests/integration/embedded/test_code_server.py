"""The end of Dagster's code server while a run, its child, goes on: a real server, and a real run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import yaml

from banana_delivery.waiting import wait_until
from tests import ROOT

JOBS = """
import os, time
from pathlib import Path
import dagster as dg

@dg.op
def wait():
    Path({pid!r}).write_text(str(os.getpid()))
    time.sleep(600)

@dg.job(executor_def=dg.in_process_executor)
def waiting():
    wait()

defs = dg.Definitions(jobs=[waiting])
"""


INSTANCE = {"run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}}
"""Whoever launches a run has the code server start it at once."""


def test_it_ends_when_asked_and_its_run_goes_on(tmp_path: Path) -> None:
    pid, socket, workspace = tmp_path / "run.pid", tmp_path / "code.sock", tmp_path / "workspace.yaml"
    (tmp_path / "played.py").write_text(JOBS.format(pid=str(pid)))
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(INSTANCE))
    location = {"grpc_server": {"socket": str(socket), "location_name": "played"}}
    workspace.write_text(yaml.safe_dump({"load_from": [location]}))
    python = [sys.executable, "-m"]
    serve = [*python, "banana_delivery.embedded.upgrade.code_server", f"--socket={socket}", "--module-name=played"]
    launch = [*python, "dagster", "job", "launch", "-w", str(workspace), "-j", "waiting"]
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([*serve, "--location-name=played"], cwd=tmp_path, env=environment) as server:
        try:
            wait_until(socket.exists, 60.0, lambda _: AssertionError("it does not serve"))
            subprocess.run(launch, cwd=tmp_path, env=environment, check=True, timeout=60)
            wait_until(pid.exists, 60.0, lambda _: AssertionError("no run"))
            server.terminate()
            assert server.wait(timeout=10) == 0
            assert psutil.Process(int(pid.read_text())).status() != psutil.STATUS_ZOMBIE
        finally:
            server.kill()
            if pid.exists():
                os.kill(int(pid.read_text()), signal.SIGKILL)
