"""COCO's 101-point average precision from cached matches, for the images as they are and for resamples of them.

A resample is a column of image counts. Weighting every detection with the count of its image gives the average
precision of the duplicated images (exactly, unless scores within an image are equal: then copies may interleave), so
that nothing is matched or sorted again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from banana_delivery.policy.quality.matching import Floats, Integers, Matches

RECALLS: Floats = np.linspace(0.0, 1.0, 101)
"""The recalls at which COCO reads the precision."""

CHUNK = 128
"""Resamples weighed at once: bounds the memory to some tens of megabytes."""


def average_precisions(matches: Matches, counts: Integers | None = None) -> Floats:
    """The AP50 of every class under every resample.

    Args:
        matches: one model's matched answers.
        counts: (images, resamples), how often each image occurs; None means one resample with every image once.

    Returns:
        (resamples, classes); NaN where a resample holds no object of the class, which COCO leaves out of the mean.
    """
    if counts is None:
        counts = np.ones((len(matches.names), 1), np.int64)
    columns = [_class_precision(matches, klass, counts) for klass in range(len(matches.class_names))]
    return np.stack(columns, axis=1)


def mean_over_classes(precisions: Floats, weights: Floats | None = None) -> Floats:
    """The mAP50 of every resample: the mean over the classes that have objects; NaN if none has.

    Args:
        precisions: (resamples, classes), as `average_precisions` returns them.
        weights: (classes,), for how much each class counts; None: all alike.
    """
    counting = np.isfinite(precisions) * (np.ones(precisions.shape[1]) if weights is None else weights)
    total = (np.nan_to_num(precisions) * counting).sum(axis=1)
    unknown = np.full(len(total), np.nan)
    means: Floats = np.divide(total, counting.sum(axis=1), out=unknown, where=counting.any(axis=1))
    return means


def resamples(images: int, count: int, seed: int) -> Integers:
    """Draw ``count`` bootstrap resamples of ``images`` images: (images, count), how often each image was drawn."""
    rng = np.random.default_rng(seed)
    drawn = [np.bincount(rng.integers(images, size=images), minlength=images) for _ in range(count)]
    return np.stack(drawn, axis=1)


def _class_precision(matches: Matches, klass: int, counts: Integers) -> Floats:
    """The AP50 of one class under every resample, shape (resamples,)."""
    chosen = np.flatnonzero(matches.klass == klass)
    order = chosen[np.argsort(-matches.score[chosen], kind="stable")]
    hits = np.flatnonzero(matches.hit[order])
    objects = matches.truths[:, klass] @ counts
    if hits.size == 0:
        return np.where(objects > 0, 0.0, np.nan)
    # Precision can only peak at a hit, so the detections between two hits are summed and looked at no more.
    answered = matches.image[order[: hits[-1] + 1]]
    starts = np.concatenate([[0], hits[:-1] + 1])
    result = np.full(counts.shape[1], np.nan)
    for chunk in _chunks(counts.shape[1]):
        weights = counts[:, chunk].astype(np.float32)
        true_positives = np.cumsum(weights[answered[hits]], axis=0, dtype=np.float64).T
        positives = np.cumsum(np.add.reduceat(weights[answered], starts, axis=0), axis=0, dtype=np.float64).T
        result[chunk] = _interpolated(true_positives, positives, objects[chunk])
    return result


def _interpolated(true_positives: Floats, positives: Floats, objects: Integers) -> Floats:
    """The mean precision at `RECALLS`, shape (resamples,).

    Args:
        true_positives: (resamples, hits), weight of the hits up to and with each hit.
        positives: (resamples, hits), weight of all detections up to and with each hit.
        objects: (resamples,), weight of the labelled objects.
    """
    precision = np.divide(true_positives, positives, out=np.zeros_like(positives), where=positives > 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    means = np.full(len(objects), np.nan)
    for row in np.flatnonzero(objects):
        reached = np.searchsorted(true_positives[row] / objects[row], RECALLS, side="left")
        within = reached[reached < envelope.shape[1]]
        means[row] = envelope[row, within].sum() / len(RECALLS)
    return means


def _chunks(total: int) -> Iterator[slice]:
    return (slice(start, min(start + CHUNK, total)) for start in range(0, total, CHUNK))
