"""The end of Dagster's code server while a run, its child, goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import ROOT

PLAYED = """
import multiprocessing, os, sys, time
from pathlib import Path

def run(said):
    Path(said).write_text(str(os.getpid()))
    time.sleep(600)

def main():
    from dagster._utils.interrupts import setup_interrupt_handlers
    setup_interrupt_handlers()
    multiprocessing.get_context("spawn").Process(target=run, args=(sys.argv[4],)).start()
    while not Path(sys.argv[4]).exists():
        time.sleep(0.05)
    print("serves", sys.argv[1:4], flush=True)
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        sys.exit(EXIT_CODE)

if __name__ == "__main__":
    from banana_delivery.embedded.upgrade import code_server
    import dagster._cli
    dagster._cli.main = main
    code_server.serve()
"""
"""As Dagster's own: a run is a child that Python waits for at its end, and SIGTERM interrupts."""


@pytest.mark.parametrize(("exit_code", "ends_with"), [(None, 0), (3, 3), ("It broke.", 1)])
def test_it_ends_without_its_runs_and_says_how(tmp_path: Path, exit_code: object, ends_with: int) -> None:
    program, said = tmp_path / "server.py", tmp_path / "run.pid"
    program.write_text(PLAYED.replace("EXIT_CODE", repr(exit_code)))
    with subprocess.Popen(
        [sys.executable, str(program), "--socket=here", str(said)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as server:
        assert server.stdout
        assert server.stdout.readline() == "serves ['api', 'grpc', '--socket=here']\n"
        run = psutil.Process(int(said.read_text()))
        try:
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=60) == ends_with
            assert run.status() != psutil.STATUS_ZOMBIE
        finally:
            run.kill()
