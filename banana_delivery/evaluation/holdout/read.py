"""A hold-out as ``BANANA_HOLDOUT`` names it, whatever its form."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from banana_delivery.errors import LabelledImagesError
from banana_delivery.evaluation import labelled_images
from banana_delivery.evaluation.holdout import coco, yolo
from banana_delivery.evaluation.holdout.folder import Folder, fault
from banana_delivery.evaluation.holdout.jsons import read_object
from banana_delivery.evaluation.labelled_images import INDEX, LabelledImage
from banana_delivery.files import text_sha256
from banana_delivery.quoting import cited, one_line

ROBOFLOW = "_annotations.coco.json"
LABEL_STUDIO = "result.json"
INSTANCES = "instances_"
"""How COCO and CVAT begin the names of files of boxes; the split follows, or `default`."""
MOST_LISTED = 300
"""Characters of the names of files in a sentence."""
FORMS = (
    "a YOLO dataset with its data.yaml, COCO JSON with its images, or a labels.json "
    "(docs/rollout-policy.md#quality shows them)"
)


@dataclass(frozen=True)
class Holdout:
    """Labelled images that models are judged by.

    Attributes:
        path: the file that describes them.
        images: in the order of that file.
        digest: of images and labels; another one means that answers kept and figures recorded are about other images.
    """

    path: Path
    images: Sequence[LabelledImage]
    digest: str

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the whole set."""
        return self.images[0].class_names

    def only(self, images: Sequence[LabelledImage]) -> Holdout:
        """Some of its images, as a hold-out of their own."""
        return Holdout(self.path, images, _digest(images))


def read(path: Path, split: str = "") -> Holdout:
    """Read a hold-out and check all of it.

    Args:
        path: a folder, or the file that describes it; ``#`` and the name of a split may follow.
        split: which one; what follows the path comes first.

    Raises:
        LabelledImagesError: if something is wrong; one sentence that says where, what, and what to do.
    """
    base, mark, named = path.name.rpartition("#")
    if mark and not path.exists():
        path, split = path.parent / base, named
    folder = Folder.at(path if path.is_dir() else path.parent)
    if not path.exists():
        raise LabelledImagesError(f"No labels can be read from {path}, which is not there; BANANA_HOLDOUT names it.")
    described = _described(path, split) if path.is_dir() else path
    _refuse_other_split(described, split)
    images = _images(folder, described, split)
    if not any(len(image.classes) for image in images):
        raise fault(described, "no image shows any object, so that nothing can be measured; label some")
    if all(image.boxes.max(initial=0) <= 1 for image in images):
        what = "all boxes lie within the first pixel of their images, as shares of an image would; write them in pixels"
        raise fault(described, what)
    return Holdout(described, images, _digest(images))


def _images(folder: Folder, described: Path, split: str) -> list[LabelledImage]:
    suffix = described.suffix.lower()
    if suffix in {".yaml", ".yml"}:
        if described.parent != folder.root and not folder.holds(described):
            folder.inside(described, described)
        return yolo.read_described(folder, described, split)
    if described.name == "classes.txt":
        return yolo.read_bare(folder, described)
    if suffix == ".json":
        data, text = read_object(folder, described)
        if "classes" in data and "annotations" not in data:
            return labelled_images.read(folder, described, data, text)
        return coco.read(_around(folder), described, data, text)
    raise fault(described, f"is no form of labels that is known; give {FORMS}")


def _around(folder: Folder) -> Folder:
    """Where images of a COCO file may lie: beside it, or beside the folder ``annotations`` that it is in."""
    return Folder.at(folder.root.parent) if folder.root.name == "annotations" else folder


def _described(place: Path, split: str) -> Path:
    """The file that describes what is in a folder.

    Raises:
        LabelledImagesError: if there is none.
    """
    for name in (INDEX, "data.yaml", "data.yml", "dataset.yaml"):
        if (place / name).is_file():
            return place / name
    datasets = [path for path in sorted([*place.glob("*.yaml"), *place.glob("*.yml")]) if _is_dataset(path)]
    if len(datasets) == 1:
        return datasets[0]
    if (place / "classes.txt").is_file() and (place / "images").is_dir():
        return place / "classes.txt"
    found = _coco(place, split)
    if len(found) == 1:
        return found[0]
    if (place / "obj.data").is_file():
        raise fault(place, "is in darknet's form; export it as `Ultralytics YOLO` or as COCO")
    if found or datasets:
        several = ", ".join(path.relative_to(place).as_posix() for path in [*datasets, *found])
        raise fault(place, f"has several files of labels ({several}); let BANANA_HOLDOUT name one of them")
    raise fault(place, f"No labels can be read here; BANANA_HOLDOUT names {FORMS}")


def _is_dataset(path: Path) -> bool:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return False
    return isinstance(data, dict) and ("names" in data or ("nc" in data and any(map(data.get, yolo.SPLITS))))


def _coco(place: Path, split: str) -> list[Path]:
    """Files of COCO JSON in the places where exporters put them, of the split that is asked.

    Where none is asked, of those that no model was trained on; what names no split belongs to any.

    Raises:
        LabelledImagesError: if there are files, but only of other splits.
    """
    for name in (ROBOFLOW, LABEL_STUDIO):
        if (place / name).is_file():
            return [place / name]
    found = sorted(place.glob(f"*/{ROBOFLOW}")) or sorted((place / "annotations").glob("*.json"))
    found = found or sorted(place.glob("*.json"))
    # COCO has captions and poses of the same images beside them.
    found = [path for path in found if path.name.startswith(INSTANCES)] or found
    for wanted in [split] if split else yolo.PREFERRED:
        if of_it := [path for path in found if _is_of(path, wanted)]:
            return of_it
    of_any = [path for path in found if not _splits(path) and (not split or _is_of_any(path))]
    if found and not of_any:
        there = one_line(", ".join(path.relative_to(place).as_posix() for path in found), MOST_LISTED)
        if split:
            what = (
                f"has labels, but none of the split {cited(split)} ({there}); set BANANA_HOLDOUT_SPLIT to one of these"
            )
        else:
            what = (
                f"has labels of nothing but `train` ({there}); a model is judged on images that it was not trained on, "
                "so add such a split, or name one with BANANA_HOLDOUT_SPLIT"
            )
        raise fault(place, what)
    return of_any


def _said_split(path: Path) -> str:
    """The part of a path that may name a split: Roboflow calls the folder so, and others the file."""
    return (path.parent.name if path.name == ROBOFLOW else path.stem).lower()


def _is_of(path: Path, split: str) -> bool:
    """Whether a file names a split, as `instances_val2017` does; `trainval` is training as well."""
    end = "" if split == "train" else "(?![a-z])"
    names = "|".join(map(re.escape, yolo.called(split.lower())))
    return re.search(f"(?<![a-z])(?:{names}){end}", _said_split(path)) is not None


def _splits(path: Path) -> list[str]:
    """The splits that a file names, of those that have a meaning."""
    return [split for split in yolo.SPLITS if _is_of(path, split)]


def _is_of_any(path: Path) -> bool:
    """Whether a file belongs to no split, as what CVAT writes where it knows none."""
    return not path.name.startswith(INSTANCES) or _said_split(path) == f"{INSTANCES}default"


def _refuse_other_split(described: Path, split: str) -> None:
    """One file was named, and another split was asked for.

    Raises:
        LabelledImagesError: since one of the two is a mistake.
    """
    if described.suffix.lower() != ".json" or not split or _is_of(described, split):
        return
    # What people call a folder of their own says nothing, unless it is exactly as Roboflow calls it.
    is_theirs = described.name == ROBOFLOW and all(
        _said_split(described) not in names for names in yolo.SPLITS.values()
    )
    if _splits(described) and not is_theirs:
        what = (
            f"is not of the split {cited(split)}, which was asked for; name the file of that split, or ask for no split"
        )
        raise fault(described, what)


def _digest(images: Sequence[LabelledImage]) -> str:
    facts = [
        [image.name, image.sha256, image.width, image.height, image.boxes.round(2).tolist(), image.classes.tolist()]
        for image in images
    ]
    return f"sha256:{text_sha256(json.dumps([list(images[0].class_names), facts]))}"
