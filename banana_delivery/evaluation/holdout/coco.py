"""COCO JSON, as COCO itself, Roboflow, CVAT and Label Studio write it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import unquote

from banana_delivery.errors import LabelledImagesError
from banana_delivery.evaluation.holdout.boxes import Box, Objects, around, within
from banana_delivery.evaluation.holdout.folder import MOST_OBJECTS, Folder, fault, spellings
from banana_delivery.evaluation.holdout.jsons import line_of, number, whole
from banana_delivery.evaluation.holdout.pictures import Picture, picture
from banana_delivery.evaluation.labelled_images import LabelledImage, labelled_image
from banana_delivery.quoting import cited

IMAGES = ("images", "data")
"""Folders in which exporters put the images; FiftyOne the second."""


@dataclass
class _File:
    """A COCO file while it is read."""

    folder: Folder
    path: Path
    data: dict[str, Any]
    text: str
    files: dict[Path, int] = field(default_factory=dict)

    def entries(self, key: str) -> list[dict[str, Any]]:
        found = self.data.get(key)
        if not isinstance(found, list) or (not found and key != "annotations"):
            raise fault(self.path, f"has no list `{key}`; export the labels as COCO JSON")
        for index, entry in enumerate(found):
            if not isinstance(entry, dict):
                raise self.fault(key, index, "is no object; export the labels again")
        return found

    def fault(self, key: str, index: int, what: str) -> LabelledImagesError:
        return fault(self.path, f"{key}[{index}] {what}", self.line(key, index))

    def line(self, key: str, index: int) -> int | None:
        return line_of(self.text, key, index)

    def key(self, key: str, index: int, entry: dict[str, Any], name: str) -> Hashable:
        found = entry.get(name)
        if isinstance(found, float) and found.is_integer():
            return int(found)  # A table with a gap makes floats of all whole numbers of its column.
        if isinstance(found, bool) or not isinstance(found, int | str):
            raise self.fault(key, index, f"has no `{name}` that is a whole number or a name; export the labels again")
        return found


def read(folder: Folder, path: Path, data: dict[str, Any], text: str) -> list[LabelledImage]:
    """Every image that a COCO file names, in its order, with its boxes.

    Regions that are marked as a crowd are left out, as nothing can be matched with one object of them.

    Args:
        folder: that its images lie in.
        path: of the file.
        data: what it holds; hundreds of megabytes are parsed once.
        text: the same as it is written, for the lines of what is wrong.

    Raises:
        LabelledImagesError: if something is wrong with it.
    """
    file = _File(folder, path, data, text)
    classes, names = _categories(file)
    images = _pictures(file)
    objects: dict[Hashable, Objects] = {image: Objects() for image in images}
    _collect(file, classes, images, objects)
    return [
        labelled_image(seen, folder, objects[image].boxes, objects[image].classes, names)
        for image, (seen, _) in images.items()
    ]


def _categories(file: _File) -> tuple[dict[Hashable, int], tuple[str, ...]]:
    """Indices by category id, whose gaps are closed, and the names in the order of the ids."""
    names: dict[Hashable, str] = {}
    entries = file.entries("categories")
    placeholder = _placeholder(entries, file.entries("annotations"))
    for index, entry in enumerate(entries):
        if entry is placeholder:
            continue
        category, name = file.key("categories", index, entry, "id"), str(entry.get("name") or "")
        if not name.strip():
            raise file.fault("categories", index, "has no name; name it")
        if category in names or name in names.values():
            raise file.fault("categories", index, f"has an id or a name that another has ({cited(name)}); change it")
        names[category] = name
    order = sorted(names, key=lambda one: (isinstance(one, str), one))
    return {category: index for index, category in enumerate(order)}, tuple(names[category] for category in order)


def _placeholder(categories: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The category that Roboflow writes for the project, if it has the name of a class and nothing is labelled so.

    It has the id 0, the supercategory `none`, and its name is the supercategory of all others.
    """
    for entry in categories:
        others = [other for other in categories if other is not entry]
        if entry.get("id") != 0 or entry.get("supercategory") != "none" or not others:
            continue
        if any(other.get("supercategory") != entry.get("name") for other in others):
            continue
        if any(other.get("name") == entry.get("name") for other in others):
            return None if any(one.get("category_id") == 0 for one in annotations) else entry
    return None


def _pictures(file: _File) -> dict[Hashable, tuple[Picture, int]]:
    found: dict[Hashable, tuple[Picture, int]] = {}
    for index, entry in enumerate(file.entries("images")):
        image = file.key("images", index, entry, "id")
        if image in found:
            raise file.fault("images", index, f"has the id {cited(str(image))} of another one; give it its own")
        found[image] = _picture(file, index, entry), index
    return found


def _picture(file: _File, index: int, entry: dict[str, Any]) -> Picture:
    name = entry.get("file_name")
    if not isinstance(name, str) or not name or "\0" in name:
        raise file.fault("images", index, "has no `file_name`; name its file")
    path = _found(file, index, name)
    real = path.resolve()
    if real in file.files:
        raise file.fault("images", index, f"names {cited(name)} once more; name each file once")
    file.files[real] = index
    try:
        seen = picture(file.folder, path, file.path)
    except LabelledImagesError:
        # Only now, since it means to look for the line, and that to read the file up to there.
        seen = picture(file.folder, path, file.path, file.line("images", index))
    _require_size(file, index, entry, seen)
    return seen


def _require_size(file: _File, index: int, entry: dict[str, Any], seen: Picture) -> None:
    if entry.get("width") is None and entry.get("height") is None:
        return
    try:
        said = whole(entry.get("width")), whole(entry.get("height"))
    except ValueError as error:
        raise file.fault("images", index, f"has a size that is none ({error}); correct it") from error
    if said == (seen.width, seen.height):
        return
    why = "is another one; put the image there that was labelled, or correct the size"
    if seen.turned and said == (seen.height, seen.width):
        why = "lies on its side, and was labelled as it lies; turn its pixels and label it again"
    raise file.fault(
        "images",
        index,
        f"says {said[0]} x {said[1]} pixels, but {seen.path.name} has {seen.width} x {seen.height}: it {why}",
    )


def _found(file: _File, index: int, name: str) -> Path:
    """Where an image lies; exporters name it relative to different folders.

    Raises:
        LabelledImagesError: if it is not there, or outside of the hold-out.
    """
    beside, root = file.path.parent, file.folder.root
    bare = PureWindowsPath(name).name if "\\" in name else PurePosixPath(name).name
    split = file.path.stem.removeprefix("instances_")
    # The bare name last: folders of several splits may well hold files of the same name. Label Studio writes some names
    # as in an address.
    places = [
        base / part / shown
        for shown in dict.fromkeys((*spellings(name), unquote(name), bare, PurePosixPath(unquote(bare)).name))
        for base in dict.fromkeys((beside, beside.parent, root))
        for part in ("", *IMAGES, split, f"images/{split}")
    ]
    for place in places:
        if file.folder.holds(place):
            return place
    if places[0].exists():
        file.folder.inside(places[0], file.path, file.line("images", index))
    raise file.fault(
        "images",
        index,
        f"names {cited(name)}, which is neither beside {file.path.name} nor in a folder `images` there; put it there",
    )


def _collect(
    file: _File,
    classes: dict[Hashable, int],
    images: dict[Hashable, tuple[Picture, int]],
    objects: dict[Hashable, Objects],
) -> None:
    seen: set[Hashable] = set()
    annotations = file.entries("annotations")
    _refuse_crowds(file, annotations)
    for index, entry in enumerate(annotations):
        image = file.key("annotations", index, entry, "image_id")
        category = file.key("annotations", index, entry, "category_id")
        if entry.get("id") is not None:
            identity = file.key("annotations", index, entry, "id")
            if identity in seen:
                raise file.fault(
                    "annotations", index, f"has the id {cited(str(identity))} of another one; export them again"
                )
            seen.add(identity)
        if image not in images:
            raise file.fault(
                "annotations", index, f"is about the image {cited(str(image))}, which is not listed; list it"
            )
        if category not in classes:
            raise file.fault(
                "annotations", index, f"has the category {cited(str(category))}, which is not listed; list it"
            )
        if entry.get("iscrowd"):
            continue
        shown = objects[image]
        if len(shown.boxes) >= MOST_OBJECTS:
            raise file.fault(
                "annotations", index, f"is one of more than {MOST_OBJECTS:,} in one image; look at what wrote it"
            )
        try:
            shown.add(classes[category], _box(entry, images[image][0]))
        except ValueError as error:
            raise file.fault("annotations", index, f"cannot be used: {error}; correct it") from error


def _refuse_crowds(file: _File, annotations: list[dict[str, Any]]) -> None:
    """Crowds are left out, and a few are labelled so on purpose; a tool that marks every mask so means objects.

    Raises:
        LabelledImagesError: if most of what is labelled would be left out.
    """
    crowds = sum(bool(entry.get("iscrowd")) for entry in annotations)
    if 2 * crowds > len(annotations):
        raise fault(
            file.path,
            f"{crowds:,} of {len(annotations):,} annotations are marked as crowds (`iscrowd`), of which no object can "
            "be told; export boxes or polygons rather than masks, or mark single objects with 0",
        )


def _box(entry: dict[str, Any], seen: Picture) -> Box:
    """The box of an annotation, or around its polygons.

    Raises:
        ValueError: if it has none.
    """
    given = entry.get("bbox")
    if isinstance(given, list) and len(given) == 4:
        x, y, width, height = map(number, given)
        if width <= 0 or height <= 0:
            raise ValueError(f"its box has a width of {width:g} and a height of {height:g}")
        return within((x, y, x + width, y + height), seen.width, seen.height)
    polygons = entry.get("segmentation")
    if not given and isinstance(polygons, list) and polygons and all(isinstance(one, list) for one in polygons):
        points = [[number(one) for one in polygon] for polygon in polygons]
        if all(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in points):
            return within(around([one for polygon in points for one in polygon]), seen.width, seen.height)
    raise ValueError("it has neither a `bbox` of four numbers nor polygons")
