"""Images for tests, made on the spot."""

import io
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

RED, BLUE = (255, 0, 0), (0, 0, 255)
ORIENTATION = 0x0112


def picture(width: int = 128, height: int = 96, box: tuple[int, int, int, int] = (32, 16, 63, 47)) -> Image.Image:
    """A black image with one red rectangle, the corners inclusive."""
    image = Image.new("RGB", (width, height))
    ImageDraw.Draw(image).rectangle(box, fill=RED)
    return image


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """Random colours, smooth enough to survive JPEG."""
    small = np.random.default_rng(seed).integers(0, 256, (max(1, height // 8), max(1, width // 8), 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """Encodes an image; JPEG without colour subsampling unless told otherwise."""
    defaults = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    buffer = io.BytesIO()
    image.save(buffer, kind, **(defaults | options))
    return buffer.getvalue()


def rotated(image: Image.Image, orientation: int) -> bytes:
    """A JPEG that displays as `image`, but is stored turned and says so in EXIF."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = image.transpose(undo[orientation]) if orientation in undo else image
    return encode(stored, exif=exif)
