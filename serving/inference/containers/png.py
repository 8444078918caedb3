"""The picture of a PNG that is shown, with the chunks that its pixels need.

Of an animation that is its first picture. Where the file begins with another one, for programs that show no animations,
OpenCV and browsers pass over that; so is it done here.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from serving.inference.containers.exif import is_exif, orientation_of

SIGNATURE_BYTES = 8
MAX_CHUNKS = 4000
"""That are looked at here: 16 MiB in the 8 KiB pieces that libpng writes are half of it."""
END = bytes(4) + b"IEND" + zlib.crc32(b"IEND").to_bytes(4)
FRAME_BYTES = 26
"""Of the chunk that begins a picture of an animation."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where the first picture of an animation lies; what it leaves free is black.

    Attributes:
        width: columns of the whole.
        height: rows of the whole.
        left: columns before the picture.
        top: rows above the picture.
    """

    width: int
    height: int
    left: int
    top: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of a PNG.

    Attributes:
        data: a PNG of one picture; the file as it was where it has too many chunks to look at.
        is_plain: whether it has not.
        orientation: as its Exif block asks for, 1 to 8.
        canvas: where the picture lies, if it is not the whole.
    """

    data: bytes
    is_plain: bool = True
    orientation: int = 1
    canvas: Canvas | None = None


def shown(data: bytes) -> Shown:
    """Returns what is shown of a PNG, without what may be left out.

    That could be a profile that unpacks to a thousand times its size, or a text that is damaged while all pixels are
    whole.
    """
    found = _Chunks()
    for number, (kind, chunk) in enumerate(_chunks(data)):
        if number == MAX_CHUNKS:
            return Shown(data, is_plain=False)
        if not found.take(kind, chunk):
            break
    return found.shown(data[:SIGNATURE_BYTES])


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind of each chunk, and the whole of it; the last may be cut."""
    at = SIGNATURE_BYTES
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        yield data[at + 4 : at + 8], data[at:end]
        at = end


class _Chunks:
    """Collects the chunks of the picture that a file begins with, and of the one that its animation begins with.

    The two are one where the chunk that describes a picture of the animation stands before the file's own.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[bytes, bytes]] = []
        self._exif = b""
        self._has_begun = False
        self._moves = False
        self._begins_moving = False
        self._frame = b""
        self._frame_data: list[bytes] = []

    def take(self, kind: bytes, chunk: bytes) -> bool:
        """Looks at a chunk; returns whether more are wanted."""
        if kind in {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}:
            self._kept.append((kind, chunk))
            self._has_begun |= kind == b"IDAT"
        elif kind == b"eXIf" and not self._exif and is_exif(chunk[8:-4]) and _is_whole(chunk):
            self._exif = chunk[8:-4]
        elif kind == b"acTL" and not self._has_begun:
            self._moves = int.from_bytes(chunk[8:12]) > 1
        elif kind == b"fcTL" and not self._has_begun:
            self._begins_moving = True
        elif kind == b"fcTL" and self._moves:
            if self._begins_moving or self._frame:
                self._kept.append((b"IEND", END))
                return False
            self._frame = chunk[8:-4]
        elif kind == b"fdAT" and self._frame:
            self._frame_data.append(chunk[12:-4])
        return kind != b"IEND"

    def shown(self, signature: bytes) -> Shown:
        """What is shown, once all are taken."""
        # OpenCV overlooks it in an animation.
        orientation = 1 if self._moves else orientation_of(self._exif) or 1
        first = signature + b"".join(chunk for _, chunk in self._kept)
        head = next((chunk[8:-4] for kind, chunk in self._kept if kind == b"IHDR"), b"")
        if len(self._frame) != FRAME_BYTES or not self._frame_data or len(head) < 8:
            return Shown(first, orientation=orientation)
        width, height = struct.unpack(">II", head[:8])
        columns, rows, left, top = struct.unpack(">IIII", self._frame[4:20])
        if left + columns > width or top + rows > height:
            return Shown(first, orientation=orientation)
        pieces = [
            signature,
            _chunk(b"IHDR", struct.pack(">II", columns, rows) + head[8:]),
            *(chunk for kind, chunk in self._kept if kind in {b"PLTE", b"tRNS"}),
            _chunk(b"IDAT", b"".join(self._frame_data)),
            END,
        ]
        return Shown(b"".join(pieces), orientation=orientation, canvas=Canvas(width, height, left, top))


def _is_whole(chunk: bytes) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
