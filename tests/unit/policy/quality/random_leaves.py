"""Random labelled images and answers of a made-up model, for tests that need figures rather than pictures."""

from __future__ import annotations

import numpy as np

from banana_delivery.policy.quality.matching import Detections, Labelled, Matches, Truth, match_answers

CLASSES = ("streak", "spot", "edge")


def random_answers(images: int, *, seed: int, noise: float, false_alarms: int = 6, model_seed: int = 0) -> Matches:
    """Matched answers of a model that misplaces boxes by ``noise`` pixels and raises up to ``false_alarms`` an image.

    Images depend on ``seed`` alone, so that two models can be asked about the same ones.
    """
    return match_answers(random_images(images, seed, noise, false_alarms, model_seed), CLASSES)


def random_images(
    images: int, seed: int, noise: float, false_alarms: int, model_seed: int, *, decimals: int = 2
) -> list[Labelled]:
    """The same before matching; scores have so few ``decimals`` that equal ones occur and their order matters."""
    truth_rng, model_rng = np.random.default_rng(seed), np.random.default_rng([seed, model_seed])
    labelled = []
    for index in range(images):
        truth = _truth(truth_rng)
        labelled.append(Labelled(f"leaf-{index}", truth, _answer(model_rng, truth, noise, false_alarms, decimals)))
    return labelled


def _truth(rng: np.random.Generator) -> Truth:
    count = int(rng.integers(0, 7))
    corners = rng.uniform(0, 150, (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(10, 50, (count, 2))])
    return Truth(boxes, rng.integers(0, len(CLASSES), count))


def _answer(rng: np.random.Generator, truth: Truth, noise: float, false_alarms: int, decimals: int) -> Detections:
    moved = truth.boxes + rng.normal(0, noise, truth.boxes.shape)
    found = np.hstack([np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])])
    count = int(rng.integers(0, false_alarms + 1))
    corners = rng.uniform(0, 150, (count, 2))
    false = np.hstack([corners, corners + rng.uniform(10, 50, (count, 2))])
    scores = np.round(np.concatenate([rng.beta(5, 3, len(found)), rng.beta(2, 6, count)]), decimals)
    classes = np.concatenate([truth.classes, rng.integers(0, len(CLASSES), count)])
    return Detections(np.vstack([found, false]), classes, scores)
