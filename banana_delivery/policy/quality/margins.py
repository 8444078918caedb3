"""How much worse a candidate may be than production before that is held against it: everything that a policy sets."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import ConfigDict, Field, field_validator

from banana_delivery.policy.model import Model


class QualityMargins(Model):
    """Losses beside production that nobody would notice in the field, in the unit of each metric.

    ``map50``, ``recall`` and ``false_boxes`` have to be shown to hold, as far as ``missable`` says. The others turn a
    candidate back for a loss beyond the margin that is no chance.

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
        missable: where the images are too few to tell on which side of one of the first three margins a loss is, no
            loss is shown and the best estimate keeps the margin: so many times the margin may have been missed; 1 parks
            whatever is not shown to hold.
        enough_objects: a class with fewer labelled objects counts for less in the means over the classes, which luck
            with a handful of objects would decide otherwise; it has its own margins.
        confidence: from which a detection is one: what users see unless they ask for another.
        small_side: pixels, once the longer side of the image is 640.
        least_images: with fewer nothing is shown to hold.
        family_error: how often equal models may be turned back by the gates that watch for losses, all together.
        stages: after so many labelled images it is looked whether a gate is failed; all of them are asked about only if
            not. One of more than half of the images is left out.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    map50: float = Field(default=0.02, gt=0, le=1)
    recall: float = Field(default=0.03, gt=0, le=1)
    false_boxes: float = Field(default=0.05, gt=0, le=100)
    map50_95: float = Field(default=0.02, gt=0, le=1)
    small_recall: float = Field(default=0.05, gt=0, le=1)
    class_ap50: float = Field(default=0.05, gt=0, le=1)
    class_recall: float = Field(default=0.07, gt=0, le=1)
    class_false_boxes: float = Field(default=0.15, gt=0, le=100)
    flips: float = Field(default=0.02, gt=0, le=1)
    displacement: float = Field(default=0.03, gt=0, le=1)
    missable: float = Field(default=3.0, ge=1, le=100)
    enough_objects: int = Field(default=200, ge=1, le=1_000_000)
    confidence: float = Field(default=0.25, ge=0, le=1)
    small_side: float = Field(default=32.0, gt=0, le=640)
    least_images: int = Field(default=50, ge=1, le=1_000_000)
    family_error: float = Field(default=0.02, gt=0, le=0.5)
    stages: tuple[Annotated[int, Field(ge=1, le=1_000_000)], ...] = Field(default=(300, 1000, 3000), max_length=10)

    @field_validator("stages")
    @classmethod
    def _rises(cls, stages: tuple[int, ...]) -> tuple[int, ...]:
        if any(later <= earlier for earlier, later in pairwise(stages)):
            raise ValueError("each stage has more images than the one before")
        return stages
