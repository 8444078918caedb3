"""A hold-out in any of the forms that people have is the same to whoever is judged by it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from banana_delivery.errors import LabelledImagesError
from banana_delivery.evaluation.holdout import pictures
from banana_delivery.evaluation.holdout.read import read
from banana_delivery.evaluation.holdout.report import report
from banana_delivery.policy.quality.margins import QualityMargins
from serving.inference.formats import BRANDS, SIGNATURES
from serving.settings import Settings as ServingSettings
from tests.unit.evaluation.holdout import layouts
from tests.unit.evaluation.holdout.layouts import BOX, BOX_LINE, coco, coco_file, picture, write


def complaint(path: Path, split: str = "") -> str:
    """What is said about a hold-out that cannot be used: one sentence."""
    with pytest.raises(LabelledImagesError) as caught:
        read(path, split)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    return str(caught.value)


def official(root: Path) -> Path:
    coco_file(root / "annotations" / "instances_val2017.json", root / "val2017" / "a.jpg")
    return root


def roboflow_coco(root: Path) -> Path:
    for split in ("train", "valid"):
        coco_file(root / split / "_annotations.coco.json", root / split / "a.jpg")
    return root


def cvat_coco(root: Path) -> Path:
    coco_file(root / "annotations" / "instances_default.json", root / "images" / "default" / "a.jpg")
    return root


def label_studio_coco(root: Path) -> Path:
    images = [{"id": 11, "file_name": "images/a.jpg", "width": 64, "height": 48}]
    coco_file(root / "result.json", root / "images" / "a.jpg", coco(images=images))
    return root


def windows_coco(root: Path) -> Path:
    images = [{"id": 11, "file_name": "C:\\photos\\a.jpg", "width": 64, "height": 48}]
    coco_file(root / "labels_of_mine.json", root / "images" / "a.jpg", coco(images=images))
    return root


LAYOUTS = [
    layouts.coco128, layouts.roboflow, layouts.cvat_yolo, layouts.label_studio_yolo,
    official, roboflow_coco, cvat_coco, label_studio_coco, windows_coco,
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_spot_is_read_from_every_layout(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    first = read(layout(tmp_path)).images[0]
    assert first.boxes.tolist() == [BOX]
    assert [first.class_names[index] for index in first.classes] == ["spot"]
    assert first.class_names == ("streak", "spot")
    assert (first.width, first.height) == layouts.SIZE
    assert first.encoded.startswith(b"\xff\xd8")


def test_a_polygon_becomes_the_box_around_it_and_an_image_without_labels_shows_nothing(tmp_path: Path) -> None:
    found = {image.name: image for image in read(layouts.coco128(tmp_path)).images}
    assert found["images/val/b.png"].boxes.tolist() == [[16.0, 12.0, 48.0, 36.0]]
    assert found["images/val/empty.jpg"].boxes.shape == (0, 4)


def test_polygons_of_coco_become_boxes_and_a_crowd_is_left_out(tmp_path: Path) -> None:
    annotations = [
        {"id": 1, "image_id": 11, "category_id": 3, "segmentation": [[1, 2, 9, 2, 5, 8]]},
        {"id": 2, "image_id": 11, "category_id": 3, "bbox": [0, 0, 60, 40], "iscrowd": 1},
    ]
    coco_file(tmp_path / "labels.coco.json", tmp_path / "a.jpg", coco(annotations=annotations))
    assert read(tmp_path).images[0].boxes.tolist() == [[1.0, 2.0, 9.0, 8.0]]


@pytest.mark.parametrize(
    ("asked", "name"), [("", "test"), ("val", "valid"), ("valid", "valid"), ("test", "test"), ("train", "train")]
)
def test_a_split_is_chosen_by_setting_or_by_what_follows_the_path(asked: str, name: str, tmp_path: Path) -> None:
    root = layouts.roboflow(tmp_path)
    assert read(root, asked).images[0].name.startswith(f"{name}/")
    if asked:
        assert read(root / f"data.yaml#{asked}", "nothing").images[0].name.startswith(f"{name}/")
        assert read(root.with_name(f"{root.name}#{asked}")).images[0].name.startswith(f"{name}/")


@pytest.mark.parametrize("named", ["{root}/#val", "#val", ".#val", "./#val", "../data#val", "..#nothing"])
def test_a_split_may_follow_a_folder_however_its_path_is_written(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell that completes the name of a folder ends it with a slash."""
    root = layouts.roboflow(tmp_path / "data")
    monkeypatch.chdir(root)
    where = Path(named.format(root=root))
    if "nothing" in named:
        assert "No labels can be read here" in complaint(where)
    else:
        assert read(where).images[0].name.startswith("valid/")
        assert report(where, "", QualityMargins()).splits == ("test", "train")


def test_images_that_models_were_trained_on_never_judge_unless_somebody_says_so(tmp_path: Path) -> None:
    layouts.coco128(tmp_path, "train: images/val\nnames: [streak, spot]\n")
    assert "names neither `test` nor `val`; it has train" in complaint(tmp_path)
    assert len(read(tmp_path, "train").images) == 3
    assert "BANANA_HOLDOUT_SPLIT" in complaint(tmp_path, "dev")


@pytest.mark.parametrize("ending", ["png", "webp", "gif", "bmp", "tif", "avif", "ppm", "jp2"])
def test_images_of_every_kind_that_is_answered_are_read(ending: str, tmp_path: Path) -> None:
    layouts.coco128(tmp_path)
    picture(tmp_path / "images" / "val" / f"more.{ending}")
    assert len(read(tmp_path).images) == 4


def test_what_counts_as_an_image_is_what_the_serving_application_answers() -> None:
    answered = {*SIGNATURES.values(), *BRANDS.values(), "WEBP"}
    assert set(pictures.KINDS) == answered
    fields = ServingSettings.model_fields
    assert fields["max_upload_bytes"].default == pictures.MOST_BYTES
    assert fields["max_image_pixels"].default == pictures.MOST_PIXELS


def test_a_photo_that_lies_on_its_side_is_labelled_as_viewers_show_it(tmp_path: Path) -> None:
    from PIL import Image

    layouts.coco128(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "images" / "val" / "a.jpg", exif=exif)
    first = read(tmp_path).images[0]
    assert (first.width, first.height) == (48, 64)
    assert first.boxes.tolist() == [[18.0, 16.0, 30.0, 48.0]]


def test_lines_of_another_system_and_a_mark_at_the_beginning_are_read(tmp_path: Path) -> None:
    layouts.coco128(tmp_path)
    label = tmp_path / "labels" / "val" / "a.txt"
    label.write_bytes(b"\xef\xbb\xbf" + BOX_LINE.replace("\n", "\r\n").encode() + b"\r\n")
    described = tmp_path / "data.yaml"
    described.write_bytes(b"\xef\xbb\xbf" + described.read_bytes().replace(b"\n", b"\r\n"))
    assert read(tmp_path).images[0].boxes.tolist() == [BOX]


def test_lines_that_say_the_same_are_one_object(tmp_path: Path) -> None:
    write(layouts.coco128(tmp_path) / "labels" / "val" / "a.txt", 3 * BOX_LINE)
    assert read(tmp_path).images[0].boxes.tolist() == [BOX]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("2 0.5 0.5 0.1 0.1", "none of 0 to 1"),
        ("-1 0.5 0.5 0.1 0.1", "none of 0 to 1"),
        ("nan 0.5 0.5 0.1 0.1", "none of 0 to 1"),
        ("streak 0.5 0.5 0.1 0.1", "no class number"),
        ("1 0.5 0.5 -0.1 0.1", "not a share"),
        ("1 0.5 0.5 0 0.1", "no width"),
        ("1 nan 0.5 0.1 0.1", "not a share"),
        ("1 1e999 0.5 0.1 0.1", "not a share"),
        ("1 32 24 16 24", "not a share"),
        ("1 0.5 0.5 0.1", "neither a box"),
        ("1 0.5 0.5 0.1 0.1 0.93", "a class and 5 numbers"),
        ("1 0.5 0.5 0.1 wide", "no number"),
        ("1", "a class and 0 numbers"),
        ("1 0.2 0.5 0.3 0.5 0.4 0.5", "is empty"),
    ],
)
def test_a_wrong_line_is_told_with_file_and_line(line: str, wrong: str, tmp_path: Path) -> None:
    label = write(layouts.coco128(tmp_path) / "labels" / "val" / "a.txt", f"{BOX_LINE}\n{line}\n")
    said = complaint(tmp_path)
    assert said.startswith(f"{label}, line 3: ")
    assert wrong in said


def test_a_hundred_thousand_lines_for_one_image_are_refused_at_the_line_where_it_is_enough(tmp_path: Path) -> None:
    label = tmp_path / "labels" / "val" / "a.txt"
    write(layouts.coco128(tmp_path) / "labels" / "val" / "a.txt", "".join(
        f"1 0.5 0.5 0.25 0.{index:06d}1\n" for index in range(100_000)
    ))  # fmt: skip
    assert complaint(tmp_path).startswith(f"{label}, line 10001: more than 10,000 objects")


@pytest.mark.parametrize(
    ("description", "line", "wrong"),
    [
        ("val: images/val\nnames: [streak, spot]\nnc: 3\n", 3, "`nc` is 3, but there are 2 names"),
        ("val: images/val\nnames: {0: streak, 2: spot}\n", 2, "not numbered from 0 without gaps"),
        ("val: images/val\nnames: [spot, spot]\n", 2, "'spot' is named twice"),
        ("val: images/val\nnames: []\n", 2, "no class"),
        ("val: images/val\nnames: spot\n", 2, "no list of class names"),
        ("\nval: images/gone\nnames: [streak, spot]\n", 2, "not there"),
        ("val: 7\nnames: [streak, spot]\n", 1, "no folder"),
        ("names: [streak\nval: images/val\n", 2, "is not YAML"),
        ("val: images/val\nnames: !!python/object/apply:os.system ['true']\n", 2, "is not YAML"),
    ],
)
def test_a_wrong_description_is_told_with_its_line(description: str, line: int, wrong: str, tmp_path: Path) -> None:
    said = complaint(layouts.coco128(tmp_path, description) / "data.yaml")
    assert said.startswith(f"{tmp_path / 'data.yaml'}, line {line}: ")
    assert wrong in said


@pytest.mark.parametrize("way", ["../secret", "../../secret/images", "{outside}"])
def test_a_description_leads_nowhere_out_of_its_folder(way: str, tmp_path: Path) -> None:
    root, outside = tmp_path / "deep" / "data", tmp_path / "deep" / "secret"
    picture(outside / "a.jpg")
    picture(tmp_path / "secret" / "images" / "a.jpg")
    layouts.coco128(root, f"val: {way.format(outside=outside)}\nnames: [streak, spot]\n")
    assert "leads out of" in complaint(root)
    layouts.coco128(root, f"path: {outside}\nval: .\nnames: [streak, spot]\n")
    assert all(image.path and image.path.resolve().is_relative_to(root) for image in read(root).images)


def test_links_out_of_the_folder_are_refused_for_images_labels_and_descriptions(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.txt", BOX_LINE)
    root = layouts.coco128(tmp_path / "data")
    (root / "labels" / "val" / "empty.txt").symlink_to(secret)
    assert "leads out of" in complaint(root)
    (root / "labels" / "val" / "empty.txt").unlink()
    outside = picture(tmp_path / "outside.jpg")
    (root / "images" / "val" / "link.jpg").symlink_to(outside)
    assert "leads out of" in complaint(root)
    (root / "images" / "val" / "link.jpg").unlink()
    (root / "data.yaml").rename(tmp_path / "elsewhere.yaml")
    (root / "data.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    assert "leads out of" in complaint(root)


def test_a_pipe_is_no_file_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(layouts.coco128(tmp_path) / "labels" / "val" / "empty.txt")
    assert "no plain file" in complaint(tmp_path)


def test_a_list_may_name_an_image_twice_only_by_mistake(tmp_path: Path) -> None:
    write(layouts.cvat_yolo(tmp_path) / "val.txt", "images/val/a.jpg\n\nimages/val/../val/a.jpg\n")
    assert "named more than once" in complaint(tmp_path)
    write(tmp_path / "val.txt", "images/val/a.jpg\nimages/val/b.jpg\n")
    assert complaint(tmp_path).startswith(f"{tmp_path / 'val.txt'}, line 2: ")
    write(tmp_path / "val.txt", "../../../../etc/hostname\n")
    assert complaint(tmp_path).startswith(f"{tmp_path / 'val.txt'}, line 1: ")


def test_labels_that_lie_elsewhere_are_missed_rather_than_taken_for_empty_images(tmp_path: Path) -> None:
    (layouts.coco128(tmp_path) / "labels").rename(tmp_path / "annotations_of_mine")
    assert "none of the 3 images has a label file" in complaint(tmp_path)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"images": [{"id": 11, "file_name": "../../secret.jpg"}]}, "leads out of|which is neither"),
        ({"images": [{"id": 11, "file_name": "/etc/hostname"}]}, "leads out of|which is neither"),
        ({"images": [{"id": 11, "file_name": "a.jpg"}, {"id": 11, "file_name": "b.jpg"}]}, r"images\[1\] has the id"),
        ({"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "./a.jpg"}]}, "once more"),
        ({"images": [{"id": 11, "file_name": "a.jpg", "width": 48, "height": 64}]}, "says 48 x 64 pixels"),
        ({"images": []}, "no list `images`"),
        ({"categories": [{"id": 1, "name": "spot"}, {"id": 1, "name": "streak"}]}, r"categories\[1\] has an id"),
        ({"categories": [{"id": 1, "name": "spot"}, {"id": 2, "name": "spot"}]}, r"categories\[1\] has an id"),
        ({"annotations": [{"image_id": 11, "category_id": 7, "bbox": [5, 5, -3, 4]}]}, "width of -3"),
        ({"annotations": [{"image_id": 11, "category_id": 7, "bbox": [-20, 5, 30, 4]}]}, "outside"),
        ({"annotations": [{"image_id": 11, "category_id": 7, "bbox": [5, 5, float("nan"), 4]}]}, "'nan' is no number"),
        ({"annotations": [{"image_id": 11, "category_id": 7, "bbox": [5, 5, 1e308, 4]}]}, "outside"),
        ({"annotations": [{"image_id": 11, "category_id": 7, "bbox": [5, 5, "3", 4]}]}, "is no number"),
        ({"annotations": [{"image_id": 11, "category_id": 7}]}, "neither a `bbox`"),
        ({"annotations": [{"image_id": 12, "category_id": 7, "bbox": [5, 5, 3, 4]}]}, "'12', which is not listed"),
        ({"annotations": [{"image_id": 11, "category_id": 4, "bbox": [5, 5, 3, 4]}]}, "category '4'"),
        ({"annotations": ["spot"]}, r"annotations\[0\] is no object"),
        ({"annotations": []}, "no image shows any object"),
        (
            {"annotations": 2 * [{"id": 5, "image_id": 11, "category_id": 7, "bbox": [5, 5, 3, 4]}]},
            r"annotations\[1\] has the id '5'",
        ),
    ],
)
def test_a_wrong_coco_file_is_told_in_one_sentence(changes: dict[str, object], wrong: str, tmp_path: Path) -> None:
    picture(tmp_path / "secret.jpg")
    root = tmp_path / "deep" / "data"
    file = coco_file(root / "labels.coco.json", root / "a.jpg", coco(**changes))
    picture(root / "b.jpg")
    with pytest.raises(LabelledImagesError, match=wrong):
        read(root)
    assert complaint(root).startswith(str(file))


def test_the_line_of_a_wrong_annotation_is_told(tmp_path: Path) -> None:
    good = {"image_id": 11, "category_id": 7, "bbox": [5, 5, 3, 4]}
    annotations = [json.dumps(one) for one in (good, {**good, "bbox": [5, 5, 9, 9]}, {**good, "bbox": [9, 9, 0, 4]})]
    data = json.dumps(coco(annotations=[]))
    text = data.replace('"annotations": []', '"annotations": [\n' + ",\n".join(annotations) + "\n]")
    picture(tmp_path / "a.jpg")
    file = write(tmp_path / "labels.coco.json", text)
    assert complaint(tmp_path).startswith(f"{file}, line 4: annotations[2] cannot be used: ")


def test_a_photo_that_was_labelled_as_it_lies_is_told_so(tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 8
    coco_file(tmp_path / "labels.coco.json", tmp_path / "a.jpg")
    picture(tmp_path / "a.jpg", exif=exif)
    assert "lies on its side, and was labelled as it lies" in complaint(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"images": ' * 50_000, "{]", "[]", '{"a": 1' + "0" * 5000 + "}"])
def test_json_that_is_none_is_told_in_one_sentence(text: str, tmp_path: Path) -> None:
    write(tmp_path / "labels.coco.json", text)
    assert str(tmp_path) in complaint(tmp_path)


def test_what_is_no_text_is_told_with_the_line(tmp_path: Path) -> None:
    (layouts.coco128(tmp_path) / "labels" / "val" / "a.txt").write_bytes(BOX_LINE.encode() + b"\xff\xfe")
    assert "line 2: is not UTF-8 text" in complaint(tmp_path)


def test_a_folder_with_several_files_of_labels_asks_which(tmp_path: Path) -> None:
    for name in ("one.json", "two.json"):
        coco_file(tmp_path / name, tmp_path / "a.jpg")
    assert "several files of labels (one.json, two.json)" in complaint(tmp_path)
    assert len(read(tmp_path / "two.json").images) == 1


def test_a_folder_without_labels_and_one_that_is_not_there_say_what_to_set(tmp_path: Path) -> None:
    assert "BANANA_HOLDOUT names a YOLO dataset" in complaint(tmp_path)
    assert "BANANA_HOLDOUT" in complaint(tmp_path / "gone")
    write(tmp_path / "obj.data", "classes = 2\n")
    assert "darknet" in complaint(tmp_path)


def test_the_digest_follows_labels_and_pixels_and_nothing_else(tmp_path: Path) -> None:
    layouts.coco128(tmp_path)
    first = read(tmp_path).digest
    write(tmp_path / "data.yaml", "# a remark\n" + (tmp_path / "data.yaml").read_text())
    assert read(tmp_path).digest == first
    write(tmp_path / "labels" / "val" / "a.txt", "0 0.5 0.5 0.25 0.5\n")
    other = read(tmp_path).digest
    picture(tmp_path / "images" / "val" / "a.jpg", shade=91)
    assert len({first, other, read(tmp_path).digest}) == 3


def test_an_image_that_changes_after_it_was_checked_is_not_sent(tmp_path: Path) -> None:
    first = read(layouts.coco128(tmp_path)).images[0]
    picture(tmp_path / "images" / "val" / "a.jpg", shade=200)
    with pytest.raises(LabelledImagesError, match="changed while it was used"):
        first.encoded  # noqa: B018 - it is a property that reads
    (tmp_path / "images" / "val" / "a.jpg").unlink()
    with pytest.raises(LabelledImagesError, match="cannot be read any more"):
        first.encoded  # noqa: B018 - the same
