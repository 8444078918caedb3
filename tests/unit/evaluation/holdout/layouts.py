"""Tiny datasets in the layouts in which people have them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

SIZE = (64, 48)
BOX_LINE = "1 0.5 0.5 0.25 0.5\n"
"""A class and a box of (24, 12, 40, 36) pixels."""
BOX = [24.0, 12.0, 40.0, 36.0]


def picture(path: Path, size: tuple[int, int] = SIZE, shade: int = 90, **how: Any) -> Path:
    """A green picture, of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (20, shade, 30)).save(path, **how)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def coco128(root: Path, description: str = "path: .\nval: images/val\nnames:\n  0: streak\n  1: spot\n") -> Path:
    """As ultralytics has it: ``images/val`` and ``labels/val``, one image without labels."""
    write(root / "data.yaml", description)
    for number, name in enumerate(("a.jpg", "b.png", "empty.jpg")):
        picture(root / "images" / "val" / name, shade=60 + 20 * number)
    write(root / "labels" / "val" / "a.txt", BOX_LINE)
    write(root / "labels" / "val" / "b.txt", "0 0.25 0.25 0.75 0.25 0.75 0.75\n")
    return root


def roboflow(root: Path) -> Path:
    """``train``, ``valid`` and ``test`` beside a data.yaml whose paths begin one folder too high."""
    write(
        root / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['streak', 'spot']\n"
        "\nroboflow:\n  license: CC BY 4.0\n",
    )
    for number, split in enumerate(("train", "valid", "test")):
        picture(root / split / "images" / f"{split}_jpg.rf.0a1b.jpg", shade=60 + 40 * number)
        write(root / split / "labels" / f"{split}_jpg.rf.0a1b.txt", BOX_LINE)
    return root


def cvat_yolo(root: Path) -> Path:
    """As CVAT's `Ultralytics YOLO`: a list of images."""
    write(root / "data.yaml", "path: .\nval: val.txt\nnames:\n  0: streak\n  1: spot\n")
    write(root / "val.txt", "images/val/a.jpg\n")
    picture(root / "images" / "val" / "a.jpg")
    write(root / "labels" / "val" / "a.txt", BOX_LINE)
    return root


def label_studio_yolo(root: Path) -> Path:
    """No data.yaml, but ``classes.txt``."""
    write(root / "classes.txt", "streak\nspot\n")
    write(root / "notes.json", '{"info": {}}')
    picture(root / "images" / "a.jpg")
    write(root / "labels" / "a.txt", BOX_LINE)
    return root


def coco(**changes: Any) -> dict[str, Any]:
    """One image with one spot, by category ids with a gap."""
    return {
        "info": {"description": "tiny"},
        "categories": [{"id": 7, "name": "spot"}, {"id": 3, "name": "streak"}],
        "images": [{"id": 11, "file_name": "a.jpg", "width": 64, "height": 48}],
        "annotations": [{"id": 1, "image_id": 11, "category_id": 7, "bbox": [24, 12, 16, 24], "iscrowd": 0}],
        **changes,
    }


def coco_file(path: Path, image: Path, data: Mapping[str, Any] | None = None) -> Path:
    """A COCO file and its image."""
    picture(image)
    return write(path, json.dumps(data or coco(), indent=1))
