"""A hold-out as ``BANANA_HOLDOUT`` names it, whatever its form."""

from __future__ import annotations

import json
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

ROBOFLOW = "_annotations.coco.json"
LABEL_STUDIO = "result.json"
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
        path, split = path.with_name(base), named
    folder = Folder.at(path if path.is_dir() else path.parent)
    if not path.exists():
        raise LabelledImagesError(f"No labels can be read from {path}, which is not there; BANANA_HOLDOUT names it.")
    described = _described(path, split) if path.is_dir() else path
    images = _images(folder, described, split)
    if not any(len(image.classes) for image in images):
        raise fault(described, "no image shows any object, so that nothing can be measured; label some")
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
    return isinstance(data, dict) and "names" in data


def _coco(place: Path, split: str) -> list[Path]:
    """Files of COCO JSON in the places where exporters put them, of the split that is asked."""
    if (place / ROBOFLOW).is_file():
        return [place / ROBOFLOW]
    if (place / LABEL_STUDIO).is_file():
        return [place / LABEL_STUDIO]
    for wanted in [split] if split else yolo.PREFERRED:
        for name in yolo.called(wanted):
            if name and "/" not in name and (place / name / ROBOFLOW).is_file():
                return [place / name / ROBOFLOW]
    annotations = sorted((place / "annotations").glob("*.json"))
    if split and len(annotations) > 1:
        wanted_names = yolo.called(split)
        annotations = [path for path in annotations if path.stem.removeprefix("instances_").startswith(wanted_names)]
    return annotations or sorted(place.glob("*.json"))


def _digest(images: Sequence[LabelledImage]) -> str:
    facts = [
        [image.name, image.sha256, image.width, image.height, image.boxes.round(2).tolist(), image.classes.tolist()]
        for image in images
    ]
    return f"sha256:{text_sha256(json.dumps([list(images[0].class_names), facts]))}"
