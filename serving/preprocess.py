"""Letterbox: any image becomes the square the network wants, exactly as ultralytics prepares it.

The bilinear resize equals OpenCV's INTER_LINEAR bit for bit, without the 150 MB of OpenCV. One grey level here and
there would be invisible, but it moved scores by up to 0.008.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PADDING_GREY = 114
WEIGHT_ONE = 2048

Pixels = NDArray[np.uint8]
"""An image, shape (height, width, 4): red, green, blue and an unused byte."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where an image of `width` x `height` pixels lies in a square of `size` pixels.

    Attributes:
        left: columns of padding before the image.
        top: rows of padding above the image.
        inner_width: columns the image covers.
        inner_height: rows the image covers.
    """

    width: int
    height: int
    size: int
    left: int
    top: int
    inner_width: int
    inner_height: int

    @classmethod
    def fit(cls, width: int, height: int, size: int) -> "Letterbox":
        """Scales the image to touch the square and centres it."""
        scale = min(size / height, size / width)
        inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
        left = round((size - inner_width) / 2 - 0.1)
        top = round((size - inner_height) / 2 - 0.1)
        return cls(width, height, size, left, top, inner_width, inner_height)

    def to_image(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps boxes (n, 4) of x1, y1, x2, y2 from the square to pixels of the image, clipped to it."""
        padding = np.array([self.left, self.top] * 2, np.float32)
        edges = np.array([self.width, self.height] * 2, np.float32)
        # Each side was rounded to whole pixels, so each has a scale of its own.
        scale = np.array([self.inner_width, self.inner_height] * 2, np.float32) / edges
        inside: NDArray[np.float32] = np.clip((boxes - padding) / scale, 0, edges)
        return inside


@dataclass(frozen=True, slots=True)
class _Taps:
    """For each target sample along one axis: the two source samples it lies between, and their weights in 1/2048.

    Columns have each weight four times, once a byte: NumPy multiplies whole lines six times as fast as pixels of four.
    """

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    low_weight: NDArray[np.int32]
    high_weight: NDArray[np.int32]


@lru_cache(maxsize=64)
def _taps(source: int, target: int, *, columns: bool) -> _Taps:
    """Places the target's samples; OpenCV lets those beyond an edge take its value alone, but only along columns."""
    centre = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    low = np.floor(centre).astype(np.intp)
    weight = centre - low.astype(np.float32)
    if columns:
        weight[(low < 0) | (low >= source - 1)] = 0
    weights = np.rint(np.stack([1 - weight, weight]) * np.float32(WEIGHT_ONE)).astype(np.int32)
    low_weight, high_weight = weights.repeat(4, axis=1) if columns else weights[:, :, None]
    return _Taps(np.clip(low, 0, source - 1), np.clip(low + 1, 0, source - 1), low_weight, high_weight)


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """Bilinear resize of four-byte pixels, in OpenCV's own fixed-point arithmetic and with its rounding.

    Pixels are gathered as 32-bit words, so the cost is that of the target, however large the source.
    """
    rows, columns = pixels.shape[:2]
    if (rows, columns) == (height, width):
        return pixels
    words = np.ascontiguousarray(pixels).view(np.uint32)[:, :, 0]
    y = _taps(rows, height, columns=False)
    x = _taps(columns, width, columns=True)
    blended = _weighted_row(words[y.low], x, y.low_weight)
    blended += _weighted_row(words[y.high], x, y.high_weight)
    blended += 2
    blended >>= 2
    return blended.astype(np.uint8).reshape(height, width, 4)


def _weighted_row(lines: NDArray[np.uint32], x: _Taps, y_weight: NDArray[np.int32]) -> NDArray[np.int32]:
    """Blends columns and weighs rows; four times the grey level, as OpenCV rounds it between its two passes."""
    blended = lines.take(x.low, axis=1).view(np.uint8) * x.low_weight
    blended += lines.take(x.high, axis=1).view(np.uint8) * x.high_weight
    blended >>= 4
    blended *= y_weight
    blended >>= 16
    return blended


def orient(pixels: Pixels, orientation: int) -> Pixels:
    """Turns pixels as the EXIF orientation (1 to 8) says they are to be displayed."""
    if orientation in {2, 3}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4}:
        pixels = pixels[::-1]
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
        if orientation in {6, 7}:
            pixels = pixels[:, ::-1]
        if orientation in {7, 8}:
            pixels = pixels[::-1]
    return pixels


def fill(square: Pixels, pixels: Pixels, orientation: int, box: Letterbox) -> None:
    """Writes the letterboxed image into `square`."""
    turned = orientation >= 5
    inner = (box.inner_height, box.inner_width) if turned else (box.inner_width, box.inner_height)
    square[...] = PADDING_GREY
    small = orient(resize(pixels, *inner), orientation)
    square[box.top : box.top + box.inner_height, box.left : box.left + box.inner_width] = small
