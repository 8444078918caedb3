"""Losses of a candidate beside production, each with its standard error, from the matched answers of both.

Both answered the same images, so what an image does to both cancels out. An image is the unit of chance, not an object:
the objects of one image are found or missed together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from banana_delivery.policy.quality.average_precision import average_precisions, mean_over_classes
from banana_delivery.policy.quality.matching import IOUS, Booleans, Floats, Integers, Matches, intersection_over_union
from banana_delivery.policy.quality.stages.levels import UNSEEN, unseen_of

PAIRED_IOU = 0.3
"""From which two boxes of two models are about the same thing, whatever they call it."""
AROUND: Floats = np.linspace(0.4, 2.0, 9)
"""Shares of a confidence: the mean of the recall at all of these wavers less than the recall at that one."""


@dataclass(frozen=True)
class Estimate:
    """One metric of both models.

    Attributes:
        candidate: the metric.
        production: the metric.
        loss: how much worse the candidate is; negative where it is better.
        error: standard error of the loss.
        objects: how many it rests on.
        unseen: objects told apart, squared, that its error has beside those that were seen.
    """

    candidate: float
    production: float
    loss: float
    error: float
    objects: int
    unseen: float = UNSEEN


def recall(candidate: Matches, production: Matches, confidence: float, klass: int | None = None) -> Estimate | None:
    """The share of the labelled objects that is found, of all classes or of one; None if there are none."""
    objects = _of(candidate.truths, klass)
    ours, theirs = (_counted(one, confidence, klass, found=True) for one in (candidate, production))
    return _ratio(ours, theirs, objects)


def recall_around(candidate: Matches, production: Matches, confidence: float, klass: int) -> Estimate | None:
    """Recall of one class, as the mean over the confidences around one; None if there are no objects.

    An object that is found a little less surely counts by a part, and not all or nothing.
    """
    ours, theirs = (
        np.mean([_counted(one, confidence * share, klass, found=True) for share in AROUND], axis=0)
        for one in (candidate, production)
    )
    return _ratio(ours, theirs, _of(candidate.truths, klass))


def false_boxes(
    candidate: Matches, production: Matches, confidence: float, klass: int | None = None
) -> Estimate | None:
    """Boxes that are no labelled object, for each labelled one, of all classes or of one; None if there are none.

    Of images that production left unanswered nobody knows its false boxes: that it was down is no merit of it.
    """
    objects = _of(candidate.truths, klass)
    ours, theirs = (_counted(one, confidence, klass, found=False) for one in (candidate, production))
    if production.unanswered is not None:
        ours, theirs, objects = (np.where(production.unanswered, 0, one) for one in (ours, theirs, objects))
    return _turned(_ratio(ours, theirs, objects))


def small_recall(candidate: Matches, production: Matches, confidence: float, side: float) -> Estimate | None:
    """Recall of objects with a side of fewer pixels than ``side``; None if there are none, or nobody knows."""
    if candidate.placed is None or production.placed is None:
        return None
    objects, images = candidate.placed.objects, len(candidate.names)
    small = objects.side < side  # Not those of unknown size, which are NaN.
    counts = [np.bincount(objects.image[small], minlength=images)]
    for one, placed in ((candidate, candidate.placed), (production, production.placed)):
        hit = placed.found[(one.score > confidence) & (placed.found >= 0)]
        counts.append(np.bincount(objects.image[hit[small[hit]]], minlength=images))
    return _ratio(counts[1], counts[2], counts[0])


def class_weights(truths: Integers, enough_objects: int) -> Floats:
    """For how much each class counts in a mean over the classes: 1 where enough objects are labelled, else their share.

    The precision on thirty objects is mostly luck, and in a plain mean it weighs as much as that on three thousand:
    with a class of 3 % of the objects, nine tenths of what mAP50 wavers by are that class's.

    Args:
        truths: (images, classes), labelled objects.
        enough_objects: from which a class counts in full.
    """
    weights: Floats = np.minimum(truths.sum(axis=0) / enough_objects, 1.0)
    return weights


def mean_precision(
    whole: Sequence[Floats], resampled: Sequence[Floats], truths: Integers, enough_objects: int
) -> tuple[Estimate, Floats]:
    """mAP50 with classes weighed as `class_weights` says, and the bootstrapped differences candidate - production.

    Args:
        whole: AP50 by class, of candidate and production.
        resampled: the same under each resample.
        truths: (images, classes), labelled objects.
        enough_objects: from which a class counts in full.
    """
    weights, objects = class_weights(truths, enough_objects), truths.sum(axis=0)
    ours, theirs = (float(mean_over_classes(one, weights)[0]) for one in whole)
    differences = mean_over_classes(resampled[0], weights) - mean_over_classes(resampled[1], weights)
    differences = differences[np.isfinite(differences)]
    each = weights / weights.sum()
    more = sum(unseen_of(truths[:, one]) * (each[one] / objects[one]) ** 2 for one in np.flatnonzero(objects))
    error = float(np.sqrt(differences.var(ddof=1) + more))
    return Estimate(ours, theirs, theirs - ours, error, int(objects.sum())), differences


def class_precision(
    candidate: tuple[float, Floats], production: tuple[float, Floats], shown: Integers
) -> Estimate | None:
    """Average precision, from its value and those of the resamples; None if there are too few of these to tell.

    Args:
        candidate: value and the same under each resample.
        production: the same; the same resamples.
        shown: (images,), labelled objects that it rests on.
    """
    objects = int(shown.sum())
    differences = production[1] - candidate[1]
    differences = differences[np.isfinite(differences)]
    if len(differences) < 2 or not objects or np.isnan(candidate[0]) or np.isnan(production[0]):
        return None
    more = unseen_of(shown)
    error = float(np.sqrt(differences.var(ddof=1) + more / objects**2))
    return Estimate(candidate[0], production[0], production[0] - candidate[0], error, objects, more)


def precision_at_all_overlaps(
    candidate: Matches, production: Matches, counts: Integers, enough_objects: int
) -> Estimate | None:
    """The mean of mAP over COCO's overlaps, classes weighed; None if the answers were matched at one overlap only."""
    if candidate.placed is None or production.placed is None:
        return None
    weights = class_weights(candidate.truths, enough_objects)
    whole, resampled = (
        [_at_all_overlaps(one, each, weights) for one in (candidate, production)] for each in (None, counts)
    )
    shown = candidate.truths.sum(axis=1)
    return class_precision((float(whole[0][0]), resampled[0]), (float(whole[1][0]), resampled[1]), shown)


def flips(candidate: Matches, production: Matches, confidence: float) -> Estimate | None:
    """Of the boxes that both see: the share that the candidate alone misnames, beside that of production.

    Siblings flip as often one way as the other, however alike or unlike they are.
    """
    pairs = _pairs(candidate, production, confidence)
    if pairs is None:
        return None
    flipped = candidate.klass[pairs.ours] != production.klass[pairs.theirs]
    right, before = candidate.hit[pairs.ours], production.hit[pairs.theirs]
    return _sides(flipped & before & ~right, flipped & right & ~before, candidate.image[pairs.ours], candidate)


def displacement(candidate: Matches, production: Matches, confidence: float) -> Estimate | None:
    """How far boxes that both see are apart (1 - IoU): where the candidate's fit less, beside where they fit better."""
    pairs = _pairs(candidate, production, confidence)
    if pairs is None:
        return None
    fit, before = _fits(candidate)[pairs.ours], _fits(production)[pairs.theirs]
    apart = 1.0 - pairs.overlap
    return _sides(apart * (fit < before), apart * (fit > before), candidate.image[pairs.ours], candidate)


@dataclass(frozen=True)
class _Pairs:
    """Boxes that two models both see: rows of their answers, and how far they overlap."""

    ours: Integers
    theirs: Integers
    overlap: Floats


def _pairs(candidate: Matches, production: Matches, confidence: float) -> _Pairs | None:
    """Each box takes the free one of the other model that it overlaps most, the best pairs first."""
    if candidate.placed is None or production.placed is None:
        return None
    ours, theirs = (np.flatnonzero(one.score > confidence) for one in (candidate, production))
    images = np.arange(len(candidate.names) + 1)
    ours, theirs = (
        rows[np.argsort(one.image[rows], kind="stable")] for one, rows in ((candidate, ours), (production, theirs))
    )
    mine = np.searchsorted(candidate.image[ours], images)
    other = np.searchsorted(production.image[theirs], images)
    found: list[tuple[int, int, float]] = []
    for image in np.flatnonzero((np.diff(mine) > 0) & (np.diff(other) > 0)):
        rows, columns = ours[mine[image] : mine[image + 1]], theirs[other[image] : other[image + 1]]
        overlap = intersection_over_union(candidate.placed.boxes[rows], production.placed.boxes[columns])
        found += [(rows[row], columns[column], overlap[row, column]) for row, column in _best(overlap)]
    if not found:
        return None
    left, right, overlaps = zip(*found, strict=True)
    return _Pairs(np.array(left), np.array(right), np.array(overlaps))


def _best(overlap: Floats) -> list[tuple[int, int]]:
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    pairs = []
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        row, column = divmod(int(flat), overlap.shape[1])
        if overlap[row, column] < PAIRED_IOU:
            break
        if row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
            pairs.append((row, column))
    return pairs


def _fits(matches: Matches) -> Floats:
    """How far each detection overlaps the object that it found; 0 where it found none."""
    placed = matches.placed
    fit = np.zeros(len(matches.score))
    if placed is None:
        return fit
    hit = np.flatnonzero(placed.found >= 0)
    ours, theirs = placed.boxes[hit], placed.objects.boxes[placed.found[hit]]
    shared = np.clip(np.minimum(ours[:, 2:], theirs[:, 2:]) - np.maximum(ours[:, :2], theirs[:, :2]), 0, None)
    common = shared.prod(axis=1)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (ours, theirs)]
    fit[hit] = common / np.maximum(areas[0] + areas[1] - common, 1e-12)
    return fit


def _at_all_overlaps(matches: Matches, counts: Integers | None, weights: Floats) -> Floats:
    means = [mean_over_classes(average_precisions(matches.at(index), counts), weights) for index in range(len(IOUS))]
    result: Floats = np.mean(means, axis=0)
    return result


def _of(truths: Integers, klass: int | None) -> Integers:
    result: Integers = truths.sum(axis=1) if klass is None else truths[:, klass]
    return result


def _counted(matches: Matches, confidence: float, klass: int | None, *, found: bool) -> Integers:
    """Detections that users see, by image, that found an object or that did not."""
    rows: Booleans = (matches.score > confidence) & (matches.hit == found)
    if klass is not None:
        rows &= matches.klass == klass
    return np.bincount(matches.image[rows], minlength=len(matches.names))


def _ratio(ours: Floats | Integers, theirs: Floats | Integers, base: Integers) -> Estimate | None:
    """A sum over the images for each of ``base``, of which more is better."""
    total = int(base.sum())
    if not total:
        return None
    loss = float((theirs - ours).sum() / total)
    more = unseen_of(base)
    error = _error(theirs - ours, base, loss, more)
    return Estimate(float(ours.sum() / total), float(theirs.sum() / total), loss, error, total, more)


def _sides(
    against: NDArray[np.float64] | Booleans, for_it: NDArray[np.float64] | Booleans, image: Integers, matches: Matches
) -> Estimate:
    """What speaks against the candidate, for each box that both see, beside what speaks for it."""
    worse, better = against.astype(np.float64), for_it.astype(np.float64)
    total = np.bincount(image, weights=worse - better, minlength=len(matches.names))
    pairs = np.bincount(image, minlength=len(matches.names))
    loss, more = float((worse - better).mean()), unseen_of(pairs)
    error = _error(total, pairs, loss, more)
    return Estimate(float(worse.mean()), float(better.mean()), loss, error, len(image), more)


def _error(sums: Floats | Integers, base: Integers, ratio: float, more: float) -> float:
    """The standard error of ``sums.sum() / base.sum()``, by how far each image is from it."""
    images = len(sums)
    residuals = sums - ratio * base
    squares = float((residuals**2).sum()) * images / max(images - 1, 1)
    return float(np.sqrt(squares + more) / base.sum())


def _turned(estimate: Estimate | None) -> Estimate | None:
    """The same where less is better."""
    return estimate and replace(estimate, loss=-estimate.loss)
