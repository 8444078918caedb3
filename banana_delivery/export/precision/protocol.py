"""What travels between an export and the subprocesses that quantise and compare: JSON both ways."""

from __future__ import annotations

from pathlib import Path

from banana_delivery.export.protocol import Answers
from banana_delivery.policy.model import Model


class QuantiseRequest(Model):
    """What to quantise.

    Attributes:
        model: the exported model, with ``version.json`` beside it.
        to: where its form in integers goes.
        images: what it is calibrated on.
        progress: grows with each image.
    """

    model: Path
    to: Path
    images: tuple[Path, ...]
    progress: Path | None = None


class Quantised(Model):
    """What was quantised.

    Attributes:
        convolutions: how many the network has.
        in_integers: how many of them compute in integers.
    """

    convolutions: int
    in_integers: int


class BesideRequest(Model):
    """What both forms are to answer.

    Attributes:
        model: the exported model, with ``version.json`` beside it.
        int8: its form in integers.
        images: encoded images.
        progress: grows with each image.
    """

    model: Path
    int8: Path
    images: tuple[Path, ...]
    progress: Path | None = None


class Beside(Model):
    """What they answered.

    Attributes:
        f32: detections by image.
        int8: the same in integers.
        f32_seconds: CPU time of all images, from bytes to boxes.
        int8_seconds: the same in integers.
    """

    f32: Answers
    int8: Answers
    f32_seconds: float
    int8_seconds: float
