"""Boxes as they are labelled, in pixels of an image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Box = tuple[float, float, float, float]
ROUNDING = 1.0
"""Pixels by which a box may leave its image; what a program rounds is no mistake of a person."""


@dataclass
class Objects:
    """What an image shows, as it is read; equal lines count once, as when a model is trained.

    Attributes:
        boxes: x1 y1 x2 y2 in pixels.
        classes: indices into the class names.
        repeated: how many lines said what another one had said.
    """

    boxes: list[Box] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    repeated: int = 0
    _seen: set[tuple[int, Box]] = field(default_factory=set)

    def add(self, klass: int, box: Box) -> None:
        """One more object, unless it is there already."""
        if (klass, box) in self._seen:
            self.repeated += 1
            return
        self._seen.add((klass, box))
        self.boxes.append(box)
        self.classes.append(klass)


def around(points: Sequence[float]) -> Box:
    """The box around a polygon given as x y x y."""
    return min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])


def within(box: Iterable[float], width: int, height: int) -> Box:
    """A box cut to its image.

    Raises:
        ValueError: if it is no box, or leaves the image by more than rounding.
    """
    x1, y1, x2, y2 = box
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise ValueError("a coordinate is no finite number")
    shown = f"({x1:g}, {y1:g}, {x2:g}, {y2:g})"
    if min(x1, y1) < -ROUNDING or x2 > width + ROUNDING or y2 > height + ROUNDING:
        raise ValueError(f"the box {shown} is outside of its image of {width} x {height} pixels")
    x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if not (x1 < x2 and y1 < y2):
        raise ValueError(f"the box {shown} is empty")
    return x1, y1, x2, y2
