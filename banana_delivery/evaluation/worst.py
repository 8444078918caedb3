"""The images on which two models differ most, small and with their boxes, as a file that reports are drawn from.

Kept when the comparison is made: later the labelled images may be others, and the answers gone. One file for each image
of a release, below `FOLDER` of the home.
"""

from __future__ import annotations

import base64
import io
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from pydantic import ValidationError

from banana_delivery.errors import LabelledImagesError
from banana_delivery.evaluation.holdout.pictures import KINDS, upright
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.files import write_atomically
from banana_delivery.policy.model import StoredModel, StoredRecord
from banana_delivery.policy.quality.boxes import ShownBox, boxes_on
from banana_delivery.policy.quality.comparison import QualityComparison
from banana_delivery.policy.quality.disagreements import Disagreement
from banana_delivery.policy.quality.matching import Matches
from banana_delivery.quoting import one_line

LOG = logging.getLogger(__name__)
FOLDER = "worst"
MOST_IMAGES = 6
LONGEST_SIDE = 400
"""Pixels: two of them beside each other fill a report, and one a telephone."""
MOST_PICTURE_BYTES = 24_000
"""Of each JPEG, so that a report with all of them still goes by mail."""
MOST_FILE_BYTES = 1_000_000
"""A file that is larger was not written here."""
QUALITIES = (78, 60, 40)


class WorstImage(StoredModel):
    """One of them.

    Attributes:
        errors: on which image, and how many each model made.
        width: of the image as it was labelled, in pixels.
        height: the same.
        jpeg: the picture, small, in base64; empty if it cannot be shown.
        trouble: why not, as a sentence; empty if it can.
        boxes: in pixels of the image as it was labelled.
    """

    errors: Disagreement
    width: int
    height: int
    jpeg: str = ""
    trouble: str = ""
    boxes: tuple[ShownBox, ...] = ()


class WorstImages(StoredRecord):
    """What is kept of a comparison.

    Attributes:
        holdout: digest of the labelled images.
        images: the worst first.
        trouble: why there are none, as a sentence; empty if there are, or nobody kept any.
    """

    holdout: str = ""
    images: tuple[WorstImage, ...] = ()
    trouble: str = ""

    def of(self, comparison: QualityComparison, holdout: str) -> tuple[WorstImage, ...]:
        """Those that belong to a comparison on record: a later one may have written the file since."""
        known = comparison.disagreements if holdout == self.holdout else ()
        return tuple(one for one in self.images if one.errors in known)


def file_of(home: Path, digest: str) -> Path:
    """Where the worst images of a release are."""
    return home / FOLDER / f"{digest.removeprefix('sha256:')}.json"


def keep_worst(
    file: Path,
    comparison: QualityComparison,
    candidate: Matches,
    production: Matches,
    images: Mapping[str, LabelledImage],
    holdout: str,
) -> None:
    """Write them. What is on one of them costs that picture, and nothing more.

    Raises:
        OSError: if the file cannot be written.
    """
    ours, theirs = candidate.only(comparison.class_names), production.only(comparison.class_names)
    worst = [one for one in comparison.disagreements[:MOST_IMAGES] if one.image in images]
    kept = WorstImages(
        holdout=holdout,
        images=tuple(_image(images[one.image], one, boxes_on(one.image, ours, theirs)) for one in worst),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, kept.model_dump_json())


def read_worst(file: Path) -> WorstImages:
    """What was kept; a file that cannot be read is a sentence, and one that is not there is nothing."""
    try:
        if file.stat().st_size > MOST_FILE_BYTES:
            return _unreadable(file, f"it has more than {MOST_FILE_BYTES:,} bytes")
        return WorstImages.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return WorstImages()
    except (OSError, ValueError) as error:
        return _unreadable(file, error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error))


def _unreadable(file: Path, reason: str) -> WorstImages:
    LOG.warning("%s cannot be read: %s", file, reason)
    return WorstImages(trouble=f"The pictures cannot be shown, since {file.name} cannot be read.")


def _image(image: LabelledImage, errors: Disagreement, boxes: tuple[ShownBox, ...]) -> WorstImage:
    jpeg, trouble = b"", ""
    try:
        jpeg = thumbnail(image.encoded)
    except LabelledImagesError as error:
        trouble = str(error)
    except Exception as error:  # noqa: BLE001 - whatever Pillow raises on what only others can unpack
        trouble = f"It cannot be shown: {one_line(str(error), 80) or type(error).__name__}."
    return WorstImage(
        errors=errors,
        width=image.width,
        height=image.height,
        jpeg=base64.b64encode(jpeg).decode("ascii"),
        trouble=trouble,
        boxes=boxes,
    )


def thumbnail(data: bytes) -> bytes:
    """An image as a JPEG of at most `LONGEST_SIDE` pixels and `MOST_PICTURE_BYTES`, as viewers show it.

    Args:
        data: of an image file that was found to be one, of a size that the serving application answers.

    Raises:
        Exception: whatever Pillow raises on bytes that it cannot unpack.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of sizes and blocks, which were judged when the hold-out was read.
        with Image.open(io.BytesIO(data), formats=KINDS) as opened:
            opened.draft("RGB", (2 * LONGEST_SIDE, 2 * LONGEST_SIDE))
            small = upright(opened).convert("RGB")
    side = LONGEST_SIDE
    while True:
        small.thumbnail((side, side))
        for quality in QUALITIES:
            buffer = io.BytesIO()
            small.save(buffer, format="jpeg", quality=quality, optimize=True)
            if buffer.tell() <= MOST_PICTURE_BYTES:
                return buffer.getvalue()
        side = side // 2
