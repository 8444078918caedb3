"""HTTP servers side by side: what each does with clients that mean no good, and how many requests it answers.

    python -m benchmarks.http_servers --out benchmarks/out/http-servers.json

Each server runs the same small ASGI application in a process of its own, with the limits that its own settings offer
for what serving promises (`docs/serving.md`): a head in 2 s and 64 KiB, the rest of a body whose request is answered in
2 s, nothing said for 2 s, an end 3 s after the order to stop. granian and hypercorn are in no lock of ours: install
them first.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
import uvicorn
from rich.console import Console
from rich.table import Table

from benchmarks.serving_load import Connection
from serving.http.protocol import GuardedProtocol

Message = MutableMapping[str, Any]
LIMIT_SECONDS = 2
PATIENCE_SECONDS = 12.0
"""After which a connection is held for ever, as far as this says."""
ENOUGH_BYTES = 64 * 1024 * 1024
GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answers with the path and the bytes of the body; what announces over 1 MB is refused at once, as serving does."""
    if scope["type"] == "lifespan":
        for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
            await receive()
            await send({"type": answer})
        return
    if scope["type"] != "http":
        return
    announced = int(dict(scope["headers"]).get(b"content-length", b"0"))
    status, length, more = (413, 0, False) if announced > 1_000_000 else (200, 0, True)
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    body = b"%s %d" % (scope["path"].encode(), length)
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def serve(kind: str, port: int) -> None:
    """Runs one of uvicorn's protocols until it is told to stop."""
    limits = {"header_seconds": float(LIMIT_SECONDS), "rest_seconds": float(LIMIT_SECONDS)}
    protocols: dict[str, Any] = {
        "httptools": "httptools",
        "h11": "h11",
        "guarded": type("Protocol", (GuardedProtocol,), limits),
    }
    uvicorn.run(
        application,
        port=port,
        http=protocols[kind],
        loop="uvloop",
        ws="none",
        access_log=False,
        log_level="critical",
        timeout_keep_alive=LIMIT_SECONDS,
        timeout_graceful_shutdown=3,
    )


def commands(port: int, folder: Path) -> dict[str, list[str]]:
    """How each server is started.

    Args:
        port: where it answers.
        folder: for files of settings.
    """
    ours = [sys.executable, "-m", "benchmarks.http_servers", "--port", str(port), "--serve"]
    app = "benchmarks.http_servers:application"
    granian = [sys.executable, "-m", "granian", "--interface", "asgi", "--no-ws", "--http", "1", app]
    granian += ["--http1-header-read-timeout", str(1000 * LIMIT_SECONDS), "--http1-buffer-size", str(64 * 1024)]
    granian += ["--workers-kill-timeout", "3", "--host", "127.0.0.1", "--port", str(port)]
    settings: dict[str, Any] = {
        "keep_alive_timeout": LIMIT_SECONDS,
        "read_timeout": LIMIT_SECONDS,
        "graceful_timeout": 3,
    }
    settings |= {"bind": [f"127.0.0.1:{port}"], "worker_class": "uvloop", "keep_alive_max_requests": 10**9}
    file = folder / "hypercorn.toml"
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    return {
        "ours on uvicorn": [*ours, "guarded"],
        "uvicorn, httptools": [*ours, "httptools"],
        "uvicorn, h11": [*ours, "h11"],
        "granian": granian,
        "hypercorn": [sys.executable, "-m", "hypercorn", "--config", str(file), app],
    }


class Server:
    """A server under test."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def connect(self, *sent: bytes) -> socket.socket:
        """A connection on which this was sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)
        for data in sent:
            connection.sendall(data)
        return connection

    def read(self, *sent: bytes) -> bytes:
        """What is answered until the server closes, or nobody says anything more."""
        with self.connect(*sent) as connection:
            received = b""
            with suppress(OSError):
                while piece := connection.recv(65536):
                    received += piece
            return received

    def processes(self) -> list[psutil.Process]:
        """The server and what it started."""
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def memory(self) -> int:
        """Resident bytes of all of them."""
        return sum(one.memory_info().rss for one in self.processes())


@contextmanager
def running(name: str) -> Iterator[Server]:
    """A server that answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder = tempfile.TemporaryDirectory()
    command = commands(port, Path(folder.name))[name]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server, deadline = Server(process, port), time.monotonic() + 120
    try:
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError):
                if b" 200 " in server.read(LAST):
                    break
            time.sleep(0.1)
        else:
            raise RuntimeError(f"{name} does not answer; exit status {process.poll()}")
        yield server
    finally:
        with suppress(psutil.NoSuchProcess):
            for one in reversed(server.processes()):
                one.kill()
        process.wait(timeout=30)
        folder.cleanup()


def offer(server: Server, words: bytes) -> str:
    """A client that offers another protocol with its body gets an answer to it in this one, and so does its next."""
    body = b"x" * 5000
    head = b"POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n" % (len(body), words)
    answer = server.read(head + body, LAST)
    if b"/first 5000" in answer and b"/last 0" in answer:
        return ""
    return f"{answer.count(b'HTTP/1.1 2')} of 2 answers" if b"/first 5000" in answer else "the body is lost"


def smuggling(server: Server, words: bytes) -> str:
    """A request in the body of one that offers an upgrade is no request."""
    head = b"POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n" % (len(GET % b"hidden"), words)
    answer = server.read(head + GET % b"hidden" + LAST)
    return "the hidden request was answered" if b"/hidden" in answer else ""


def endless_head(server: Server) -> str:
    """A head that never ends is refused before it takes memory."""
    before, sent = server.memory(), 0
    with server.connect(b"GET / HTTP/1.1\r\nHost: x\r\n") as connection, suppress(OSError):
        while sent < ENOUGH_BYTES:
            sent += len(b"X-A: b\r\n" * 2048)
            connection.sendall(b"X-A: b\r\n" * 2048)
    grown = server.memory() - before
    taken = sent >= ENOUGH_BYTES // 4 or grown > ENOUGH_BYTES // 4
    return f"{sent / 2**20:.0f} MiB taken, {grown / 2**20:.0f} MiB more held" if taken else ""


def held(server: Server, *sent: bytes) -> str:
    """A connection that says nothing more, or nothing that counts, is closed."""
    with server.connect(*sent) as connection:
        return _stays(connection)


def blank_lines(server: Server) -> str:
    """A blank line after an answer keeps no connection open."""
    with server.connect(GET % b"one") as connection:
        connection.recv(65536)
        connection.sendall(b"\r\n")
        return _stays(connection)


def _stays(connection: socket.socket) -> str:
    end = time.monotonic() + PATIENCE_SECONDS
    with suppress(ConnectionError):
        try:
            while connection.recv(65536) and time.monotonic() < end:
                pass
        except TimeoutError:
            return f"open after {PATIENCE_SECONDS:g} s"
    return ""


def unread(server: Server) -> str:
    """Answers that nobody takes are no longer made."""
    before = server.memory()
    with server.connect() as connection:
        connection.settimeout(PATIENCE_SECONDS)
        with suppress(OSError):
            for _ in range(200):
                connection.sendall((GET % (b"a" * 200)) * 200)
        grown = server.memory() - before
    return f"{grown / 2**20:.0f} MiB more held" if grown > ENOUGH_BYTES // 4 else ""


def stopping(server: Server) -> str:
    """The order to stop ends it, though a body has not come."""
    with server.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"):
        time.sleep(0.3)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.process.wait(timeout=2 * PATIENCE_SECONDS)
        took = time.monotonic() - start
    return "" if took < PATIENCE_SECONDS else f"runs after {took:.0f} s"


TRIALS: dict[str, Callable[[Server], str]] = {
    "h2c offered, as Java does": lambda server: offer(server, H2C),
    "WebSocket offered": lambda server: offer(server, WEBSOCKET),
    "request hidden behind h2c": lambda server: smuggling(server, H2C),
    "request hidden behind WebSocket": lambda server: smuggling(server, WEBSOCKET),
    "head without end": endless_head,
    "head that stops": lambda server: held(server, b"GET / HTTP/1.1\r\nHost:"),
    "nothing at all": held,
    "rest of a refused body": lambda server: held(
        server, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n--B\r\n"
    ),
    "blank lines after an answer": blank_lines,
    "answers that nobody reads": unread,
    "order to stop": stopping,
}


CAPACITY = "requests a CPU second"


def throughput(server: Server, requests: int) -> float:
    """Requests of 60 kB on one connection for each second of the server's CPU time, which other work disturbs least."""
    with closing(Connection(server.port)) as connection:
        body = b"x" * 60_000
        request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        connection.ask(request)
        before = _cpu(server)
        for _ in range(requests):
            connection.ask(request)
        return requests / max(_cpu(server) - before, 1e-9)


def _cpu(server: Server) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in server.processes())


def main(
    out: Annotated[Path, typer.Option(help="Figures as JSON.")] = Path("benchmarks/out/http-servers.json"),
    rounds: Annotated[int, typer.Option(help="Of throughput, each server in turn.")] = 3,
    requests: Annotated[int, typer.Option(help="Of one round.")] = 3000,
    only: Annotated[str, typer.Option(help="One server's name; empty: all.")] = "",
    serving: Annotated[str, typer.Option("--serve", help="Be one of uvicorn's; for the servers themselves.")] = "",
    port: Annotated[int, typer.Option(help="Where to.")] = 0,
) -> None:
    """Try each server, and count what it answers."""
    if serving:
        serve(serving, port)
        return
    with tempfile.TemporaryDirectory() as folder:
        names = [only] if only else [*commands(0, Path(folder))]
    found = {name: _tried(name, rounds, requests) for name in names}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1) + "\n")
    table = Table("", *names)
    for row in (*TRIALS, CAPACITY):
        table.add_row(row, *(str(found[name][row]) for name in names))
    Console().print(table)


def _tried(name: str, rounds: int, requests: int) -> dict[str, Any]:
    with running(name) as server:
        found: dict[str, Any] = {CAPACITY: [round(throughput(server, requests)) for _ in range(rounds)]}
        for trial, attempt in TRIALS.items():  # The order to stop is the last.
            found[trial] = attempt(server) or "holds"
    print(name, json.dumps(found), flush=True)
    return found


if __name__ == "__main__":
    typer.run(main)
