"""Who takes part in the serving benchmark: how each is started, and what a request to it looks like."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

ONNX, OPENVINO = "f32/model.onnx", "best_openvino_model"
"""The same network as ultralytics exports it, in the material's folder."""
PEER_PYTHON = ".banana/bench-venv/bin/python"
BOUNDARY = "benchmark"


@dataclass(frozen=True)
class Contender:
    """A server.

    Attributes:
        command: starts it, with PORT in its environment.
        route: answers predictions.
        as_json: whether it takes base64 instead of a form.
        precision: of ours.
        replicas: of ours, each with as many cores as its part of them.
        model: that a peer runs, a file of the material.
        workers: processes that a peer answers by.
        rounds: that ours is compared with it.
    """

    name: str
    command: list[str]
    route: str = "/predict"
    as_json: bool = False
    precision: str = "f32"
    replicas: int = 1
    model: str = "best.pt"
    workers: int = 1
    rounds: int = 1

    def environment(self, folder: Path) -> dict[str, str]:
        """What tells a peer how it is set up; `folder` is the material's."""
        return {"CHECKPOINT": str(folder / self.model), "WORKERS": str(self.workers)}

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


def replica_a_core(contender: Contender, cores: int) -> Contender:
    """Ours as our own documentation advises where there is memory for it, as the peers have a process for each core."""
    name = f"{contender.name} x {cores}"
    return replace(contender, name=name, command=["env", "INFERENCE_WORKERS=1", *contender.command], replicas=cores)


PLAIN = "plain FastAPI + ultralytics"
BARRED_ROUNDS = 3
"""Of whom a bar is about."""


def peers(python: str, workers: int) -> list[Contender]:
    """The others, run by the Python of their own environment: by the defaults, and as well set up as they say.

    That is the network exported as ultralytics' documentation advises for CPUs, and a process for each core as each
    server's own does.
    """
    plain, *others = _by_default(python)
    return [
        replace(plain, rounds=BARRED_ROUNDS),
        *others,
        _set_up(plain, "ONNX", ONNX, workers),
        *(_set_up(one, "OpenVINO", OPENVINO, workers) for one in (plain, *others)),
    ]


def _set_up(peer: Contender, form: str, model: str, workers: int) -> Contender:
    return replace(peer, name=f"{peer.name}, {form} x {workers}", model=model, workers=workers)


def _by_default(python: str) -> list[Contender]:
    bento = str(Path(python).with_name("bentoml"))
    return [
        Contender(
            PLAIN,
            [
                *("sh", "-c"),
                f"exec {python} -m uvicorn benchmarks.peers.plain:app --port $PORT --workers $WORKERS --no-access-log",
            ],
        ),
        Contender("LitServe", [python, "-m", "benchmarks.peers.lit"]),
        Contender("BentoML", [bento, "serve", "benchmarks.peers.bento:Bananas", "--port", "{port}"]),
        Contender("mlflow models serve", [python, "-m", "benchmarks.peers.mlflow_model"], "/invocations", as_json=True),
        Contender("Ray Serve", [python, "-m", "benchmarks.peers.ray_serve"]),
    ]
