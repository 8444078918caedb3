"""Letterbox: any image becomes what the network wants, exactly as ultralytics prepares it for a prediction.

That is not a square but the smallest frame of whole strides that holds the scaled image, so that a photograph of 16:9
costs six tenths of one. Only RT-DETR gets its whole frame, and images are stretched to fill it.

The bilinear resize equals OpenCV's INTER_LINEAR bit for bit, without the 150 MB of OpenCV. One grey level here and
there would be invisible, but it moved scores by up to 0.008.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

PADDING_GREY = 114
STRIDE = 32
"""Sides of what the network takes are multiples of this many pixels, unless its coarsest grid has a larger step."""
WHITE = np.float32(255)
WEIGHT_ONE = 2048

Pixels = NDArray[np.uint8]
"""An image, shape (height, width, 4): red, green, blue and an unused byte."""

Planes = NDArray[np.float32]
"""What the network takes, shape (3, height, width): red, green and blue from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a network takes.

    Attributes:
        width: most columns, a multiple of `stride`.
        height: most rows, a multiple of `stride`.
        stride: the other side of a frame is the next multiple of this many pixels: the step of the coarsest grid.
        stretched: whether images are stretched to fill it, as RT-DETR takes them.
        least_width: fewest columns of a frame of full height.
        least_height: fewest rows of a frame of full width.
    """

    width: int
    height: int
    stride: int = STRIDE
    stretched: bool = False
    least_width: int = STRIDE
    least_height: int = STRIDE

    @classmethod
    def square(cls, size: int, least: int = STRIDE) -> "Frame":
        """The frame of a detector that was trained on squares; the shorter side has at least `least` pixels."""
        return cls(size, size, least_width=least, least_height=least)

    def with_least(self, width: int, height: int) -> "Frame":
        """The same with other shortest sides."""
        return replace(self, least_width=width, least_height=height)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where an image of `width` x `height` pixels lies in a frame.

    Attributes:
        frame_width: columns of the frame.
        frame_height: rows of the frame.
        left: columns of padding before the image.
        top: rows of padding above the image.
        inner_width: columns the image covers.
        inner_height: rows the image covers.
    """

    width: int
    height: int
    frame_width: int
    frame_height: int
    left: int
    top: int
    inner_width: int
    inner_height: int

    @classmethod
    def fit(cls, width: int, height: int, frame: Frame) -> "Letterbox":
        """Scales the image until one of its sides is as long as the frame's, and centres it in whole strides.

        Args:
            width: columns of the image as displayed.
            height: its rows.
            frame: what the network takes.
        """
        if frame.stretched:
            return cls(width, height, frame.width, frame.height, 0, 0, frame.width, frame.height)
        scale = min(frame.height / height, frame.width / width)
        inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
        frame_width, frame_height = (
            max(frame.least_width, _whole_strides(inner_width, frame.stride)),
            max(frame.least_height, _whole_strides(inner_height, frame.stride)),
        )
        left = round((frame_width - inner_width) / 2 - 0.1)
        top = round((frame_height - inner_height) / 2 - 0.1)
        return cls(width, height, frame_width, frame_height, left, top, inner_width, inner_height)

    def to_image(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps boxes (n, 4) of x1, y1, x2, y2 from the frame to pixels of the image, clipped to it."""
        padding = np.array([self.left, self.top] * 2, np.float32)
        edges = np.array([self.width, self.height] * 2, np.float32)
        # Each side was rounded to whole pixels, so each has a scale of its own.
        scale = np.array([self.inner_width, self.inner_height] * 2, np.float32) / edges
        inside: NDArray[np.float32] = np.clip((boxes - padding) / scale, 0, edges)
        return inside


def _whole_strides(pixels: int, stride: int) -> int:
    return -(-pixels // stride) * stride


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


def fill(planes: Planes, pixels: Pixels, orientation: int, box: Letterbox) -> None:
    """Writes the letterboxed image into `planes`, which has the size of the box's frame."""
    turned = orientation >= 5
    inner = (box.inner_height, box.inner_width) if turned else (box.inner_width, box.inner_height)
    small = orient(resize(pixels, *inner), orientation)
    planes[...] = np.float32(PADDING_GREY) / WHITE
    inside = planes[:, box.top : box.top + box.inner_height, box.left : box.left + box.inner_width]
    np.divide(small[:, :, :3].transpose(2, 0, 1), WHITE, out=inside)
