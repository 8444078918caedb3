"""Colours of unusual files as OpenCV, and so `predict`, makes them of what is stored; Pillow makes them otherwise.

They differ in rounding, in what lies behind transparent pixels, and in what a stored alpha does to a colour. A network
sees either, but answers are promised to be those of `predict`.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.inference.preprocess import Pixels

Channels = NDArray[np.uint8]
"""Shape (height, width, channels)."""

BITS_PER_SAMPLE, EXTRA_SAMPLES, ALPHA_APART = 258, 338, 2
"""Tags of a TIFF, and what the second says of an alpha by which colours have not been multiplied."""
BITS_KEPT = {"BGR;15": (0xF8, 0xF8, 0xF8), "BGR;16": (0xF8, 0xFC, 0xF8)}
"""Masks of red, green and blue of bitmaps of 16 bits; what the file has not is zero, and white is 248."""

CODESTREAM, COMPONENTS = b"\xff\x4f\xff\x51", 40
"""What the coded part of a JPEG 2000 begins with, and where behind that it says how many components there are."""


def is_spoilt(data: bytes) -> bool:
    """Whether Pillow would spoil the colours of a JPEG 2000.

    It rounds more than 8 bits up past the greatest value, so that white becomes black. Grey alone it keeps.
    """
    at = data.find(CODESTREAM)
    if at < 0:
        return False  # no picture at all, which Pillow tells
    at += COMPONENTS
    count = int.from_bytes(data[at : at + 2])
    return count > 1 and any((size & 0x7F) + 1 > 8 for size in data[at + 2 : at + 2 + 3 * count : 3])


def keep_alpha_as_stored(image: Image.Image) -> None:
    """Has colours of a TIFF that are stored times their alpha stay so; to be called before pixels are unpacked."""
    image.tile = [tile._replace(args=_raw(tile.args)) for tile in image.tile]  # type: ignore[attr-defined]


def _raw(args: object) -> object:
    if isinstance(args, tuple) and args and isinstance(args[0], str):
        return (args[0].replace("RGBa", "RGBA"), *args[1:])
    return args


def bits_kept(image: Image.Image) -> tuple[int, int, int] | None:
    """Masks of what a bitmap of 16 bits stores of red, green and blue; None for other images.

    To be called before pixels are unpacked, which forgets it.
    """
    tiles = getattr(image, "tile", [])
    args = tiles[0].args if image.format in {"BMP", "DIB"} and tiles else ()
    return BITS_KEPT.get(args[0]) if isinstance(args, tuple) and args else None


def masked(pixels: Pixels, masks: tuple[int, int, int]) -> Pixels:
    """Leaves of each colour what is stored."""
    kept: Pixels = pixels & np.array([*masks, 0xFF], np.uint8)
    return kept


def from_print(image: Image.Image) -> Channels:
    """Red, green and blue of cyan, magenta, yellow and black, shape (height, width, 3)."""
    ink = np.asarray(image).astype(np.uint16)
    light = 255 - ink[:, :, 3:]
    if image.format == "TIFF":
        return (light * (255 - ink[:, :, :3]) // 255).astype(np.uint8)
    return (light - (ink[:, :, :3] * light >> 8)).astype(np.uint8)


def of_alpha(image: Image.Image) -> Channels:
    """Red, green and blue of a TIFF with alpha, shape (height, width, 3).

    libtiff, by which OpenCV reads colours of 8 bits, multiplies them by an alpha that the file says is apart from them.
    """
    tags = getattr(image, "tag_v2", {})
    is_apart = tags.get(EXTRA_SAMPLES, ())[:1] == (ALPHA_APART,) and tags.get(BITS_PER_SAMPLE, ())[:1] == (8,)
    return np.asarray(image.convert("RGBa") if is_apart else image)[:, :, :3]


def on_background(image: Image.Image, data: bytes) -> Channels | None:
    """A GIF whose background shows wherever its picture is transparent or does not reach; None for other modes.

    Args:
        image: unpacked, in numbers of its palette.
        data: the file, whose own table of colours has the background.

    Returns:
        Shape (height, width, 3).
    """
    if image.mode not in {"P", "L"}:
        return None
    numbers, bare = np.asarray(image), np.ones((image.height, image.width), np.bool_)
    left, top, right, bottom = getattr(image, "dispose_extent", None) or (0, 0, image.width, image.height)
    bare[top:bottom, left:right] = numbers[top:bottom, left:right] == image.info.get("transparency", -1)
    table = data[13 : 13 + 3 * (2 << (data[10] & 7))] if data[10] & 0x80 else b""
    colours = np.array(image.convert("RGB"))
    colours[bare] = list(table[3 * data[11] : 3 * data[11] + 3]) or [0, 0, 0]
    return colours
