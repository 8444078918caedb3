"""What an export is asked to try beside f32, and by which images that is judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from banana_delivery.evaluation.base import Evaluator
from banana_delivery.policy.model import Model
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.matching import Truth
from banana_delivery.policy.quality.precision import Asked
from banana_delivery.settings import Settings


class JudgingImage(Model):
    """A labelled image.

    Attributes:
        name: unique.
        path: the file.
        size: width and height in pixels, as viewers show it.
        boxes: x1, y1, x2, y2 in pixels.
        classes: indices into the labelled classes.
    """

    name: str
    path: Path
    size: tuple[int, int]
    boxes: tuple[tuple[float, float, float, float], ...]
    classes: tuple[int, ...]

    @property
    def truth(self) -> Truth:
        """As the matching takes it."""
        return Truth(
            np.array(self.boxes, np.float64).reshape(-1, 4),
            np.array(self.classes, np.int64),
            np.array(self.size, np.float64),
        )


class PrecisionOrder(Model):
    """What to try.

    Attributes:
        asked: int8, or whichever is better.
        calibration: image files that show how large the network's numbers get; none of them judges.
        judging: labelled images that say what is lost.
        class_names: that the class numbers of the labels stand for.
        margins: what int8 may lose where the settings insist on it.
        gains: how many times less CPU time the same checkpoint was seen to take in integers, by the kind of CPU.
    """

    asked: Asked
    calibration: tuple[Path, ...]
    judging: tuple[JudgingImage, ...]
    class_names: tuple[str, ...]
    margins: QualityMargins
    gains: dict[str, float] = Field(default_factory=dict)


def order_for(settings: Settings, evaluator: Evaluator, margins: QualityMargins) -> PrecisionOrder | None:
    """What the settings ask for; None for f32, which is tried in any case.

    Raises:
        EvaluationError: if the labelled images cannot be used.
    """
    asked = Asked(settings.precision)
    if asked is Asked.F32:
        return None
    return PrecisionOrder(
        asked=asked,
        calibration=tuple(evaluator.calibration_images()),
        judging=tuple(
            JudgingImage(
                name=image.name,
                path=image.path,
                size=(image.width, image.height),
                boxes=tuple(tuple(box) for box in image.boxes.tolist()),
                classes=tuple(image.classes.tolist()),
            )
            for image in evaluator.judging_images()
            if image.path
        ),
        class_names=evaluator.class_names,
        margins=margins,
    )
