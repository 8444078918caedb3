"""What is particular to COCO files; what all forms have in common is in ``test_read``."""

import json
from pathlib import Path
from typing import Any

import pytest

from banana_delivery.evaluation.holdout import jsons
from banana_delivery.evaluation.holdout.read import read
from tests.unit.evaluation.holdout.layouts import coco, coco_file, picture, write
from tests.unit.evaluation.holdout.test_read import complaint


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The entries whose line was looked for, which means to read the file once more up to there."""
    looked_for: list[tuple[str, int]] = []
    real = jsons.line_of

    def line_of(text: str, key: str, index: int) -> int | None:
        looked_for.append((key, index))
        return real(text, key, index)

    monkeypatch.setattr("banana_delivery.evaluation.holdout.coco.line_of", line_of)
    return looked_for


def many(root: Path, count: int) -> Path:
    """A file with so many images."""
    images = [{"id": 11 + index, "file_name": f"{index}.jpg", "width": 64, "height": 48} for index in range(count)]
    for index in range(count):
        picture(root / f"{index}.jpg", shade=60 + index)
    return write(root / "labels.coco.json", json.dumps(coco(images=images), indent=1))


def test_the_line_of_an_entry_is_looked_for_only_where_something_is_wrong(
    lines: list[tuple[str, int]], tmp_path: Path
) -> None:
    file = many(tmp_path, 5)
    assert len(read(tmp_path).images) == 5
    assert lines == []
    (tmp_path / "3.jpg").write_bytes(b"no picture")
    said = complaint(tmp_path)
    assert lines == [("images", 3)]
    line = 1 + file.read_text().splitlines().index('   "file_name": "3.jpg",')
    assert said.startswith(f"{file}, line {line - 2}: 3.jpg is not a JPEG")


def test_a_file_is_parsed_once_however_large_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    real = json.loads

    def loads(text: str, **how: Any) -> Any:
        parsed.append(text)
        return real(text, **how)

    file = many(tmp_path, 1)
    monkeypatch.setattr(json, "loads", loads)
    read(tmp_path)
    assert parsed == [file.read_text()]


def of_roboflow(root: Path, *names: str, labelled: int = 1, supercategory: str = "spot") -> Path:
    """A file whose first category stands for the project, which is called as one of its classes is."""
    categories = [{"id": 0, "name": "spot", "supercategory": "none"}]
    categories += [{"id": 1 + at, "name": name, "supercategory": supercategory} for at, name in enumerate(names)]
    annotations = [{"id": 1, "image_id": 11, "category_id": labelled, "bbox": [24, 12, 16, 24], "iscrowd": 0}]
    return coco_file(root / "a.coco.json", root / "a.jpg", coco(categories=categories, annotations=annotations))


@pytest.mark.parametrize("names", [("spot",), ("streak", "spot"), ("spot", "streak")])
def test_the_category_that_stands_for_a_project_is_no_class_beside_one_of_its_name(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    of_roboflow(tmp_path, *names)
    first = read(tmp_path).images[0]
    assert (first.class_names, first.classes.tolist()) == (names, [0])


def test_it_is_one_where_something_is_labelled_so_or_nothing_else_has_its_name(tmp_path: Path) -> None:
    of_roboflow(tmp_path, "spot", labelled=0)
    assert "categories[1] has an id or a name that another has ('spot')" in complaint(tmp_path)
    of_roboflow(tmp_path, "spot", supercategory="leaves")
    assert "categories[1] has an id or a name that another has ('spot')" in complaint(tmp_path)
    of_roboflow(tmp_path, "streak")
    assert read(tmp_path).images[0].class_names == ("spot", "streak")


@pytest.mark.parametrize(("crowds", "objects", "read_on"), [(1, 1, True), (2, 1, False), (1, 0, False), (0, 2, True)])
def test_a_file_that_marks_most_objects_as_crowds_is_refused_rather_than_left_empty(
    crowds: int, objects: int, read_on: bool, tmp_path: Path
) -> None:
    annotations = [
        {"id": index, "image_id": 11, "category_id": 7, "bbox": [index, 12, 16, 24], "iscrowd": int(index < crowds)}
        for index in range(crowds + objects)
    ]
    file = coco_file(tmp_path / "a.coco.json", tmp_path / "a.jpg", coco(annotations=annotations))
    if read_on:
        assert len(read(tmp_path).images[0].boxes) == objects
    else:
        said = complaint(tmp_path)
        assert said.startswith(f"{file}: {crowds} of {crowds + objects} annotations are marked as crowds (`iscrowd`)")


@pytest.mark.parametrize("name", ["train\\a.jpg", ".\\train\\a.jpg", "images\\train\\a.jpg", "train/a.jpg"])
def test_an_image_is_found_as_windows_names_it_and_not_one_of_its_name_elsewhere(name: str, tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.jpg", size=(10, 10))
    images = [{"id": 11, "file_name": name, "width": 64, "height": 48}]
    coco_file(tmp_path / "a.coco.json", tmp_path / "images" / "train" / "a.jpg", coco(images=images))
    assert read(tmp_path).images[0].name == "images/train/a.jpg"


def test_a_name_of_windows_leads_nowhere_out_of_the_folder(tmp_path: Path) -> None:
    picture(tmp_path / "secret.jpg")
    images = [{"id": 11, "file_name": "..\\secret.jpg"}]
    coco_file(tmp_path / "data" / "a.coco.json", tmp_path / "data" / "a.jpg", coco(images=images))
    assert "which is neither beside" in complaint(tmp_path / "data")


@pytest.mark.parametrize("name", ["a.jpg", "deep/a.jpg", "/home/somebody/fiftyone/a.jpg"])
def test_images_lie_in_a_folder_data_as_fiftyone_puts_them(tmp_path: Path, name: str) -> None:
    data = coco(images=[{"id": 11, "file_name": name, "width": 64, "height": 48}])
    coco_file(tmp_path / "labels.json", tmp_path / "data" / name.removeprefix("/home/somebody/fiftyone/"), data)
    assert read(tmp_path).images[0].boxes.tolist() == [[24.0, 12.0, 40.0, 36.0]]


@pytest.mark.parametrize(("image", "annotation", "category"), [(11.0, 11, 7.0), (11, 11.0, 7), (11.0, 11.0, 7.0)])
def test_a_number_is_the_same_however_a_table_wrote_it(
    tmp_path: Path, image: float, annotation: float, category: float
) -> None:
    data = coco(images=[{"id": image, "file_name": "a.jpg"}])
    data["annotations"][0] |= {"id": 1.0, "image_id": annotation, "category_id": category}
    coco_file(tmp_path / "labels.coco.json", tmp_path / "a.jpg", data)
    assert [image.classes.tolist() for image in read(tmp_path).images] == [[1]]
    data["annotations"][0]["category_id"] = 7.5
    coco_file(tmp_path / "labels.coco.json", tmp_path / "a.jpg", data)
    assert "has no `category_id` that is a whole number or a name" in complaint(tmp_path)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_matters_only_where_it_is_read(tmp_path: Path, number: float) -> None:
    data = coco(info={"score": number})
    data["annotations"][0]["area"] = number
    file = coco_file(tmp_path / "labels.coco.json", tmp_path / "a.jpg", data)
    assert len(read(tmp_path).images) == 1
    data["annotations"][0]["bbox"][2] = number
    coco_file(file, tmp_path / "a.jpg", data)
    line = 1 + file.read_text().splitlines().index('   "image_id": 11,') - 2
    said = complaint(tmp_path)
    assert said.startswith(f"{file}, line {line}: annotations[0] cannot be used: '{number}' is no number")


@pytest.mark.parametrize("bbox", [[0.375, 0.25, 0.25, 0.5], [0, 0, 1, 1]])
def test_shares_are_no_pixels(tmp_path: Path, bbox: list[float]) -> None:
    """Nothing could find such boxes, and the model would be blamed."""
    data = coco()
    data["annotations"][0]["bbox"] = bbox
    file = coco_file(tmp_path / "labels.coco.json", tmp_path / "a.jpg", data)
    said = complaint(tmp_path)
    assert said.startswith(f"{file}: all boxes lie within the first pixel")
    assert said.endswith("write them in pixels.")
    data["annotations"].append({"image_id": 11, "category_id": 7, "bbox": [24, 12, 16, 24]})
    coco_file(file, tmp_path / "a.jpg", data)
    assert len(read(tmp_path).images[0].boxes) == 2


@pytest.mark.parametrize("name", ["my%20leaf.jpg", "/data/local-files/?d=photos/my%20leaf.jpg", "100%.jpg"])
def test_a_name_that_is_written_as_in_an_address_is_found(tmp_path: Path, name: str) -> None:
    data = coco(images=[{"id": 11, "file_name": name}])
    coco_file(tmp_path / "result.json", tmp_path / "images" / ("100%.jpg" if "100" in name else "my leaf.jpg"), data)
    assert len(read(tmp_path).images) == 1


@pytest.mark.parametrize("name", ["%2e%2e/secret.jpg", "..%2fsecret.jpg", "%2Fetc%2Fhostname", "a%00.jpg"])
def test_a_name_as_in_an_address_leads_nowhere_out_of_the_folder(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "secret.jpg")
    root = tmp_path / "data"
    coco_file(root / "result.json", root / "b.jpg", coco(images=[{"id": 11, "file_name": name}]))
    assert "which is neither beside result.json" in complaint(root)
