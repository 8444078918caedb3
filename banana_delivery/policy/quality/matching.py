"""Which detections found which labelled object: the expensive half of average precision, done once and kept as arrays.

The matching is COCO's at one IoU threshold: within an image and a class, detections in order of falling score each
take the free object that they overlap most. What belongs elsewhere: precision, recall and comparisons
(`banana_delivery.policy.quality.average_precision`, `banana_delivery.policy.quality.comparison`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)

MATCH_IOU = 0.5
MAX_DETECTIONS = 100
"""Detections that count per image and class, as in COCO."""


@dataclass(frozen=True)
class Truth:
    """What an image really shows.

    Attributes:
        boxes: (n, 4), x1 y1 x2 y2 in pixels.
        classes: (n,), indices into the class names.
        size: width and height of the image in pixels; None where nobody knows.
    """

    boxes: Floats
    classes: Integers
    size: Floats | None = None


@dataclass(frozen=True)
class Detections:
    """What a model says that an image shows.

    Attributes:
        boxes: (n, 4), x1 y1 x2 y2 in pixels.
        classes: (n,), indices into the class names.
        scores: (n,), in 0..1.
    """

    boxes: Floats
    classes: Integers
    scores: Floats


@dataclass(frozen=True)
class Labelled:
    """One labelled image with one model's answer to it."""

    name: str
    truth: Truth
    detections: Detections


@dataclass(frozen=True)
class Matches:
    """The matched answers of one model to a set of labelled images; row k of the flat arrays is one detection.

    Attributes:
        names: of the images.
        class_names: that the class numbers stand for.
        truths: (images, classes), how many labelled objects.
        image: (k,), index of the image.
        klass: (k,), index of the class.
        score: (k,), in 0..1.
        hit: (k,), whether the detection found a labelled object.
    """

    names: tuple[str, ...]
    class_names: tuple[str, ...]
    truths: Integers
    image: Integers
    klass: Integers
    score: Floats
    hit: Booleans


def intersection_over_union(boxes: Floats, others: Floats) -> Floats:
    """The overlap of every box with every other, shape (len(boxes), len(others)); 0 where both are empty."""
    top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    union = _areas(boxes)[:, None] + _areas(others)[None, :] - shared
    overlap: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def match_answers(images: Iterable[Labelled], class_names: Sequence[str]) -> Matches:
    """Match every detection of every image at IoU `MATCH_IOU`.

    Raises:
        ValueError: a class number that has no name, or a box or score that is not a finite number.
    """
    images = list(images)
    truths = np.zeros((len(images), len(class_names)), np.int64)
    rows: list[tuple[Integers, Integers, Floats, Booleans]] = []
    for index, labelled in enumerate(images):
        _require_sound(labelled, len(class_names))
        truths[index] = np.bincount(labelled.truth.classes, minlength=len(class_names))
        for klass in np.unique(labelled.detections.classes):
            score, hit = _match_class(labelled, klass)
            rows.append((np.full(len(score), index), np.full(len(score), klass), score, hit))
    image, klass_column, score_column, hit_column = zip(*rows, strict=True) if rows else ([], [], [], [])
    return Matches(
        names=tuple(labelled.name for labelled in images),
        class_names=tuple(class_names),
        truths=truths,
        image=_joined(image, np.int64),
        klass=_joined(klass_column, np.int64),
        score=_joined(score_column, np.float64),
        hit=_joined(hit_column, np.bool_),
    )


def _match_class(labelled: Labelled, klass: np.int64) -> tuple[Floats, Booleans]:
    """Scores in falling order and whether each detection found an object, for one class of one image."""
    chosen = np.flatnonzero(labelled.detections.classes == klass)
    order = chosen[np.argsort(-labelled.detections.scores[chosen], kind="stable")][:MAX_DETECTIONS]
    objects = labelled.truth.boxes[labelled.truth.classes == klass]
    overlap = intersection_over_union(labelled.detections.boxes[order], objects)
    hit = np.zeros(len(order), np.bool_)
    for row in np.flatnonzero((overlap >= MATCH_IOU).any(axis=1)):
        # Reversed, so that of two equal overlaps the later object is taken, as COCO does.
        best = overlap.shape[1] - 1 - int(np.argmax(overlap[row, ::-1]))
        if overlap[row, best] >= MATCH_IOU:
            hit[row] = True
            overlap[:, best] = -1.0
    return labelled.detections.scores[order], hit


def _require_sound(labelled: Labelled, class_count: int) -> None:
    for classes in (labelled.truth.classes, labelled.detections.classes):
        if classes.size and not (classes.min() >= 0 and classes.max() < class_count):
            raise ValueError(f"{labelled.name}: class numbers must lie in 0..{class_count - 1}, found {set(classes)}.")
    numbers = (labelled.truth.boxes, labelled.detections.boxes, labelled.detections.scores)
    if not all(np.isfinite(array).all() for array in numbers):
        raise ValueError(f"{labelled.name}: a box or a score is not a finite number.")


def _areas(boxes: Floats) -> Floats:
    return np.clip(boxes[:, 2] - boxes[:, 0], 0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0, None)


def _joined(arrays: Iterable[NDArray[Scalar]], dtype: type[Scalar]) -> NDArray[Scalar]:
    return np.concatenate([np.zeros(0, dtype), *arrays])
