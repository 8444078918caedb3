"""Starts real replicas: `python -m serving` in processes of their own, on free ports of the loopback interface."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.ports import free_port
from tests.unit.serving.detectors import write_model

START_SECONDS = 60


@dataclass
class RunningReplica:
    """A replica that answers at `url`."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        families = text_string_to_metric_families(httpx.get(f"{self.url}/metrics").text)
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)

    def peak_memory(self) -> int:
        """The most memory the process ever held, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024

    def stop(self) -> int:
        """Sends SIGTERM and waits; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@contextmanager
def replica(folder: Path, **environment: str) -> Iterator[RunningReplica]:
    """Runs a replica of a tiny detector until the block ends."""
    path = folder / "model.onnx"
    if not path.exists():
        write_model(folder)
    port = free_port()
    base = {"PATH": os.environ["PATH"], "MODEL_PATH": str(path), "PORT": str(port), "INFERENCE_WORKERS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "serving"], env=base | environment, stderr=subprocess.DEVNULL)
    try:
        running = RunningReplica(process, port)
        _wait_until_ready(running)
        yield running
    finally:
        process.kill()
        process.wait(timeout=30)


def _wait_until_ready(running: RunningReplica) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and running.process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{running.url}/ready").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"the replica did not get ready; exit status {running.process.poll()}")
