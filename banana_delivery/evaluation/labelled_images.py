"""Labelled images, and our own form of them: ``labels.json`` beside image files, read whole and checked before use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, Field, ValidationError, model_validator

from banana_delivery.errors import LabelledImagesError
from banana_delivery.evaluation.holdout.folder import MOST_OBJECTS, Folder, fault
from banana_delivery.evaluation.holdout.jsons import line_of, read_object
from banana_delivery.evaluation.holdout.pictures import Picture, picture
from banana_delivery.files import bytes_sha256
from banana_delivery.policy.quality.matching import Floats, Integers, Truth

INDEX = "labels.json"


@dataclass(frozen=True)
class LabelledImage:
    """One image and the truth about it.

    Attributes:
        name: its file within the directory; unique.
        width: in pixels, as viewers show it.
        height: the same.
        boxes: (n, 4), x1 y1 x2 y2 in pixels; n is 0 for an image that shows nothing.
        classes: (n,), indices into ``class_names``.
        class_names: of the whole set.
        jpeg: the encoded image where it lies in memory; empty if it lies on disk.
        path: where it lies on disk, if it does; thousands of photos are too much for memory.
        sha256: of the file as it was checked.
    """

    name: str
    width: int
    height: int
    boxes: Floats
    classes: Integers
    class_names: tuple[str, ...]
    jpeg: bytes = b""
    path: Path | None = None
    sha256: str = ""

    @property
    def truth(self) -> Truth:
        """Boxes and classes as the matching takes them."""
        return Truth(self.boxes, self.classes, np.array([self.width, self.height], np.float64))

    @property
    def encoded(self) -> bytes:
        """The bytes of the image file.

        Raises:
            LabelledImagesError: if it is not the file any more that was checked.
        """
        if self.path is None:
            return self.jpeg
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise LabelledImagesError(
                f"{self.path} cannot be read any more ({error.strerror}); put it back."
            ) from error
        if bytes_sha256(data) != self.sha256:
            raise LabelledImagesError(f"{self.path} changed while it was used; let the hold-out be, then try again.")
        return data


def labelled_image(
    seen: Picture,
    folder: Folder,
    boxes: Sequence[tuple[float, float, float, float]],
    classes: Sequence[int],
    class_names: tuple[str, ...],
) -> LabelledImage:
    """A picture on disk with its labels."""
    return LabelledImage(
        name=seen.path.resolve().relative_to(folder.root).as_posix(),
        width=seen.width,
        height=seen.height,
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        classes=np.array(classes, np.int64),
        class_names=class_names,
        path=seen.path,
        sha256=seen.sha256,
    )


class _Entry(BaseModel):
    file: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    boxes: list[tuple[float, float, float, float]] = Field(max_length=MOST_OBJECTS)
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
    def _names_are_told_apart(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("a class is named twice; classes are told by their names")
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
    path = directory / INDEX
    if not path.exists():
        raise LabelledImagesError(
            f"No labels can be read from {path}, which is not there; BANANA_HOLDOUT must name what has them."
        )
    folder = Folder.at(directory)
    return read(folder, path, *read_object(folder, path))


def read(folder: Folder, path: Path, data: Mapping[str, Any], text: str) -> list[LabelledImage]:
    """Read every image that a file of our own form names, in its order.

    Args:
        folder: that its images lie in.
        path: of the file.
        data: what it holds.
        text: the same as it is written.

    Raises:
        LabelledImagesError: a file is missing or not what it should be.
    """
    try:
        index = _Index.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        line = (
            line_of(text, "images", int(first["loc"][1]))
            if first["loc"][:1] == ("images",) and len(first["loc"]) > 1
            else None
        )
        raise fault(path, f"{where}: {first['msg']}; correct it and try again", line) from error
    names = tuple(index.classes)
    return [_image(folder, path, number, entry, names, text) for number, entry in enumerate(index.images)]


def _image(
    folder: Folder, index: Path, number: int, entry: _Entry, class_names: tuple[str, ...], text: str
) -> LabelledImage:
    try:
        seen = picture(folder, folder.root / entry.file)
    except LabelledImagesError:
        # Only now, since it means to look for the line.
        seen = picture(folder, folder.root / entry.file, index, line_of(text, "images", number))
    if (seen.width, seen.height) != (entry.width, entry.height):
        raise fault(
            index,
            f"{entry.file} has {seen.width} x {seen.height} pixels and not {entry.width} x {entry.height}; correct it",
            line_of(text, "images", number),
        )
    return labelled_image(seen, folder, entry.boxes, entry.classes, class_names)
