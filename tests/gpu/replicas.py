"""Replicas in processes of their own, with what they log, and their version in full."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

START_SECONDS = 120.0
"""The first start on a machine reads two gigabytes of libraries."""


@dataclass
class Replica:
    """A replica that answers at `url` and logs into `log`."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def version(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._get("/version").json()
        return answer

    def ready(self) -> httpx.Response:
        return self._get("/ready")

    def predict(self, image: bytes) -> httpx.Response:
        """Everything down to a confidence of 0.05, so that also a poor model has something to compare."""
        return httpx.post(f"{self.url}/predict?confidence=0.05", files={"image": image}, timeout=60, trust_env=False)

    def _get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=10, trust_env=False)


@contextmanager
def replica(model: Path, folder: Path, *arguments: str, **environment: str) -> Iterator[Replica]:
    """Runs `python -m serving`, or what `arguments` name instead, until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    told = {"MODEL_PATH": str(model), "PORT": str(port), "INFERENCE_WORKERS": "4"}
    log = folder / f"{port}.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", *(arguments or ("serving",))]
        process = subprocess.Popen(command, env={**os.environ, **told, **environment}, stderr=output)
        running = Replica(process, f"http://127.0.0.1:{port}", log)
        try:
            _wait(running)
            yield running
        finally:
            process.kill()
            process.wait(timeout=30)


def _wait(running: Replica) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and running.process.poll() is None:
        with suppress(httpx.TransportError):
            if running.ready().status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"the replica did not get ready: {running.log.read_text()}")
