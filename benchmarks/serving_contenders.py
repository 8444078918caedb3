"""Who takes part in the serving benchmark: how each is started, and what a request to it looks like."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass
from pathlib import Path

PEER_PYTHON = ".banana/bench-venv/bin/python"
BOUNDARY = "benchmark"


@dataclass(frozen=True)
class Contender:
    """A server: `command` starts it, with PORT in its environment; `route` answers predictions by `precision`."""

    name: str
    command: list[str]
    route: str = "/predict"
    as_json: bool = False
    precision: str = "f32"

    @property
    def key(self) -> str:
        """The name as part of a file's name."""
        return self.name.lower().replace(",", "").replace(" ", "-")

    def request(self, jpeg: bytes) -> bytes:
        """The bytes of one HTTP request that predicts on an image."""
        if self.as_json:
            record = {"dataframe_records": [{"image": base64.b64encode(jpeg).decode()}]}
            return _post(self.route, "application/json", json.dumps(record).encode())
        part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="x.jpg"\r\n'
        head = f"{part}Content-Type: image/jpeg\r\n\r\n".encode()
        body = head + jpeg + f"\r\n--{BOUNDARY}--\r\n".encode()
        return _post(self.route, f"multipart/form-data; boundary={BOUNDARY}", body)


def _post(route: str, content_type: str, body: bytes) -> bytes:
    head = f"POST {route} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


OURS = Contender("ours", [sys.executable, "-m", "serving"])
OURS_INT8 = Contender("ours, int8", OURS.command, precision="int8")
"""What BANANA_PRECISION=auto serves of a model that it loses nothing of."""


def peers(python: str) -> list[Contender]:
    """The others, run by the Python of their own environment."""
    bento = str(Path(python).with_name("bentoml"))
    return [
        Contender("plain FastAPI + ultralytics", [python, "-m", "benchmarks.peers.plain"]),
        Contender("LitServe", [python, "-m", "benchmarks.peers.lit"]),
        Contender("BentoML", [bento, "serve", "benchmarks.peers.bento:Bananas", "--port", "{port}"]),
        Contender("mlflow models serve", [python, "-m", "benchmarks.peers.mlflow_model"], "/invocations", as_json=True),
        Contender("Ray Serve", [python, "-m", "benchmarks.peers.ray_serve"]),
    ]
