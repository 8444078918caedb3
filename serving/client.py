"""Asks a detector from Python 3.11 or newer. One file and its standard library, so it can be copied into any program.

    from serving.client import Client

    with Client("https://bananas.example.com") as client:
        for found in client.predict("leaf.jpg", confidence=0.4).detections:
            print(found.class_name, found.score, found.box)

A replica without room for a request says when to come back, and one that is being replaced breaks off: the client asks
again, as long as its patience lasts. An image gets the same answer however often it is sent.
"""

import http.client
import io
import json
import os
import random
import re
import socket
import ssl
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypedDict, TypeVar, Unpack
from urllib.parse import quote, urlencode, urlsplit

Image = bytes | str | os.PathLike[str] | BinaryIO
"""The bytes of an image's file, its path, or the file opened for reading bytes."""
Read = TypeVar("Read")

COME_BACK = frozenset({408, 429, 502, 503, 504})
"""Answers of a replica without room or patience for a stalled upload, and of a router whose replica went away."""
BROKE_OFF = (ConnectionError, ssl.SSLEOFError)
"""A connection that the other side closed; TLS tells it in its own way."""
LONGEST_IDLE_SECONDS = 60.0
"""Services and what stands between close a connection that waits for longer, some of them without a word."""
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
JPEG = re.compile(rb"\A\xff\xd8\xff.*\Z", re.DOTALL)
YOLO = re.compile(rb"\A(?:\d+(?: [\d.]+){5}\n)*\Z")
COCO = re.compile(rb"\A\s*\[.*\Z", re.DOTALL)
"""What answers look like that are no JSON object; a router's own page is none of them."""
LARGEST_ANSWER = 64 * 1024 * 1024
SHOWN = 300
"""So many letters of a stranger's text are repeated in a sentence."""


class DetectorError(Exception):
    """A request got no answer that can be used; the message is a sentence for people.

    `status` is that of the last answer, if there was one, `code` the service's name of the error, if it gave one, and
    under `request_id` its log has the request.
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


class Parameters(TypedDict, total=False):
    """Only detections with a higher score than `confidence` (default 0.25), and at most `max_detections` (300)."""

    confidence: float
    max_detections: int


class _Question(NamedTuple):
    method: str
    path: str
    request_id: str
    body: bytes = b""
    content_type: str = "application/octet-stream"


class _Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Client(AbstractContextManager["Client"]):
    """Asks one service; threads may share it, each then has a connection of its own.

    Args:
        url: of the service, without `/predict`; a ValueError is raised if it is none.
        timeout: seconds to connect, for some kilobytes to be taken, to wait for an answer and to read it, each.
        patience: seconds after which a request that found no room or no service is not sent again.
        headers: sent with every request, such as `Authorization`.
        context: of TLS; by default what the system trusts, or `SSL_CERT_FILE`.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        patience: float = 60.0,
        headers: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        secure, host, port, self._prefix = _address(url)
        self._where = f"{'https' if secure else 'http'}://{host}:{port}{self._prefix}"
        connect: Callable[..., http.client.HTTPConnection] = http.client.HTTPConnection
        if secure:
            connect = partial(http.client.HTTPSConnection, context=context or ssl.create_default_context())
        self._connect = partial(connect, host, port, timeout=timeout)
        self._timeout, self._patience = timeout, patience
        self._headers = dict(headers or {})
        self._idle: deque[tuple[http.client.HTTPConnection, int, float]] = deque()

    def __exit__(self, *_: object) -> None:
        """Closes the connections."""
        self.close()

    def close(self) -> None:
        """Closes the connections that wait for another request; the next one opens a new one."""
        with suppress(IndexError):
            while True:
                self._idle.pop()[0].close()

    def predict(self, image: Image, **parameters: Unpack[Parameters]) -> Prediction:
        """Finds objects in one image.

        Raises:
            RefusedError: the image or a parameter is wrong.
            UnavailableError: no answer came as long as the patience lasted.
            OSError: the file cannot be read.
        """
        return self._read(_about(image, "/predict", parameters), lambda said: _prediction(said, said))

    def predict_batch(self, images: Sequence[Image], **parameters: Unpack[Parameters]) -> list[Prediction | Failure]:
        """Finds objects in several images, in their order; one that cannot be decoded does not spoil the others.

        Raises as `predict` does, and a ValueError if there is no image.
        """
        if not images:
            raise ValueError("A batch needs at least one image.")
        end = uuid.uuid4().hex
        head = f'--{end}\r\nContent-Disposition: form-data; name="images"; filename="image"\r\n\r\n'.encode()
        body = b"".join(head + _bytes_of(image) + b"\r\n" for image in images) + f"--{end}--\r\n".encode()
        question = _about(body, "/predict/batch", parameters, f"multipart/form-data; boundary={end}")
        return self._read(question, lambda it: [_result(one, it) for _, one in zip(images, it["results"], strict=True)])

    def annotated(self, image: Image, **parameters: Unpack[Parameters]) -> bytes:
        """Returns the image as a JPEG with the boxes drawn; raises as `predict` does."""
        return self._read(_about(image, "/predict/annotated", parameters), lambda found: bytes(found[0]), JPEG.findall)

    def yolo(self, image: Image, **parameters: Unpack[Parameters]) -> str:
        """Returns the lines of a YOLO label file with scores; raises as `predict` does."""
        question = _about(image, "/predict", {**parameters, "format": "yolo"})
        return self._read(question, lambda found: str(found[0], "ascii"), YOLO.findall)

    def coco(self, image: Image, image_id: int | str, **parameters: Unpack[Parameters]) -> list[dict[str, Any]]:
        """Returns entries of a COCO results file, for the image that there has `image_id`; raises as `predict` does."""
        question = _about(image, "/predict", {**parameters, "format": "coco"})
        named = {"image_id": image_id}
        return self._read(question, lambda it: [one | named for one in json.loads(it[0]) if one["bbox"]], COCO.findall)

    def version(self) -> dict[str, Any]:
        """Returns which model version answers here, and from which image; raises as `predict` does."""
        question = _Question("GET", "/version", uuid.uuid4().hex)
        return self._read(question, lambda said: said | {"version": said["version"]})

    def is_ready(self) -> bool:
        """Whether the service would answer now; asks once, without patience."""
        with suppress(OSError, http.client.HTTPException):
            return self._once(_Question("HEAD", "/ready", uuid.uuid4().hex)).status == http.client.OK
        return False

    def _ask(self, question: _Question) -> _Answer:
        """Asks until there is an answer that asking again would not change."""
        give_up_at, pause = time.monotonic() + self._patience, FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = self._once(question)
                if answer.status == http.client.OK:
                    return answer
                last, again = self._told(question, answer), answer.status in COME_BACK
                wait = _retry_after(answer.headers)
            except (OSError, http.client.HTTPException) as error:
                self.close()  # whatever cut this connection may have cut those that wait, unheard
                wait, last, again = 0.0, self._unreached(question, error), _may_pass(error)
            if not again:
                raise last
            # Spread, so that all who were turned away together do not come back together.
            wait += random.uniform(pause / 2, pause)  # noqa: S311 - no secret
            if time.monotonic() + wait > give_up_at:
                raise last
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _once(self, question: _Question) -> _Answer:
        """Asks once; a connection that was closed while it waited for this request does not count as asked."""
        with suppress(IndexError):
            while True:
                connection, owner, since = self._idle.pop()
                # A process that was forked off has its parent's connections, too, and would read its answers.
                if owner == os.getpid() and time.monotonic() - since < LONGEST_IDLE_SECONDS:
                    with suppress(*BROKE_OFF):
                        return self._exchange(connection, question)
                connection.close()
        return self._exchange(self._connect(), question)

    def _exchange(self, connection: http.client.HTTPConnection, question: _Question) -> _Answer:
        headers = {"X-Request-Id": question.request_id, "Content-Type": question.content_type} | self._headers
        headers["Content-Length"] = str(len(question.body))
        # Sent piece by piece: none may take longer than the timeout, but a slow upload as a whole may.
        body, is_whole = io.BytesIO(question.body), False
        try:
            if connection.sock is None:
                connection.connect()
            # Who is refused early may find the connection closed while he sends; the answer, if any, says why.
            with suppress(*BROKE_OFF):
                connection.request(question.method, self._prefix + question.path, body, headers)
                is_whole = True
            answer = self._receive(connection.getresponse())
        except BaseException:
            connection.close()
            raise
        if is_whole and connection.sock is not None:
            self._idle.append((connection, os.getpid(), time.monotonic()))
        else:
            connection.close()
        return answer

    def _receive(self, response: http.client.HTTPResponse) -> _Answer:
        """Reads an answer, which may neither drip for ever nor be of any size."""
        late_at, pieces, size = time.monotonic() + self._timeout, [], 0
        while piece := response.read1(64 * 1024):
            size += len(piece)
            pieces.append(piece)
            if size > LARGEST_ANSWER:
                raise http.client.HTTPException(f"its answer is larger than {LARGEST_ANSWER:,} bytes")
            if time.monotonic() > late_at:
                raise TimeoutError("its answer took too long")
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        response.close()  # else the connection takes no other request
        return _Answer(response.status, response.headers, b"".join(pieces))

    def _unreached(self, question: _Question, error: Exception) -> UnavailableError:
        why = str(error)[:SHOWN] or type(error).__name__
        if isinstance(error, TimeoutError):
            why = f"it did not answer within {self._timeout:g} seconds"
        elif isinstance(error, ConnectionRefusedError):
            why = "nobody listens there"
        elif isinstance(error, (http.client.IncompleteRead, *BROKE_OFF)):
            why = "the connection broke off"
        return UnavailableError(f"The detector at {self._where} cannot be asked: {why}.", question.request_id)

    def _told(self, question: _Question, answer: _Answer) -> DetectorError:
        """What an answer that is no success says; routers between here and there have no form of their own."""
        try:
            said = json.loads(answer.body)["error"]
            message, code = str(said["message"])[:SHOWN], str(said["code"])[:SHOWN]
        except (ValueError, TypeError, KeyError, RecursionError):
            phrase = http.client.responses.get(answer.status, "")
            code, message = "", f"{self._where} answered {answer.status} {phrase} and not why, as a detector would."
        kind = RefusedError if answer.status < 500 and answer.status not in COME_BACK else UnavailableError
        return kind(message, answer.headers.get("X-Request-Id") or question.request_id, answer.status, code)

    def _read(self, question: _Question, read: Callable[..., Read], parse: Callable[..., Any] = json.loads) -> Read:
        answer = self._ask(question)
        try:
            return read(parse(answer.body))
        except (ValueError, TypeError, LookupError, RecursionError):
            message = f"{self._where} answered with something else than a detector does; is that its address?"
            raise UnavailableError(message, question.request_id, answer.status) from None


def _address(url: str) -> tuple[bool, str, int, str]:
    """Whether by TLS, host, port, and the path before the routes; a ValueError repeats nothing, as it may be secret."""
    with suppress(ValueError, KeyError):  # of what cannot be taken apart
        parts = urlsplit(url)
        standard = {"http": 80, "https": 443}[parts.scheme]
        port = parts.port or standard
        if parts.hostname and parts.username is None and not parts.query + parts.fragment:
            parts.hostname.encode("idna")
            return parts.scheme == "https", parts.hostname, port, quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=")
    raise ValueError(
        "The address of the detector must be like http://host:port or https://host/path, without user, query and "
        "fragment; use `headers` to log in."
    )


def _about(image: Image, path: str, parameters: Mapping[str, object], *kind: str) -> _Question:
    query = urlencode({name: value for name, value in parameters.items() if value is not None})
    return _Question("POST", f"{path}?{query}".rstrip("?"), uuid.uuid4().hex, _bytes_of(image), *kind)


def _bytes_of(image: Image) -> bytes:
    if isinstance(image, (str, os.PathLike)):
        return Path(image).read_bytes()
    data = image.read() if hasattr(image, "read") else image
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError("An image is the bytes or the path of its file, or the file opened with mode 'rb', not pixels.")
    return bytes(data)


def _prediction(said: Mapping[str, Any], who: Mapping[str, Any]) -> Prediction:
    size, names = said["image"], (str(who[name]) for name in ("request_id", "model_version", "digest"))
    found = tuple(map(_detection, said["detections"]))
    return Prediction(found, int(size["width"]), int(size["height"]), float(said["seconds"]), *names)


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
    with suppress(ValueError, OverflowError):  # of what is no date, and of no year that there is
        at = parsedate_to_datetime(said)
        return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return 0.0


def _may_pass(error: Exception) -> bool:
    """Whether asking again may help: not against a wrong name, a certificate or the rights of this machine."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    return not isinstance(error, ssl.SSLCertVerificationError | http.client.InvalidURL | PermissionError)
