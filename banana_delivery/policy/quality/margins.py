"""How much worse a candidate may be than production before that is held against it: everything that a policy sets."""

from __future__ import annotations

from pydantic import Field

from banana_delivery.policy.model import Model


class QualityMargins(Model):
    """Losses that nobody would notice in the field; the unit of each is the metric's own, most of them 0..1.

    ``map50``, ``recall`` and ``false_boxes`` have to be shown to hold: where the interval crosses the margin, nobody
    knows. With few images they grow to what can be resolved, up to ``widest``. The others turn a candidate back for a
    loss beyond the margin that is no chance; all of them together do that to an equal model in ``family_error`` of the
    deliveries. ``benchmarks/quality.py`` measures both.

    Attributes:
        map50: mean of the classes' average precision at an overlap of one half.
        recall: share of the labelled objects found at ``confidence``.
        false_boxes: detections at ``confidence`` that are no labelled object, for each labelled object.
        map50_95: the same mean over the overlaps 0.50 to 0.95: how well boxes fit.
        small_recall: recall of objects with a side below ``small_side``.
        class_ap50: average precision of one class.
        class_recall: recall of one class.
        class_false_boxes: false boxes of one class, for each labelled object of it.
        flips: share of the boxes that both models see, which only the candidate misnames, less those which only
            production does.
        displacement: mean over these boxes of how far the two models' are apart (1 - IoU), where the candidate's fit
            less, less the same where they fit better.
        widest: beyond this none of the first three grows, however few the images are.
        confidence: from which a detection is one: what users see unless they ask for another.
        small_side: pixels, once the longer side of the image is 640.
        least_images: with fewer nothing is said.
        family_error: how often equal models may be turned back by the gates that watch for losses, all together.
    """

    map50: float = Field(default=0.02, gt=0, le=1)
    recall: float = Field(default=0.03, gt=0, le=1)
    false_boxes: float = Field(default=0.05, gt=0)
    map50_95: float = Field(default=0.02, gt=0, le=1)
    small_recall: float = Field(default=0.05, gt=0, le=1)
    class_ap50: float = Field(default=0.05, gt=0, le=1)
    class_recall: float = Field(default=0.07, gt=0, le=1)
    class_false_boxes: float = Field(default=0.15, gt=0)
    flips: float = Field(default=0.02, gt=0, le=1)
    displacement: float = Field(default=0.03, gt=0, le=1)
    widest: float = Field(default=0.06, gt=0)
    confidence: float = Field(default=0.25, ge=0, le=1)
    small_side: float = Field(default=32.0, gt=0)
    least_images: int = Field(default=50, ge=1)
    family_error: float = Field(default=0.02, gt=0, le=0.5)
