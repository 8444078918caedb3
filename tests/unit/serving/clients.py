"""Runs the real application, with the real engine, inside the test process."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from serving.app import create_app
from serving.replica import Replica
from serving.settings import Settings

from .detectors import write_model

DIGEST = "sha256:" + "d" * 64


def build_replica(folder: Path, **settings: Any) -> Replica:
    """A replica of a tiny detector in `folder`, not yet loaded."""
    defaults: dict[str, Any] = {
        "model_path": folder / "model.onnx",
        "environment": "production",
        "colour": "blue",
        "image_digest": DIGEST,
        "inference_workers": 1,
    }
    if not (folder / "model.onnx").exists():
        write_model(folder)
    return Replica.build(Settings(**(defaults | settings)))


@contextmanager
def client_of(replica: Replica) -> Iterator[TestClient]:
    """Starts the application and waits until its model is loaded or refused."""
    with TestClient(create_app(replica)) as client:
        wait_until_loaded(client)
        yield client


def wait_until_loaded(client: TestClient) -> None:
    """Polls /ready until the replica has made up its mind."""
    for _ in range(2000):
        answer = client.get("/ready")
        if answer.status_code == 200 or "being loaded" not in answer.text:
            return
        time.sleep(0.005)
    raise AssertionError("the model was neither loaded nor refused")


def post(client: TestClient, image: bytes, path: str = "/predict", **kwargs: Any) -> Any:
    """Sends one image as the field `image`."""
    return client.post(path, files={"image": ("x", image)}, **kwargs)
