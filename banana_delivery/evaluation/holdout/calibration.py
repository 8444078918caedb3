"""Which labelled images show how large a network's numbers get, so that they judge nothing."""

from __future__ import annotations

from collections.abc import Sequence

from banana_delivery.evaluation.labelled_images import LabelledImage

MOST = 64
"""Images; 16 gave the sample model the same quality, and each takes a forward pass that keeps every layer's output."""
SHARE = 10
"""One image in so many; the others judge."""
LEAST = 8
"""With fewer to set aside all of them judge, since so few calibrate nothing."""


def set_aside(images: Sequence[LabelledImage]) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Those that judge, and those that calibrate.

    They are drawn by what is in the files: the same ones whatever their names and order, and never one of two equal
    files.
    """
    wanted = min(MOST, len(images) // SHARE)
    if wanted < LEAST:
        return list(images), []
    edge = sorted(image.sha256 for image in images)[wanted - 1]
    judging = [image for image in images if image.sha256 > edge]
    aside = [image for image in images if image.sha256 <= edge]
    # Of many copies of few files hardly anything would be left to judge.
    if len(aside) > 2 * wanted or not any(len(image.classes) for image in judging):
        return list(images), []
    return judging, aside
