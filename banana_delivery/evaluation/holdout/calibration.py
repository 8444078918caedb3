"""Which labelled images show how large a network's numbers get, so that they judge nothing."""

from __future__ import annotations

from collections.abc import Sequence

from banana_delivery.evaluation.labelled_images import LabelledImage

MOST = 64
"""Images; 16 gave the sample model the same quality, and each takes a forward pass that keeps every layer's output."""
SHARE = 10
"""One image in so many is set aside; the others judge."""
LEAST = 8
"""With fewer to set aside all of them judge, since so few calibrate nothing."""


def set_aside(images: Sequence[LabelledImage]) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Those that judge, and those that calibrate.

    What is in a file decides for it alone: whatever its name, and whichever others stand beside it. So an image that
    calibrated a model that serves never judges it later, however the hold-out grows, and of two equal files neither
    does. Of a large hold-out more are set aside than calibrate, since the first of them would be others each time.
    """
    aside = [image for image in images if is_set_aside(image.sha256)]
    judging = [image for image in images if not is_set_aside(image.sha256)]
    # Of many copies of few files hardly anything would be left to judge.
    if not LEAST <= len(aside) <= len(images) // 2 or not any(len(image.classes) for image in judging):
        return list(images), []
    return judging, sorted(aside, key=lambda image: image.sha256)[:MOST]


def is_set_aside(sha256: str) -> bool:
    """Whether a file never judges where something is calibrated."""
    return int(sha256[:8], 16) % SHARE == 0
