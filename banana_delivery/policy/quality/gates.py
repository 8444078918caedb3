"""The gates that a candidate's quality has to pass, each with its margin and its own sentence.

Two kinds, since many gates that each cry wolf in 5 % of the deliveries would turn back every second equal model:

- three decide, and have to be shown to hold: mAP50, recall and false boxes over all classes. Where the images are too
  few to tell on which side of the margin the loss is, the policy says how large a loss may have been missed;
- the others watch, every class by itself first of all. One turns the candidate back if the loss exceeds its margin and
  is no chance, at a level that is shared by all of them (`banana_delivery.policy.quality.stages.levels`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

import numpy as np

from banana_delivery.policy.model import StoredModel
from banana_delivery.policy.quality import estimates
from banana_delivery.policy.quality.estimates import Estimate
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.matching import Floats, Integers, Matches
from banana_delivery.policy.quality.stages.levels import PARTLY, found, of_all, standard_errors
from banana_delivery.policy.quality.stages.looks import ONE_SIDED, Look

NO_LOSS_SHOWN = 2.0
"""Standard errors up to which a loss may be chance: of equal models, three gates at once stay below in 93 of 100
deliveries."""
RESOLUTION = ONE_SIDED + NO_LOSS_SHOWN
"""Standard errors that a margin has to have, so that equal models are shown to be within it."""
RESAMPLES_OF_ALL_OVERLAPS = 100
"""They say how sure the mean over ten overlaps is, within 7 %; each costs as much as ten of mAP50."""


class QualityVerdict(StrEnum):
    """What the labelled images say about the candidate."""

    NOT_WORSE = "not_worse"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"


class QualityGate(StoredModel):
    """One gate.

    Attributes:
        metric: what was measured, as a margin is called.
        class_name: of which class; empty for all of them.
        candidate: the candidate's.
        production: production's.
        loss: how much worse the candidate is; negative where it is better.
        error: standard error of the loss.
        asked: the policy's margin.
        margin: from which a loss is held against it: the policy's, or where the gate only watches and chance alone
            loses more than that, what is no chance.
        missable: the largest loss that these images do not exclude, with 95 % confidence.
        findable: a loss of so much would be turned back in 90 of 100 deliveries; above 1 where not even that of all
            objects would. 0 in what earlier versions recorded.
        objects: how many labelled objects it rests on, or boxes that both models see.
        decides: whether it has to be shown to hold.
        resolved: whether it was; False where the policy lets it pass although more than the margin may be lost.
        verdict: what follows.
        reason: one sentence with the numbers.
    """

    metric: str
    class_name: str = ""
    candidate: float
    production: float
    loss: float
    error: float
    asked: float
    margin: float
    missable: float
    findable: float = 0.0
    objects: int
    decides: bool
    resolved: bool = True
    verdict: QualityVerdict
    reason: str


WORDS = {
    "map50": "mAP50",
    "map50_95": "mAP50-95",
    "class_ap50": "AP50",
    "recall": "recall",
    "class_recall": "recall",
    "small_recall": "recall of small objects",
    "false_boxes": "false boxes for each labelled object",
    "class_false_boxes": "false boxes for each labelled object",
}
FALSE_BOXES = frozenset({"false_boxes", "class_false_boxes"})
"""There may be more of them than objects; of everything else no more than all is lost."""
AT_CONFIDENCE = frozenset({"recall", "class_recall", "small_recall", *FALSE_BOXES})
Measured = tuple[str, str, Estimate]
"""A metric, the class it is about, and what was found."""


def watching_gates(
    candidate: Matches,
    production: Matches,
    precisions: Sequence[Floats],
    resampled: Sequence[Floats],
    counts: Integers,
    margins: QualityMargins,
    look: Look,
) -> list[QualityGate]:
    """The gates that watch.

    Args:
        candidate: its answers, matched.
        production: production's answers to the same images, matched.
        precisions: AP50 by class, of both.
        resampled: the same under each resample, of both.
        counts: the resamples.
        margins: the policy's.
        look: how much of what they may get wrong is for this look.
    """
    few = counts[:, :RESAMPLES_OF_ALL_OVERLAPS]
    estimated: list[tuple[str, str, Estimate | None]] = [
        ("map50_95", "", estimates.precision_at_all_overlaps(candidate, production, few, margins.enough_objects)),
        ("small_recall", "", estimates.small_recall(candidate, production, margins.confidence, margins.small_side)),
        ("flips", "", estimates.flips(candidate, production, margins.confidence)),
        ("displacement", "", estimates.displacement(candidate, production, margins.confidence)),
        *_by_class(candidate, production, precisions, resampled, margins.confidence),
    ]
    measured = [(metric, name, estimate) for metric, name, estimate in estimated if estimate]
    around = {
        name: estimates.recall_around(candidate, production, margins.confidence, klass)
        for klass, name in enumerate(candidate.class_names)
    }
    tests = [
        (float(getattr(margins, metric)), estimate.error)
        for metric, _, estimate in measured
        for _ in range(2 if metric == "class_recall" else 1)  # It turns back by either of two tests.
    ]
    level = standard_errors(tests, margins.family_error * look.share)
    return [_watching(one, level, margins, around[one[1]] if one[0] == "class_recall" else None) for one in measured]


def deciding_gates(
    candidate: Matches,
    production: Matches,
    map50: Estimate,
    quantiles: tuple[float, float],
    margins: QualityMargins,
    least_images: int,
    look: Look,
) -> list[QualityGate]:
    """The gates that have to be shown to hold.

    Args:
        candidate: its answers, matched.
        production: production's answers to the same images, matched.
        map50: the loss of mAP50.
        quantiles: the bounds of the difference candidate - production.
        margins: the policy's.
        least_images: with fewer none of them is shown to hold.
        look: how sure it has to be; only the last lets a gate pass that is not shown to hold.
    """
    margins = margins if look.is_last else margins.replace(missable=1.0)
    enough = len(candidate.names) >= least_images
    gates = [_deciding(("map50", "", map50), quantiles, margins, look, enough=enough)]
    for metric, estimate in (
        ("recall", estimates.recall(candidate, production, margins.confidence)),
        ("false_boxes", estimates.false_boxes(candidate, production, margins.confidence)),
    ):
        if estimate:
            low = -estimate.loss - look.passing_errors * estimate.error
            high = -estimate.loss + look.turning_errors * estimate.error
            gates.append(_deciding((metric, "", estimate), (low, high), margins, look, enough=enough))
    return gates


def verdict_on(
    quantile_5: float, quantile_95: float, images: int, minimum_images: int, margin: float = QualityMargins().map50
) -> QualityVerdict:
    """The rule: what the quantiles of the difference candidate - production allow to be said."""
    if images < minimum_images:
        return QualityVerdict.INCONCLUSIVE
    if quantile_5 > -margin:
        return QualityVerdict.NOT_WORSE
    return QualityVerdict.WORSE if quantile_95 < -margin else QualityVerdict.INCONCLUSIVE


def together(gates: Sequence[QualityGate]) -> QualityVerdict:
    """One gate that is not passed is enough; else one that nobody knows of is."""
    verdicts = {gate.verdict for gate in gates}
    for verdict in (QualityVerdict.WORSE, QualityVerdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return QualityVerdict.NOT_WORSE


def decided(gates: Sequence[QualityGate], look: Look) -> QualityVerdict:
    """What a look says: before the last one, that a gate is failed, or nothing.

    Nobody passes by a few images: a class that none of them shows has no gate yet, and may have collapsed.
    """
    verdict = together(gates)
    return QualityVerdict.INCONCLUSIVE if verdict is QualityVerdict.NOT_WORSE and not look.is_last else verdict


def tolerable(loss: float, error: float, missable: float, margin: float, times: float) -> bool:
    """Whether the policy lets a loss pass of which nobody knows on which side of the margin it is.

    Args:
        loss: the best estimate.
        error: its standard error.
        missable: the largest loss that is not excluded.
        margin: the policy's.
        times: how many times the margin may have been missed.
    """
    return loss <= min(margin, NO_LOSS_SHOWN * error) and missable <= times * margin


def images_needed(gate: QualityGate, images: int) -> int:
    """With how many images the policy's own margin could be resolved."""
    return int(np.ceil(images * (RESOLUTION * gate.error / gate.asked) ** 2))


def _by_class(
    candidate: Matches,
    production: Matches,
    precisions: Sequence[Floats],
    resampled: Sequence[Floats],
    confidence: float,
) -> Iterator[tuple[str, str, Estimate | None]]:
    for klass, name in enumerate(candidate.class_names):
        ours, theirs = (
            (float(whole[0, klass]), each[:, klass]) for whole, each in zip(precisions, resampled, strict=True)
        )
        yield "class_ap50", name, estimates.class_precision(ours, theirs, candidate.truths[:, klass])
        yield "class_recall", name, estimates.recall(candidate, production, confidence, klass)
        yield "class_false_boxes", name, estimates.false_boxes(candidate, production, confidence, klass)


def _watching(measured: Measured, level: float, margins: QualityMargins, around: Estimate | None) -> QualityGate:
    """A gate that watches.

    Args:
        measured: what was found.
        level: standard errors beyond which a loss is no chance.
        margins: the policy's.
        around: a measure of the same that wavers less. Where it shows that there is a loss, that is no chance, and how
            large it is has to be shown as for one gate alone.
    """
    metric, _, estimate = measured
    asked = float(getattr(margins, metric))
    shown = around is not None and around.loss > level * around.error
    margin = max(asked, (ONE_SIDED if shown else level) * estimate.error)
    verdict = QualityVerdict.WORSE if estimate.loss > margin else QualityVerdict.NOT_WORSE
    sure, share = (around, PARTLY) if around else (estimate, 1.0)
    findable = max(
        found(0.0, level, sure.error, sure.objects, share, sure.unseen),
        found(asked, 0.0, estimate.error, estimate.objects, unseen=estimate.unseen),
    )
    if metric not in FALSE_BOXES:
        findable = of_all(findable, asked, level, sure.objects, sure.unseen)
    missable = estimate.loss + ONE_SIDED * estimate.error
    return _gate(measured, margin, missable, verdict, margins, findable=findable, decides=False)


def _deciding(
    measured: Measured, quantiles: tuple[float, float], margins: QualityMargins, look: Look, *, enough: bool
) -> QualityGate:
    metric, _, estimate = measured
    margin = float(getattr(margins, metric))
    findable = found(margin, look.turning_errors, estimate.error, estimate.objects, unseen=estimate.unseen)
    if metric not in FALSE_BOXES:
        findable = of_all(findable, margin, look.turning_errors, estimate.objects, estimate.unseen)
    verdict = verdict_on(*quantiles, images=int(enough), minimum_images=1, margin=margin)
    passes = (
        verdict is QualityVerdict.INCONCLUSIVE
        and enough
        and tolerable(estimate.loss, estimate.error, -quantiles[0], margin, margins.missable)
    )
    return _gate(
        measured,
        margin,
        -quantiles[0],
        QualityVerdict.NOT_WORSE if passes else verdict,
        margins,
        findable=findable,
        decides=True,
        resolved=not passes,
    )


def _gate(
    measured: Measured,
    margin: float,
    missable: float,
    verdict: QualityVerdict,
    margins: QualityMargins,
    *,
    findable: float,
    decides: bool,
    resolved: bool = True,
) -> QualityGate:
    metric, name, estimate = measured
    gate = QualityGate(
        metric=metric,
        class_name=name,
        candidate=estimate.candidate,
        production=estimate.production,
        loss=estimate.loss,
        error=estimate.error,
        asked=float(getattr(margins, metric)),
        margin=margin,
        missable=max(missable, 0.0),
        findable=findable,
        objects=estimate.objects,
        decides=decides,
        resolved=resolved,
        verdict=verdict,
        reason="",
    )
    return gate.replace(reason=_sentence(gate, margins))


def _sentence(gate: QualityGate, margins: QualityMargins) -> str:
    rests = f"{gate.objects:,} {'common boxes' if gate.metric in {'flips', 'displacement'} else 'labelled objects'}"
    missed = f"a loss of up to {gate.missable:.3f} could have been missed"
    accepted = f"of which the policy accepts {margins.missable * gate.margin:.3f}"
    conclusions = {
        QualityVerdict.NOT_WORSE: f"within the margin of {gate.margin:.3f}; {missed}"
        f"{'' if gate.resolved else f', {accepted}'}.",
        QualityVerdict.WORSE: f"beyond the margin of {gate.margin:.3f}.",
        QualityVerdict.INCONCLUSIVE: f"whether that is beyond the margin of {gate.margin:.3f} can be neither shown nor "
        f"excluded: {missed}, {accepted} where no loss is shown.",
    }
    return f"{_seen(gate, margins)} ({rests}), {conclusions[gate.verdict]}"


def _seen(gate: QualityGate, margins: QualityMargins) -> str:
    if gate.metric == "flips":
        return (
            f"Of what both see, the candidate alone misnames {gate.candidate:.1%} and production alone "
            f"{gate.production:.1%}"
        )
    if gate.metric == "displacement":
        return (
            f"Boxes of what both see lie apart (1 - IoU) by {gate.candidate:.3f} where the candidate's fit less and by "
            f"{gate.production:.3f} where they fit better"
        )
    whose = f"Of the class '{gate.class_name}': " if gate.class_name else ""
    at = f" at confidence {margins.confidence:g}" if gate.metric in AT_CONFIDENCE else ""
    return (
        f"{whose}{WORDS[gate.metric]}{at} {gate.candidate:.3f} against {gate.production:.3f} of production: "
        f"{'a loss' if gate.loss > 0 else 'a gain'} of {abs(gate.loss):.3f}"
    )
