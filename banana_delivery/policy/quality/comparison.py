"""Whether a candidate detects as well as production does, and whether a first release detects well enough.

Both models answered the same labelled images; a paired bootstrap over the images says how sure the difference of their
mAP50 is. What belongs elsewhere: asking the models (`banana_delivery.evaluation.answers`) and drawing (reports).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from banana_delivery.policy.model import StoredModel
from banana_delivery.policy.quality.average_precision import average_precisions, mean_over_classes, resamples
from banana_delivery.policy.quality.disagreements import Disagreement, disagreements
from banana_delivery.policy.quality.estimates import class_weights, mean_precision
from banana_delivery.policy.quality.gates import (
    QualityGate,
    QualityVerdict,
    decided,
    deciding_gates,
    images_needed,
    watching_gates,
)
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.matching import Floats, Matches
from banana_delivery.policy.quality.stages.looks import ONE_SIDED, Look

RESAMPLES = 2000
HISTOGRAM_BINS = 40
MOST_TOLD = 8
"""Gates in a sentence that goes to people's phones."""


class ClassQuality(StoredModel):
    """The AP50 of one class; None where no image shows the class.

    Attributes:
        candidate: of the candidate, 0..1.
        production: of production, 0..1.
        objects: how many labelled objects it rests on.
        weight: for how much it counts in what decides, 1 in full.
    """

    candidate: float | None
    production: float | None
    objects: int
    weight: float = 1.0


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
        quantile_5: 5 % quantile of the bootstrapped difference candidate - production, in which classes count by
            their weight.
        quantile_95: 95 % quantile of the same.
        images: how many labelled images.
        of: how many there are; 0 in what earlier versions recorded, which asked about all of them.
        resamples: how many bootstrap resamples.
        differences: the bootstrapped differences, for the plot.
        disagreements: the images on which they differ most, worst first.
        verdict: not worse, worse or inconclusive.
        reason: what mAP50 says, and each gate that is not passed: sentences with the numbers.
        gates: all of them; none in what earlier versions recorded.
        class_names: the classes compared, which both models know.
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
    gates: tuple[QualityGate, ...] = ()
    class_names: tuple[str, ...] = ()
    of: int = 0

    @property
    def margin(self) -> float:
        """The loss of mAP50 that was tolerated."""
        return next((gate.margin for gate in self.gates if gate.metric == "map50"), QualityMargins().map50)


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
    margins: QualityMargins | None = None,
    minimum_images: int | None = None,
    resample_count: int = RESAMPLES,
    seed: int = 0,
    look: Look | None = None,
) -> QualityComparison:
    """Compare two models by a paired bootstrap: both are weighed on the same resample of the images.

    Args:
        candidate: its answers, matched.
        production: production's answers to the same images, matched.
        margins: what may be lost; None: what nobody would notice.
        minimum_images: with fewer the verdict is inconclusive, whatever the figures; None: the margins' own.
        resample_count: bootstrap resamples.
        seed: of the resamples; the same answers always get the same verdict.
        look: which look at the comparison this is; None: the only one.

    Raises:
        ValueError: the two did not answer the same images, or no image shows any object.
    """
    if (candidate.names, candidate.class_names) != (production.names, production.class_names):
        raise ValueError("Candidate and production must have answered the same labelled images in the same order.")
    margins = margins or QualityMargins()
    least = margins.least_images if minimum_images is None else minimum_images
    look = look or Look(len(candidate.names), len(candidate.names))
    counts = resamples(len(candidate.names), resample_count, seed)
    precisions = average_precisions(candidate), average_precisions(production)
    resampled = average_precisions(candidate, counts), average_precisions(production, counts)
    map50 = _only(mean_over_classes(precisions[0])), _only(mean_over_classes(precisions[1]))
    estimate, differences = mean_precision(precisions, resampled, candidate.truths, margins.enough_objects)
    quantiles = float(np.quantile(differences, 0.05)), float(np.quantile(differences, 0.95))
    # Of three objects that both models find, nobody learns that the next one is found as well; and of those that one
    # image alone shows, every resample says the same.
    bounds = _bounds(quantiles, -estimate.loss, estimate.error - float(differences.std(ddof=1)), look)
    gates = [
        *deciding_gates(candidate, production, estimate, bounds, margins, least, look),
        *watching_gates(candidate, production, precisions, resampled, counts, margins, look),
    ]
    found = QualityComparison(
        candidate_map50=map50[0],
        production_map50=map50[1],
        per_class=_per_class(candidate, precisions[0], precisions[1], margins.enough_objects),
        quantile_5=quantiles[0],
        quantile_95=quantiles[1],
        images=len(candidate.names),
        resamples=resample_count,
        differences=_histogram(differences),
        disagreements=disagreements(candidate, production),
        verdict=decided(gates, look),
        reason="",
        gates=tuple(gates),
        class_names=candidate.class_names,
        of=look.of,
    )
    return found.replace(reason=_reason(gates, found, margins, least, bounds, look))


def _bounds(quantiles: tuple[float, float], centre: float, unseen: float, look: Look) -> tuple[float, float]:
    """The bootstrap's 5 % and 95 % quantiles, brought to what the look has to be sure of.

    Its own quantiles would be those of a handful of resamples where a look may hardly ever be wrong.

    Args:
        quantiles: the bootstrap's.
        centre: the difference candidate - production.
        unseen: standard error that the bootstrap does not see.
        look: how sure it has to be.
    """
    errors = look.passing_errors, look.turning_errors
    low, high = (
        quantile if each == ONE_SIDED else centre + each / ONE_SIDED * (quantile - centre)
        for quantile, each in zip(quantiles, errors, strict=True)
    )
    return low - errors[0] * unseen, high + errors[1] * unseen


def _reason(
    gates: Sequence[QualityGate],
    found: QualityComparison,
    margins: QualityMargins,
    least: int,
    bounds: tuple[float, float],
    look: Look,
) -> str:
    first, *others = gates
    asked = f"{found.images:,}" if look.is_last else f"{found.images:,} of {look.of:,}"
    weighed = any(one.weight < 1 for one in found.per_class.values() if one.objects)
    metrics = (
        f"mAP50 {found.candidate_map50:.3f} against {found.production_map50:.3f} of production on {asked} "
        f"labelled images: a difference of {0 - first.loss:+.3f}"
        f"{f', classes with fewer than {margins.enough_objects:,} objects counting for less,' if weighed else ','} "
        f"with {100 * look.confidence:.3g} % confidence between {bounds[0]:+.3f} and {bounds[1]:+.3f}"
    )
    few = found.images < least
    enough = f"about {images_needed(first, found.images):,} images like these"
    conclusions = {
        QualityVerdict.NOT_WORSE: f"the candidate does not lose more than {first.margin:.3g}."
        if first.resolved
        else f"no loss is shown, but these images cannot resolve {first.margin:g}, which {enough} would: a loss of up "
        f"to {first.missable:.3f} could have been missed, of which the policy accepts "
        f"{margins.missable * first.margin:.3g}.",
        QualityVerdict.WORSE: f"the candidate loses more than {first.margin:g}.",
        QualityVerdict.INCONCLUSIVE: f"at least {least:,} images are needed for a verdict."
        if few
        else f"a loss of more than {first.margin:.3g} can be neither shown nor excluded; "
        + (
            f"to settle that, {enough} are needed."
            if images_needed(first, found.images) > found.images
            else "so many images would tell, were the best estimate not so close to the margin."
        ),
    }
    failed = [gate for gate in others if gate.verdict is QualityVerdict.WORSE]
    doubted = [gate for gate in others if gate.verdict is QualityVerdict.INCONCLUSIVE and not few]
    told = [gate.reason for gate in (*failed, *doubted)]
    if len(told) > MOST_TOLD:
        told[MOST_TOLD:] = [f"{len(told) - MOST_TOLD} more gates are not passed; the report has all of them."]
    return " ".join([f"{metrics}; {conclusions[first.verdict]}", *told, *_blind(others, found)])


def _blind(gates: Sequence[QualityGate], found: QualityComparison) -> Iterator[str]:
    """What these images are too few to tell, where no gate that is not passed says it already."""
    yield from (gate.reason for gate in gates if not gate.resolved)
    least_seen = max((gate for gate in gates if gate.metric == "class_recall"), key=_beyond, default=None)
    if least_seen and _beyond(least_seen) > 2 and least_seen.verdict is QualityVerdict.NOT_WORSE:
        yield (
            f"Of the class '{least_seen.class_name}' only {least_seen.objects:,} objects are labelled: a loss of "
            f"recall of up to {least_seen.missable:.3f} could have been missed."
        )
    unseen = [name for name, one in found.per_class.items() if not one.objects]
    if unseen:
        yield f"Nothing is known of {', '.join(unseen)}, of which no object is labelled."


def _beyond(gate: QualityGate) -> float:
    return gate.missable / gate.asked


def _per_class(matches: Matches, candidate: Floats, production: Floats, enough_objects: int) -> dict[str, ClassQuality]:
    columns = zip(
        matches.class_names,
        _present(candidate),
        _present(production),
        matches.truths.sum(axis=0).tolist(),
        class_weights(matches.truths, enough_objects).tolist(),
        strict=True,
    )
    return {
        name: ClassQuality(candidate=ours, production=theirs, objects=objects, weight=weight)
        for name, ours, theirs, objects, weight in columns
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
