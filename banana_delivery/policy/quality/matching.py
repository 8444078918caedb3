"""Which detections found which labelled object: the expensive half of average precision, done once and kept as arrays.

The matching is COCO's at each IoU threshold: within an image and a class, detections in order of falling score each
take the free object that they overlap most. What belongs elsewhere: precision, recall and comparisons
(`banana_delivery.policy.quality.average_precision`, `banana_delivery.policy.quality.comparison`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

MATCH_IOU = 0.5
IOUS: Floats = np.linspace(0.5, 0.95, 10)
"""COCO's thresholds; the mean over all of them says how well boxes fit. The first is `MATCH_IOU`."""
EVERY_IOU: Integers = np.arange(len(IOUS))
SEEN_SIDE = 640.0
"""Pixels to which the longer side of an image is brought before somebody says what is small: networks see no more."""
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
class Objects:
    """The labelled objects of all images, one a row.

    Attributes:
        image: (m,), index of the image.
        klass: (m,), index of the class.
        boxes: (m, 4), x1 y1 x2 y2 in pixels.
        side: (m,), square root of the area in pixels once the longer side of the image is `SEEN_SIDE`; NaN where the
            size of the image is not known.
    """

    image: Integers
    klass: Integers
    boxes: Floats
    side: Floats


@dataclass(frozen=True)
class Placed:
    """Where the detections of ``Matches`` are, and which object each of them found.

    Attributes:
        boxes: (k, 4), x1 y1 x2 y2 in pixels.
        found: (k,), row of ``objects`` that it found at `MATCH_IOU`, -1 for none.
        hits: (k, 10), whether it found one at each of `IOUS`.
        objects: the labelled ones.
    """

    boxes: Floats
    found: Integers
    hits: Booleans
    objects: Objects


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
        placed: where the detections are; None where nobody kept it.
        unanswered: (images,), whether the model gave no answer at all, so that nothing was found; None: it gave all.
    """

    names: tuple[str, ...]
    class_names: tuple[str, ...]
    truths: Integers
    image: Integers
    klass: Integers
    score: Floats
    hit: Booleans
    placed: Placed | None = None
    unanswered: Booleans | None = None

    def at(self, threshold: int) -> Self:
        """The same at another one of `IOUS`, without the places.

        Raises:
            ValueError: if nobody kept them.
        """
        if self.placed is None:
            raise ValueError("These answers were matched at one overlap only.")
        return replace(self, hit=self.placed.hits[:, threshold], placed=None)

    def only(self, class_names: Sequence[str]) -> Self:
        """What concerns some of the classes, which keep their order here."""
        kept = [index for index, name in enumerate(self.class_names) if name in class_names]
        if len(kept) == len(self.class_names):
            return self
        number = np.full(len(self.class_names), -1)
        number[kept] = np.arange(len(kept))
        rows = number[self.klass] >= 0
        return replace(
            self,
            class_names=tuple(self.class_names[index] for index in kept),
            truths=self.truths[:, kept],
            image=self.image[rows],
            klass=number[self.klass[rows]],
            score=self.score[rows],
            hit=self.hit[rows],
            placed=_placed_only(self.placed, rows, number) if self.placed else None,
        )


def _placed_only(placed: Placed, rows: Booleans, number: Integers) -> Placed:
    objects = placed.objects
    kept = number[objects.klass] >= 0
    row = np.append(np.cumsum(kept) - 1, -1)  # The last is for what found nothing.
    return Placed(
        boxes=placed.boxes[rows],
        found=row[placed.found[rows]],
        hits=placed.hits[rows],
        objects=Objects(objects.image[kept], number[objects.klass[kept]], objects.boxes[kept], objects.side[kept]),
    )


def intersection_over_union(boxes: Floats, others: Floats) -> Floats:
    """The overlap of every box with every other, shape (len(boxes), len(others)); 0 where both are empty."""
    top_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    union = _areas(boxes)[:, None] + _areas(others)[None, :] - shared
    overlap: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def match_answers(images: Iterable[Labelled], class_names: Sequence[str]) -> Matches:
    """Match every detection of every image at each of `IOUS`.

    Raises:
        ValueError: a class number that has no name, or a box or score that is not a finite number.
    """
    images = list(images)
    truths = np.zeros((len(images), len(class_names)), np.int64)
    rows: list[_Matched] = []
    first = 0
    for index, labelled in enumerate(images):
        _require_sound(labelled, len(class_names))
        truths[index] = np.bincount(labelled.truth.classes, minlength=len(class_names))
        rows += [_match_class(labelled, index, klass, first) for klass in np.unique(labelled.detections.classes)]
        first += len(labelled.truth.classes)
    joined = _Matched(*(np.concatenate(column) for column in zip(_NOTHING, *rows, strict=True)))
    return Matches(
        names=tuple(labelled.name for labelled in images),
        class_names=tuple(class_names),
        truths=truths,
        image=joined.image,
        klass=joined.klass,
        score=joined.score,
        hit=joined.hits[:, 0],
        placed=Placed(joined.boxes, joined.found, joined.hits, _objects(images)),
    )


class _Matched(NamedTuple):
    """Detections, one a row, as ``Matches`` and ``Placed`` have them."""

    image: Integers
    klass: Integers
    score: Floats
    boxes: Floats
    found: Integers
    hits: Booleans


_NOTHING = _Matched(
    np.zeros(0, np.int64),
    np.zeros(0, np.int64),
    np.zeros(0),
    np.zeros((0, 4)),
    np.zeros(0, np.int64),
    np.zeros((0, len(IOUS)), np.bool_),
)


def _objects(images: Sequence[Labelled]) -> Objects:
    counts = [len(labelled.truth.classes) for labelled in images]
    scales = [np.nan if labelled.truth.size is None else SEEN_SIDE / max(labelled.truth.size) for labelled in images]
    boxes = np.concatenate([np.zeros((0, 4)), *(labelled.truth.boxes for labelled in images)])
    return Objects(
        image=np.repeat(np.arange(len(images)), counts),
        klass=np.concatenate([np.zeros(0, np.int64), *(labelled.truth.classes for labelled in images)]),
        boxes=boxes,
        side=np.sqrt(_areas(boxes)) * np.repeat(scales, counts),
    )


def _match_class(labelled: Labelled, image: int, klass: np.int64, first: int) -> _Matched:
    """One class of one image, in order of falling score.

    Args:
        labelled: the image.
        image: its index.
        klass: the class.
        first: row of the image's first object among those of all images.
    """
    chosen = np.flatnonzero(labelled.detections.classes == klass)
    order = chosen[np.argsort(-labelled.detections.scores[chosen], kind="stable")][:MAX_DETECTIONS]
    known = np.flatnonzero(labelled.truth.classes == klass)
    boxes = labelled.detections.boxes[order]
    overlap = intersection_over_union(boxes, labelled.truth.boxes[known])
    hits = np.zeros((len(order), len(IOUS)), np.bool_)
    found = np.full(len(order), -1)
    free = np.ones((len(IOUS), len(known)), np.bool_)
    for row in np.flatnonzero((overlap >= MATCH_IOU).any(axis=1)):
        open_to_it = np.where(free, overlap[row], -1.0)
        # Reversed, so that of two equal overlaps the later object is taken, as COCO does.
        best = len(known) - 1 - np.argmax(open_to_it[:, ::-1], axis=1)
        taken = np.flatnonzero(open_to_it[EVERY_IOU, best] >= IOUS)
        hits[row, taken] = True
        free[taken, best[taken]] = False
        if hits[row, 0]:
            found[row] = first + known[best[0]]
    return _Matched(
        np.full(len(order), image),
        np.full(len(order), klass),
        labelled.detections.scores[order],
        boxes,
        found,
        hits,
    )


def _require_sound(labelled: Labelled, class_count: int) -> None:
    for classes in (labelled.truth.classes, labelled.detections.classes):
        if classes.size and not (classes.min() >= 0 and classes.max() < class_count):
            raise ValueError(f"{labelled.name}: class numbers must lie in 0..{class_count - 1}, found {set(classes)}.")
    numbers = (labelled.truth.boxes, labelled.detections.boxes, labelled.detections.scores)
    if not all(np.isfinite(array).all() for array in numbers):
        raise ValueError(f"{labelled.name}: a box or a score is not a finite number.")


def _areas(boxes: Floats) -> Floats:
    return np.clip(boxes[:, 2] - boxes[:, 0], 0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0, None)
