"""A YOLO dataset as ultralytics, Roboflow, CVAT and Label Studio write it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from banana_delivery.errors import LabelledImagesError
from banana_delivery.evaluation.holdout.boxes import Objects
from banana_delivery.evaluation.holdout.folder import Folder, fault, spellings
from banana_delivery.evaluation.holdout.pictures import SUFFIXES, picture
from banana_delivery.evaluation.holdout.yolo_lines import read_lines
from banana_delivery.evaluation.labelled_images import LabelledImage, labelled_image
from banana_delivery.quoting import cited

SPLITS: dict[str, tuple[str, ...]] = {"val": ("val", "valid", "validation"), "test": ("test",), "train": ("train",)}
"""What splits are called; ultralytics says the first."""
PREFERRED = ("test", "val")
"""Of those that no model was trained on, and in this order: the best epoch was chosen on the second."""
MOST_CLASSES = 10_000
"""That may be counted without names; no detector has more."""
TRAINED_ALONE = frozenset({".heic", ".heif", ".dng", ".pfm"})
"""Kinds of images that ultralytics is trained on, of one release or another, and that are not answered."""


@dataclass(frozen=True)
class _Description:
    """A data.yaml."""

    file: Path
    data: Mapping[str, Any]
    text: str

    def fault(self, key: str, what: str) -> LabelledImagesError:
        found = re.search(rf"^[ \t]*['\"]?{re.escape(key)}['\"]?\s*:", self.text, re.MULTILINE)
        return fault(self.file, what, self.text.count("\n", 0, found.start()) + 1 if found else None)


def read_described(folder: Folder, file: Path, split: str) -> list[LabelledImage]:
    """The images of one split of a dataset that a data.yaml describes.

    Args:
        folder: of the dataset.
        file: the data.yaml.
        split: which; empty: the one that no model was trained on.

    Raises:
        LabelledImagesError: if something is wrong with it.
    """
    described = _description(folder, file)
    names = _names(described)
    split = _split(folder, described, split)
    images = [path for entry in _entries(described, split) for path in _images(folder, described, split, entry)]
    if not images:
        raise described.fault(split, f"{split} names no image; name the folder that holds the images")
    return _labelled(
        folder, images, names, file, _keypoints(described), "or choose another split with BANANA_HOLDOUT_SPLIT"
    )


def read_bare(folder: Folder, classes: Path) -> list[LabelledImage]:
    """The images of a dataset without splits: ``classes.txt`` beside ``images`` and ``labels``.

    Raises:
        LabelledImagesError: if something is wrong with it.
    """
    names = tuple(line.strip() for line in folder.text(classes).splitlines() if line.strip())
    _refuse_bad_names(names, classes, None)
    return _labelled(folder, _in_folder(folder, folder.root / "images", classes, None), names, classes)


def _description(folder: Folder, file: Path) -> _Description:
    text = folder.text(file)
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise fault(file, f"is not YAML ({error.problem}); correct it", mark.line + 1 if mark else None) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise fault(file, f"is not YAML ({str(error).splitlines()[0][:80]}); correct it") from error
    if not isinstance(data, dict) or (data.get("names") is None and data.get("nc") is None):
        raise fault(file, "describes no YOLO dataset: it has no `names`; name the classes in the order of their ids")
    return _Description(file, data, text)


def _names(described: _Description) -> tuple[str, ...]:
    """As a model is told them that is trained by the same file: spaces and all."""
    names, count = described.data.get("names"), _count(described)
    if names is None:
        return tuple(f"class_{index}" for index in range(count or 0))
    if isinstance(names, dict):
        try:
            numbered = {_whole(key): value for key, value in names.items()}
        except (TypeError, ValueError, OverflowError):
            raise described.fault("names", "a class has no whole number; number the classes from 0") from None
        if sorted(numbered) != list(range(len(numbered))):
            raise described.fault("names", "the classes are not numbered from 0 without gaps; number them so")
        names = [numbered[index] for index in range(len(numbered))]
    if not isinstance(names, list) or not all(isinstance(name, str | int | float) for name in names):
        raise described.fault("names", "`names` is no list of class names; write one name for each class")
    found = tuple(map(str, names))
    if count is not None and count != len(found):
        raise described.fault("nc", f"`nc` is {count:,}, but there are {len(found):,} names; correct one")
    _refuse_bad_names(found, described.file, described)
    return found


def _count(described: _Description) -> int | None:
    """How many classes there are said to be; None where that is not said.

    Raises:
        LabelledImagesError: if it is no such number.
    """
    said = described.data.get("nc")
    if said is None:
        return None
    try:
        count = _whole(said)
    except (TypeError, ValueError, OverflowError):
        count = 0
    if not 0 < count <= MOST_CLASSES:
        what = f"`nc` is no number of classes ({cited(str(said))}); write how many there are"
        raise described.fault("nc", what)
    return count


def _whole(value: object) -> int:
    """A whole number, whether or not YAML takes it for text."""
    if not isinstance(value, int | float | str):
        raise TypeError("no number")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("no whole number")
    return int(value)


def _keypoints(described: _Description) -> int:
    """How many numbers a line has after its box: none, but where poses are labelled.

    Raises:
        LabelledImagesError: if `kpt_shape` is no number of points and of numbers for each.
    """
    shape = described.data.get("kpt_shape")
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(one) is int and one > 0 for one in shape):
        raise described.fault("kpt_shape", "`kpt_shape` is not like [17, 3], points and numbers for each; correct it")
    return int(shape[0]) * int(shape[1])


def _refuse_bad_names(names: tuple[str, ...], file: Path, described: _Description | None) -> None:
    twice = {name for name in names if names.count(name) > 1}
    what = "there is no class; name them" if not names or not all(map(str.strip, names)) else ""
    if twice:
        what = f"the class {cited(min(twice))} is named twice; classes are told by their names, so give it another"
    if what:
        raise described.fault("names", what) if described else fault(file, what)


def called(split: str) -> tuple[str, ...]:
    """The names under which a split may stand."""
    return next((names for names in SPLITS.values() if split in names), (split,))


def _split(folder: Folder, described: _Description, asked: str) -> str:
    """The key of the split that is asked, or of the first of those that no model was trained on that is there.

    Many name a `test` that they do not have: Roboflow where no image was put into it, COCO, which keeps labels secret.

    Raises:
        LabelledImagesError: if there is none.
    """
    there = [key for keys in SPLITS.values() for key in keys if described.data.get(key)]
    found = [key for wanted in ([asked] if asked else PREFERRED) for key in called(wanted) if described.data.get(key)]
    if found:
        # If the images of none are there, the first one says where they were looked for.
        return found[0] if asked else next((key for key in found if _has_images(folder, described, key)), found[0])
    has = f"it has {', '.join(there)}" if there else "it names none"
    if asked:
        raise fault(described.file, f"has no split {cited(asked)}; {has}; set BANANA_HOLDOUT_SPLIT to one of them")
    raise fault(
        described.file,
        f"names neither `test` nor `val`; {has}; a model is judged on images that it was not trained on, so add such "
        "a split, or name one with BANANA_HOLDOUT_SPLIT",
    )


def _has_images(folder: Folder, described: _Description, split: str) -> bool:
    """Whether an image of a split is there."""
    for entry in _entries(described, split):
        place = next(filter(folder.holds, _places(folder, described, entry)), None)
        if place is None:
            continue
        if place.is_dir() and any(path.suffix.lower() in SUFFIXES for path in _walk(place, described.file)):
            return True
        if place.is_file() and place.suffix.lower() != ".txt":
            return True  # It is neither, which is told when it is read.
        if place.is_file() and any(_image_of(folder, place, line) for line in folder.text(place).splitlines()):
            return True
    return False


def _entries(described: _Description, split: str) -> list[str]:
    entries = described.data[split]
    entries = entries if isinstance(entries, list) else [entries]
    if not all(isinstance(entry, str) and entry for entry in entries):
        raise described.fault(split, f"{split} names no folder and no list of images; write its path")
    return entries


def _places(folder: Folder, described: _Description, entry: str) -> list[Path]:
    """Where that may be which an entry of a split names."""
    base = described.data.get("path") or "."
    if not isinstance(base, str) or "\0" in base + entry:
        raise described.fault("path", "`path` is no path; write one")
    # Roboflow writes ../valid/images for a folder beside data.yaml, and other programs where the data once lay.
    # All of it begins with the folder's own path, so that it is known where that ends.
    return [
        place
        for shown in spellings(entry)
        for place in (
            *(folder.root / where / shown for where in spellings(base)),
            folder.root / shown,
            folder.root / shown.removeprefix("../"),
        )
    ]


def _images(folder: Folder, described: _Description, split: str, entry: str) -> list[Path]:
    """The images that one entry of a split names: a folder, or a text file with a line for each."""
    places = _places(folder, described, entry)
    place = next(filter(folder.holds, places), None)
    if place is None:
        for place in places:
            if place.exists():
                line = described.text.count("\n", 0, max(0, described.text.find(entry))) + 1
                folder.inside(place, described.file, line)
        shown = ", ".join(dict.fromkeys(str(place) for place in places))
        raise described.fault(split, f"{split} is {cited(entry)}, which is not there; looked for {shown}; correct it")
    if place.is_dir():
        return _in_folder(folder, place, described.file, split)
    if place.suffix.lower() == ".txt":
        return _listed(folder, place)
    raise described.fault(split, f"{cited(entry)} is neither a folder nor a list of images; name one of these")


def _in_folder(folder: Folder, place: Path, named_in: Path, split: str | None) -> list[Path]:
    if not place.is_dir():
        raise fault(named_in, f"there is no folder {place} with the images; put them there")
    files = sorted(_walk(place, named_in))
    found = [path for path in files if path.suffix.lower() in SUFFIXES]
    _refuse_labels_left_out(folder, files, found)
    if not found:
        raise fault(named_in, f"{place} holds no image{f' for {split}' if split else ''}; put the images there")
    return [folder.inside(path, named_in) and path for path in found]


def _refuse_labels_left_out(folder: Folder, files: Sequence[Path], images: Sequence[Path]) -> None:
    """A model may be trained on kinds of images that are not answered, as phones and cameras write them.

    Raises:
        LabelledImagesError: if one of them has labels, which would be left out unsaid.
    """
    read = {path.with_suffix("") for path in images}
    for path in files:
        if path.suffix.lower() not in TRAINED_ALONE or path.with_suffix("") in read:
            continue
        if (labels := _label_file(folder, path)).exists():
            what = f"save it as JPEG, or take it and {labels} out"
            raise fault(path, f"has labels, but is of a kind that is not answered; {what}")


def _walk(place: Path, named_in: Path) -> Iterator[Path]:
    """Every file below a folder, without following links to folders, which may go round in circles.

    What begins with a point is left out, as when a model is trained: copies that editors keep, previews, and a Mac's
    notes about a file. They have no labels.

    Raises:
        LabelledImagesError: if there is such a link: what lies behind it was meant to judge as well.
    """
    for path in place.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_symlink() and not path.is_file():
            raise fault(
                named_in,
                f"{path} is a link to a folder or to nothing, and such links are not followed; put the images there "
                "themselves, or take the link out",
            )
        if path.is_dir():
            yield from _walk(path, named_in)
        else:
            yield path


def _listed(folder: Folder, listing: Path) -> list[Path]:
    found = []
    for number, line in enumerate(folder.text(listing).splitlines(), start=1):
        entry = line.strip()
        if not entry:
            continue
        place = _image_of(folder, listing, entry)
        if place is None:
            if "\0" not in entry and (listing.parent / entry).exists():
                folder.inside(listing.parent / entry, listing, number)
            raise fault(listing, f"the image {cited(entry)} is not there; put it there, or take the line out", number)
        found.append(place)
    return found


def _image_of(folder: Folder, listing: Path, line: str) -> Path | None:
    """The image that a line of a list names, if it is there."""
    entry = line.strip()
    if not entry or "\0" in entry:
        return None
    for shown in spellings(entry):
        for place in (listing.parent / shown, folder.root / shown, folder.root / shown.removeprefix("data/")):
            if folder.holds(place):
                return place
    return None


def _labelled(
    folder: Folder, images: list[Path], names: tuple[str, ...], described: Path, keypoints: int = 0, otherwise: str = ""
) -> list[LabelledImage]:
    real: dict[Path, Path] = {}
    result, missing = [], 0
    for path in images:
        first = real.setdefault(path.resolve(), path)
        if first is not path:
            raise fault(described, f"the image {path} is named more than once; name it once")
        seen = picture(folder, path)
        labels = _label_file(folder, path)
        missing += not labels.exists()
        if not labels.exists() and (beside := _with_labels_ending(path)).exists():
            raise fault(beside, f"labels lie beside their image, where they are not read; move to {labels}")
        objects = read_lines(folder, labels, seen, names, keypoints) if labels.exists() else Objects()
        result.append(labelled_image(seen, folder, objects.boxes, objects.classes, names))
    if missing == len(images):
        raise fault(
            described,
            f"none of the {len(images):,} images has a label file; the first was looked for at "
            f"{_label_file(folder, images[0])}, so put the labels there{otherwise and ', '}{otherwise}",
        )
    return result


def _label_file(folder: Folder, image: Path) -> Path:
    """Where ultralytics looks: the last folder ``images`` of the path is ``labels`` then.

    Of the path within the hold-out: a folder that all of it was moved into says nothing of where its labels are.
    """
    parts = list(image.parts)
    for index in range(len(parts) - 2, len(folder.root.parts) - 1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return _with_labels_ending(Path(*parts))


def _with_labels_ending(image: Path) -> Path:
    """The file of the same name with labels in it, by either ending; the usual one where there is none."""
    found = [image.with_suffix(suffix) for suffix in (".txt", ".TXT")]
    return next((path for path in found if path.exists()), found[0])
