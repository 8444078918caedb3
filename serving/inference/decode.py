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

from serving.errors import corrupt_image, too_large, unsupported_media
from serving.inference.containers import colours, jpeg
from serving.inference.containers.exif import ORIENTATION_TAG, orientation_of
from serving.inference.containers.png import Canvas
from serving.inference.formats import Outline, outline
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
        RequestError: 413, 415 or 422.
    """
    # What is left out stays known: the orientation comes from the outline.
    data = jpeg.bare(data) if kind == "JPEG" else data
    if kind == "JPEG2000" and colours.is_spoilt(data):
        raise unsupported_media(
            "JPEG 2000 with more than 8 bits of a colour is not read; save the image as PNG or TIFF, or with 8 bits."
        )
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            whole = known.canvas or image
            check_pixels(whole.width, whole.height, max_pixels)
            orientation = known.orientation or _orientation(image, kind)
            pixels = _pixels_of(image, kind, data)
            return displayed(_on(known.canvas, pixels) if known.canvas else pixels, orientation)
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
            return displayed(simplejpeg.decode_jpeg(data, "RGBX"), known.orientation or 1)
    except DECODER_ERRORS as error:  # RequestError passes
        # It refuses whatever libjpeg warns about, and layouts of chroma without a name, and fails at one that libjpeg
        # has a name for and it has not. Pillow's verdict counts.
        logger.debug("simplejpeg: %s", error)
    return decode_with_pillow(data, "JPEG", known, max_pixels)


def _orientation(image: Image.Image, kind: str) -> int:
    """The orientation of an image that Pillow has opened and not yet unpacked."""
    if kind == "TIFF":
        return 1  # Pillow turns it itself, as it unpacks it.
    if kind == "AVIF":
        # `predict` has Pillow open it, who believes the container first, then Exif, then XMP.
        found = image.getexif().get(ORIENTATION_TAG, 1)
        return found if isinstance(found, int) and 1 <= found <= 8 else 1
    # Elsewhere `getexif` would also believe XMP, which OpenCV and browsers do not.
    block = image.info.get("exif", b"")
    return orientation_of(block if isinstance(block, bytes) else b"") or 1


def _on(canvas: Canvas, pixels: Pixels) -> Pixels:
    whole = np.zeros((canvas.height, canvas.width, 4), np.uint8)
    whole[canvas.top : canvas.top + len(pixels), canvas.left : canvas.left + pixels.shape[1]] = pixels
    return whole


def _pixels_of(image: Image.Image, kind: str, data: bytes) -> Pixels:
    masks = colours.bits_kept(image)
    if kind == "TIFF":
        colours.keep_alpha_as_stored(image)
    image.load()
    shown = _channels(image, kind, data)
    if shown is not None:
        return np.asarray(Image.fromarray(shown).convert("RGBX"))
    if image.mode in FOUR_BYTES:
        return np.asarray(image)
    # Alpha is left out; Pillow would warn of what it leaves out of a palette.
    image.info.pop("transparency", None)
    shallow = _eight_bits(image) if image.mode.startswith("I") else image
    coloured = shallow if shallow.mode == "RGB" else shallow.convert("RGB")
    pixels = np.asarray(coloured.convert("RGBX"))
    return colours.masked(pixels, masks) if masks else pixels


def _channels(image: Image.Image, kind: str, data: bytes) -> colours.Channels | None:
    """Colours that OpenCV makes otherwise than Pillow; None where they agree."""
    if image.mode == "CMYK":
        return colours.from_print(image)
    if kind == "GIF":
        return colours.on_background(image, data)
    if kind == "TIFF" and image.mode == "RGBA":
        return colours.of_alpha(image)
    return None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Keeps the high byte of 16-bit grey; Pillow's own conversion would saturate nearly all of it to white."""
    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
