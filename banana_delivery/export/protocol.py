"""What travels between the pipeline and the subprocesses that touch a model: JSON both ways."""

from __future__ import annotations

from pathlib import Path

from banana_delivery.policy.model import Model


class Detection(Model):
    """One box.

    Attributes:
        class_id: index into the classes.
        score: 0 to 1.
        box: x1, y1, x2, y2 in pixels of the image.
    """

    class_id: int
    score: float
    box: tuple[float, float, float, float]


Answers = tuple[tuple[Detection, ...], ...]
"""Detections of each image, in the order of the images."""


class Frame(Model):
    """What a network takes, as ``predict`` prepares it; what the serving application reads in ``version.json``.

    Attributes:
        width: most columns.
        height: most rows.
        stride: an image is scaled until one side is as long as this, and the other padded to a multiple of this many
            pixels: the step of the coarsest grid.
        stretched: whether it is stretched to fill the frame instead, as RT-DETR takes it and answers in shares of it.
    """

    width: int
    height: int
    stride: int
    stretched: bool


class Rejection(Model):
    """A subprocess's word that the model must be rejected.

    Attributes:
        kind: name of a ``RejectedModelError`` in ``banana_delivery.errors``.
        message: its sentence.
    """

    kind: str
    message: str


class ScanRequest(Model):
    """What to judge.

    Attributes:
        checkpoint: the file as it was downloaded.
        checked: where the archive that may be loaded goes.
    """

    checkpoint: Path
    checked: Path


class ExportRequest(Model):
    """What to export.

    Attributes:
        checkpoint: the scanned ``best.pt``.
        onnx: where the export goes.
        images: what the checkpoint itself answers.
        frames: existing folder for the images as the network sees them.
        confidence: lowest score of its answers.
        judged: classes that labelled images show, by which the model will be judged; empty: nobody knows.
        judged_by: which images these are, and what to do if they are the wrong ones: the end of a sentence.
        progress: grows with each answer.
    """

    checkpoint: Path
    onnx: Path
    images: tuple[Path, ...]
    frames: Path
    confidence: float
    judged: tuple[str, ...] = ()
    judged_by: str = ""
    progress: Path | None = None


class Exported(Model):
    """What an export found.

    Attributes:
        classes: names, in the order of their ids.
        frame: what the network takes.
        exported_with: programs and versions that decide the bytes of the export.
        answers: the checkpoint's own.
        frames: each image as the network saw it, letterboxed, in a lossless file.
        frame_answers: the checkpoint's own to these, in pixels of the frame.
    """

    classes: tuple[str, ...]
    frame: Frame
    exported_with: str
    answers: Answers
    frames: tuple[Path, ...]
    frame_answers: Answers

    @property
    def input_size(self) -> int:
        """Pixels of the longer side."""
        return max(self.frame.width, self.frame.height)


class ServeRequest(Model):
    """What the serving code is to answer.

    Attributes:
        model: ``model.onnx`` with ``version.json`` beside it.
        images: encoded images.
        confidence: lowest score of its answers.
        progress: grows with each answer.
    """

    model: Path
    images: tuple[Path, ...]
    confidence: float
    progress: Path | None = None


class Served(Model):
    """What the serving code answered.

    Attributes:
        answers: detections by image.
        engine: name, version and arithmetic of the engine.
    """

    answers: Answers
    engine: str
