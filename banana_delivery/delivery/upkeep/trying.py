"""What a delivery would find out about a checkpoint before it runs anywhere, tried without a release or a registry."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from banana_delivery.errors import EvaluationError
from banana_delivery.evaluation.answers import Answers, matches
from banana_delivery.evaluation.http import HttpEvaluator
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.export.export import MODEL_FILE, Artifact, answered, export_model, room_in
from banana_delivery.export.parity import PARITY_IMAGES, Parity
from banana_delivery.export.precision.order import order_for
from banana_delivery.export.protocol import Detection
from banana_delivery.model_registry.base import ModelVersion
from banana_delivery.policy.asset_records import QualityRecord, Verdict
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.quality.assessment import assess_quality, cannot_be_compared
from banana_delivery.policy.quality.estimates import false_boxes, recall
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.matching import Detections, Matches
from banana_delivery.settings import Settings

AT_ONCE = 40
"""Images of one process: few enough to see it get on, enough that its start does not count."""
Say = Callable[[str], object]
Progress = Callable[[int, int], object]
"""Called with how many images are done and how many there are."""


@dataclass(frozen=True)
class Tried:
    """What was found.

    Attributes:
        artifact: the export and how alike it answers.
        answers: to the labelled images, matched with their labels.
    """

    artifact: Artifact
    answers: Matches


@dataclass(frozen=True)
class Finding:
    """What a delivery would make of it.

    Attributes:
        artifact: the export.
        quality: what was judged.
        figures: what users see of it, by name.
    """

    artifact: Artifact
    quality: QualityRecord
    figures: dict[str, float]

    @property
    def parity(self) -> Parity:
        """How alike checkpoint and export answer."""
        return self.artifact.parity

    @property
    def outcome(self) -> Outcome:
        """How a delivery would end that meets nothing else; released stands for going on."""
        if not self.parity.passed or self.quality.verdict is Verdict.FAIL:
            return Outcome.REJECTED
        return Outcome.RELEASED if self.quality.verdict is Verdict.PASS else Outcome.PARKED

    def json(self) -> dict[str, object]:
        """All of it, for programs."""
        return {
            "outcome": self.outcome.value,
            "artifact": self.artifact.model_dump(mode="json"),
            "quality": self.quality.model_dump(mode="json"),
            "figures": self.figures,
        }


class Bench:
    """Tries checkpoints on labelled images.

    Args:
        settings: name the labelled images, or none for the generated ones, and what a release must reach.
        say: told a line at each step.
        progress: told how many of the labelled images are done.
    """

    def __init__(self, settings: Settings, say: Say, progress: Progress) -> None:
        self._settings, self._say, self._progress = settings, say, progress
        self.evaluator = HttpEvaluator(settings)

    def try_out(self, checkpoint: Path, margins: QualityMargins) -> Tried:
        """Scan, export, compare with the checkpoint, and answer the labelled images.

        Raises:
            RejectedModelError: if a delivery would reject it before any test.
            ExportError: if it could not be carried out here.
            EvaluationError: if the labelled images cannot be used.
        """
        known = self.evaluator.class_names
        with room_in(Path(tempfile.gettempdir()), "banana-check-") as folder:
            artifact = export_model(
                checkpoint,
                folder,
                _unregistered(self._settings.model_name, checkpoint),
                self.evaluator.sample_images(PARITY_IMAGES),
                self._say,
                judged=known,
                judged_by=self.evaluator.judges_by,
                limit=self._settings.export_seconds,
                precision=order_for(self._settings, self.evaluator, margins),
            )
            answers = self._answers(folder, artifact.classes)
        return Tried(artifact, answers)

    def judged(self, tried: Tried, beside: Tried | None, margins: QualityMargins) -> Finding:
        """The quality as a delivery would judge it, beside another checkpoint's if there is one.

        Raises:
            EvaluationError: if the labelled images say nothing of what both know.
        """
        common = [one for one in tried.artifact.classes if beside and one in beside.artifact.classes]
        if beside and (why := cannot_be_compared(tried.answers, common)):
            raise EvaluationError(why)
        quality = assess_quality(
            tried.answers,
            beside.answers if beside else None,
            minimum_map50=self._settings.minimum_map50,
            waived=False,
            resamples=self.evaluator.resamples,
            margins=margins,
            common=common,
            holdout=self.evaluator.holdout,
        )
        return Finding(tried.artifact, quality, _figures(tried.answers, margins.confidence))

    def _answers(self, folder: Path, classes: Sequence[str]) -> Matches:
        images = self.evaluator.images
        # A model that knows a class which no image shows was refused before.
        as_labelled = np.array([self.evaluator.class_names.index(name) for name in classes], np.int64)
        found: dict[str, Detections] = {}
        for some, answers in self._asked(folder, images):
            pairs = zip(some, answers, strict=True)
            found |= {image.name: _detections(boxes, as_labelled) for image, boxes in pairs}
            self._progress(len(found), len(images))
        return matches(images, Answers(detections=found))

    def _asked(
        self, folder: Path, images: Sequence[LabelledImage]
    ) -> Iterator[tuple[Sequence[LabelledImage], Sequence[Sequence[Detection]]]]:
        """Some images and the model's answers to them, a process for each core."""

        def ask(some: Sequence[LabelledImage]) -> tuple[tuple[Detection, ...], ...]:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                files = [image.path for image in some if image.path]
                return answered(folder / MODEL_FILE, files, Path(scratch), self._settings.export_seconds)

        parts = [images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE)]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            yield from zip(parts, pool.map(ask, parts), strict=True)


def _figures(answers: Matches, confidence: float) -> dict[str, float]:
    """What users see who ask for no other confidence."""
    named = {"recall": recall, "false boxes for each labelled object": false_boxes}
    measured = {what: measure(answers, answers, confidence) for what, measure in named.items()}
    return {f"{what} at confidence {confidence:g}": one.candidate for what, one in measured.items() if one}


def _detections(found: Sequence[Detection], as_labelled: NDArray[np.int64]) -> Detections:
    return Detections(
        boxes=np.array([one.box for one in found], np.float64).reshape(-1, 4),
        classes=as_labelled[[one.class_id for one in found]],
        scores=np.array([one.score for one in found], np.float64),
    )


def _unregistered(name: str, checkpoint: Path) -> ModelVersion:
    """What the export says of a file that no registry knows."""
    return ModelVersion(
        name=name,
        version="0",
        run_id="",
        source=checkpoint.name,
        stage="None",
        aliases=(),
        tags={},
        metrics={},
        created_at=0.0,
    )
