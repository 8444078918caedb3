"""What the first bytes and the outline of an image file say, before a decoder is trusted with it.

Only headers are read, a bounded number of them, so that this is safe to do beside other requests.
"""

import struct
from dataclasses import dataclass

from serving.errors import corrupt_image, unsupported_media
from serving.inference.containers import jpeg, png
from serving.inference.containers.exif import Search

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
        orientation: as Exif asks for, 1 to 8; None if the decoder knows better.
        canvas: where the first picture of an animation lies, if it is not the whole.
    """

    is_plain: bool
    orientation: int | None = 1
    canvas: png.Canvas | None = None


def outline(data: bytes) -> tuple[str, bytes, Outline]:
    """Returns Pillow's name of the format, the bytes that are to be decoded, and what their headers tell.

    Raises:
        RequestError: 415 or 422, if the first bytes are those of no image that is read.
    """
    kind = sniff(data)
    if kind == "JPEG":
        return kind, data, outline_jpeg(data)
    if kind == "PNG":
        found = png.shown(data)
        return kind, found.data, Outline(found.is_plain, found.orientation, found.canvas)
    return kind, data, outline_webp(data) if kind == "WEBP" else Outline(is_plain=False, orientation=None)


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


def outline_jpeg(data: bytes) -> Outline:
    """Walks the segments up to the first scan and counts the scans.

    Where Pillow would find other segments than are found here, nothing is known of how many it has to read.
    """
    search, alike = Search(), True
    for marker, at, end in jpeg.segments(data):
        if marker in {jpeg.SCAN, jpeg.END}:
            alike = alike and not data.startswith(b"\xff\xd9", at)  # Pillow looks for a scan behind that, too.
            return Outline(alike and not jpeg.has_more_scans(data, at, MAX_SCANS), search.orientation or 1)
        alike = alike and marker not in jpeg.READ_OTHERWISE
        if marker == jpeg.APP1:
            jpeg.orientation_at(data, at, end, search)
    return Outline(is_plain=False, orientation=search.orientation or 1)


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
    return Outline(width * height <= PLAIN_WEBP_PIXELS, orientation=None)
