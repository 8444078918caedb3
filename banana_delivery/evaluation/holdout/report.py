"""What a hold-out is worth: its size, its classes, what is in it twice, and how small a loss it shows."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from banana_delivery.errors import LabelledImagesError
from banana_delivery.evaluation.holdout.pictures import KINDS
from banana_delivery.evaluation.holdout.read import ROBOFLOW, Holdout, read
from banana_delivery.evaluation.holdout.yolo import SPLITS
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.matching import MAX_DETECTIONS, SEEN_SIDE
from banana_delivery.policy.quality.stages.levels import PARTLY, UNSEEN, found, of_all, standard_errors, unseen_of
from banana_delivery.policy.quality.stages.looks import looks

NEAR_BITS = 4
"""Of 64 that may differ between two pictures of the same thing: saved again, scaled, a little brighter."""
DISAGREEMENT = 0.1
"""Share of the objects that only one of two equally good models is taken to find; a comparison measures it."""
HASH_SIDE = 8
MOST_COMPARED = 1 << 22
"""Pairs of pictures compared at once: bounds the memory to some tens of megabytes, however large another split is."""
_Hashed = tuple[Sequence[LabelledImage], NDArray[np.uint64]]
"""Images and what they look like."""


@dataclass(frozen=True)
class HoldoutReport:
    """What is known of a hold-out before any model is asked about it.

    Attributes:
        path: the file that describes it.
        digest: of images and labels.
        images: how many.
        empty: of these, showing nothing.
        crowded: of these, showing more objects than an answer may have.
        objects: labelled ones by class.
        small: of these, with a side below ``QualityMargins.small_side`` as networks see them.
        twice: pairs of images with the same bytes.
        near: pairs of images that look the same, though their bytes differ.
        shared: pairs of an image here and one that looks the same in another split, which models may be trained on.
        splits: the other splits that were looked at for that.
        detectable: the loss of recall that 90 of 100 deliveries find, of all classes (empty name) and of each.
    """

    path: Path
    digest: str
    images: int
    empty: int
    crowded: int
    objects: Mapping[str, int]
    small: int
    twice: Sequence[tuple[str, str]]
    near: Sequence[tuple[str, str]]
    shared: Sequence[tuple[str, str]]
    splits: Sequence[str]
    detectable: Mapping[str, float]


def report(path: Path, split: str, margins: QualityMargins) -> HoldoutReport:
    """Look at a hold-out, and at the other splits beside it.

    Raises:
        LabelledImagesError: if it cannot be used.
    """
    holdout = read(path, split)
    hashes = _hashes(holdout.images)
    names = [image.name for image in holdout.images]
    contents = [image.sha256 for image in holdout.images]
    alike = [(one, other) for one, other in _near(hashes, hashes) if one < other]
    shown = _shown(holdout)
    objects = {name: int(counts.sum()) for name, counts in shown.items()}
    others = dict(_others(path, split, holdout))
    return HoldoutReport(
        path=holdout.path,
        digest=holdout.digest,
        images=len(names),
        empty=sum(not len(image.classes) for image in holdout.images),
        crowded=sum(len(image.classes) > MAX_DETECTIONS for image in holdout.images),
        objects=objects,
        small=_small(holdout.images, margins.small_side),
        twice=[(names[one], names[other]) for one, other in alike if contents[one] == contents[other]],
        near=[(names[one], names[other]) for one, other in alike if contents[one] != contents[other]],
        shared=[
            (names[one], other[found].name) for other, theirs in others.values() for one, found in _near(hashes, theirs)
        ],
        splits=tuple(others),
        detectable=detectable(objects, len(names), margins, _unseen(shown)),
    )


def detectable(
    objects: Mapping[str, int], images: int, margins: QualityMargins, more: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The loss of recall that 90 of 100 deliveries turn back, for two models that disagree as siblings do.

    Args:
        objects: labelled ones by class.
        images: labelled ones.
        margins: the policy's.
        more: what `banana_delivery.policy.quality.stages.levels.unseen_of` says, by class, and of all classes under the
            empty name; None: each object is in an image of its own.

    Returns:
        The loss by class, and of all classes under the empty name; nothing of what is not labelled, or is shown so
        little that not even the loss of all is found.
    """
    more = more or {}
    look = looks(images, margins.stages)[-1]
    # Four gates and four tests for each class share what all may get wrong; how many need a share is not known yet.
    level = standard_errors([(0.0, 1.0)] * 4 * (1 + len(objects)), margins.family_error * look.share)
    losses = {
        name: _of_a_class(count, level, margins.class_recall, more.get(name, UNSEEN))
        for name, count in objects.items()
        if count
    }
    if total := sum(objects.values()):
        added, errors = more.get("", UNSEEN), look.turning_errors
        losses[""] = of_all(_found(margins.recall, errors, total, added), margins.recall, errors, total, added)
    return {name: loss for name, loss in losses.items() if loss <= 1}


def _of_a_class(objects: int, level: float, margin: float, added: float) -> float:
    by_chance = _found(0.0, level, objects, added, PARTLY)
    return of_all(max(by_chance, _found(margin, 0.0, objects, added)), margin, level, objects, added)


def _found(margin: float, errors: float, objects: int, added: float, share: float = 1.0) -> float:
    error = float(np.sqrt(share * (DISAGREEMENT + added / objects) / objects))
    return found(margin, errors, error, objects, share, added)


def _shown(holdout: Holdout) -> dict[str, NDArray[np.int64]]:
    """How many objects of each class each image shows."""
    names = holdout.class_names
    counts = np.array([np.bincount(image.classes, minlength=len(names)) for image in holdout.images], np.int64)
    return {name: counts.reshape(-1, len(names))[:, number] for number, name in enumerate(names)}


def _unseen(shown: Mapping[str, NDArray[np.int64]]) -> dict[str, float]:
    by_image = {**shown, "": np.sum(list(shown.values()), axis=0)}
    return {name: unseen_of(counts) for name, counts in by_image.items() if counts.any()}


def _small(images: Sequence[LabelledImage], side: float) -> int:
    total = 0
    for image in images:
        sides = (image.boxes[:, 2:] - image.boxes[:, :2]) * (SEEN_SIDE / max(image.width, image.height))
        total += int((np.sqrt(sides.prod(axis=1)) < side).sum())
    return total


def _others(path: Path, split: str, judging: Holdout) -> Iterator[tuple[str, _Hashed]]:
    """The splits beside this one: a model that was trained on them knows the answer."""
    place, by_key = _place(path, judging.path), judging.path.suffix.lower() in {".yaml", ".yml"}
    mine = {image.name for image in judging.images}
    asked = split if path.exists() else path.name.rpartition("#")[2]
    for name, names in SPLITS.items():
        try:
            other = read(place, name)
            if other.path.resolve() == judging.path.resolve():
                # A description may give two splits the same images; any other file has one split, or knows none.
                same = not by_key or {image.name for image in other.images} == mine
                if same and (not by_key or name != "train" or asked.lower() in names):
                    continue
            yield name, (other.images, _hashes(other.images))
        except LabelledImagesError:
            continue  # Not every form has splits, and only this one has to be sound.


def _place(path: Path, described: Path) -> Path:
    """Where the other splits are: of COCO each has a file of its own, in a folder beside this one's or in the same."""
    if described.name == ROBOFLOW or (described.suffix.lower() == ".json" and described.parent.name == "annotations"):
        return described.parent.parent
    if path.is_dir():
        return path
    return described.parent if described.suffix.lower() == ".json" else described


def _hashes(images: Sequence[LabelledImage]) -> NDArray[np.uint64]:
    """What pictures look like in 64 bits: whether each of 8 x 8 places is brighter than its neighbour."""
    return np.array([_hash(image) for image in images], np.uint64)


def _hash(image: LabelledImage) -> int:
    try:
        with Image.open(io.BytesIO(image.encoded), formats=KINDS) as picture:
            picture.draft("L", (4 * HASH_SIDE, 4 * HASH_SIDE))
            small = np.asarray(picture.convert("L").resize((HASH_SIDE + 1, HASH_SIDE)), np.int16)
    except (OSError, ValueError, SyntaxError, MemoryError) as error:
        raise LabelledImagesError(f"{image.path} cannot be decoded ({error}); replace it.") from error
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def _near(some: NDArray[np.uint64], others: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    rows = max(1, MOST_COMPARED // max(1, len(others)))
    for start in range(0, len(some), rows):
        differing = np.bitwise_count(some[start : start + rows, None] ^ others[None, :])
        for row, column in zip(*np.nonzero(differing <= NEAR_BITS), strict=True):
            yield start + int(row), int(column)
