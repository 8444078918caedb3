"""From bytes somebody sent to pixels; the place that meets hostile input.

Formats are told by their first bytes, never by name or content type. Whatever Pillow and OpenCV open is answered, with
the pixels that OpenCV sees. Sizes are checked in the header, before anything is unpacked.

JPEG goes through libjpeg-turbo (simplejpeg); what that refuses, and any other format, through Pillow. A plain JPEG, PNG
or small WebP is decoded in the thread that asks. Whatever else is decoded apart (`serving.inference.apart`), in a
process that can be ended when it takes too much time or memory.
"""

import io
import logging
from dataclasses import dataclass

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image, UnidentifiedImageError

from serving.errors import corrupt_image, too_large
from serving.inference.formats import Outline, orientation_of, outline
from serving.inference.preprocess import Pixels

logger = logging.getLogger("serving")

# The limit on pixels is checked here against the setting; Pillow's own would only add a warning below its error.
Image.MAX_IMAGE_PIXELS = None

FOUR_BYTES = frozenset({"RGBA", "RGBX"})
"""Pillow's modes that are `Pixels` as they are: alpha is the unused byte, as OpenCV drops it."""
DECODER_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError, MemoryError,
    ArithmeticError, RuntimeError, NotImplementedError, AttributeError,
)  # fmt: skip
"""What the decoders raise on bytes that lie about themselves."""


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


class NotHere(Exception):  # noqa: N818 - no error, but a way to go
    """The bytes may be an image, but must not be decoded in this process."""


def decode_here(data: bytes, max_pixels: int) -> Decoded:
    """Decodes an image if that takes time and memory in proportion to its pixels.

    Raises:
        NotHere: if it has to be decoded apart.
        RequestError: 413, 415 or 422, as the bytes deserve.
    """
    kind, bare, known = outline(data)
    if not known.is_plain:
        raise NotHere
    if kind == "JPEG":
        return _decode_jpeg(bare, known, max_pixels)
    return decode_with_pillow(bare, kind, known, max_pixels)


def decode_with_pillow(data: bytes, kind: str, known: Outline, max_pixels: int) -> Decoded:
    """Decodes the first frame.

    Raises:
        RequestError: 413 or 422.
    """
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            check_pixels(image.width, image.height, max_pixels)
            exif = _exif_block(image) if known.exif is None else known.exif
            image.load()
            # Pillow turns a TIFF itself, as it loads.
            return displayed(_pixels_of(image), 1 if kind == "TIFF" else orientation_of(exif))
    except UnidentifiedImageError:
        raise corrupt_image(f"The bytes begin like {kind}, but what follows is not.") from None
    except DECODER_ERRORS as error:  # RequestError passes
        raise corrupt_image(f"The {kind} image cannot be decoded: {error}") from None


def check_pixels(width: int, height: int, limit: int) -> None:
    """Refuses an image that would unpack to more than `limit` pixels.

    Raises:
        RequestError: 413.
    """
    if width * height > limit:
        raise too_large(
            f"The image has {width} x {height} pixels; at most {limit:,} are accepted, so send a smaller one."
        )


def displayed(pixels: Pixels, orientation: int) -> Decoded:
    """Describes pixels that are to be turned by `orientation`."""
    height, width = pixels.shape[:2]
    if orientation >= 5:
        width, height = height, width
    return Decoded(pixels, orientation, width, height)


def _decode_jpeg(data: bytes, known: Outline, max_pixels: int) -> Decoded:
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in {"CMYK", "YCCK"}:
            check_pixels(width, height, max_pixels)
            return displayed(simplejpeg.decode_jpeg(data, "RGBX"), orientation_of(known.exif or b""))
    except ValueError as error:
        # It refuses whatever libjpeg warns about, and layouts of chroma without a name. Pillow's verdict counts.
        logger.debug("simplejpeg: %s", error)
    return decode_with_pillow(data, "JPEG", known, max_pixels)


def _exif_block(image: Image.Image) -> bytes:
    """The raw block of the container; `getexif` would also believe XMP, which OpenCV and browsers do not."""
    block = image.info.get("exif", b"")
    return block.removeprefix(b"Exif\x00\x00") if isinstance(block, bytes) else b""


def _pixels_of(image: Image.Image) -> Pixels:
    if image.mode in FOUR_BYTES:
        return np.asarray(image)
    shallow = _eight_bits(image) if image.mode.startswith("I") else image
    coloured = shallow if shallow.mode == "RGB" else shallow.convert("RGB")
    return np.asarray(coloured.convert("RGBX"))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Keeps the high byte of 16-bit grey; Pillow's own conversion would saturate nearly all of it to white."""
    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
