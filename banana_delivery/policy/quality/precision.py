"""Whether a model is served in 8-bit integers or in the arithmetic that it was trained in, and why.

Both forms answered the same labelled images, none of which the integers were fitted to. That the integers lose nothing
that anybody would notice has to be shown: where the images are too few to show it, f32 is served.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

from banana_delivery.policy.model import Model
from banana_delivery.policy.quality.comparison import RESAMPLES, QualityComparison, compare
from banana_delivery.policy.quality.gates import QualityGate, QualityVerdict, images_needed
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.matching import Matches

MOST_MAP50 = 0.005
"""Loss of mAP50 beside its own f32 that is borne for the speed; every class counts alike in it."""
MOST_CLASS_AP50 = 0.01
"""The same of one class."""
LEAST_GAIN = 1.05
"""Times less CPU time for a whole image, decoding included; below that another arithmetic is worth nobody's while."""
MOST_OF_A_NAME = 80
"""Characters of a class in a sentence."""
MOST_TOLD = 3
"""Gates in a sentence."""


class Precision(StrEnum):
    """The arithmetic of a network."""

    F32 = "f32"
    INT8 = "int8"


class Asked(StrEnum):
    """What the settings ask for."""

    F32 = "f32"
    INT8 = "int8"
    AUTO = "auto"


class PrecisionChoice(Model):
    """Which arithmetic a version is served in.

    Attributes:
        taken: that one.
        reason: one sentence that says why, with the numbers; the same for the same model and images.
        rejected: whether the version must not be delivered so, by what was asked.
        gain: how many times less CPU time a whole image took in integers where this was tried; None if it was not.
        cpu: the kind of CPU that this was measured on.
    """

    taken: Precision
    reason: str
    rejected: bool = False
    gain: float | None = None
    cpu: str = ""


AS_ASKED = PrecisionChoice(taken=Precision.F32, reason="BANANA_PRECISION is f32.")


def not_tried(why: str) -> PrecisionChoice:
    """What `auto` takes where there is no int8 to judge.

    Args:
        why: the end of a sentence.
    """
    return PrecisionChoice(taken=Precision.F32, reason=f"f32 is served, since {why.rstrip('.')}.")


def choose(
    asked: Asked, int8: Matches, f32: Matches, gain: float, margins: QualityMargins, *, resamples: int = RESAMPLES
) -> PrecisionChoice:
    """Choose between two forms of one model.

    Args:
        asked: `auto` takes integers where they are shown to lose no more than ``MOST_MAP50``, in no class more than
            ``MOST_CLASS_AP50``, and nothing else that the margins forbid; `int8` takes them unless they are shown to
            lose more than the margins allow.
        int8: its answers in integers, matched.
        f32: its own answers in f32 to the same images, matched.
        gain: how many times less CPU time an image took in integers.
        margins: the policy's.
        resamples: of the bootstrap.
    """
    if asked is Asked.INT8:
        return _forced(compare(int8, f32, margins=margins, resample_count=resamples), gain)
    # Every class in full, and nothing that could have been missed.
    held = margins.replace(
        map50=min(MOST_MAP50, margins.map50),
        class_ap50=min(MOST_CLASS_AP50, margins.class_ap50),
        enough_objects=1,
        missable=1.0,
    )
    found = compare(int8, f32, margins=held, resample_count=resamples)
    objections = list(_objections(found, held))
    if objections:
        return PrecisionChoice(
            taken=Precision.F32, reason=f"f32 is served, since int8 {'; '.join(objections)}. {_seen(found)}", gain=gain
        )
    if gain < LEAST_GAIN:
        # Without the figure, which would be another one each time.
        why = f"f32 is served, since int8 saves less than {LEAST_GAIN - 1:.0%} of an image's CPU time here."
        return PrecisionChoice(taken=Precision.F32, reason=why, gain=gain)
    least_sure = max((one.missable for one in found.gates if one.metric == "class_ap50"), default=0.0)
    [map50] = (one for one in found.gates if one.metric == "map50")
    return PrecisionChoice(
        taken=Precision.INT8,
        reason=(
            f"int8 is served: it loses at most {map50.missable:.4f} of mAP50 ({held.map50:g} allowed) and "
            f"{least_sure:.4f} of any class ({held.class_ap50:g} allowed) with 95 % confidence. {_seen(found)}"
        ),
        gain=gain,
    )


def _forced(found: QualityComparison, gain: float) -> PrecisionChoice:
    if found.verdict is QualityVerdict.WORSE:
        lost = [_lost(one) for one in _classes_first(found.gates) if one.verdict is QualityVerdict.WORSE]
        return PrecisionChoice(
            taken=Precision.INT8,
            reason=(
                f"int8 loses more than the policy allows beside the version's own f32: {_listed(lost)}. {_seen(found)} "
                "Set BANANA_PRECISION to auto or f32, then deliver again."
            ),
            rejected=True,
            gain=gain,
        )
    return PrecisionChoice(
        taken=Precision.INT8,
        reason=(
            "int8 is served, as BANANA_PRECISION asks; no loss beyond the policy's margins is shown beside its own "
            f"f32. {_seen(found)}"
        ),
        gain=gain,
    )


def _objections(found: QualityComparison, margins: QualityMargins) -> Iterator[str]:
    """What speaks against integers, as clauses about them."""
    if found.images < margins.least_images:
        yield f"was judged on {found.images:,} images, and {margins.least_images:,} are the least"
        return
    unseen = [_cited(name) for name, one in found.per_class.items() if not one.objects]
    if unseen:
        yield f"cannot be judged on {_listed(unseen)}, of which no object is labelled"
    gates = _classes_first(found.gates)
    lost = [_lost(one) for one in gates if one.verdict is QualityVerdict.WORSE or _exceeds(one)]
    if lost:
        yield f"loses {_listed(lost)}"
    doubted = [one for one in gates if not _exceeds(one) and _is_doubted(one)]
    if doubted and not lost:
        many = max(images_needed(one, found.images) for one in doubted)
        what = _listed([f"{_named(one)} (up to {one.missable:.4f}, {one.asked:g} allowed)" for one in doubted])
        yield f"may lose {what}, which about {many:,} labelled images would tell"


def _classes_first(gates: Sequence[QualityGate]) -> list[QualityGate]:
    """What is wrong with one class says more than what follows from it, and the first of them are told."""
    return sorted(gates, key=lambda gate: gate.metric != "class_ap50")


def _exceeds(gate: QualityGate) -> bool:
    """Whether the best estimate alone is too much."""
    return _is_held(gate) and gate.loss > gate.asked


def _is_doubted(gate: QualityGate) -> bool:
    return gate.verdict is QualityVerdict.INCONCLUSIVE or (_is_held(gate) and gate.missable > gate.asked)


def _is_held(gate: QualityGate) -> bool:
    """Of each class, too, the loss has to be shown to be small, beside what decides anyway."""
    return gate.decides or gate.metric == "class_ap50"


def _lost(gate: QualityGate) -> str:
    return f"{gate.loss:.4f} of {_named(gate)} ({gate.asked:g} allowed)"


def _named(gate: QualityGate) -> str:
    words = {"class_ap50": "AP50", "map50": "mAP50", "map50_95": "mAP50-95"}
    metric = words.get(gate.metric, gate.metric.removeprefix("class_").replace("_", " "))
    return f"{metric} of {_cited(gate.class_name)}" if gate.class_name else metric


def _cited(name: str) -> str:
    """A class as the checkpoint calls it, in quotes that it cannot end and on one line."""
    return f"'{' '.join(name.split())[:MOST_OF_A_NAME].replace(chr(39), '’')}'"


def _listed(what: list[str]) -> str:
    more = f" and {len(what) - MOST_TOLD} more" if len(what) > MOST_TOLD else ""
    return ", ".join(what[:MOST_TOLD]) + more


def _seen(found: QualityComparison) -> str:
    return (
        f"mAP50 {found.candidate_map50:.4f} in int8 and {found.production_map50:.4f} in f32 on {found.images:,} "
        "labelled images that it was not calibrated on."
    )
