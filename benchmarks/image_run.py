"""Pulling an image onto an engine that lacks it, and waiting until it serves."""

from __future__ import annotations

import contextlib
import socket
import time

import httpx

from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.docker.engine import Engine

_READY_SECONDS = 180.0


def pull_to_ready(engine: Engine, names: list[str], pinned: str) -> tuple[float, int]:
    """Seconds from the start of the pull to the first answer of ``/ready``, and how many layers were pulled.

    Args:
        engine: where to do it.
        names: every name of the image on the engine; they are removed first.
        pinned: the image by digest.

    Raises:
        RuntimeError: if the image does not become ready.
    """
    for name in names:
        engine.remove(name)
    lines: list[str] = []
    started = time.monotonic()
    engine.pull(pinned, Credentials(), lines.append)
    pulled = sum(line.endswith("pull complete") for line in lines)
    port = _free_port()
    host_config = engine.api.create_host_config(network_mode="host", tmpfs={"/tmp": ""})
    container = engine.api.create_container(
        pinned, environment={"PORT": str(port), "HOST": "127.0.0.1", "ENVIRONMENT": "staging"}, host_config=host_config
    )["Id"]
    try:
        engine.api.start(container)
        _wait(f"http://127.0.0.1:{port}/ready", started + _READY_SECONDS)
        return time.monotonic() - started, pulled
    except RuntimeError as error:
        raise RuntimeError(f"{error}: {engine.api.logs(container).decode()[-2000:]}") from error
    finally:
        engine.api.remove_container(container, force=True)


def _wait(url: str, deadline: float) -> None:
    with httpx.Client(timeout=2) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if client.get(url).is_success:
                    return
            time.sleep(0.05)
    raise RuntimeError(f"{url} did not answer in time")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
