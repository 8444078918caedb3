"""Reads request bodies into memory, within limits of size and pace."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from serving.errors import RequestError, overloaded, too_large

MINIMUM_BYTES_PER_SECOND = 4 * 1024
"""A phone at the edge of a cell sends 32 kbit/s; who sends less for a whole window is not sending a photo."""
STALLED_SECONDS = 1.0
"""An upload that has brought nothing for so long gives its place to one that brings something."""
SMALL_BYTES = 1024 * 1024
SHARE_OF_LARGE = 0.75
"""Uploads beyond `SMALL_BYTES` leave the rest of the room to small ones."""


class UploadReader:
    """Reads request bodies, each at most `max_bytes`, all together at most `max_buffered`.

    A body may take as long as it needs if every `window_seconds` bring `MINIMUM_BYTES_PER_SECOND` on average: a slow
    honest client is served, a silent one is not.
    """

    def __init__(self, max_bytes: int, max_buffered: int, window_seconds: float) -> None:
        self.window_seconds = window_seconds
        self._max_bytes = max_bytes
        self._max_buffered = max_buffered
        self._held: dict[Upload, int] = {}

    @contextmanager
    def upload(self, request: Request) -> Iterator["Upload"]:
        """Opens one request's upload; its bytes count as held until the block ends."""
        upload = Upload(self, request)
        self._held[upload] = 0
        try:
            yield upload
        finally:
            del self._held[upload]

    def refuse_size(self, size: int) -> None:
        """Refuses a body of `size` bytes if it is over the limit.

        Raises:
            RequestError: 413.
        """
        if size > self._max_bytes:
            raise too_large(f"The request is larger than {self._max_bytes:,} bytes; send smaller or fewer images.")

    def hold(self, upload: "Upload", size: int) -> None:
        """Counts `size` bytes as held by `upload`; those who have stalled make room if there is none.

        Raises:
            RequestError: 503, if too many uploads that go on are being received.
        """
        self._held[upload] = size
        while not self._fits(upload):
            stalled = self._longest_stalled(upload)
            if stalled is None:
                raise overloaded("Too many uploads are being received at once; try again in a moment.")
            self._held[stalled] = 0
            stalled.give_up()

    def _fits(self, upload: "Upload") -> bool:
        large = sum(size for size in self._held.values() if size > SMALL_BYTES)
        if self._held[upload] > SMALL_BYTES and large > SHARE_OF_LARGE * self._max_buffered:
            return False
        return sum(self._held.values()) <= self._max_buffered

    def _longest_stalled(self, other: "Upload") -> "Upload | None":
        stalled = [upload for upload, size in self._held.items() if size and upload is not other and upload.is_stalled]
        return min(stalled, key=lambda upload: upload.brought_at, default=None)


class Upload:
    """The body of one request, as far as it has been received.

    Attributes:
        brought_at: when bytes last arrived, by the event loop's clock.
    """

    def __init__(self, reader: UploadReader, request: Request) -> None:
        self.brought_at = 0.0
        self._reader = reader
        self._request = request
        self._deadline: asyncio.Timeout | None = None

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
            async with asyncio.timeout(self._reader.window_seconds) as self._deadline:
                return await self._collect(self._deadline)
        except TimeoutError:
            message = (
                f"The request's body stopped arriving: at least {MINIMUM_BYTES_PER_SECOND:,} bytes a second are "
                f"expected over {self._reader.window_seconds:g} seconds, and while others wait, no pause."
            )
            raise RequestError(408, "upload_timeout", message) from None
        finally:
            self._deadline = None

    @property
    def is_stalled(self) -> bool:
        """Whether the body is incomplete, and nothing of it has arrived lately."""
        return self._deadline is not None and _now() - self.brought_at > STALLED_SECONDS

    def give_up(self) -> None:
        """Ends the reading of a body that has stalled, with a 408."""
        if self._deadline is not None:
            self._deadline.reschedule(_now())

    async def _collect(self, deadline: asyncio.Timeout) -> bytes:
        chunks: list[bytes] = []
        size, window_began_with, window = 0, 0, self._reader.window_seconds
        async for chunk in self._request.stream():
            self.brought_at = _now()
            size += len(chunk)
            self._reader.hold(self, size)
            self._reader.refuse_size(size)
            chunks.append(chunk)
            if size - window_began_with >= MINIMUM_BYTES_PER_SECOND * window:
                deadline.reschedule(self.brought_at + window)
                window_began_with = size
        return b"".join(chunks)


def _now() -> float:
    return asyncio.get_running_loop().time()
