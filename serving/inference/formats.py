"""What the first bytes and the outline of an image file say, before a decoder is trusted with it.

Only headers are read, a bounded number of them, so that this is safe to do beside other requests.
"""

import struct
import zlib
from dataclasses import dataclass

from PIL import Image

from serving.errors import corrupt_image, unsupported_media

ORIENTATION_TAG = 0x0112
EXIF_PREFIX = b"Exif\x00\x00"

MAX_PARTS = 4000
"""Segments of a JPEG or chunks of a PNG that are looked at here: 16 MiB in the 8 KiB pieces that libpng writes are half
of it."""
MAX_SCANS = 64
"""Scans of a progressive JPEG, each of which touches every block; encoders write about ten."""

SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
    b"\x59\xa6\x6a\x95": "SUN",
    **{b"P%d%c" % (kind, space): "PPM" for kind in range(1, 7) for space in b" \t\r\n"},
}
PLAIN_WEBP_PIXELS = 4_000_000
"""libwebp keeps two pictures, and Pillow three copies."""

BRANDS = {b"avif": "AVIF", b"avis": "AVIF"}
HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

SUPPORTED = "JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF, JPEG 2000, PNM or Sun raster"


@dataclass(frozen=True, slots=True)
class Outline:
    """What the headers of a file tell.

    Attributes:
        is_plain: nothing in it is repeated as no camera or program repeats it.
        exif: the Exif block, without its prefix; empty if there is none, None if the decoder knows better.
    """

    is_plain: bool
    exif: bytes | None = b""


def outline(data: bytes) -> tuple[str, bytes, Outline]:
    """Returns Pillow's name of the format, the bytes that are to be decoded, and what their headers tell.

    Raises:
        RequestError: 415 or 422, if the first bytes are those of no image that is read.
    """
    kind = sniff(data)
    if kind == "JPEG":
        return kind, data, outline_jpeg(data)
    if kind == "PNG":
        return (kind, *strip_png(data))
    return kind, data, outline_webp(data) if kind == "WEBP" else Outline(is_plain=False, exif=None)


def sniff(data: bytes) -> str:
    """Returns Pillow's name of the format.

    Raises:
        RequestError: 422 for no bytes at all, 415 for what is no image of a supported format.
    """
    if not data:
        raise corrupt_image("The image is empty (0 bytes).")
    for signature, name in SIGNATURES.items():
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _sniff_brand(data)
    raise unsupported_media(f"The bytes are not an image of a supported format; send {SUPPORTED}.")


def is_media(data: bytes) -> bool:
    """Whether the first bytes are those of a file that `sniff` has a name or a sentence of its own for."""
    return data.startswith(tuple(SIGNATURES)) or data[4:8] == b"ftyp" or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _sniff_brand(data: bytes) -> str:
    """AVIF and HEIC share a container; the first of its brands that is known decides."""
    size = min(struct.unpack(">I", data[:4])[0], 256)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, size - 3, 4))]
    for brand in brands:
        if brand in BRANDS:
            return BRANDS[brand]
    if HEIC_BRANDS.intersection(brands):
        raise unsupported_media(
            "HEIC images are not read. On an iPhone choose Settings > Camera > Formats > Most Compatible, on other "
            "phones switch 'High efficiency pictures' off in the camera's settings, or send the photo as JPEG."
        )
    raise unsupported_media(f"The bytes are a video or another kind of media; send {SUPPORTED}.")


def orientation_of(exif: bytes) -> int:
    """Returns the orientation that an Exif block asks for, 1 to 8; 1 if it cannot be read, as viewers do."""
    if not exif:
        return 1
    tags = Image.Exif()
    try:
        tags.load(exif)
        value = tags.get(ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001 - whatever Pillow raises on a broken block, the pixels are whole
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def outline_jpeg(data: bytes) -> Outline:
    """Walks the segments up to the first scan and counts the scans."""
    at, exif = 2, b""
    for _ in range(MAX_PARTS):
        at = data.find(b"\xff", at)
        marker = data[at + 1 : at + 2] if at >= 0 else b""
        if marker in {b"", b"\xda", b"\xd9"}:
            return Outline(at < 0 or data.count(b"\xff\xda", at) <= MAX_SCANS, exif)
        if marker in {b"\xff", b"\x00", b"\x01"} or b"\xd0" <= marker <= b"\xd8":
            at += 1  # padding between segments, and markers without a length
            continue
        length = int.from_bytes(data[at + 2 : at + 4])
        if marker == b"\xe1" and not exif and data.startswith(EXIF_PREFIX, at + 4):
            exif = data[at + 4 + len(EXIF_PREFIX) : at + 2 + length]
        at += 2 + max(length, 2)
    return Outline(is_plain=False, exif=exif)


def strip_png(data: bytes) -> tuple[bytes, Outline]:
    """Returns the PNG with the chunks that pixels need, and its outline.

    What is left out could be a profile that unpacks to a thousand times its size, or a text that is damaged while all
    pixels are whole. Of an animation the first picture stays.
    """
    kept, exif, at = [data[:8]], b"", 8
    for _ in range(MAX_PARTS):
        if at >= len(data):
            break
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        chunk = data[at : at + 12 + length]
        if kind in {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}:
            kept.append(chunk)
        elif kind == b"eXIf" and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:]):
            exif = chunk[8:-4]
        at += 12 + length
        if kind == b"IEND":
            break
    else:
        return data, Outline(is_plain=False)
    return b"".join(kept), Outline(is_plain=True, exif=exif)


def outline_webp(data: bytes) -> Outline:
    """Reads the size in the first chunk."""
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        width, height = int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    elif kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    return Outline(width * height <= PLAIN_WEBP_PIXELS, exif=None)
