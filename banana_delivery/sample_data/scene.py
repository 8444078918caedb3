"""What is in a picture before it is painted: one banana leaf, its lesions, and how they project into the image.

Lengths are pixels. A leaf has its own coordinates: ``u`` runs along the midrib towards the tip, ``v`` across it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]

CLASSES: tuple[str, ...] = ("early_streak", "advanced_lesion")
EARLY_STREAK, ADVANCED_LESION = range(len(CLASSES))

HEALTHY_SHARE = 0.2
MIN_BOX_SIDE = 6.0
MIN_VISIBLE_SHARE = 0.5
MAX_BOX_OVERLAP = 0.15


@dataclass(frozen=True)
class Leaf:
    """A blade with a midrib, and parallel veins that leave it at ``vein_angle`` radians."""

    centre: tuple[float, float]
    angle: float
    half_length: float
    half_width: float
    bend: float
    vein_angle: float
    vein_period: float

    def to_leaf(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Project image coordinates to ``(u, v)``."""
        dx, dy = x - self.centre[0], y - self.centre[1]
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        u = cos * dx + sin * dy
        return u, cos * dy - sin * dx - self._sag(u)

    def to_image(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """Project ``(u, v)`` to image coordinates: the inverse of `to_leaf`."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        across = v + self._sag(u)
        return self.centre[0] + cos * u - sin * across, self.centre[1] + sin * u + cos * across

    def reach(self, u: Floats) -> Floats:
        """Return how far the blade extends from the midrib; 0 beyond its ends."""
        along = np.minimum(np.abs(u) / self.half_length, 1)
        return np.asarray(self.half_width * np.sqrt(1 - along**3))

    def along_veins(self, u: Floats, v: Floats) -> Floats:
        """Return a coordinate that is constant along each lateral vein."""
        return u - np.abs(v) / math.tan(self.vein_angle)

    def _sag(self, u: Floats) -> Floats:
        return self.bend / self.half_length**2 * u * u


@dataclass(frozen=True)
class Lesion:
    """An elliptic lesion whose long axis follows the veins, centred on ``(u, v)``; severity is in 0..1."""

    kind: int
    u: float
    v: float
    half_length: float
    half_width: float
    severity: float

    def radius(self, u: Floats, v: Floats, leaf: Leaf) -> Floats:
        """Return the elliptic radius of points: below 1 inside the lesion."""
        along, across = self._axis(leaf)
        du, dv = u - self.u, v - self.v
        p = (du * along + dv * across) / self.half_length
        q = (dv * along - du * across) / self.half_width
        return np.sqrt(p * p + q * q)

    def box(self, leaf: Leaf) -> Floats:
        """Return the unclipped xyxy box of the lesion in the image, shape (4,)."""
        turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        p, q = self.half_length * np.cos(turn), self.half_width * np.sin(turn)
        along, across = self._axis(leaf)
        x, y = leaf.to_image(self.u + p * along - q * across, self.v + p * across + q * along)
        return np.array([x.min(), y.min(), x.max(), y.max()])

    def _axis(self, leaf: Leaf) -> tuple[float, float]:
        side = math.copysign(1.0, self.v)
        return math.cos(leaf.vein_angle), side * math.sin(leaf.vein_angle)


def sample_leaf(rng: np.random.Generator, size: tuple[int, int]) -> Leaf:
    """Draw a leaf that fills the frame (a close-up) or is seen whole; ``size`` is (width, height)."""
    width, height = size
    close_up = rng.random() < 0.6
    half_length = width * (rng.uniform(0.75, 1.1) if close_up else rng.uniform(0.46, 0.6))
    half_width = height * (rng.uniform(0.42, 0.62) if close_up else rng.uniform(0.27, 0.38))
    return Leaf(
        centre=(width * rng.uniform(0.4, 0.6), height * rng.uniform(0.4, 0.6)),
        angle=rng.uniform(-math.pi, math.pi) if close_up else rng.uniform(-0.5, 0.5) + math.pi * int(rng.integers(2)),
        half_length=half_length,
        half_width=half_width,
        bend=half_width * rng.uniform(-0.45, 0.45),
        vein_angle=rng.uniform(0.9, 1.4),
        vein_period=rng.uniform(4.0, 9.0),
    )


def sample_lesions(rng: np.random.Generator, leaf: Leaf, size: tuple[int, int]) -> list[tuple[Lesion, Floats]]:
    """Draw lesions that do not hide each other, each with its box clipped to the image; none on a healthy leaf."""
    if rng.random() < HEALTHY_SHARE:
        return []
    placed: list[tuple[Lesion, Floats]] = []
    scale = rng.uniform(0.75, 1.3)
    for _ in range(int(rng.integers(1, 9))):
        lesion = _sample_lesion(rng, leaf, scale)
        box = visible_box(lesion.box(leaf), size)
        if box is not None and all(overlap(box, other) < MAX_BOX_OVERLAP for _, other in placed):
            placed.append((lesion, box))
    return placed


def visible_box(box: Floats, size: tuple[int, int]) -> Floats | None:
    """Clip a box to the image, or return None if too little of it stays visible to label it."""
    clipped = np.clip(box, 0, [*size, *size])
    sides = clipped[2:] - clipped[:2]
    if sides.min() < MIN_BOX_SIDE or np.prod(sides) < MIN_VISIBLE_SHARE * np.prod(box[2:] - box[:2]):
        return None
    return clipped


def overlap(a: Floats, b: Floats) -> float:
    """Return the intersection of two boxes as a share of the smaller one."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    return float(np.prod(sides) / min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2])))


def _sample_lesion(rng: np.random.Generator, leaf: Leaf, scale: float) -> Lesion:
    kind = int(rng.integers(len(CLASSES)))
    if kind == EARLY_STREAK:
        half_length, half_width = rng.uniform(9, 17) * scale, rng.uniform(3.0, 4.8) * scale
    else:
        half_length, half_width = rng.uniform(11, 22) * scale, rng.uniform(6.0, 10.0) * scale
    u = rng.uniform(-0.8, 0.8) * leaf.half_length
    reach = float(leaf.reach(np.array(u)))
    v = rng.uniform(0.3, 0.72) * reach * float(rng.choice([-1.0, 1.0]))
    # A lesion grows between the midrib and the edge: it never runs over either.
    room = min(abs(v), reach - abs(v)) / math.sin(leaf.vein_angle)
    half_length = max(min(half_length, 0.95 * room), 1.3 * half_width)
    return Lesion(kind, u, v, half_length, half_width, severity=rng.uniform(0.0, 1.0))
