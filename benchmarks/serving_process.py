"""A contender as running processes: started, waited for, asked, weighed and ended with all its children."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.serving_contenders import Contender
from benchmarks.serving_load import Connection
from benchmarks.serving_material import Material

ROOT = Path(__file__).parents[1]
START_SECONDS = 120.0
END_SECONDS = 30


@dataclass
class RunningServer:
    """A server of which every replica has given its first answer.

    Attributes:
        processes: of its replicas.
        ports: of the same.
        first_answer_seconds: from the start of the first of its processes until all have answered.
        peak_rss_mb: the sum of what each of its processes held at most; shared pages count each time.
    """

    processes: list[psutil.Process]
    ports: list[int]
    requests: list[Path]
    first_answer_seconds: float
    peak_rss_mb: int = 0

    def load(self, concurrency: int, seconds: float) -> dict[str, Any]:
        """Asks it for `seconds`; see `serving_window.measured` for the result."""
        pids = ",".join(str(process.pid) for process in self.processes)
        arguments = [pids, ",".join(map(str, self.ports)), concurrency, seconds, *self.requests]
        result = run_module("benchmarks.serving_load", *map(str, arguments))
        everyone = [one for process in self.processes for one in (process, *process.children(recursive=True))]
        self.peak_rss_mb = max(self.peak_rss_mb, round(sum(map(_peak_rss, everyone)) / 1e6))
        return result


def _peak_rss(process: psutil.Process) -> int:
    """The most memory a process held so far, in bytes; 0 if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{process.pid}/status").read_text()
        return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)
    return 0


def run_module(module: str, *arguments: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Runs a module of the benchmark in a process of its own; returns the JSON it prints."""
    command = [sys.executable, "-m", module, *arguments]
    run = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, timeout=300)
    return dict(json.loads(run.stdout))


@contextmanager
def running(contender: Contender, material: Material) -> Iterator[RunningServer]:
    """Starts a contender, and ends it with the block.

    Raises:
        RuntimeError: if it does not answer a prediction in time; the message ends with the end of its log.
    """
    requests = []
    for number, image in enumerate(material.images):
        requests.append(material.folder / f"{contender.key}-{number}")
        requests[-1].write_bytes(contender.request(image.read_bytes()))
    started, processes, ports = time.perf_counter(), [], []
    with ExitStack() as stack:
        for number in range(contender.replicas):
            process, port = stack.enter_context(_replica(contender, number, material, requests[-1].read_bytes()))
            processes.append(process)
            ports.append(port)
        yield RunningServer(processes, ports, requests, time.perf_counter() - started)


@contextmanager
def _replica(
    contender: Contender, number: int, material: Material, request: bytes
) -> Iterator[tuple[psutil.Process, int]]:
    """One replica that has answered, and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = material.folder / f"{contender.key}-{number}.log"
    command = [part.format(port=port) for part in contender.command]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=material.environment(port, contender.precision) | contender.environment(material.folder),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        if not _answers(port, request, process):
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"no answer, exit status {process.poll()}: {' '.join(last)}")
        yield psutil.Process(process.pid), port
    finally:
        _end(process)


def _answers(port: int, request: bytes, process: subprocess.Popen[bytes]) -> bool:
    """Asks until a prediction is answered with 200."""
    deadline = time.perf_counter() + START_SECONDS
    while time.perf_counter() < deadline and process.poll() is None:
        with suppress(OSError), closing(Connection(port)) as connection:
            if connection.ask(request) == 200:
                return True
        time.sleep(0.02)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills a contender and everything it started."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait(timeout=END_SECONDS)
