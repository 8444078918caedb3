"""Moving blobs: sending them in pieces that go on where they broke off, linking them, and fetching large ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import httpx

from banana_delivery.errors import ImageError, PassingError
from banana_delivery.files import bytes_digest

if TYPE_CHECKING:
    from banana_delivery.images.oci_registry.client import RegistryClient

PIECE_BYTES = 64 * 2**20
"""In one request at most: a piece is held in memory, and what breaks off is sent again from its beginning."""
SMALLEST_PIECE_BYTES = 2**20
"""A registry that takes no more at once is not sent smaller ones, but named."""
_SHORTEST_PIECE_HEADER = "OCI-Chunk-Min-Length"
_BYTES = {"Content-Type": "application/octet-stream"}
_LOST = (httpx.codes.BAD_REQUEST, httpx.codes.NOT_FOUND, httpx.codes.GONE, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE)
"""What is said of an upload that cannot go on."""
_UNLINKED = (
    httpx.codes.UNAUTHORIZED,
    httpx.codes.FORBIDDEN,
    httpx.codes.NOT_FOUND,
    httpx.codes.METHOD_NOT_ALLOWED,
    httpx.codes.NOT_IMPLEMENTED,
)


@dataclass(frozen=True)
class Blob:
    """A content that can be sent.

    Attributes:
        digest: its name.
        size: in bytes.
    """

    digest: str
    size: int


def send(client: RegistryClient, blob: Blob, content: BinaryIO) -> bool:
    """Store a content, unless it is there; returns whether it had to be sent.

    Args:
        client: the repository.
        blob: what the content is.
        content: the content, read from anywhere in it.

    Raises:
        ImageError: if the registry cannot be reached, refuses, or wants it sent to another host.
    """
    if client.has_blob(blob.digest, blob.size):
        return False
    upload(client, blob, content)
    return True


def upload(client: RegistryClient, blob: Blob, content: BinaryIO) -> None:
    """The same without asking whether it is there."""
    _Upload(client, blob, content).run()


def link(client: RegistryClient, blob: Blob, source: str) -> bool:
    """Let the registry take a blob over from another of its repositories; returns whether it is in this one now.

    Args:
        client: the repository.
        blob: which one.
        source: path of the other repository.
    """
    if client.has_blob(blob.digest, blob.size):
        return True
    asked = httpx.QueryParams({"mount": blob.digest, "from": source})
    answer = client.call("POST", f"blobs/uploads/?{asked}", answers=_UNLINKED)
    # Any other success began an upload, which the registry forgets by itself.
    return answer.status_code == httpx.codes.CREATED and client.has_blob(blob.digest, blob.size)


def found(client: RegistryClient, digest: str, most: int) -> bytes | None:
    """A small content; None if it is not there, or another one than its digest says.

    Args:
        client: the repository.
        digest: which one.
        most: bytes that it may have.

    Raises:
        ImageError: if it is larger, or the registry cannot be reached, or refuses.
    """
    content = client.call("GET", f"blobs/{digest}", most=most).content
    return content if bytes_digest(content) == digest else None


def fetch(client: RegistryClient, blob: Blob, into: BinaryIO) -> None:
    """Write a blob of any size into a file, compared with its digest.

    Raises:
        ImageError: if it is missing, or is another one than its digest says.
    """

    def attempt() -> None:
        into.seek(0)
        into.truncate()
        client.call_once("GET", f"blobs/{blob.digest}", most=blob.size, into=into)
        into.seek(0)
        if f"sha256:{hashlib.file_digest(cast(Any, into), 'sha256').hexdigest()}" != blob.digest:
            raise PassingError(f"{blob.digest} arrived from {client.name} damaged or not whole.")
        into.seek(0)

    client.patiently(attempt)


class _Upload:
    """One blob on its way, over as many tries as it takes."""

    def __init__(self, client: RegistryClient, blob: Blob, content: BinaryIO) -> None:
        self._client = client
        self._blob = blob
        self._content = content
        self._place = ""
        self._sent = 0
        self._piece = PIECE_BYTES
        self._shortest = SMALLEST_PIECE_BYTES

    def run(self) -> None:
        self._client.patiently(self._attempt)

    def _attempt(self) -> None:
        if not (self._place and self._goes_on()):
            self._begin()
        while not self._carry_on():
            self._begin()

    def _carry_on(self) -> bool:
        """Send all that is left; False if a piece was too large and the upload has to begin anew."""
        size = self._blob.size
        # What fits into one piece needs two requests; registries agree most on a last one that brings nothing more.
        while self._sent < size and (self._sent or size > self._piece):
            if not self._send_piece():
                return False
        return self._finish()

    def _begin(self) -> None:
        begun = self._client.call_once("POST", "blobs/uploads/")
        self._place, self._sent = self._client.place_of(begun), 0
        least = begun.headers.get(_SHORTEST_PIECE_HEADER, "")
        if least.isascii() and least.isdigit():
            self._shortest = max(int(least), SMALLEST_PIECE_BYTES)
            self._piece = max(self._piece, self._shortest)

    def _goes_on(self) -> bool:
        """Whether a try before this one can be continued, and from where."""
        said = self._client.call_once("GET", self._place, answers=(*_LOST, httpx.codes.METHOD_NOT_ALLOWED))
        first, _, last = said.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if not said.is_success or first != "0" or not last.isdigit():
            return False
        self._place = self._client.place_of(said) or self._place
        # Of an upload without a byte some say 0-0, so one byte may be meant by none: it is begun anew.
        self._sent = min(int(last) + 1, self._blob.size)
        return self._sent > 1

    def _send_piece(self) -> bool:
        """Send the next piece; False if it was too much at once."""
        piece = self._read(self._piece)
        span = {"Content-Range": f"{self._sent}-{self._sent + len(piece) - 1}"}
        answer = self._client.call_once(
            "PATCH", self._place, {**_BYTES, **span}, piece, answers=(httpx.codes.REQUEST_ENTITY_TOO_LARGE, *_LOST)
        )
        if answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            self._shrink()
            return False
        if not answer.is_success:
            self._lose(answer)
        self._place, self._sent = self._client.place_of(answer) or self._place, self._sent + len(piece)
        return True

    def _finish(self) -> bool:
        """Send what is left, and have it compared; False if it was too much at once."""
        address = str(httpx.URL(self._place).copy_merge_params({"digest": self._blob.digest}))
        answer = self._client.call_once(
            "PUT",
            address,
            _BYTES,
            self._read(self._blob.size - self._sent),
            answers=(httpx.codes.REQUEST_ENTITY_TOO_LARGE, *_LOST),
        )
        if answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            self._shrink()
            return False
        # What is only accepted, or was answered by somebody in between, counts once it is there.
        done = answer.status_code == httpx.codes.CREATED or self._client.has_blob(self._blob.digest, self._blob.size)
        if not done:
            self._lose(answer)
        return True

    def _shrink(self) -> None:
        self._place = ""
        smaller = min(self._piece, self._blob.size) // 2
        if smaller < self._shortest:
            raise ImageError(
                f"{self._client.host} takes no {self._shortest:,} bytes at once (HTTP 413); let it, or the proxy in "
                "front of it, take larger requests."
            )
        self._piece = smaller

    def _lose(self, answer: httpx.Response) -> None:
        self._place = ""
        raise PassingError(
            f"{self._client.host} broke the upload of {self._blob.digest} off (HTTP {answer.status_code}: "
            f"{answer.text[:200]})."
        )

    def _read(self, size: int) -> bytes:
        self._content.seek(self._sent)
        return self._content.read(size)


def described(content: bytes) -> Blob:
    """The blob that some bytes are."""
    return Blob(bytes_digest(content), len(content))
