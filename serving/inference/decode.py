"""From bytes somebody sent to pixels; the place that meets hostile input.

Formats are told by their first bytes, never by name or content type. JPEG goes through libjpeg-turbo (simplejpeg), the
rest, and JPEGs in print colours, through Pillow. Sizes are checked in the header, before anything is unpacked.
"""

import io
from dataclasses import dataclass

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image

from serving.errors import corrupt_image, too_large, unsupported_media
from serving.inference.preprocess import Pixels

# The limit on pixels is checked here against the setting; Pillow's own would only add a warning below its error.
Image.MAX_IMAGE_PIXELS = None

ORIENTATION_TAG = 0x0112
SIGNATURES = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n"}
RIFF_HEADER_BYTES = 12


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image.

    Attributes:
        pixels: not yet turned by `orientation`.
        orientation: EXIF orientation, 1 to 8.
        width: columns of the image as displayed.
        height: rows of the image as displayed.
    """

    pixels: Pixels
    orientation: int
    width: int
    height: int


def sniff(data: bytes) -> str:
    """Returns JPEG, PNG or WEBP.

    Raises:
        RequestError: 422 for no bytes at all, 415 for anything else.
    """
    if not data:
        raise corrupt_image("The image is empty (0 bytes).")
    for name, signature in SIGNATURES.items():
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:RIFF_HEADER_BYTES] == b"WEBP":
        return "WEBP"
    raise unsupported_media("The bytes are not a JPEG, PNG or WebP image; send one of these formats.")


def check_pixels(width: int, height: int, limit: int) -> None:
    """Refuses an image that would unpack to more than `limit` pixels."""
    if width * height > limit:
        raise too_large(
            f"The image has {width} x {height} pixels; at most {limit:,} are accepted, so send a smaller one."
        )


def decode(data: bytes, max_pixels: int) -> Decoded:
    """Decodes an image of any supported format.

    Raises:
        RequestError: 413, 415 or 422, as the bytes deserve.
    """
    kind = sniff(data)
    try:
        if kind == "JPEG":
            height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
            if colours not in {"CMYK", "YCCK"}:
                check_pixels(width, height, max_pixels)
                return _displayed(_decode_jpeg(data), _jpeg_orientation(data), width, height)
        return _decode_with_pillow(data, kind, max_pixels)
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
        # What the decoders raise on bytes that lie about themselves; RequestError passes.
        raise corrupt_image(f"The {kind} image cannot be decoded: {error}") from None


def _displayed(pixels: Pixels, orientation: int, width: int, height: int) -> Decoded:
    if orientation >= 5:
        width, height = height, width
    return Decoded(pixels, orientation, width, height)


def _decode_jpeg(data: bytes) -> Pixels:
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGBX")
    except ValueError as error:
        # Some cameras leave padding between segments; every viewer shows these files, and nothing of them is missing.
        if "extraneous bytes" not in str(error):
            raise
        pixels = simplejpeg.decode_jpeg(data, "RGBX", strict=False)
    return pixels


def _jpeg_orientation(data: bytes) -> int:
    if b"Exif\x00\x00" not in data[:65536]:
        return 1
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return _orientation(image)


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(ORIENTATION_TAG, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _decode_with_pillow(data: bytes, kind: str, max_pixels: int) -> Decoded:
    """Decodes the first frame."""
    with Image.open(io.BytesIO(data), formats=[kind]) as image:
        check_pixels(image.width, image.height, max_pixels)
        orientation = _orientation(image)
        shallow = _eight_bits(image) if image.mode.startswith("I") else image
        pixels = np.asarray(shallow.convert("RGB").convert("RGBX"))
    return _displayed(pixels, orientation, image.width, image.height)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Keeps the high byte of 16-bit grey; Pillow's own conversion would saturate nearly all of it to white."""
    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
