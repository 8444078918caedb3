"""A small HTTP proxy before a real server, which fails on purpose as connections, stores and proxies do."""

from __future__ import annotations

import http.server
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx


@dataclass
class Answer:
    """What goes back to the client.

    Attributes:
        status: HTTP status.
        headers: without the ones about the length and the connection.
        body: whole, as the server sent it.
        announced: Content-Length; None leaves it out, so that the end of the connection is the end of the body.
        sent: bytes of the body that are sent before the connection ends; None for all.
        reset: whether the connection is reset instead of closed.
        delay: seconds before the first byte.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    announced: int | None
    sent: int | None = None
    reset: bool = False
    delay: float = 0.0


Fault = Callable[[Answer], None]


@dataclass
class FaultProxy:
    """The proxy's controls.

    Attributes:
        upstream: the real server.
        url: where the proxy listens.
        asked: path and query of every request, in order.
    """

    upstream: str
    url: str = ""
    asked: list[str] = field(default_factory=list)
    _faults: list[tuple[Callable[[str], bool], Fault, list[int]]] = field(default_factory=list)

    def fail(self, on: Callable[[str], bool], fault: Fault, times: int = 1_000_000) -> None:
        """Spoil the next ``times`` answers to the paths that ``on`` says."""
        self._faults.append((on, fault, [times]))

    def heal(self) -> None:
        """Pass everything on as it is."""
        self._faults.clear()

    def spoil(self, path: str, answer: Answer) -> None:
        """Do what was asked for to one answer."""
        for on, fault, left in self._faults:
            if left[0] > 0 and on(path):
                left[0] -= 1
                fault(answer)


def files(path: str) -> bool:
    """Downloads through MLflow's server."""
    return "/mlflow-artifacts/artifacts/" in path


def listings(path: str) -> bool:
    """Listings of artifacts through MLflow's server."""
    return "/mlflow-artifacts/artifacts?" in path


def half_without_a_length(answer: Answer) -> None:
    answer.announced, answer.sent = None, len(answer.body) // 2


def half_with_a_length_that_fits(answer: Answer) -> None:
    answer.announced = answer.sent = len(answer.body) // 2


def closed_halfway(answer: Answer) -> None:
    answer.sent = len(answer.body) // 2


def reset_halfway(answer: Answer) -> None:
    answer.sent, answer.reset = len(answer.body) // 2, True


def refused_with(status: int, body: bytes = b"<html>no</html>") -> Fault:
    def fault(answer: Answer) -> None:
        answer.status, answer.body, answer.announced = status, body, len(body)

    return fault


def late_by(seconds: float) -> Fault:
    def fault(answer: Answer) -> None:
        answer.delay = seconds

    return fault


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """A proxy on a free port."""
    proxy = FaultProxy(upstream)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(proxy))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    yield proxy
    server.shutdown()
    server.server_close()


def _handler(proxy: FaultProxy) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            proxy.asked.append(self.path)
            answer = self._ask()
            proxy.spoil(self.path, answer)
            time.sleep(answer.delay)
            try:
                self._send(answer)
            except OSError:
                self.close_connection = True  # The client has given up.

        def _ask(self) -> Answer:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            dropped = {"host", "connection", "accept-encoding", "content-length"}
            headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
            headers["Host"] = urlsplit(proxy.upstream).netloc
            got = httpx.request(self.command, f"{proxy.upstream}{self.path}", headers=headers, content=body, timeout=30)
            framing = {"content-length", "transfer-encoding", "connection", "content-encoding"}
            kept = {name: value for name, value in got.headers.items() if name.lower() not in framing}
            length = int(got.headers.get("content-length", len(got.content)))
            return Answer(got.status_code, kept, got.content, announced=length)

        def _send(self, answer: Answer) -> None:
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.announced is not None:
                self.send_header("Content-Length", str(answer.announced))
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body if answer.sent is None else answer.body[: answer.sent])
            self.wfile.flush()
            self.close_connection = True
            if answer.reset:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"):
        setattr(Handler, f"do_{method}", Handler._pass_on)
    return Handler
