"""What clients do to a connection: offers, floods, silences; each is answered or ended, and nobody else waits."""

import re
import socket
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.unit.serving.detectors import write_model
from tests.unit.serving.images import encode, picture

from .processes import RunningReplica, replica

OFFERS = {
    "h2c, as Java does": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n",
    "websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n",
    "TLS": b"Upgrade: TLS/1.0\r\nConnection: upgrade\r\n",
}


def body_of(image: bytes) -> tuple[bytes, bytes]:
    request = httpx.Request("POST", "http://x/predict", files={"image": image})
    return request.headers["content-type"].encode(), request.read()


def connect(running: RunningReplica, *sent: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=20)
    for data in sent:
        connection.sendall(data)
    return connection


def read_until_closed(connection: socket.socket) -> bytes:
    with connection, connection.makefile("rb") as file:
        return file.read()


def post(offer: bytes, image: bytes, *, chunked: bool = False, last: bool = True) -> bytes:
    kind, body = body_of(image)
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    if chunked:
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:99], body[99:])) + b"0\r\n\r\n"
    close = b"Connection: close\r\n" if last else b""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\n%s\r\n%s%s\r\n" % (kind, framing, offer, close)
    return head + body


@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_a_client_that_offers_another_protocol_is_answered_in_this_one(
    shared_replica: RunningReplica, offer: bytes, chunked: bool
) -> None:
    first = post(offer, encode(picture()), chunked=chunked, last=False)
    answer = read_until_closed(connect(shared_replica, first, post(b"", encode(picture()))))
    assert answer.count(b"HTTP/1.1 200 ") == answer.count(b"HTTP/1.1 ") == 2


def test_an_offer_without_a_body_is_answered(shared_replica: RunningReplica) -> None:
    head = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert read_until_closed(connect(shared_replica, head, last)).count(b"HTTP/1.1 200 ") == 2


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("in_pieces", [False, True], ids=["at once", "in pieces"])
def test_no_request_can_be_hidden_in_the_body_of_one_that_offers_an_upgrade(
    shared_replica: RunningReplica, offer: bytes, in_pieces: bool
) -> None:
    hidden = b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n" % (len(hidden), offer)
    last = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    pieces = [head, hidden, last] if in_pieces else [head + hidden + last]
    answer = read_until_closed(connect(shared_replica, *pieces))
    assert answer.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 415 " in answer
    assert b'"alive"' in answer
    assert b"model_name" not in answer


def test_a_tunnel_is_refused_and_what_follows_is_no_request_of_its_own(shared_replica: RunningReplica) -> None:
    answer = read_until_closed(connect(shared_replica, b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 4")


def sent_without_end(connection: socket.socket, filler: bytes) -> int:
    """How many bytes are taken of what never ends, until the connection is closed or 64 MiB are sent."""
    sent = 0
    with suppress(OSError):
        while sent < 64 * 1024 * 1024:
            connection.sendall(filler)
            sent += len(filler)
    return sent


@pytest.mark.parametrize("line", [b"X-A: b\r\n", b"X-Long: ", b"/"], ids=["many headers", "one header", "a target"])
def test_a_head_without_end_is_refused_in_bounded_memory(shared_replica: RunningReplica, line: bytes) -> None:
    before = shared_replica.peak_memory()
    start = b"GET /" if line == b"/" else b"GET / HTTP/1.1\r\nHost: x\r\n" + line
    filler = line * 2048 if line != b"X-Long: " else b"x" * 16384
    with connect(shared_replica, start) as connection:
        assert sent_without_end(connection, filler) < 16 * 1024 * 1024
    assert shared_replica.peak_memory() - before < 16 * 1024 * 1024


BESIDE_BODIES = {
    "many trailers": (b"0\r\n", b"X-A: b\r\n" * 2048),
    "one trailer": (b"0\r\nX-Long: ", b"x" * 16384),
    "an extension of a chunk": (b"1;x=", b"x" * 16384),
}


@pytest.mark.parametrize("early", [b"", b"Content-Encoding: gzip\r\n"], ids=["read", "answered before"])
@pytest.mark.parametrize(("begin", "filler"), BESIDE_BODIES.values(), ids=BESIDE_BODIES)
def test_what_stands_beside_a_body_without_end_is_refused_in_bounded_memory(
    shared_replica: RunningReplica, begin: bytes, filler: bytes, early: bytes
) -> None:
    """Trailers of one connection took 1.6 GB in twelve seconds, and one without end held up everybody."""
    before = shared_replica.peak_memory()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n%s\r\n" % early
    with connect(shared_replica, head, begin) as connection:
        assert sent_without_end(connection, filler) < 16 * 1024 * 1024
    assert shared_replica.peak_memory() - before < 16 * 1024 * 1024


def test_trailers_are_read_and_are_no_headers(shared_replica: RunningReplica) -> None:
    image = encode(picture())
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Type\r\n"
    body = b"%x;name=value\r\n%s\r\n0\r\nContent-Type: text/plain\r\nX-Sum: 1\r\n\r\n" % (len(image), image)
    last = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = read_until_closed(connect(shared_replica, head + b"\r\n" + body + last))
    assert answer.count(b"HTTP/1.1 200 ") == answer.count(b"HTTP/1.1 ") == 2


def test_requests_sent_without_waiting_are_answered_in_order(shared_replica: RunningReplica) -> None:
    asked = [b"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: n%d\r\n\r\n" % number for number in range(50)]
    last = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: end\r\nConnection: close\r\n\r\n"
    answer = read_until_closed(connect(shared_replica, b"".join(asked) + last))
    assert re.findall(rb"x-request-id: (\S+)", answer) == [*(b"n%d" % number for number in range(50)), b"end"]


def test_a_flood_of_requests_sent_without_waiting_is_ended(shared_replica: RunningReplica) -> None:
    """Sixty clients that sent 400 kB of them each held everybody up for half a minute."""
    before = shared_replica.metric("banana_requests_total")
    with connect(shared_replica) as connection:
        try:
            connection.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n" * 2_000)
            while connection.recv(65536):
                pass
        except ConnectionError:
            pass
    assert shared_replica.metric("banana_requests_total") - before < 200


def test_a_body_whose_request_is_answered_already_does_not_hold_its_connection(shared_replica: RunningReplica) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
    with connect(shared_replica, head, b"--B\r\n") as connection:
        assert connection.recv(12) == b"HTTP/1.1 413"
        while connection.recv(65536):
            pass


def test_blank_lines_after_an_answer_do_not_hold_a_connection(tmp_path: Path) -> None:
    with (
        replica(tmp_path, KEEP_ALIVE_SECONDS="1") as running,
        connect(running, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") as connection,
    ):
        assert connection.recv(12) == b"HTTP/1.1 200"
        connection.sendall(b"\r\n")
        while connection.recv(65536):
            pass


def test_uploads_that_stall_make_room_for_those_that_go_on(tmp_path: Path) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1500000\r\n\r\n"
    with replica(tmp_path, MAX_BUFFERED_BYTES="4000000", UPLOAD_SECONDS="60") as running:
        stalled = [connect(running, head + b"x" * 1_400_000) for _ in range(2)]
        stalled += [connect(running, head + b"x" * 900_000) for _ in range(4)]
        image = encode(picture())
        assert [httpx.post(f"{running.url}/predict", files={"image": image}).status_code for _ in range(3)] == [200] * 3
        for connection in stalled:
            connection.close()


def test_small_uploads_find_room_beside_large_ones_that_go_on(tmp_path: Path) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3500000\r\n\r\n"
    with replica(tmp_path, MAX_BUFFERED_BYTES="4000000") as running:
        large = [connect(running, head + b"x" * 2_000_000) for _ in range(2)]
        for _ in range(3):
            assert httpx.post(f"{running.url}/predict", files={"image": encode(picture())}).status_code == 200
            for connection in large:
                try:
                    connection.sendall(b"x" * 1000)
                except OSError:  # one of the two found no room, and was told so
                    continue
        for connection in large:
            connection.close()


def test_a_slow_upload_that_goes_on_is_answered_however_long_it_takes(tmp_path: Path) -> None:
    request = post(b"", encode(picture(640, 480)))
    padding = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
    assert request.startswith(padding)
    with replica(tmp_path, UPLOAD_SECONDS="0.5") as running, connect(running) as connection:
        connection.settimeout(0.2)
        piece = max(len(request) // 10, 4096)
        for at in range(0, len(request), piece):
            connection.sendall(request[at : at + piece])
            try:
                early = connection.recv(12)
            except TimeoutError:
                continue
            assert early == b"HTTP/1.1 200"
            return
        connection.settimeout(20)
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_work_that_never_ends_does_not_outlast_the_order_to_stop(tmp_path: Path) -> None:
    write_model(tmp_path)
    script = """
        import os, signal, threading, time
        from serving import server
        from serving.settings import load_settings

        server.STOP_MARGIN_SECONDS = 0.5
        built = server.build_server(load_settings())
        built._replica.pool._executor.submit(time.sleep, 600)
        threading.Timer(2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        built.run()
    """
    environment = {"MODEL_PATH": str(tmp_path / "model.onnx"), "PORT": "0", "DRAIN_SECONDS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    ended = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert b"Work was still going on 1.5 seconds after the order to stop" in ended.stderr + ended.stdout
