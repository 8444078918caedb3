"""Reads request bodies into memory, within limits of size and time."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from serving.errors import RequestError, overloaded, too_large


class UploadReader:
    """Reads request bodies, each at most `max_bytes` in at most `seconds`, all together at most `max_buffered`."""

    def __init__(self, max_bytes: int, max_buffered: int, seconds: float) -> None:
        self._max_bytes = max_bytes
        self._max_buffered = max_buffered
        self._seconds = seconds
        self._buffered = 0

    @contextmanager
    def upload(self, request: Request) -> Iterator["Upload"]:
        """Opens one request's upload; its bytes count as held until the block ends."""
        upload = Upload(self, request)
        try:
            yield upload
        finally:
            self._buffered -= upload.size

    def refuse_size(self, size: int) -> None:
        """Refuses a body of `size` bytes if it is over the limit."""
        if size > self._max_bytes:
            raise too_large(f"The request is larger than {self._max_bytes:,} bytes; send smaller or fewer images.")

    def hold(self, size: int) -> None:
        """Counts `size` more bytes as held."""
        self._buffered += size
        if self._buffered > self._max_buffered:
            raise overloaded("Too many uploads are being received at once; try again in a moment.")

    @property
    def seconds(self) -> float:
        """A whole body must arrive in this time."""
        return self._seconds


class Upload:
    """The body of one request, as far as it has been received."""

    def __init__(self, reader: UploadReader, request: Request) -> None:
        self._reader = reader
        self._request = request
        self.size = 0

    async def read(self) -> bytes:
        """Reads the whole body.

        Raises:
            RequestError: 413 if it is too large, 408 if it is too slow, 503 if too many arrive at once.
            ClientDisconnect: if the client went away.
        """
        declared = self._request.headers.get("content-length", "")
        if declared.isascii() and declared.isdecimal():
            self._reader.refuse_size(int(declared))
        try:
            async with asyncio.timeout(self._reader.seconds):
                return await self._collect()
        except TimeoutError:
            message = f"The request's body did not arrive within {self._reader.seconds:g} seconds."
            raise RequestError(408, "upload_timeout", message) from None

    async def _collect(self) -> bytes:
        chunks: list[bytes] = []
        async for chunk in self._request.stream():
            self.size += len(chunk)
            self._reader.hold(len(chunk))
            self._reader.refuse_size(self.size)
            chunks.append(chunk)
        return b"".join(chunks)
