"""The client against the real server, and against one that plays what routers and dying replicas do."""

import importlib.util
import io
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serving import client as module
from serving.client import Client, DetectorError, Failure, Prediction, RefusedError, UnavailableError
from tests.support.clock import HandClock
from tests.unit.serving.images import encode, noise, picture
from tests.unit.serving.test_app import server


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("model")) as asked:
        yield str(asked.base_url)


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, patience=0) as asking:
        yield asking


def test_an_image_is_asked_about_as_bytes_as_a_path_and_as_an_open_file(client: Client, tmp_path: Path) -> None:
    data = encode(picture())
    path = tmp_path / "leaf.png"
    path.write_bytes(data)
    with path.open("rb") as file:
        answers = [client.predict(image) for image in (data, path, str(path), file, io.BytesIO(data))]
    assert len({answer.detections for answer in answers}) == 1
    first = answers[0]
    assert (first.width, first.height, first.model_version) == (128, 96, "7")
    assert first.detections[0].class_name in {"red", "blue"}
    assert len({answer.request_id for answer in answers}) == 5


def test_parameters_reach_the_service(client: Client) -> None:
    image = encode(noise(90, 70))
    many = client.predict(image, confidence=0).detections
    assert client.predict(image, confidence=0, max_detections=3).detections == many[:3]
    assert len(client.yolo(image, confidence=0, max_detections=2).splitlines()) == 2
    [found] = client.coco(image, "leaf-7", confidence=0, max_detections=1)
    assert found == {"image_id": "leaf-7", **{name: found[name] for name in ("category_id", "bbox", "score")}}
    assert found["score"] == many[0].score
    with pytest.raises(RefusedError, match="Parameter 'confidence'"):
        client.predict(image, confidence=7)


def test_a_batch_has_a_result_for_each_image_in_order(client: Client) -> None:
    good = encode(picture())
    first, broken, last = client.predict_batch([good, good[:300], good], confidence=0.3)
    assert isinstance(first, Prediction)
    assert isinstance(last, Prediction)
    assert first.detections == last.detections == client.predict(good, confidence=0.3).detections
    assert isinstance(broken, Failure)
    assert broken.code == "corrupt_image"
    with pytest.raises(ValueError, match="at least one image"):
        client.predict_batch([])


def test_the_rest_of_the_service_is_there(client: Client) -> None:
    assert client.annotated(encode(picture())).startswith(b"\xff\xd8\xff")
    assert client.version()["classes"] == ["red", "blue"]
    assert client.is_ready()


def test_a_refusal_says_what_the_service_said(client: Client) -> None:
    with pytest.raises(RefusedError, match="not an image of a supported format") as refused:
        client.predict(b"Dear all")
    assert (refused.value.status, refused.value.code) == (415, "unsupported_media_type")
    assert refused.value.request_id


def test_a_refusal_that_comes_before_the_image_is_sent_is_read(client: Client) -> None:
    with pytest.raises(RefusedError, match="larger than 16,777,216 bytes") as refused:
        client.predict(b"\xff\xd8\xff" + bytes(17 * 1024 * 1024))
    assert refused.value.status == 413
    assert client.predict(encode(picture())).detections


def test_threads_may_share_a_client_and_connections_are_kept(url: str) -> None:
    image = encode(picture())
    with Client(url) as client, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(client.predict, [image] * 20))
        assert 1 <= len(client._idle) <= 4
    assert len({answer.detections for answer in answers}) == 1
    assert not client._idle


@pytest.mark.parametrize("pixels", [np.zeros((3, 3, 3), np.uint8), Image.new("RGB", (3, 3)), None, 7, [b"x"]])
def test_pixels_are_told_from_the_bytes_of_a_file(client: Client, pixels: Any) -> None:
    with pytest.raises(TypeError, match="not pixels"):
        client.predict(pixels)
    with pytest.raises(TypeError, match="not pixels"):
        client.predict_batch([pixels])


def test_what_is_opened_as_text_or_is_not_there_is_an_error_here(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.predict(tmp_path / "none.jpg")
    with pytest.raises(TypeError, match="'rb'"):
        client.predict(io.StringIO("text"))  # type: ignore[arg-type]


def test_the_file_alone_works_without_the_package(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this package is imported, so it may be copied."""
    copy = tmp_path / "asks_bananas.py"
    shutil.copy(str(module.__file__), copy)
    assert "import serving" not in copy.read_text()
    assert copy.read_text().count("from serving") == 1  # the example
    spec = importlib.util.spec_from_file_location("asks_bananas", copy)
    assert spec is not None
    assert spec.loader is not None
    copied = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, copied)
    spec.loader.exec_module(copied)
    with copied.Client(url) as client:
        assert client.predict(encode(picture())).width == 128


FOUND = (
    b'{"image": {"width": 2, "height": 1}, "detections": [], "seconds": 0.1, "schema_version": "1", "new": 1,'
    b' "request_id": "r", "model_version": "7", "digest": "d"}'
)


def reply(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


OK = reply("200 OK", FOUND)
BUSY = reply("503 Service Unavailable", b'{"error": {"code": "overloaded", "message": "No room."}}', "Retry-After: 1")


class Scripted:
    """A server that gives prepared answers, one a request and connection; nothing at all stands for a hang-up."""

    def __init__(self, answers: list[bytes], *, keep: bool) -> None:
        self.answers = list(answers)
        self.heads: list[str] = []
        self._keep = keep
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self.answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as file:
                self._serve(connection, file)

    def _serve(self, connection: socket.socket, file: Any) -> None:
        while self.answers:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = file.readline()
                if not line:
                    return
                head += line
            length = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line]
            file.read(sum(length))
            self.heads.append(head.decode())
            answer = self.answers.pop(0)
            connection.sendall(answer)
            if not answer or not self._keep:
                return

    def close(self) -> None:
        self.answers.clear()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@contextmanager
def scripted(*answers: bytes, keep: bool = False) -> Iterator[Scripted]:
    playing = Scripted(list(answers), keep=keep)
    try:
        yield playing
    finally:
        playing.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    hand = HandClock()
    monkeypatch.setattr(module, "time", hand)
    return hand


@pytest.mark.parametrize(
    "trouble",
    [
        BUSY,
        b"",
        reply("502 Bad Gateway", b"Bad Gateway"),
        reply("504 Gateway Timeout", b"<html>"),
        reply("429 Too Many Requests"),
        reply("408 Request Timeout", b'{"error": {"code": "upload_timeout", "message": "It paused."}}'),
        OK[:-20],
    ],
)
def test_what_may_pass_is_asked_again_under_the_same_id(trouble: bytes, clock: HandClock) -> None:
    with scripted(trouble, trouble, OK) as playing, Client(playing.url) as client:
        assert client.predict(b"x").model_version == "7"
    ids = {line for head in playing.heads for line in head.split("\r\n") if line.startswith("X-Request-Id")}
    assert (len(playing.heads), len(ids), len(clock.slept)) == (3, 1, 2)


@pytest.mark.parametrize(
    ("said", "least"),
    [
        ("7", 7),
        ("0", 0),
        ("soon", 0),
        ("-5", 0),
        ("1" * 50, None),
        ("date", 20),
        ("Wed, 1 Jan 99999999999999999999 00:00:00", 0),
        ("Sat, 28 Nov 2026 10:00:00 +99999999999999", 0),
    ],
)
def test_it_comes_back_when_it_was_told_to_or_says_why_it_does_not(
    said: str, least: float | None, clock: HandClock
) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=25), usegmt=True) if said == "date" else said
    busy = BUSY.replace(b"Retry-After: 1", f"Retry-After: {when}".encode())
    with scripted(busy, OK) as playing, Client(playing.url, patience=60) as client:
        if least is None:
            with pytest.raises(UnavailableError, match="No room"):
                client.predict(b"x")
            assert clock.slept == []
            return
        client.predict(b"x")
    [slept] = clock.slept
    assert least <= slept <= least + 6


def test_patience_ends_with_what_the_service_said_last(clock: HandClock) -> None:
    with (
        scripted(*[BUSY] * 50) as playing,
        Client(playing.url, patience=10) as client,
        pytest.raises(UnavailableError, match="No room") as given_up,
    ):
        client.predict(b"x")
    assert (given_up.value.status, given_up.value.code) == (503, "overloaded")
    assert 3 <= len(clock.slept) <= 9
    assert clock.now <= 1010


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (
            reply("404 Not Found", b"404 page not found"),
            RefusedError,
            "404 Not Found and not why",
        ),
        (reply("301 Moved Permanently", b"", "Location: https://x"), RefusedError, "301 Moved Permanently and not why"),
        (reply("401 Unauthorized", b"[1]"), RefusedError, "401 Unauthorized"),
        (reply("500 Internal Server Error", b"{}"), UnavailableError, "500 Internal Server Error and not why"),
        (reply("200 OK", b"<html>Log in</html>"), UnavailableError, "something else than a detector"),
        (reply("200 OK", b"[]"), UnavailableError, "something else than a detector"),
        (reply("200 OK", b'{"detections": 1}'), UnavailableError, "something else than a detector"),
        (reply("200 OK", b"[" * 100_000), UnavailableError, "something else than a detector"),
    ],
)
def test_what_would_not_change_is_not_asked_twice(
    answer: bytes, kind: type[DetectorError], says: str, clock: HandClock
) -> None:
    with (
        scripted(answer, OK) as playing,
        Client(playing.url) as client,
        pytest.raises(DetectorError, match=says) as told,
    ):
        client.predict(b"x")
    assert type(told.value) is kind
    assert clock.slept == []
    assert len(playing.heads) == 1


PAGES = (b"<html>Log in \xff</html>", b"{}", b'""', b"null", b"[1]", b"[{}]", b'{"results": []}', b'{"results": {}}')


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.predict(b"x"),
        lambda client: client.predict_batch([b"x"]),
        lambda client: client.annotated(b"x"),
        lambda client: client.yolo(b"x"),
        lambda client: client.coco(b"x", 7),
        lambda client: client.version(),
    ],
    ids=["predict", "batch", "annotated", "yolo", "coco", "version"],
)
def test_another_page_is_never_taken_for_an_answer(page: bytes, ask: Callable[[Client], object]) -> None:
    with (
        scripted(reply("200 OK", page)) as playing,
        Client(playing.url, patience=0) as client,
        pytest.raises(UnavailableError, match="something else than a detector"),
    ):
        ask(client)


def test_where_nothing_was_found_there_are_no_lines_and_no_results() -> None:
    with scripted(reply("200 OK"), reply("200 OK", b"[]"), keep=True) as playing, Client(playing.url) as client:
        assert client.yolo(b"x") == ""
        assert client.coco(b"x", 7) == []


def test_a_slow_upload_may_take_longer_than_the_timeout() -> None:
    """As long as each piece is taken in time: the service itself serves whoever sends 4 KiB a second."""
    size = 24_000_000
    taken: list[int] = []

    def take_slowly(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as file:
            while file.readline() != b"\r\n":
                pass
            while sum(taken) < size and (piece := file.read(3_000_000)):
                taken.append(len(piece))
                time.sleep(0.4)
            connection.sendall(OK)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        taking = threading.Thread(target=take_slowly, args=(listener,), daemon=True)
        taking.start()
        with Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=2, patience=0) as client:
            assert client.predict(bytes(size)).model_version == "7"
        taking.join(5)
    assert sum(taken) == size


def test_a_connection_that_was_closed_while_idle_is_replaced_without_waiting(clock: HandClock) -> None:
    with scripted(OK, OK) as playing, Client(playing.url, patience=0) as client:
        client.predict(b"x")
        client.predict(b"x")
    assert len(playing.heads) == 2
    assert clock.slept == []


def test_a_connection_that_waited_for_long_is_not_asked_again(clock: HandClock) -> None:
    """What stands between forgets it without a word, and nobody would answer."""
    with scripted(OK, OK) as playing, Client(playing.url, patience=0) as client:
        client.predict(b"x")
        [(kept, _, _)] = client._idle
        clock.sleep(module.LONGEST_IDLE_SECONDS)
        client.predict(b"x")
        assert kept.sock is None


def test_where_one_connection_has_died_the_others_are_not_waited_for() -> None:
    with (
        scripted(b"", OK) as playing,
        socket.create_server(("127.0.0.1", 0)) as silent,
        Client(playing.url, timeout=0.2, patience=5) as client,
    ):
        for _ in range(40):
            dead = HTTPConnection("127.0.0.1", silent.getsockname()[1], timeout=0.2)
            dead.connect()
            client._idle.append((dead, os.getpid(), time.monotonic()))
        assert client.predict(b"x").model_version == "7"


def test_a_process_that_was_forked_off_asks_over_connections_of_its_own(
    clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes on one connection read each other's answers, as the workers of a pool did."""
    with scripted(OK, OK) as playing, Client(playing.url, patience=0) as client:
        client.predict(b"x")
        [(parents, _, _)] = client._idle
        monkeypatch.setattr(os, "getpid", lambda: 1)
        client.predict(b"x")
        assert parents.sock is None


@contextmanager
def by_tls(folder: Path, serve: Callable[[ssl.SSLSocket], None]) -> Iterator[Client]:
    """A server behind TLS that has every connection served so, and a client that trusts it."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    for_us = ("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    made = ("openssl", "req", "-x509", *curve, "-nodes", *for_us, "-keyout", key, "-out", certificate)
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def run(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a reset overtakes an answer
                with context.wrap_socket(connection, server_side=True) as secured:
                    serve(secured)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=run, args=(listener,), daemon=True)
        serving.start()
        trusting = ssl.create_default_context(cafile=str(certificate))
        with Client(f"https://127.0.0.1:{listener.getsockname()[1]}", patience=0, context=trusting) as client:
            yield client
        listener.shutdown(socket.SHUT_RDWR)
        serving.join(5)


def read_head(connection: ssl.SSLSocket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and (piece := connection.recv(1)):
        head += piece
    return head


def test_a_connection_by_tls_that_was_closed_while_idle_is_replaced(tmp_path: Path) -> None:
    closed = threading.Event()

    def answer_once(connection: ssl.SSLSocket) -> None:
        head = read_head(connection)
        for _ in range(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])):
            connection.recv(1)
        connection.sendall(OK)
        connection.close()
        closed.set()

    with by_tls(tmp_path, answer_once) as client:
        assert client.predict(b"x").model_version == "7"
        assert closed.wait(10)
        assert client.predict(b"x").model_version == "7"


def test_a_refusal_by_tls_that_comes_before_the_image_is_sent_is_read(tmp_path: Path) -> None:
    refusal = reply("413 Too Large", b'{"error": {"code": "too_large", "message": "Send less."}}', "Connection: close")

    def refuse(connection: ssl.SSLSocket) -> None:
        read_head(connection)
        connection.sendall(refusal)

    with by_tls(tmp_path, refuse) as client, pytest.raises(RefusedError, match="Send less") as refused:
        client.predict(bytes(20_000_000))
    assert refused.value.status == 413


def test_nobody_there_and_no_answer_are_told_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UnavailableError, match=r"did not answer within 0\.05 seconds"):
            Client(address, timeout=0.05, patience=0).predict(b"x")
        assert not Client(address, timeout=0.05).is_ready()
    with pytest.raises(UnavailableError, match="nobody listens there"):
        Client(address, patience=0).predict(b"x")
    assert not Client(address).is_ready()


def test_an_answer_of_any_size_is_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_ANSWER", 1000)
    with (
        scripted(reply("200 OK", b" " * 5000)) as playing,
        pytest.raises(UnavailableError, match="larger than 1,000 bytes"),
    ):
        Client(playing.url, patience=0).predict(b"x")


def test_a_wrong_name_or_certificate_is_not_asked_again(monkeypatch: pytest.MonkeyPatch, clock: HandClock) -> None:
    for error in (
        socket.gaierror(socket.EAI_NONAME, "not known"),
        ssl.SSLCertVerificationError("self-signed certificate"),
        PermissionError(13, "Permission denied"),
    ):

        def fail(*_: object, error: OSError = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(socket, "create_connection", fail)
        with pytest.raises(UnavailableError, match=r"http://bananas\.example:80 cannot be asked"):
            Client("http://bananas.example").predict(b"x")
        assert clock.slept == []


def test_a_path_before_the_routes_and_headers_of_ones_own_are_sent() -> None:
    with scripted(OK, OK) as playing, Client(f"{playing.url}/farm/", headers={"Authorization": "Bearer t"}) as client:
        client.predict(b"x", confidence=0.5)
        with Client(f"{playing.url}/räum 1") as other:
            other.is_ready()
    assert playing.heads[0].startswith("POST /farm/predict?confidence=0.5 HTTP/1.1\r\n")
    assert playing.heads[1].startswith("HEAD /r%C3%A4um%201/ready HTTP/1.1\r\n")
    assert "Authorization: Bearer t\r\n" in playing.heads[0]


@pytest.mark.parametrize(
    "url",
    [
        *("", "bananas", "127.0.0.1:8000", "ftp://x", "http://", "http://x:port", "http://u:secret@x", "http://x?a=1"),
        *("http://bananas..example", "http://.", f"http://{'a' * 70}.example", "http://127.0.0.1:8000 "),
    ],
)
def test_what_is_no_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="address of the detector") as refused:
        Client(url)
    assert "secret" not in str(refused.value)
