"""Whether a candidate detects as well as production does, and whether a first release detects well enough.

Both models answered the same labelled images; a paired bootstrap over the images says how sure the difference of their
mAP50 is. What belongs elsewhere: asking the models (`banana_delivery.evaluation.answers`) and drawing (reports).

The images on which two models differ most: what a person looks at after reading the verdict.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from banana_delivery.policy.model import StoredModel
from banana_delivery.policy.quality.average_precision import average_precisions, mean_over_classes, resamples
from banana_delivery.policy.quality.matching import Floats, Integers, Matches

TOLERATED_LOSS = 0.02
"""A loss of mAP50 that nobody would notice in the field; the unit is mAP50, 0..1."""

MINIMUM_IMAGES = 1000
RESAMPLES = 2000
HISTOGRAM_BINS = 40


class QualityVerdict(StrEnum):
    """What the labelled images say about the candidate."""

    NOT_WORSE = "not_worse"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"


class ClassQuality(StoredModel):
    """The AP50 of one class; None where no image shows the class.

    Attributes:
        candidate: of the candidate, 0..1.
        production: of production, 0..1.
        objects: how many labelled objects it rests on.
    """

    candidate: float | None
    production: float | None
    objects: int


class Histogram(StoredModel):
    """The bootstrap's differences of mAP50: ``counts[k]`` lie between ``edges[k]`` and ``edges[k + 1]``."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class QualityComparison(StoredModel):
    """A candidate against production on the same labelled images.

    Attributes:
        candidate_map50: mAP50 of the candidate, 0..1.
        production_map50: mAP50 of production, 0..1.
        per_class: by class name.
        quantile_5: 5 % quantile of the bootstrapped difference candidate - production.
        quantile_95: 95 % quantile of the same.
        images: how many labelled images.
        resamples: how many bootstrap resamples.
        differences: the bootstrapped differences, for the plot.
        disagreements: the images on which they differ most, worst first.
        verdict: not worse, worse or inconclusive.
        reason: one sentence with the numbers.
    """

    candidate_map50: float
    production_map50: float
    per_class: dict[str, ClassQuality]
    quantile_5: float
    quantile_95: float
    images: int
    resamples: int
    differences: Histogram
    disagreements: tuple[Disagreement, ...]
    verdict: QualityVerdict
    reason: str


class AbsoluteQuality(StoredModel):
    """A model on its own against a floor: the gate of a first release, which has nothing to be compared with.

    Attributes:
        map50: 0..1.
        per_class: AP50 by class name; None where no image shows the class.
        images: how many labelled images.
        minimum_map50: the floor, 0..1.
        passed: whether the model reaches it.
        reason: one sentence with the numbers.
    """

    map50: float
    per_class: dict[str, float | None]
    images: int
    minimum_map50: float
    passed: bool
    reason: str


def absolute_quality(matches: Matches, minimum_map50: float = 0.5) -> AbsoluteQuality:
    """Judge one model by its mAP50 alone.

    Raises:
        ValueError: no image shows any object, so there is nothing to measure.
    """
    precisions = average_precisions(matches)
    map50 = _only(mean_over_classes(precisions))
    passed = map50 >= minimum_map50
    reason = (
        f"mAP50 {map50:.3f} on {len(matches.names):,} labelled images "
        f"{'reaches' if passed else 'is below'} the minimum of {minimum_map50:.3f}."
    )
    return AbsoluteQuality(
        map50=map50,
        per_class=dict(zip(matches.class_names, _present(precisions), strict=True)),
        images=len(matches.names),
        minimum_map50=minimum_map50,
        passed=passed,
        reason=reason,
    )


def compare(
    candidate: Matches,
    production: Matches,
    *,
    minimum_images: int = MINIMUM_IMAGES,
    resample_count: int = RESAMPLES,
    seed: int = 0,
) -> QualityComparison:
    """Compare two models by a paired bootstrap: both are weighed on the same resample of the images.

    Args:
        candidate: its answers, matched.
        production: production's answers to the same images, matched.
        minimum_images: with fewer the verdict is inconclusive, whatever the figures.
        resample_count: bootstrap resamples.
        seed: of the resamples; the same answers always get the same verdict.

    Raises:
        ValueError: the two did not answer the same images, or no image shows any object.
    """
    if (candidate.names, candidate.class_names) != (production.names, production.class_names):
        raise ValueError("Candidate and production must have answered the same labelled images in the same order.")
    precisions = average_precisions(candidate), average_precisions(production)
    map50 = _only(mean_over_classes(precisions[0])), _only(mean_over_classes(precisions[1]))
    differences = bootstrap_differences(candidate, production, resample_count, seed)
    quantiles = float(np.quantile(differences, 0.05)), float(np.quantile(differences, 0.95))
    images = len(candidate.names)
    verdict = verdict_on(*quantiles, images, minimum_images)
    return QualityComparison(
        candidate_map50=map50[0],
        production_map50=map50[1],
        per_class=_per_class(candidate, precisions[0], precisions[1]),
        quantile_5=quantiles[0],
        quantile_95=quantiles[1],
        images=images,
        resamples=resample_count,
        differences=_histogram(differences),
        disagreements=disagreements(candidate, production),
        verdict=verdict,
        reason=_sentence(verdict, map50, quantiles, images, minimum_images),
    )


def bootstrap_differences(candidate: Matches, production: Matches, resample_count: int, seed: int) -> Floats:
    """The mAP50 difference candidate - production on every resample that shows any object."""
    counts = resamples(len(candidate.names), resample_count, seed)
    differences = mean_over_classes(average_precisions(candidate, counts)) - mean_over_classes(
        average_precisions(production, counts)
    )
    return differences[np.isfinite(differences)]


def verdict_on(quantile_5: float, quantile_95: float, images: int, minimum_images: int) -> QualityVerdict:
    """The rule: what the quantiles of the difference candidate - production allow to be said."""
    if images < minimum_images:
        return QualityVerdict.INCONCLUSIVE
    if quantile_5 > -TOLERATED_LOSS:
        return QualityVerdict.NOT_WORSE
    return QualityVerdict.WORSE if quantile_95 < -TOLERATED_LOSS else QualityVerdict.INCONCLUSIVE


def _sentence(
    verdict: QualityVerdict,
    map50: tuple[float, float],
    quantiles: tuple[float, float],
    images: int,
    minimum_images: int,
) -> str:
    metrics = (
        f"mAP50 {map50[0]:.3f} against {map50[1]:.3f} of production on {images:,} labelled images: "
        f"a difference of {map50[0] - map50[1]:+.3f}, with 90 % confidence between {quantiles[0]:+.3f} "
        f"and {quantiles[1]:+.3f}"
    )
    if images < minimum_images:
        return f"{metrics}; at least {minimum_images:,} images are needed for a verdict."
    conclusions = {
        QualityVerdict.NOT_WORSE: f"the candidate does not lose more than {TOLERATED_LOSS}.",
        QualityVerdict.WORSE: f"the candidate loses more than {TOLERATED_LOSS}.",
        QualityVerdict.INCONCLUSIVE: f"a loss of more than {TOLERATED_LOSS} can be neither shown nor excluded.",
    }
    return f"{metrics}; {conclusions[verdict]}"


def _per_class(matches: Matches, candidate: Floats, production: Floats) -> dict[str, ClassQuality]:
    columns = zip(
        matches.class_names, _present(candidate), _present(production), matches.truths.sum(axis=0).tolist(), strict=True
    )
    return {
        name: ClassQuality(candidate=ours, production=theirs, objects=objects)
        for name, ours, theirs, objects in columns
    }


def _histogram(differences: Floats) -> Histogram:
    # Equal models differ by exactly nothing on every resample; a sliver of width keeps their histogram readable.
    low, high = float(differences.min()) - 1e-4, float(differences.max()) + 1e-4
    counts, edges = np.histogram(differences, bins=HISTOGRAM_BINS, range=(low, high))
    return Histogram(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()))


def _present(precisions: Floats) -> list[float | None]:
    """The sole row of precisions, with None for a class that no image shows."""
    return [None if np.isnan(value) else float(value) for value in precisions[0]]


def _only(map50: Floats) -> float:
    if np.isnan(map50[0]):
        raise ValueError("No labelled image shows any object, so there is nothing to measure quality on.")
    return float(map50[0])


SHOWN_CONFIDENCE = 0.25
"""The serving default: what a user of the detector sees."""

SHOWN_IMAGES = 12


class Disagreement(StoredModel):
    """An image on which the two models differ, counted at the confidence that users see.

    Attributes:
        image: its name.
        candidate_missed: labelled objects that the candidate did not find.
        candidate_false: detections of the candidate that are no labelled object.
        production_missed: labelled objects that production did not find.
        production_false: detections of production that are no labelled object.
    """

    image: str
    candidate_missed: int
    candidate_false: int
    production_missed: int
    production_false: int

    @property
    def extra_errors(self) -> int:
        """How many more errors the candidate makes here; negative where it is the better one."""
        return self.candidate_missed + self.candidate_false - self.production_missed - self.production_false


def disagreements(candidate: Matches, production: Matches) -> tuple[Disagreement, ...]:
    """The `SHOWN_IMAGES` images whose error counts differ most, in either direction; none where they do not differ."""
    candidate_missed, candidate_false = _errors(candidate)
    production_missed, production_false = _errors(production)
    difference = np.abs(candidate_missed - production_missed) + np.abs(candidate_false - production_false)
    order = np.argsort(-difference, kind="stable")[:SHOWN_IMAGES]
    return tuple(
        Disagreement(
            image=candidate.names[index],
            candidate_missed=int(candidate_missed[index]),
            candidate_false=int(candidate_false[index]),
            production_missed=int(production_missed[index]),
            production_false=int(production_false[index]),
        )
        for index in order
        if difference[index] > 0
    )


def _errors(matches: Matches) -> tuple[Integers, Integers]:
    """Missed objects and false detections of every image.

    Matching went by falling score, so that cutting the unsure detections off changes no match of the others.
    """
    shown = matches.score >= SHOWN_CONFIDENCE
    found = np.bincount(matches.image[shown & matches.hit], minlength=len(matches.names))
    false = np.bincount(matches.image[shown & ~matches.hit], minlength=len(matches.names))
    return matches.truths.sum(axis=1) - found, false
