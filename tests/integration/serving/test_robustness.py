import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.unit.serving.images import encode, noise, picture

from .processes import RunningReplica, replica


def open_socket(running: RunningReplica, *sent: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=20)
    for data in sent:
        connection.sendall(data)
    return connection


def test_clients_that_never_finish_a_request_are_cut_off_and_stop_nobody(shared_replica: RunningReplica) -> None:
    silent = [open_socket(shared_replica) for _ in range(60)]
    slow = [open_socket(shared_replica, b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Slow: ") for _ in range(60)]
    assert httpx.post(f"{shared_replica.url}/predict", files={"image": encode(picture())}).status_code == 200
    for connection in silent + slow:
        assert connection.recv(1) == b""
        connection.close()


def test_a_body_that_does_not_arrive_is_answered_408(shared_replica: RunningReplica) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n"
    with open_socket(shared_replica, head, b"--B\r\n") as connection:
        assert connection.recv(12) == b"HTTP/1.1 408"


def test_half_closed_connections_without_a_whole_request_are_released(shared_replica: RunningReplica) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n"
    pieces = [b"", head, head + b"\r\n", head + b"\r\n--B\r\n"] * 15
    connections = [open_socket(shared_replica, piece) for piece in pieces]
    for connection in connections:
        connection.shutdown(socket.SHUT_WR)
    for connection in connections:
        assert connection.recv(1) == b""
        connection.close()
    assert httpx.get(f"{shared_replica.url}/health").status_code == 200


def whole_request() -> bytes:
    request = httpx.Request("POST", "http://x/predict", files={"image": encode(picture())})
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST /predict HTTP/1.1\r\n{head}\r\n".encode() + request.read()


def test_clients_that_close_their_writing_side_after_a_whole_request_are_answered(tmp_path: Path) -> None:
    # Late answers, so that none is sent before the end of its request is seen.
    with replica(tmp_path, FAULT="slow:seconds=1") as running:
        connections = [open_socket(running, whole_request()) for _ in range(12)]
        for connection in connections:
            connection.shutdown(socket.SHUT_WR)
        for connection in connections:
            with connection, connection.makefile("rb") as file:
                answer = file.read()
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in answer.lower()


def test_a_half_closed_connection_is_not_kept_for_an_answer_that_never_comes(tmp_path: Path) -> None:
    with replica(tmp_path, FAULT="hang", HEADER_SECONDS="1") as running:
        with open_socket(running, whole_request()) as connection:
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
        assert running.stop() == 0


def test_bodies_that_trickle_in_over_many_connections_stop_nobody(tmp_path: Path) -> None:
    request = whole_request()
    body = request.index(b"\r\n\r\n") + 4
    with replica(tmp_path) as running:
        slow = [open_socket(running, request[:body]) for _ in range(100)]
        for at in range(body, body + 5):
            for connection in slow:
                connection.sendall(request[at : at + 1])
            assert httpx.post(f"{running.url}/predict", files={"image": encode(picture())}).status_code == 200
        for connection in slow[:12]:
            connection.sendall(request[body + 5 :])
            assert connection.recv(12) == b"HTTP/1.1 200"
        for connection in slow:
            connection.close()


async def send_many(url: str, image: bytes, requests: int) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=requests)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
        return await asyncio.gather(*(client.post("/predict", files={"image": image}) for _ in range(requests)))


def test_more_than_fits_is_refused_with_a_time_to_come_back(tmp_path: Path) -> None:
    with replica(tmp_path, QUEUE_SIZE="3") as running:
        answers = asyncio.run(send_many(running.url, encode(noise(2400, 1800), "PNG"), 30))
        statuses = Counter(answer.status_code for answer in answers)
        refused = [answer for answer in answers if answer.status_code == 503]
        assert set(statuses) == {200, 503}
        assert statuses[200] >= 4
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
        assert {answer.json()["error"]["code"] for answer in refused} == {"overloaded"}
        assert running.metric("banana_overload_total") == statuses[503]
        assert httpx.post(f"{running.url}/predict", files={"image": encode(picture())}).status_code == 200


async def load_until_it_ends(url: str, image: bytes, stop: asyncio.Event, seen: Counter[str]) -> None:
    """Sends requests on kept-alive connections, as a router that honours readiness and `Connection: close` does."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        while not stop.is_set():
            answer = await client.post("/predict", files={"image": image})
            seen[str(answer.status_code)] += 1
            seen["closing"] += answer.headers.get("Connection") == "close"


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def terminate_under_load(running: RunningReplica) -> Counter[str]:
    stop, seen, image = asyncio.Event(), Counter[str](), encode(noise(640, 480))
    clients = [asyncio.create_task(load_until_it_ends(running.url, image, stop, seen)) for _ in range(6)]
    await until(lambda: seen["200"] >= 12)
    running.process.terminate()
    async with httpx.AsyncClient(base_url=running.url) as router:
        while (await router.get("/ready")).status_code == 200:
            await asyncio.sleep(0.01)
    await until(lambda: seen["closing"] >= 12)
    stop.set()
    await asyncio.gather(*clients)
    return seen


def test_sigterm_under_load_loses_no_request(tmp_path: Path) -> None:
    with replica(tmp_path, PRE_STOP_SECONDS="3") as running:
        seen = asyncio.run(terminate_under_load(running))
        assert running.process.wait(timeout=30) == 0
    assert set(seen) == {"200", "closing"}
    assert seen["200"] > seen["closing"] > 0
