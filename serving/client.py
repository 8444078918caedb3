"""Asks a detector from Python. One file and the standard library, so that it can be copied into any program.

    from serving.client import Client

    with Client("https://bananas.example.com") as client:
        for found in client.predict("leaf.jpg", confidence=0.4).detections:
            print(found.class_name, found.score, found.box)

A replica without room for a request says when to come back, and one that is being replaced breaks off: the client asks
again, as long as its patience lasts. An image gets the same answer however often it is sent.

Belongs here: what a user of the service needs. Not: the pipeline's own questions (`banana_delivery.evaluation`), and
nothing of the rest of this package, which the copy would not find.
"""

import errno
import http.client
import json
import os
import random
import socket
import ssl
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import urlencode, urlsplit

Image = bytes | str | os.PathLike[str] | BinaryIO
"""The bytes of an image's file, its path, or the file opened for reading bytes."""

Read = TypeVar("Read")

FILE = "application/octet-stream"
COME_BACK = frozenset({429, 502, 503, 504})
"""Answers of a replica without room, and of a router whose replica went away."""
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
LARGEST_ANSWER = 64 * 1024 * 1024
PIECE = 64 * 1024
SHOWN = 300
"""So many letters of a stranger's text are repeated in a sentence."""


class DetectorError(Exception):
    """A request got no answer that can be used; the message is a sentence for people.

    Attributes:
        status: of the last answer, None if there was none.
        code: the service's name of the error, empty if it gave none.
        request_id: under which the service's log has it.
    """

    def __init__(self, message: str, request_id: str, status: int | None = None, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id


class RefusedError(DetectorError):
    """The service does not take this request, and would not take it later: the image or a parameter is wrong."""


class UnavailableError(DetectorError):
    """The service could not be reached, or failed, or had no room as long as the client's patience lasted."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One object found: x1, y1, x2, y2 in pixels of the image as displayed."""

    box: tuple[float, float, float, float]
    class_id: int
    class_name: str
    score: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """Everything found in one image, by falling score, and what found it; `seconds` is the network's time alone."""

    detections: tuple[Detection, ...]
    width: int
    height: int
    seconds: float
    request_id: str
    model_version: str
    digest: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one image of a batch could not be answered."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class _Question:
    method: str
    path: str
    request_id: str
    body: bytes = b""
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Client:
    """Asks one service; threads may share it, each then has a connection of its own.

    Args:
        url: of the service, without `/predict`.
        timeout: seconds to connect, to send, and to wait for and read an answer, each.
        patience: seconds after which a request that found no room or no service is not sent again.
        headers: sent with every request, such as `Authorization`.
        context: of TLS; by default what the system trusts, or `SSL_CERT_FILE`.
        sleep: how to wait; for tests.
        clock: seconds that only go forward; for tests.

    Raises:
        ValueError: the address is none.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        patience: float = 60.0,
        headers: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._port, self._is_secure, self._prefix = _address(url)
        self._where = f"{'https' if self._is_secure else 'http'}://{self._host}:{self._port}{self._prefix}"
        self._context = context or (ssl.create_default_context() if self._is_secure else None)
        self._timeout, self._patience = timeout, patience
        self._headers = dict(headers or {})
        self._sleep, self._clock = sleep, clock
        self._idle: deque[http.client.HTTPConnection] = deque()

    def __enter__(self) -> Self:
        """Nothing is connected before the first request."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes the connections."""
        self.close()

    def close(self) -> None:
        """Closes the connections that wait for another request; the next one opens a new one."""
        while self._idle:
            with suppress(IndexError):  # another thread took it
                self._idle.pop().close()

    def predict(
        self, image: Image, *, confidence: float | None = None, max_detections: int | None = None
    ) -> Prediction:
        """Finds objects in one image.

        Args:
            image: see `Image`.
            confidence: only detections with a higher score; the service's default is 0.25.
            max_detections: at most so many, the highest scores; the service's default is 300.

        Raises:
            RefusedError: the image or a parameter is wrong.
            UnavailableError: no answer came as long as the patience lasted.
            OSError: the file cannot be read.
        """
        question = self._about(image, "/predict", confidence=confidence, max_detections=max_detections)
        answer = self._ask(question)
        return self._read(question, answer, lambda said: _prediction(said, said))

    def predict_batch(
        self, images: Sequence[Image], *, confidence: float | None = None, max_detections: int | None = None
    ) -> list[Prediction | Failure]:
        """Finds objects in several images, in their order; one that cannot be decoded does not spoil the others.

        Raises:
            ValueError: there is no image.
            RefusedError, UnavailableError, OSError: as `predict`.
        """
        if not images:
            raise ValueError("A batch needs at least one image.")
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="image"\r\n\r\n'.encode()
        body = b"".join(head + _bytes_of(image) + b"\r\n" for image in images) + f"--{boundary}--\r\n".encode()
        path = _with_query("/predict/batch", confidence=confidence, max_detections=max_detections)
        question = _Question("POST", path, uuid.uuid4().hex, body, f"multipart/form-data; boundary={boundary}")
        answer = self._ask(question)
        return self._read(question, answer, lambda said: [_result(one, said) for one in said["results"]])

    def annotated(self, image: Image, *, confidence: float | None = None, max_detections: int | None = None) -> bytes:
        """Returns the image as a JPEG with the boxes drawn; raises as `predict` does."""
        question = self._about(image, "/predict/annotated", confidence=confidence, max_detections=max_detections)
        return self._ask(question).body

    def yolo(self, image: Image, *, confidence: float | None = None, max_detections: int | None = None) -> str:
        """Returns the lines of a YOLO label file with scores; raises as `predict` does."""
        question = self._about(image, "/predict", confidence=confidence, max_detections=max_detections, format="yolo")
        return self._ask(question).body.decode()

    def coco(
        self,
        image: Image,
        image_id: int | str,
        *,
        confidence: float | None = None,
        max_detections: int | None = None,
    ) -> list[dict[str, Any]]:
        """Returns entries of a COCO results file, for the image that there has `image_id`; raises as `predict` does."""
        question = self._about(image, "/predict", confidence=confidence, max_detections=max_detections, format="coco")
        answer = self._ask(question)
        return self._read(question, answer, lambda said: [{**found, "image_id": image_id} for found in said])

    def version(self) -> dict[str, Any]:
        """Returns what is served and what runs it; raises as `predict` does."""
        question = _Question("GET", "/version", uuid.uuid4().hex)
        answer = self._ask(question)
        return self._read(question, answer, lambda said: {**said})

    def is_ready(self) -> bool:
        """Whether the service would answer now; asks once, without patience."""
        try:
            return self._once(_Question("HEAD", "/ready", uuid.uuid4().hex)).status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False

    def _about(self, image: Image, path: str, **parameters: float | str | None) -> _Question:
        return _Question("POST", _with_query(path, **parameters), uuid.uuid4().hex, _bytes_of(image), FILE)

    def _ask(self, question: _Question) -> _Answer:
        """Asks until there is an answer that asking again would not change."""
        give_up_at, pause = self._clock() + self._patience, FIRST_PAUSE_SECONDS
        while True:
            wait = 0.0
            try:
                answer = self._once(question)
            except (OSError, http.client.HTTPException) as error:
                last: DetectorError = self._unreached(question, error)
                if not _may_pass(error):
                    raise last from error
            else:
                if answer.status == http.client.OK:
                    return answer
                last = self._told(question, answer)
                if answer.status not in COME_BACK:
                    raise last
                wait = _retry_after(answer.headers)
            # Spread, so that all who were turned away together do not come back together.
            wait += random.uniform(pause / 2, pause)  # noqa: S311 - no secret
            if self._clock() + wait > give_up_at:
                raise last
            self._sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _once(self, question: _Question) -> _Answer:
        """Asks once; a connection that was closed while it waited for this request does not count as asked."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._exchange(self._connection(), question)
        try:
            return self._exchange(connection, question)
        except (http.client.RemoteDisconnected, ConnectionError):
            return self._exchange(self._connection(), question)

    def _connection(self) -> http.client.HTTPConnection:
        if self._is_secure:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _exchange(self, connection: http.client.HTTPConnection, question: _Question) -> _Answer:
        headers = {"X-Request-Id": question.request_id, "Accept-Encoding": "identity"}
        if question.content_type:
            headers["Content-Type"] = question.content_type
        is_whole = False
        try:
            try:
                connection.request(
                    question.method, self._prefix + question.path, question.body or None, headers | self._headers
                )
                is_whole = True
            except (BrokenPipeError, ConnectionResetError):
                # Who is refused early may find the connection closed while he sends; the answer, if any, says why.
                if connection.sock is None:
                    raise
            answer = self._receive(connection.getresponse())
        except BaseException:
            connection.close()
            raise
        if is_whole and connection.sock is not None:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def _receive(self, response: http.client.HTTPResponse) -> _Answer:
        """Reads an answer, which may neither drip for ever nor be of any size."""
        late_at, pieces, size = self._clock() + self._timeout, [], 0
        while piece := response.read1(PIECE):
            size += len(piece)
            pieces.append(piece)
            if size > LARGEST_ANSWER:
                raise http.client.HTTPException(f"its answer is larger than {LARGEST_ANSWER:,} bytes")
            if self._clock() > late_at:
                raise TimeoutError("its answer took too long")
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        response.close()  # else the connection takes no other request
        return _Answer(response.status, response.headers, b"".join(pieces))

    def _unreached(self, question: _Question, error: Exception) -> UnavailableError:
        if isinstance(error, TimeoutError):
            why = f"it did not answer within {self._timeout:g} seconds"
        elif isinstance(error, ConnectionRefusedError):
            why = "nobody listens there"
        elif isinstance(error, socket.gaierror):
            why = "its name is not known"
        elif isinstance(error, (http.client.RemoteDisconnected, http.client.IncompleteRead, ConnectionError)):
            why = "the connection broke off"
        else:
            why = str(error)[:SHOWN] or type(error).__name__
        return UnavailableError(f"The detector at {self._where} cannot be asked: {why}.", question.request_id)

    def _told(self, question: _Question, answer: _Answer) -> DetectorError:
        """What an answer that is no success says; routers between here and there have no form of their own."""
        try:
            said = json.loads(answer.body)["error"]
            message, code = str(said["message"])[:SHOWN], str(said["code"])[:SHOWN]
        except (ValueError, TypeError, KeyError, RecursionError):
            code, end = "", "; is that the address of a detector?" if answer.status < 500 else "."
            message = f"{self._where} answered {answer.status} {http.client.responses.get(answer.status, '')}".rstrip()
            message += end
        kind = RefusedError if answer.status < 500 and answer.status not in COME_BACK else UnavailableError
        request_id = answer.headers.get("X-Request-Id") or question.request_id
        return kind(message, request_id, answer.status, code)

    def _read(self, question: _Question, answer: _Answer, read: Callable[[Any], Read]) -> Read:
        try:
            return read(json.loads(answer.body))
        except (ValueError, TypeError, KeyError, RecursionError):
            message = f"{self._where} answered with something else than a detector does; is that its address?"
            raise UnavailableError(message, question.request_id, answer.status) from None


def _address(url: str) -> tuple[str, int, bool, str]:
    """Host, port, whether by TLS, and the path before the routes.

    Raises:
        ValueError: it is no address; what stands in it may be a secret and is not repeated.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("The address of the detector cannot be read; write it as http://host:port.") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("The address of the detector must be like http://host:port or https://host/path.")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("The address of the detector may have no user, query or fragment; use `headers` to log in.")
    is_secure = parts.scheme == "https"
    return parts.hostname, port or (443 if is_secure else 80), is_secure, parts.path.rstrip("/")


def _bytes_of(image: Image) -> bytes:
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, (str, os.PathLike)):
        return Path(image).read_bytes()
    data = image.read()
    if not isinstance(data, bytes):
        raise TypeError("An image is read as bytes; open its file with mode 'rb'.")
    return data


def _with_query(path: str, **parameters: float | str | None) -> str:
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _prediction(said: Mapping[str, Any], who: Mapping[str, Any]) -> Prediction:
    return Prediction(
        detections=tuple(_detection(found) for found in said["detections"]),
        width=int(said["image"]["width"]),
        height=int(said["image"]["height"]),
        seconds=float(said["seconds"]),
        request_id=str(who["request_id"]),
        model_version=str(who["model_version"]),
        digest=str(who["digest"]),
    )


def _detection(said: Mapping[str, Any]) -> Detection:
    x1, y1, x2, y2 = map(float, said["box"])
    return Detection((x1, y1, x2, y2), int(said["class_id"]), str(said["class_name"]), float(said["score"]))


def _result(said: Mapping[str, Any], who: Mapping[str, Any]) -> Prediction | Failure:
    if said["outcome"] == "failed":
        return Failure(str(said["error"]["code"]), str(said["error"]["message"]))
    return _prediction(said, who)


def _retry_after(headers: http.client.HTTPMessage) -> float:
    """Seconds to wait, as seconds or as a date; 0 if it says neither."""
    said = headers.get("Retry-After", "").strip()
    if said.isascii() and said.isdecimal():
        return float(said[:9])
    try:
        at = parsedate_to_datetime(said)
    except ValueError:
        return 0.0
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _may_pass(error: Exception) -> bool:
    """Whether asking again may help: not against a wrong name, a certificate or the rights of this machine."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, ssl.SSLCertVerificationError | http.client.InvalidURL):
        return False
    return not (isinstance(error, OSError) and error.errno in {errno.EACCES, errno.EPERM})
