"""A small HTTP service that keeps the contract of a release, and breaks it where a test tells it to."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from PIL import Image, UnidentifiedImageError
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

DIGEST = "sha256:" + "1" * 64
VERSION = "7"
IMAGE_SIZE = (64, 48)


@dataclass
class LeafService:
    """What the service does; a test may change any of it while it runs.

    Attributes:
        digest: what it says it is.
        version: what it says it is.
        statuses: answered to the next uploads, in order, before it answers properly again.
        always: answered to every upload, if not None.
        healthy_first: so many uploads are answered properly before ``statuses`` and ``always`` begin.
        delay: seconds before an upload is answered.
        detections: what it finds on every image.
        asked: how many uploads came.
        most_at_once: how many uploads were under way at once, at most.
        traffic: whose requests the uploads said they were.
        proofs: and by what they proved it.
        metrics: the answer to whoever asks for its counters.
    """

    digest: str = DIGEST
    version: str = VERSION
    statuses: list[int] = field(default_factory=list)
    always: int | None = None
    healthy_first: int = 0
    delay: float = 0.0
    detections: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    most_at_once: int = 0
    traffic: set[str] = field(default_factory=set)
    proofs: set[str] = field(default_factory=set)
    metrics: Response = field(default_factory=lambda: PlainTextResponse("banana_requests_total 1\n"))
    url: str = ""
    _under_way: int = 0

    def app(self) -> Starlette:
        plain = {"/health": {"status": "ok"}, "/ready": {"status": "ready"}}
        routes = [Route(path, self._json(content)) for path, content in plain.items()]
        routes += [
            Route("/version", self._version),
            Route("/metrics", lambda _: self.metrics),
            Route("/predict", self._predict, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    def _json(self, content: dict[str, str]) -> Any:
        return lambda _: JSONResponse(content)

    def _version(self, _: Request) -> Response:
        return JSONResponse({"version": self.version, "digest": self.digest})

    async def _predict(self, request: Request) -> Response:
        self.asked += 1
        self._under_way += 1
        self.traffic.add(request.headers.get("X-Banana-Traffic", "nobody's"))
        self.proofs.add(request.headers.get("X-Banana-Probe", ""))
        self.most_at_once = max(self.most_at_once, self._under_way)
        await asyncio.sleep(self.delay)
        response = await self._answer(request)
        self._under_way -= 1
        identity = {"X-Image-Digest": self.digest, "X-Model-Version": self.version, "X-Colour": "green"}
        response.headers.update({**identity, "X-Request-Id": uuid.uuid4().hex})
        return response

    async def _answer(self, request: Request) -> Response:
        breaks = self.asked > self.healthy_first
        status = (self.statuses.pop(0) if self.statuses else self.always) if breaks else None
        if status == 503:
            return JSONResponse({}, 503, {"Retry-After": "0"})
        if status is not None:
            return JSONResponse({"error": "broken on purpose"}, status)
        async with request.form() as form:
            upload = form["image"]
            assert isinstance(upload, UploadFile)
            return self._look_at(await upload.read())

    def _look_at(self, data: bytes) -> Response:
        try:
            with Image.open(io.BytesIO(data)) as image:
                size = image.size
                if size[0] * size[1] > 1_000_000:
                    return JSONResponse({}, 413)
                image.load()
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            return JSONResponse({}, 413)
        except (UnidentifiedImageError, OSError):
            return JSONResponse({}, 422 if data.startswith(b"\xff\xd8") else 415)
        # As a careless server writes it: NaN is no JSON.
        return CarelessResponse(
            {
                "schema_version": "1",
                "request_id": uuid.uuid4().hex,
                "model_version": self.version,
                "digest": self.digest,
                "image": {"width": size[0], "height": size[1]},
                "detections": self.detections,
                "seconds": 0.001,
            }
        )


class CarelessResponse(JSONResponse):
    """JSON with numbers that JSON does not have."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode()


@contextmanager
def running(port: int = 0) -> Iterator[LeafService]:
    """The service on a port of the loopback address, a free one by default, for as long as the block lasts."""
    service = LeafService()
    server = uvicorn.Server(uvicorn.Config(service.app(), port=port, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        threading.Event().wait(0.01)
    service.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield service
    finally:
        server.should_exit = True
        thread.join()
