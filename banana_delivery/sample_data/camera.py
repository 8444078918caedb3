"""Takes the photograph of a painted scene: light, defocus, a shaken hand, sensor noise. Images are BGR in 0..1."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from banana_delivery.sample_data.paint import blend
from banana_delivery.sample_data.scene import Floats

GLARE = (0.95, 0.97, 0.95)


def photograph(rng: np.random.Generator, scene: Floats) -> NDArray[np.uint8]:
    """Light a scene, (H, W, 3) float32, and return it as a phone would have taken it, uint8."""
    image = np.clip(_light(rng, scene), 0, 1) ** rng.uniform(0.8, 1.25)
    if rng.random() < 0.6:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5)), np.float32)
    if rng.random() < 0.2:
        image = np.asarray(cv2.filter2D(image, -1, _shake(rng)), np.float32)
    noise = rng.uniform(0, 0.035) * rng.standard_normal(image.shape, np.float32)
    return np.asarray(np.clip((image + noise) * 255, 0, 255), np.uint8)


def _light(rng: np.random.Generator, scene: Floats) -> Floats:
    """Apply exposure, colour temperature, a gradient, and now and then a shadow or glare."""
    y, x = np.mgrid[-0.5 : 0.5 : scene.shape[0] * 1j, -0.5 : 0.5 : scene.shape[1] * 1j].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    slope = float(np.cos(turn)) * x + float(np.sin(turn)) * y
    gain = rng.uniform(0.6, 1.25) * (1 + rng.uniform(0, 0.6) * slope)
    if rng.random() < 0.4:
        edge = slope * rng.uniform(6, 40) + rng.uniform(-3, 3)
        gain = gain * (1 - rng.uniform(0.2, 0.5) / (1 + np.exp(-edge)))
    warmth = rng.uniform(-0.12, 0.12)
    lit: Floats = scene * gain[..., None] * np.array([1 - warmth, 1, 1 + warmth], np.float32)
    if rng.random() < 0.3:
        dx = (x - rng.uniform(-0.5, 0.5)) / rng.uniform(0.08, 0.25)
        dy = (y - rng.uniform(-0.5, 0.5)) / rng.uniform(0.05, 0.17)
        lit = blend(lit, GLARE, rng.uniform(0.2, 0.55) * np.exp(-dx * dx - dy * dy))
    return lit


def _shake(rng: np.random.Generator) -> Floats:
    """Return a motion-blur kernel: a short line through the centre of 7 x 7."""
    kernel = np.zeros((7, 7), np.float32)
    turn, reach = rng.uniform(0, np.pi), rng.uniform(1.0, 3.0)
    dx, dy = round(reach * float(np.cos(turn))), round(reach * float(np.sin(turn)))
    cv2.line(kernel, (3 - dx, 3 - dy), (3 + dx, 3 + dy), (1.0,), 1)
    return np.asarray(kernel / kernel.sum())
