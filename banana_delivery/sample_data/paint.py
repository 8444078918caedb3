"""Paints a leaf scene: background, blade and lesions, under even light. Colours are BGR in 0..1, images (H, W, 3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from banana_delivery.sample_data.scene import EARLY_STREAK, Floats, Leaf, Lesion

Colour = tuple[float, float, float]

BACKGROUNDS: tuple[tuple[Colour, Colour], ...] = (
    ((0.10, 0.16, 0.24), (0.22, 0.32, 0.42)),  # soil
    ((0.05, 0.16, 0.08), (0.16, 0.42, 0.28)),  # undergrowth
    ((0.88, 0.80, 0.70), (0.97, 0.93, 0.88)),  # sky
    ((0.20, 0.28, 0.32), (0.42, 0.52, 0.58)),  # dry mulch
    ((0.45, 0.45, 0.46), (0.66, 0.66, 0.67)),  # concrete of the packing shed
)
CLUTTER: tuple[Colour, ...] = (
    (0.08, 0.30, 0.12),
    (0.14, 0.45, 0.40),
    (0.08, 0.12, 0.18),
    (0.25, 0.38, 0.50),
    (0.75, 0.75, 0.72),
    (0.60, 0.30, 0.10),
)
YOUNG_BLADE, OLD_BLADE, MIDRIB, DRY = (0.22, 0.68, 0.50), (0.10, 0.34, 0.12), (0.40, 0.80, 0.72), (0.22, 0.42, 0.56)
RUST, UMBER, ASH, HALO = (0.10, 0.28, 0.46), (0.06, 0.09, 0.14), (0.45, 0.52, 0.56), (0.18, 0.72, 0.80)


@dataclass(frozen=True)
class Grid:
    """The leaf coordinates of every pixel: ``u`` and ``v`` are (H, W) float32."""

    leaf: Leaf
    u: Floats
    v: Floats

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.u.shape[1], self.u.shape[0]

    def window(self, box: Floats, margin: float) -> tuple[slice, slice]:
        """Return the rows and columns within ``margin`` pixels of an xyxy box."""
        x1, y1, x2, y2 = np.clip(box + margin * np.array([-1, -1, 1, 1]), 0, [*self.size, *self.size]).astype(int)
        return slice(y1, y2 + 1), slice(x1, x2 + 1)


def paint(rng: np.random.Generator, leaf: Leaf, lesions: Iterable[Lesion], size: tuple[int, int]) -> Floats:
    """Paint the scene as (H, W, 3) float32; ``size`` is (width, height)."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    grid = Grid(leaf, *leaf.to_leaf(x, y))
    background = _background(rng, size)
    blade = _blade(rng, grid)
    for lesion in lesions:
        _infect(rng, blade, lesion, grid)
    cover = _cover(rng, grid)
    shadow = 0.35 * cv2.GaussianBlur(cover, (0, 0), 5)
    return blend(background * (1 - shadow[..., None]), blade, cover)


def blend(under: Floats, over: Floats | Colour, alpha: Floats) -> Floats:
    """Lay ``over`` on ``under`` with an opacity of shape (H, W)."""
    # One plane a colour: numpy is several times slower when the last axis has three elements.
    top = over if isinstance(over, np.ndarray) else _plain(over, (under.shape[1], under.shape[0]))
    planes = (a + alpha * (b - a) for a, b in zip(np.moveaxis(under, 2, 0), np.moveaxis(top, 2, 0), strict=True))
    return np.asarray(cv2.merge([np.asarray(plane, np.float32) for plane in planes]))


def _noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> Floats:
    """Return smooth noise in about -1..1, with ``cells`` bumps along the width."""
    coarse = 0.6 * rng.standard_normal((max(2, cells * 3 // 4), cells), np.float32)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC), np.float32)


def _plain(colour: Colour, size: tuple[int, int]) -> Floats:
    return np.broadcast_to(np.asarray(colour, np.float32), (size[1], size[0], 3))


def _background(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    dark, bright = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    mix = 0.5 + 0.45 * _noise(rng, size, 5) + 0.3 * _noise(rng, size, 40)
    image = blend(_plain(dark, size), bright, np.clip(mix, 0, 1))
    for _ in range(int(rng.integers(0, 12))):
        _clutter(rng, image, size)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 3.0)), np.float32)


def _clutter(rng: np.random.Generator, image: Floats, size: tuple[int, int]) -> None:
    """Draw one thing that is no leaf of interest: a stick, another plant, a stone or a bag."""
    brightness = rng.uniform(0.6, 1.3)
    colour = tuple(brightness * c for c in CLUTTER[rng.integers(len(CLUTTER))])
    at = (int(rng.integers(size[0])), int(rng.integers(size[1])))
    if rng.random() < 0.4:
        to = (int(rng.integers(size[0])), int(rng.integers(size[1])))
        cv2.line(image, at, to, colour, int(rng.integers(1, 7)))
    else:
        axes = (int(rng.integers(3, 40)), int(rng.integers(2, 14)))
        cv2.ellipse(image, at, axes, rng.uniform(0, 180), 0, 360, colour, -1)


def _blade(rng: np.random.Generator, grid: Grid) -> Floats:
    leaf, u, v, size = grid.leaf, grid.u, grid.v, grid.size
    age = np.clip(rng.uniform(0, 1) + 0.18 * _noise(rng, size, 6) + 0.06 * _noise(rng, size, 48), 0, 1)
    veins = np.sin(leaf.along_veins(u, v) * (2 * np.pi / leaf.vein_period))
    tilt = rng.uniform(-0.16, 0.16) * np.sign(v)
    blade = blend(_plain(YOUNG_BLADE, size), OLD_BLADE, age)
    blade = blade * (1 + rng.uniform(0.02, 0.09) * veins + tilt)[..., None]
    midrib = np.exp(-((v / rng.uniform(1.2, 2.8)) ** 2))
    blade = blend(blade, MIDRIB, rng.uniform(0.4, 0.9) * midrib)
    if rng.random() < 0.35:
        blade = blend(blade, DRY, rng.uniform(0.5, 0.9) * _scorch(rng, grid))
    for _ in range(int(rng.integers(0, 7))):
        _speck(rng, blade, size)
    return blade


def _scorch(rng: np.random.Generator, grid: Grid) -> Floats:
    """Return how dry the margin is, as sun and wind make it: brown that is no sigatoka."""
    inside = grid.leaf.reach(grid.u) - np.abs(grid.v) + 3 * _noise(rng, grid.size, 16)
    return np.clip(1 - inside / rng.uniform(3, 7), 0, 1)


def _speck(rng: np.random.Generator, blade: Floats, size: tuple[int, int]) -> None:
    """Put a drop of water, dust or bird lime on the blade: bright, and no lesion."""
    at = (int(rng.integers(size[0])), int(rng.integers(size[1])))
    tone = rng.uniform(0.6, 0.95)
    axes = (int(rng.integers(1, 4)), int(rng.integers(1, 3)))
    cv2.ellipse(blade, at, axes, rng.uniform(0, 180), 0, 360, (tone, tone, tone * 0.97), -1)


def _infect(rng: np.random.Generator, blade: Floats, lesion: Lesion, grid: Grid) -> None:
    """Paint a rusty streak, or a dark spot with an ashen centre and a yellow halo."""
    rows, columns = grid.window(lesion.box(grid.leaf), margin=lesion.half_length)
    u, v, skin = grid.u[rows, columns], grid.v[rows, columns], blade[rows, columns]
    radius = lesion.radius(u, v, grid.leaf) + 0.09 * _noise(rng, (u.shape[1], u.shape[0]), 8)
    if lesion.kind == EARLY_STREAK:
        core = np.clip((1 - radius) / 0.35 + 0.5, 0, 1)
        skin[:] = blend(skin, RUST, (0.55 + 0.45 * lesion.severity) * core)
        return
    halo = np.clip((1.6 - radius) / 0.6, 0, 1)
    core = np.clip((1 - radius) / 0.22 + 0.5, 0, 1)
    centre = np.clip((0.55 - radius) / 0.25, 0, 1)
    skin[:] = blend(skin, HALO, (0.25 + 0.5 * lesion.severity) * halo)
    skin[:] = blend(skin, UMBER, (0.75 + 0.2 * lesion.severity) * core)
    skin[:] = blend(skin, ASH, lesion.severity * centre)


def _cover(rng: np.random.Generator, grid: Grid) -> Floats:
    """Return the blade's coverage in 0..1: wavy at the edge, and torn along veins by the wind."""
    leaf, u, v = grid.leaf, grid.u, grid.v
    wave = rng.uniform(0, 2.5) * np.sin(u * rng.uniform(0.08, 0.2))
    cover = np.clip(leaf.reach(u) + wave - np.abs(v) + 0.5, 0, 1)
    veins = leaf.along_veins(u, v)
    for _ in range(int(rng.integers(0, 3))):
        at, side = rng.uniform(-0.7, 0.7) * leaf.half_length, float(rng.choice([-1.0, 1.0]))
        # Only the outer part tears, where no lesion is centred.
        gap = np.where(v * side > 0, np.clip((np.abs(v) - 0.82 * leaf.reach(u)) * 0.25, -1, 3), np.float32(-1))
        cover = cover * np.clip(np.abs(veins - at) - gap, 0, 1)
    return np.asarray(cover)
