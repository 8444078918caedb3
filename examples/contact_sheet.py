"""Draws twelve sample leaves with their boxes for this folder's README: ``python -m examples.contact_sheet``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from banana_delivery.sample_data.leaves import LabelledImage, make

SHEET = Path(__file__).parent / "leaves.png"
SEED, FIRST, COLUMNS, ROWS = 7, 200, 4, 3
COLOURS = ((255, 255, 0), (0, 0, 255))  # early_streak: cyan; advanced_lesion: red
COLOURS_IN_FILE = 240


def draw(picture: LabelledImage) -> np.ndarray:
    """Return the picture with its boxes on it."""
    image = picture.image.copy()
    for box, kind in zip(picture.boxes.round().astype(int).tolist(), picture.classes, strict=True):
        cv2.rectangle(image, tuple(box[:2]), tuple(box[2:]), COLOURS[kind], 1)
    return image


def main() -> None:
    """Write the sheet next to this file."""
    from PIL import Image  # the only place that needs a palette

    tiles = [draw(make(SEED, FIRST + index)) for index in range(COLUMNS * ROWS)]
    rows = [np.hstack(tiles[row * COLUMNS : (row + 1) * COLUMNS]) for row in range(ROWS)]
    sheet = Image.fromarray(cv2.cvtColor(np.vstack(rows), cv2.COLOR_BGR2RGB))
    sheet.quantize(COLOURS_IN_FILE, kmeans=2, dither=Image.Dither.FLOYDSTEINBERG).save(SHEET, optimize=True)
    print(SHEET)


if __name__ == "__main__":
    main()
