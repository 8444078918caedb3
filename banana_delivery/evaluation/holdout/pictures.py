"""What the head of an image file says: its kind and its size as viewers show it, without unpacking it."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from banana_delivery.evaluation.holdout.folder import MEBIBYTE, Folder, fault
from banana_delivery.files import bytes_sha256
from banana_delivery.quoting import one_line

KINDS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "SUN")
"""What the serving application answers, as Pillow names it; tests hold the two together."""
SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jfif", ".mpo", ".png", ".webp", ".avif", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".jp2", ".j2k",
    ".ppm", ".pgm", ".pbm", ".pnm", ".ras", ".sun",
})  # fmt: skip
"""By which the images of a folder are told from other files."""
MOST_BYTES, MOST_PIXELS = 16 * MEBIBYTE, 25_000_000
"""The serving application's own limits, unless somebody changed them; tests hold them together."""
TURNED = frozenset({5, 6, 7, 8})
"""Orientations that lay a picture on its side."""
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Picture:
    """An image file.

    Attributes:
        path: where it is.
        width: columns as viewers show it, in pixels.
        height: rows as viewers show it, in pixels.
        sha256: of its bytes.
        kind: as Pillow names it.
        turned: whether its pixels lie on their side, so that a program that overlooks that swaps width and height.
    """

    path: Path
    width: int
    height: int
    sha256: str
    kind: str
    turned: bool


def picture(folder: Folder, path: Path, named_in: Path | None = None, line: int | None = None) -> Picture:
    """Look at the head of an image file.

    Raises:
        LabelledImagesError: if it is none that the serving application answers.
    """
    teller = named_in or path
    data = folder.content(path, MOST_BYTES, named_in, line)
    kind, width, height, turned = _head(data, path, teller, line)
    if width * height > MOST_PIXELS:
        what = f"{path.name} has {width} x {height} pixels, more than the {MOST_PIXELS:,} that are answered; scale it"
        raise fault(teller, what, line)
    if turned:
        width, height = height, width
    return Picture(path, width, height, bytes_sha256(data), kind, turned)


def _head(data: bytes, path: Path, teller: Path, line: int | None) -> tuple[str, int, int, bool]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of sizes, which are judged here, and of blocks that nobody needs.
            with Image.open(io.BytesIO(data), formats=KINDS) as image:
                kind = "JPEG" if image.format == "MPO" else str(image.format)
                return kind, image.width, image.height, _orientation(image, kind) in TURNED
    except Exception as error:  # noqa: BLE001 - whatever Pillow raises on broken bytes
        said = "" if isinstance(error, UnidentifiedImageError) else f" ({one_line(str(error), 80)})"
        raise fault(
            teller,
            f"{path.name} is not a JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF, JPEG 2000, PNM or Sun raster image"
            f"{said}; convert it, or take it out",
            line,
        ) from None


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture of each orientation into the place in which viewers show it."""


def upright(image: Image.Image) -> Image.Image:
    """An opened image as viewers show it, unpacked."""
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    # Pillow turns a TIFF itself as it unpacks it, and no other.
    turn = None if kind == "TIFF" else TURNS.get(_orientation(image, kind))
    return image.copy() if turn is None else image.transpose(turn)


def _orientation(image: Image.Image, kind: str) -> int:
    """As OpenCV, and so training, takes it; Pillow would also believe XMP, which only in an AVIF somebody asks for."""
    tags = Image.Exif()
    try:
        if kind in {"TIFF", "AVIF"}:
            return int(image.getexif().get(ORIENTATION, 1))
        block = image.info.get("exif", b"")
        prefix = b"Exif\x00\x00"
        # In a WebP nothing may stand before the block, and in an animation of PNG nobody looks at it.
        if (kind == "WEBP" and block.startswith(prefix)) or (kind == "PNG" and getattr(image, "is_animated", False)):
            return 1
        tags.load(block.removeprefix(prefix))
        return int(tags.get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - a broken block leaves the picture as it lies
        return 1
