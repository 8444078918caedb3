"""A closed-loop HTTP client that costs little: raw sockets, requests prepared in advance, one thread a connection.

    python -m benchmarks.serving_load PID[,PID...] PORT[,PORT...] CONCURRENCY SECONDS REQUEST_FILE...

Connections are shared out evenly where a server has several replicas. Every thread sends the prepared requests in turn
on one kept-alive connection and waits for each answer. What completes within the window after the warm-up is counted,
whenever it was sent: to leave out what was in flight at its edges would take sixteen requests off a run at concurrency
16, and make every server look worse the more is asked of it at once.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.serving_window import WARM_UP_SECONDS, Window, measured


class Connection:
    """One kept-alive connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> int:
        """Sends a request and reads its whole answer; returns the status."""
        self._socket.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, body = received.partition(b"\r\n\r\n")
        self._read_body(head.lower(), body)
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def _read_body(self, head: bytes, body: bytes) -> None:
        if b"transfer-encoding: chunked" in head:
            while not body.endswith(b"0\r\n\r\n"):
                body += self._receive()
            return
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += self._receive()

    def _receive(self) -> bytes:
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed the connection in the middle of an answer")
        return data


def load(
    servers: Sequence[int], ports: Sequence[int], concurrency: int, seconds: float, requests: list[bytes]
) -> dict[str, object]:
    """Runs the load; returns what `serving_window.measured` tells about it, and the number of errors."""
    errors = [0] * concurrency
    window = Window(time.perf_counter() + WARM_UP_SECONDS, seconds)

    def run(number: int) -> None:
        turn = number // len(ports)
        with closing(Connection(ports[number % len(ports)])) as connection:
            while (started := time.perf_counter()) < window.end:
                errors[number] += connection.ask(requests[turn % len(requests)]) != 200
                window.completed(started)
                turn += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(concurrency)]
    for thread in threads:
        thread.start()
    result = measured(window, servers)
    for thread in threads:
        thread.join()
    return result | {"errors": sum(errors)}


def main() -> None:
    """Reads the command line and prints the result."""
    servers, ports = ([int(one) for one in argument.split(",")] for argument in sys.argv[1:3])
    requests = [Path(name).read_bytes() for name in sys.argv[5:]]
    print(json.dumps(load(servers, ports, int(sys.argv[3]), float(sys.argv[4]), requests)))


if __name__ == "__main__":
    main()
