"""How far two answers to one picture are apart: pure."""

from dataclasses import dataclass

import numpy as np

from serving.inference.postprocess import Boxes

SCORE = 0.0001
PIXELS = 0.02
"""Of the frame. Both are what parity with ultralytics promises (docs/serving.md)."""
NEAR = 0.05
"""Boxes whose scores are further apart are not the same one."""
COMPARED = 300
CORNERS_COMPARED = 50
"""So many fewer that the counterpart of each is surely among those compared, whatever order a rounding gave them."""
LEAST_SCORE = 0.01
"""Below it a rounding decides which boxes are among the best at all."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Of the best boxes: the largest difference of scores in their order, and of corners of one box, in pixels."""

    score: float
    pixels: float

    @property
    def is_small(self) -> bool:
        """Whether both answers are the same for whoever reads them; never if one has a number that is none."""
        return self.score <= SCORE and self.pixels <= PIXELS

    def __str__(self) -> str:
        return f"{self.score:.1g} of score and {self.pixels:.1g} pixels"


def difference(ours: Boxes, theirs: Boxes) -> Difference:
    """Compares the best boxes of two answers, before any suppression: that decides borderline cases by a rounding.

    Args:
        ours: detections by falling score; at most `COMPARED`.
        theirs: the same of the other device.
    """
    if len(ours.scores) != len(theirs.scores):
        return Difference(float("inf"), float("inf"))
    score = float(np.abs(ours.scores - theirs.scores).max(initial=0.0))
    sure = ours.first(min(CORNERS_COMPARED, int((ours.scores >= LEAST_SCORE).sum())))
    apart = np.abs(sure.corners[:, None] - theirs.corners[None]).max(axis=2, initial=0.0)
    other = sure.class_ids[:, None] != theirs.class_ids[None]
    far = np.abs(sure.scores[:, None] - theirs.scores[None]) > NEAR
    nearest = np.where(other | far, np.inf, apart).min(axis=1, initial=np.inf)
    return Difference(score, float(nearest.max(initial=0.0)))
