"""Serves on HOST and PORT; what is in version.json beside the model says how it behaves.

One that is new shows its metrics on INTERNAL_PORT alone, an old one where it answers everything.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

Message = dict[str, Any]
Answer = tuple[int, bytes]

VERSION = json.loads((Path(os.environ["MODEL_PATH"]).parent / "version.json").read_text())
HEADERS = {
    "X-Image-Digest": os.environ["IMAGE_DIGEST"],
    "X-Model-Version": VERSION["version"],
    "X-Colour": os.environ["COLOUR"],
    "X-Replica": str(os.getpid()),
}
METRICS_PORT = int(os.environ["PORT" if VERSION["old"] else "INTERNAL_PORT"])
registry = CollectorRegistry()
ProcessCollector(registry=registry)
overload = Counter("banana_overload_total", "503 with Retry-After.", ["traffic"], registry=registry)
duration = Histogram("banana_request_duration_seconds", "Time.", ["route", "traffic"], registry=registry)
info = Gauge("banana_model_info", "1.", ["version", "digest", "environment", "colour"], registry=registry)
info.labels(VERSION["version"], os.environ["IMAGE_DIGEST"], os.environ["ENVIRONMENT"], os.environ["COLOUR"]).set(1)


async def predict(headers: dict[str, str]) -> Answer:
    """An answer as slow, and with the status, that the request asks for."""
    begun = time.monotonic()
    await asyncio.sleep(float(headers.get("x-test-seconds", "0")))
    if "x-test-die" in headers:
        os._exit(1)
    traffic, token = headers.get("x-banana-traffic", "none"), os.environ["PROBE_TOKEN"]
    if traffic == "probe" and not VERSION["old"] and headers.get("x-banana-probe") != token:
        traffic = "user"
    duration.labels("/predict", traffic).observe(time.monotonic() - begun)
    status = int(headers.get("x-test-status", "500" if VERSION["failing"] else "200"))
    if status == 503 and "x-test-retry-after" in headers:
        overload.labels(traffic).inc()
    return status, json.dumps({"traffic": traffic}).encode()


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """The ASGI application."""
    while (await receive()).get("more_body"):
        continue
    if scope["path"] == "/predict":
        status, body = await predict({name.decode(): value.decode() for name, value in scope["headers"]})
    else:
        known = {"/ready": b"{}"}
        if scope["server"][1] == METRICS_PORT:
            known["/metrics"] = generate_latest(registry)
        status, body = (200, known[scope["path"]]) if scope["path"] in known else (404, b"")
    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    if VERSION["broken"]:
        sys.exit("The model has no weights.")
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        timeout_keep_alive=int(os.environ["KEEP_ALIVE_SECONDS"]),
        timeout_graceful_shutdown=int(os.environ["DRAIN_SECONDS"]),
        log_level="warning",
    )
    ports = sorted({int(os.environ["PORT"]), METRICS_PORT})
    uvicorn.Server(config).run([socket.create_server((os.environ["HOST"], port)) for port in ports])
