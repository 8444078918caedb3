"""Labelled images on disk: ``labels.json`` beside JPEG files, read whole and checked before anybody is asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, Field, ValidationError, model_validator

from banana_delivery.errors import LabelledImagesError
from banana_delivery.policy.quality.matching import Floats, Integers, Truth

INDEX = "labels.json"


@dataclass(frozen=True)
class LabelledImage:
    """One image and the truth about it.

    Attributes:
        name: its file within the directory; unique.
        jpeg: the encoded image as it lies on disk.
        width: in pixels.
        height: in pixels.
        boxes: (n, 4), x1 y1 x2 y2 in pixels; n is 0 for an image that shows nothing.
        classes: (n,), indices into ``class_names``.
        class_names: of the whole set.
    """

    name: str
    jpeg: bytes
    width: int
    height: int
    boxes: Floats
    classes: Integers
    class_names: tuple[str, ...]

    @property
    def truth(self) -> Truth:
        """Boxes and classes as the matching takes them."""
        return Truth(self.boxes, self.classes)


class _Entry(BaseModel):
    file: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    boxes: list[tuple[float, float, float, float]]
    classes: list[int]

    @model_validator(mode="after")
    def _boxes_fit(self) -> Self:
        if len(self.boxes) != len(self.classes):
            raise ValueError(f"{self.file} has {len(self.boxes)} boxes but {len(self.classes)} classes")
        for x1, y1, x2, y2 in self.boxes:
            if not (0 <= x1 < x2 <= self.width and 0 <= y1 < y2 <= self.height):
                raise ValueError(f"{self.file} has a box {(x1, y1, x2, y2)} outside {self.width} x {self.height}")
        return self


class _Index(BaseModel):
    classes: list[str] = Field(min_length=1)
    images: list[_Entry] = Field(min_length=1)

    @model_validator(mode="after")
    def _classes_have_names(self) -> Self:
        for entry in self.images:
            if any(not 0 <= klass < len(self.classes) for klass in entry.classes):
                raise ValueError(f"{entry.file} has a class without a name; there are {len(self.classes)} names")
        if len({entry.file for entry in self.images}) < len(self.images):
            raise ValueError("a file is listed more than once")
        return self


def load(directory: Path) -> list[LabelledImage]:
    """Read every image that ``labels.json`` in the directory names, in its order.

    Raises:
        LabelledImagesError: a file is missing or not what it should be.
    """
    index = _read_index(directory / INDEX)
    names = tuple(index.classes)
    return [_image(directory, entry, names) for entry in index.images]


def _read_index(path: Path) -> _Index:
    try:
        return _Index.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise LabelledImagesError(
            f"No labels can be read from {path} ({error.strerror}); BANANA_HOLDOUT must name a directory that has them."
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LabelledImagesError(f"{path} is not JSON ({error}); write the labelled images again.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise LabelledImagesError(f"{path}: {where}: {first['msg']}; correct it and try again.") from error


def _image(directory: Path, entry: _Entry, class_names: tuple[str, ...]) -> LabelledImage:
    path = directory / entry.file
    try:
        jpeg = path.read_bytes()
    except OSError as error:
        raise LabelledImagesError(
            f"{path} is named in {INDEX} but cannot be read ({error.strerror}); write the labelled images again."
        ) from error
    if not jpeg.startswith(b"\xff\xd8"):
        raise LabelledImagesError(f"{path} is not a JPEG file; labelled images are sent as JPEG.")
    return LabelledImage(
        name=entry.file,
        jpeg=jpeg,
        width=entry.width,
        height=entry.height,
        boxes=np.array(entry.boxes, np.float64).reshape(-1, 4),
        classes=np.array(entry.classes, np.int64),
        class_names=class_names,
    )
