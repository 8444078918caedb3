"""What a line of a YOLO label file says: a class, and a box or a polygon in shares of its image."""

from __future__ import annotations

import math
from pathlib import Path

from banana_delivery.evaluation.holdout.boxes import Box, Objects, around, within
from banana_delivery.evaluation.holdout.folder import MOST_OBJECTS, Folder, fault
from banana_delivery.evaluation.holdout.pictures import Picture
from banana_delivery.quoting import cited

SLACK = 0.01
"""By which a share may leave 0..1, as ultralytics lets it; programs round, and people draw over the edge."""


def read_lines(folder: Folder, labels: Path, seen: Picture, names: tuple[str, ...], keypoints: int) -> Objects:
    """What a label file says that an image shows.

    Args:
        folder: of the dataset.
        labels: the file.
        seen: the image.
        names: of the classes.
        keypoints: numbers that follow a box; where there are any there are no polygons.

    Raises:
        LabelledImagesError: if a line of it says something else.
    """
    objects = Objects()
    for number, line in enumerate(folder.text(labels).splitlines(), start=1):
        if not line.strip():
            continue
        if len(objects.boxes) >= MOST_OBJECTS:
            raise fault(labels, f"more than {MOST_OBJECTS:,} objects in one image; look at what wrote it", number)
        try:
            objects.add(*_object(line, seen, names, keypoints))
        except ValueError as error:
            raise fault(labels, f"{error}; correct it", number) from error
    return objects


def _object(line: str, seen: Picture, names: tuple[str, ...], keypoints: int) -> tuple[int, Box]:
    """One line: a class and a box by its centre, or a class and a polygon, all as shares of the image.

    Args:
        line: as it is written.
        seen: the image.
        names: of the classes.
        keypoints: numbers that follow a box; where there are any there are no polygons.

    Raises:
        ValueError: if it is none.
    """
    first, *words = line.split()
    klass = _class(first, names)
    try:
        shares = [float(word) for word in words]
    except ValueError:
        raise ValueError(f"{cited(line)} has something that is no number") from None
    if keypoints:
        if len(shares) not in {4, 4 + keypoints}:
            raise ValueError(
                f"a class and {len(shares)} numbers are no box (4) with the points of `kpt_shape` ({keypoints} more)"
            )
        shares = shares[:4]
    if len(shares) != 4 and (len(shares) < 6 or len(shares) % 2):
        raise ValueError(
            f"a class and {len(shares)} numbers are neither a box (4) nor a polygon (an even number, 6 or more)"
        )
    if not all(math.isfinite(share) and -SLACK <= share <= 1 + SLACK for share in shares):
        raise ValueError("a coordinate is not a share of the image between 0 and 1")
    if len(shares) == 4:
        x, y, width, height = shares
        if width <= 0 or height <= 0:
            raise ValueError("the box has no width or no height")
        shares = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    # What leaves the image is cut, as when a model is trained.
    x1, y1, x2, y2 = around([min(max(share, 0.0), 1.0) for share in shares])
    box = within((x1 * seen.width, y1 * seen.height, x2 * seen.width, y2 * seen.height), seen.width, seen.height)
    return klass, box


def _class(word: str, names: tuple[str, ...]) -> int:
    try:
        klass = float(word)
    except ValueError:
        raise ValueError(f"{cited(word)} is no class number") from None
    if not klass.is_integer() or not 0 <= klass < len(names):
        raise ValueError(f"the class {cited(word)} is none of 0 to {len(names) - 1} ({cited(', '.join(names))})")
    return int(klass)
