"""A YOLO dataset as ultralytics, Roboflow, CVAT and Label Studio write it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from banana_delivery.errors import LabelledImagesError
from banana_delivery.evaluation.holdout.boxes import Objects, around, within
from banana_delivery.evaluation.holdout.folder import MOST_OBJECTS, Folder, fault, spellings
from banana_delivery.evaluation.holdout.pictures import SUFFIXES, Picture, picture
from banana_delivery.evaluation.labelled_images import LabelledImage, labelled_image
from banana_delivery.quoting import cited

SPLITS: dict[str, tuple[str, ...]] = {"val": ("val", "valid", "validation"), "test": ("test",), "train": ("train",)}
"""What splits are called; ultralytics says the first."""
PREFERRED = ("test", "val")
"""Of those that no model was trained on, and in this order: the best epoch was chosen on the second."""
SLACK = 1e-3
"""By which a share may leave 0..1; programs round."""


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
    if not isinstance(data, dict) or "names" not in data:
        raise fault(file, "describes no YOLO dataset: it has no `names`; name the classes in the order of their ids")
    return _Description(file, data, text)


def _names(described: _Description) -> tuple[str, ...]:
    names, count = described.data["names"], described.data.get("nc")
    if isinstance(names, dict):
        try:
            numbered = {int(key): value for key, value in names.items()}
        except (TypeError, ValueError):
            raise described.fault("names", "a class has no whole number; number the classes from 0") from None
        if sorted(numbered) != list(range(len(numbered))):
            raise described.fault("names", "the classes are not numbered from 0 without gaps; number them so")
        names = [numbered[index] for index in range(len(numbered))]
    if not isinstance(names, list) or not all(isinstance(name, str | int | float) for name in names):
        raise described.fault("names", "`names` is no list of class names; write one name for each class")
    found = tuple(str(name).strip() for name in names)
    if count is not None and count != len(found):
        raise described.fault("nc", f"`nc` is {cited(str(count))}, but there are {len(found)} names; correct one")
    _refuse_bad_names(found, described.file, described)
    return found


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
    what = "there is no class; name them" if not names or "" in names else ""
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
    beside = described.file.parent
    return [
        place
        for shown in spellings(entry)
        for place in (
            *(folder.root / where / shown for where in spellings(base)),
            beside / shown,
            beside / shown.removeprefix("../"),
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
    found = sorted(path for path in _walk(place, named_in) if path.suffix.lower() in SUFFIXES)
    if not found:
        raise fault(named_in, f"{place} holds no image{f' for {split}' if split else ''}; put the images there")
    return [folder.inside(path, named_in) and path for path in found]


def _walk(place: Path, named_in: Path) -> Iterator[Path]:
    """Every file below a folder, without following links to folders, which may go round in circles.

    Raises:
        LabelledImagesError: if there is such a link: what lies behind it was meant to judge as well.
    """
    for path in place.iterdir():
        if path.is_symlink() and not path.is_file():
            raise fault(
                named_in,
                f"{path} is a link to a folder or to nothing, and such links are not followed; put the images there "
                "themselves, or take the link out",
            )
        if path.is_dir():
            yield from _walk(path, named_in)
        elif not path.name.startswith("._"):  # A Mac's notes about a file, beside it on other disks and in archives.
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
        labels = _label_file(path)
        missing += not labels.exists()
        if not labels.exists() and (beside := _with_labels_ending(path)).exists():
            raise fault(beside, f"labels lie beside their image, where they are not read; move to {labels}")
        result.append(_one(folder, seen, labels, names, keypoints))
    if missing == len(images):
        raise fault(
            described,
            f"none of the {len(images):,} images has a label file; the first was looked for at "
            f"{_label_file(images[0])}, so put the labels there{otherwise and ', '}{otherwise}",
        )
    return result


def _label_file(image: Path) -> Path:
    """Where ultralytics looks: the last folder ``images`` of the path is ``labels`` then."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return _with_labels_ending(Path(*parts))


def _with_labels_ending(image: Path) -> Path:
    """The file of the same name with labels in it, by either ending; the usual one where there is none."""
    found = [image.with_suffix(suffix) for suffix in (".txt", ".TXT")]
    return next((path for path in found if path.exists()), found[0])


def _one(folder: Folder, seen: Picture, labels: Path, names: tuple[str, ...], keypoints: int) -> LabelledImage:
    objects = Objects()
    if labels.exists():
        for number, line in enumerate(folder.text(labels).splitlines(), start=1):
            if not line.strip():
                continue
            if len(objects.boxes) >= MOST_OBJECTS:
                raise fault(labels, f"more than {MOST_OBJECTS:,} objects in one image; look at what wrote it", number)
            try:
                objects.add(*_object(line, seen, names, keypoints))
            except ValueError as error:
                raise fault(labels, f"{error}; correct it", number) from error
    return labelled_image(seen, folder, objects.boxes, objects.classes, names)


def _object(
    line: str, seen: Picture, names: tuple[str, ...], keypoints: int
) -> tuple[int, tuple[float, float, float, float]]:
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
        # A box whose centre is inside is cut to the image, as when a model is trained.
        corners = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        shares = [min(max(share, 0.0), 1.0) for share in corners]
    x1, y1, x2, y2 = around(shares)
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
