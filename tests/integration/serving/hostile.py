"""Images somebody might send by mistake or to do harm; each is named, and all are made from a fixed seed."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.unit.serving.images import encode, noise, picture, rotated


def png_claiming(width: int, height: int) -> bytes:
    """A few bytes that claim to be an image of this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(2000))) + chunk(b"IEND", b"")
    )


def jpeg_claiming(width: int, height: int) -> bytes:
    """A small JPEG whose header was changed to claim this size."""
    data = bytearray(encode(picture()))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _animated(kind: str) -> bytes:
    frames = [noise(60, 40, seed) for seed in range(4)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=50)
    return buffer.getvalue()


def acceptable() -> Iterator[tuple[str, bytes]]:
    """Unusual images that must be answered with 200."""
    grey16 = Image.fromarray(np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16))
    photo = noise(120, 90)
    yield "CMYK JPEG", encode(photo.convert("CMYK"), subsampling=0)
    yield "grey JPEG", encode(photo.convert("L"), subsampling=-1)
    yield "progressive JPEG", encode(photo, progressive=True)
    yield "16-bit PNG", encode(grey16, "PNG")
    yield "palette PNG", encode(photo.quantize(16), "PNG")
    yield "one-bit PNG", encode(photo.convert("1"), "PNG")
    yield "PNG with alpha", encode(photo.convert("RGBA"), "PNG")
    yield "grey PNG with alpha", encode(photo.convert("LA"), "PNG")
    yield "animated PNG", _animated("PNG")
    yield "animated WebP", _animated("WEBP")
    yield "one pixel", encode(noise(8, 8).resize((1, 1)), "PNG")
    yield "one row", encode(noise(4000, 8).resize((4000, 1)), "PNG")
    yield "one column", encode(noise(8, 4000).resize((1, 4000)), "JPEG")
    for orientation in range(1, 9):
        yield f"EXIF orientation {orientation}", rotated(photo, orientation)


def bombs() -> Iterator[tuple[str, bytes]]:
    """Images that would unpack to far more than they weigh; each must be answered with 413."""
    yield "PNG claiming 50,000 x 50,000", png_claiming(50_000, 50_000)
    yield "PNG claiming the largest size", png_claiming(2**31 - 1, 2**31 - 1)
    yield "JPEG claiming 50,000 x 50,000", jpeg_claiming(50_000, 50_000)
    yield "PNG of 6,000 x 6,000 black pixels", encode(Image.new("1", (6000, 6000)), "PNG")
    yield "WebP of 6,000 x 6,000 black pixels", encode(Image.new("RGB", (6000, 6000)), "WEBP")


def mutations(count: int) -> Iterator[tuple[str, bytes]]:
    """Valid images damaged at random: truncated, bytes changed, pieces removed, doubled or swapped."""
    rng = np.random.default_rng(6)
    kinds = [encode(noise(160, 120), kind) for kind in ("JPEG", "PNG", "WEBP")]
    kinds += [rotated(noise(80, 60), 6), encode(noise(160, 120), progressive=True), _animated("WEBP"), _animated("PNG")]
    for number in range(count):
        data = bytearray(kinds[number % len(kinds)])
        start, stop = sorted(int(n) for n in rng.integers(0, len(data), 2))
        damage = ("truncated", "changed", "removed", "doubled", "reversed")[int(rng.integers(5))]
        if damage == "truncated":
            del data[stop:]
        elif damage == "changed":
            for at in rng.integers(0, len(data), int(rng.integers(1, 30))):
                data[at] = int(rng.integers(256))
        elif damage == "removed":
            del data[start:stop]
        elif damage == "doubled":
            data[stop:stop] = data[start:stop]
        else:
            data[start:stop] = data[start:stop][::-1]
        yield f"{damage} {number}", bytes(data)
