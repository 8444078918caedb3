"""Runs the real application, with the real engine, inside the test process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from serving.app import create_app
from serving.replica import Replica
from serving.server import DrainingServer
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
    """Starts the application; its model is then loaded or refused."""
    with TestClient(create_app(replica)) as client:
        yield client


@contextmanager
def started(running: DrainingServer) -> Iterator[None]:
    """The real server, in a thread."""
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield
    finally:
        running.should_exit = True
        thread.join()


def post(client: TestClient, image: bytes, path: str = "/predict", **kwargs: Any) -> Any:
    """Sends one image as the field `image`."""
    return client.post(path, files={"image": ("x", image)}, **kwargs)
