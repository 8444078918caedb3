"""A closed-loop HTTP client that costs little: raw sockets, requests prepared in advance, one thread a connection.

    python -m benchmarks.serving_load PORT CONCURRENCY SECONDS REQUEST_FILE...

Every thread sends the prepared requests in turn on one kept-alive connection and waits for each answer. It prints JSON:
requests, errors, seconds, latencies in milliseconds, and the CPU seconds the client itself used.
"""

from __future__ import annotations

import json
import resource
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP_SECONDS = 1.0


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


def client_cpu() -> float:
    """CPU seconds this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def load(port: int, concurrency: int, seconds: float, requests: list[bytes]) -> dict[str, Any]:
    """Runs the load; the first second is not counted."""
    latencies: list[list[float]] = [[] for _ in range(concurrency)]
    errors = [0] * concurrency
    begin = time.perf_counter() + WARM_UP_SECONDS
    end = begin + seconds

    def run(number: int) -> None:
        connection = Connection(port)
        turn = number
        while (started := time.perf_counter()) < end:
            status = connection.ask(requests[turn % len(requests)])
            turn += 1
            if started >= begin:
                latencies[number].append(time.perf_counter() - started)
                errors[number] += status != 200

    threads = [threading.Thread(target=run, args=(number,)) for number in range(concurrency)]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, begin - time.perf_counter()))
    cpu = client_cpu()
    for thread in threads:
        thread.join()
    return summary([value for each in latencies for value in each], time.perf_counter() - begin) | {
        "errors": sum(errors),
        "client_cpu_seconds": round(client_cpu() - cpu, 3),
    }


def summary(latencies: list[float], seconds: float) -> dict[str, Any]:
    """Throughput and latencies (milliseconds) of the requests measured."""
    p50, p99 = np.quantile(latencies, [0.5, 0.99]) * 1000
    return {
        "requests": len(latencies),
        "seconds": round(seconds, 3),
        "per_second": round(len(latencies) / seconds, 2),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
    }


def main() -> None:
    """Reads the command line and prints the result."""
    port, concurrency, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    print(json.dumps(load(port, concurrency, seconds, [Path(name).read_bytes() for name in sys.argv[4:]])))


if __name__ == "__main__":
    main()
