import os
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import pytest

from benchmarks.serving_bars import bars, told
from benchmarks.serving_contenders import PLAIN
from benchmarks.serving_load import load
from benchmarks.serving_report import over_limit

PLACES, WORK_SECONDS = 2, 0.05
CAPACITY = PLACES / WORK_SECONDS
REQUEST = b"POST /predict HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class TwoAtATime(socketserver.StreamRequestHandler):
    """Works on two requests at once, on each for a fixed time, however many wait."""

    places = threading.Semaphore(PLACES)

    def handle(self) -> None:
        while self.rfile.readline() != b"":
            while self.rfile.readline() != b"\r\n":
                pass
            with self.places:
                time.sleep(WORK_SECONDS)
            self.wfile.write(ANSWER)


class ManyConnections(socketserver.ThreadingTCPServer):
    request_queue_size = 32
    daemon_threads = True


@pytest.fixture
def port() -> Iterator[int]:
    with ManyConnections(("127.0.0.1", 0), TwoAtATime) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_long_queue_does_not_make_a_server_look_slower(port: int) -> None:
    """What is in flight when the window opens and closes is a third of all requests here."""
    run = load([os.getpid()], [port], 16, 1.0, [REQUEST])
    assert run["errors"] == 0
    assert run["per_second"] == pytest.approx(CAPACITY, rel=0.15)


def test_connections_are_shared_out_among_the_replicas() -> None:
    asked = {}
    with ExitStack() as stack:
        servers = [stack.enter_context(ManyConnections(("127.0.0.1", 0), TwoAtATime)) for _ in range(2)]
        for server in servers:
            asked[server] = stack.enter_context(patch.object(server, "finish_request", wraps=server.finish_request))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        run = load([os.getpid()], [server.server_address[1] for server in servers], 6, 0.3, [REQUEST])
    assert run["errors"] == 0
    assert [each.call_count for each in asked.values()] == [3, 3]


def test_what_the_client_costs_is_taken_off_ours_and_not_off_the_bare_loop() -> None:
    ours = {"per_second": 80.0, "core_ms": 25.0, "client_ms": 5.0}
    bare = {"per_second": 100.0, "core_ms": 20.0, "client_ms": 19.0}
    assert over_limit({4: [(ours, bare)]}) == {
        "ours_over_limit": {"4": 0.8},
        "ours_over_limit_by_core_time": {"4": 0.8},
        "ours_over_limit_net_of_client": {"4": 1.0},
    }


def report(over_plain: dict[str, float], overloaded: float) -> dict[str, Any]:
    part: dict[str, Any] = {"ours_over_limit_net_of_client": {"4": 0.91, "16": 0.95}, "overload": {"over": overloaded}}
    each = {"ours_over_limit_net_of_client": {"4": 0.96, "16": 0.9}, "ours_over": {PLAIN: over_plain}}
    part["replica_a_core"] = each
    int8 = part | {"ours_over": {PLAIN: over_plain}, "f32": {"over": {"1": 1.2, "4": 1.4, "16": 1.31}}}
    return part | {"int8": int8}


def test_every_bar_that_is_reached_is_kept() -> None:
    kept = bars(report({"1": 2.0, "4": 4.6, "16": 4.5}, 1.4))
    assert all(bar.kept for bar in kept)
    assert "missed" not in told(kept)


def test_a_bar_that_is_not_reached_or_was_not_measured_is_missed() -> None:
    missed = [bar for bar in bars(report({"4": 4.4}, 1.6)) if not bar.kept]
    assert [bar.found for bar in missed] == [4.4, None, 4.4, None, 1.6, 1.6]
    assert "not measured | **missed**" in told(missed)
