"""Whether an exported model answers as its checkpoint does: answers go in, one sentence with the numbers comes out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from banana_delivery.export.protocol import Answers, Detection
from banana_delivery.policy.model import Model

COUNTS_FROM = 0.25
"""A detection that a user would see: the serving application's default confidence."""
ASKED_FROM = 0.1
"""Both sides answer down to here, so that one just above ``COUNTS_FROM`` finds the other just below it."""
PARITY_IMAGES = 24
"""Enough to show a wrong preprocessing or class order on any of them, few enough to cost a second."""
MAX_BOX_PIXELS = 1.0
MAX_SCORE = 0.01
MIN_SHARE = 0.99
"""When both see the same pixels. Two boxes that overlap by just the limit may be suppressed or not by a rounding."""
MIN_SHARE_OF_FILES = 0.8
"""When each decodes and resizes the file itself. A resized pixel differs by one grey level here and there, by which a
box in doubt moves (2 of 59 seen); a wrong letterbox, colour order or scale spoils nearly all."""


class Agreement(Model):
    """How far the answers of two models agree.

    Attributes:
        detections: how many were compared.
        agreeing: of these, how many the other side has too, within a pixel and 0.01 of score.
        max_box_difference_px: largest difference of a corner's coordinate among boxes that both sides have.
        max_score_difference: largest difference of score among these.
    """

    detections: int
    agreeing: int
    max_box_difference_px: float
    max_score_difference: float

    @property
    def share(self) -> float:
        """Share that agrees; 0 if there was nothing to compare."""
        return self.agreeing / self.detections if self.detections else 0.0


class Parity(Model):
    """Whether an export answers as its checkpoint does.

    Attributes:
        images: how many both answered.
        same_pixels: agreement when both see the same letterboxed pixels.
        files: agreement when each decodes and resizes the file itself.
        passed: whether both agreements suffice.
        reason: one sentence with the numbers.
    """

    images: int
    same_pixels: Agreement
    files: Agreement
    passed: bool
    reason: str


@dataclass(frozen=True)
class _Pair:
    """A detection and its nearest counterpart, which may be missing on either side."""

    one: Detection | None
    other: Detection | None

    @property
    def counts(self) -> bool:
        return any(side is not None and side.score >= COUNTS_FROM for side in (self.one, self.other))

    @property
    def pixels(self) -> float:
        if self.one is None or self.other is None:
            return 0.0
        return max(abs(a - b) for a, b in zip(self.one.box, self.other.box, strict=True))

    @property
    def score(self) -> float:
        return 0.0 if self.one is None or self.other is None else abs(self.one.score - self.other.score)

    @property
    def unlikeness(self) -> float:
        """By the larger difference in shares of what is allowed: of many boxes on one spot each finds its own."""
        return max(self.pixels / MAX_BOX_PIXELS, self.score / MAX_SCORE)

    @property
    def is_near(self) -> bool:
        """Whether both can be one object. A box without area, beyond an edge of the image, overlaps with nothing."""
        if self.one is None or self.other is None or self.one.class_id != self.other.class_id:
            return False
        return self.pixels <= MAX_BOX_PIXELS or _overlap(self.one, self.other) > 0.5

    @property
    def agrees(self) -> bool:
        both = self.one is not None and self.other is not None
        return both and self.pixels <= MAX_BOX_PIXELS and self.score <= MAX_SCORE


def assess_parity(same_pixels: Agreement, files: Agreement, images: int) -> Parity:
    """Decide from both agreements; nothing to compare is no parity."""
    return Parity(
        images=images,
        same_pixels=same_pixels,
        files=files,
        passed=same_pixels.share >= MIN_SHARE and files.share >= MIN_SHARE_OF_FILES,
        reason=_reason(same_pixels, files, images),
    )


def compare(checkpoint: Answers, exported: Answers) -> Agreement:
    """Compare the answers of both to the same images, in the same order."""
    pairs = [
        pair for ours, theirs in zip(checkpoint, exported, strict=True) for pair in _pairs(ours, theirs) if pair.counts
    ]
    return Agreement(
        detections=len(pairs),
        agreeing=sum(pair.agrees for pair in pairs),
        max_box_difference_px=max((pair.pixels for pair in pairs), default=0.0),
        max_score_difference=max((pair.score for pair in pairs), default=0.0),
    )


def _reason(same_pixels: Agreement, files: Agreement, images: int) -> str:
    if not same_pixels.detections:
        return (
            f"Neither the checkpoint nor the export finds anything above {COUNTS_FROM} on {images} images, so nothing "
            "can be compared: train the model longer."
        )
    return (
        f"On {images} images {same_pixels.agreeing} of {same_pixels.detections} detections are the same within "
        f"{MAX_BOX_PIXELS:g} px and {MAX_SCORE:g} of score given the same pixels (largest differences "
        f"{same_pixels.max_box_difference_px:.3f} px, {same_pixels.max_score_difference:.4f}; {MIN_SHARE:.0%} asked), "
        f"and {files.agreeing} of {files.detections} given the same files ({MIN_SHARE_OF_FILES:.0%} asked)."
    )


def _pairs(ours: Sequence[Detection], theirs: Iterable[Detection]) -> list[_Pair]:
    """Give each detection, best first, the free one of its class that is most like it; who stays alone is a pair."""
    free = list(theirs)
    result = []
    for one in sorted(ours, key=lambda detection: -detection.score):
        near = [pair for other in free if (pair := _Pair(one, other)).is_near]
        likest = min(near, key=lambda pair: pair.unlikeness, default=_Pair(one, None))
        if likest.other is not None:
            free.remove(likest.other)
        result.append(likest)
    return result + [_Pair(None, other) for other in free]


def _overlap(one: Detection, other: Detection) -> float:
    """Intersection over union of two boxes."""
    width = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
    height = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    common = max(0.0, width) * max(0.0, height)
    return common / (_area(one) + _area(other) - common) if common else 0.0


def _area(detection: Detection) -> float:
    x1, y1, x2, y2 = detection.box
    return (x2 - x1) * (y2 - y1)
