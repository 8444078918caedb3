"""A server that takes traces and decodes them by OpenTelemetry's own messages, or misbehaves as a test tells it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Collector:
    """What arrived.

    Attributes:
        url: where it takes traces.
        requests: each message, decoded.
        headers: of each.
    """

    url: str = ""
    requests: Queue[ExportTraceServiceRequest] = field(default_factory=Queue)
    headers: list[dict[str, str]] = field(default_factory=list)

    def spans(self, seconds: float = 20.0) -> list[Any]:
        """The spans of the next message."""
        request = self.requests.get(timeout=seconds)
        return list(request.resource_spans[0].scope_spans[0].spans)


def taken(handler: BaseHTTPRequestHandler) -> None:
    """The answer of a collector that took everything."""
    body = ExportTraceServiceResponse().SerializeToString()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/x-protobuf")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def collecting(answer: Answer = taken) -> Iterator[Collector]:
    """A collector on loopback."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.headers.append(dict(self.headers))
            collector.requests.put(ExportTraceServiceRequest.FromString(body))
            answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
