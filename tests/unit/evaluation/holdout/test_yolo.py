"""What is particular to YOLO datasets; what all forms have in common is in ``test_read``."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from banana_delivery.evaluation.holdout.read import read
from tests.unit.evaluation.holdout import layouts
from tests.unit.evaluation.holdout.layouts import BOX, write
from tests.unit.evaluation.holdout.test_read import complaint

NAMES = "names: [streak, spot]\n"


@pytest.mark.parametrize(
    "description",
    [
        "val: images\\val\n",
        "val: ..\\images\\val\n",
        "path: C:\\data\nval: .\\images\\val\n",
        "path: .\\images\nval: val\n",
    ],
)
def test_a_description_that_windows_wrote_is_read(description: str, tmp_path: Path) -> None:
    first = read(layouts.coco128(tmp_path, description + NAMES)).images[0]
    assert (first.name, first.boxes.tolist()) == ("images/val/a.jpg", [BOX])


@pytest.mark.parametrize("line", ["images\\val\\a.jpg", ".\\images\\val\\a.jpg", "data\\images\\val\\a.jpg"])
def test_a_list_that_windows_wrote_is_read(line: str, tmp_path: Path) -> None:
    write(layouts.cvat_yolo(tmp_path) / "val.txt", f"{line}\n")
    first = read(tmp_path).images[0]
    assert (first.name, first.boxes.tolist()) == ("images/val/a.jpg", [BOX])


def test_a_path_of_windows_leads_nowhere_out_of_the_folder(tmp_path: Path) -> None:
    root = layouts.coco128(tmp_path / "deep" / "data", f"val: ..\\..\\secret\n{NAMES}")
    layouts.picture(tmp_path / "secret" / "a.jpg")
    assert "leads out of" in complaint(root)


@pytest.mark.parametrize("leads_to", ["more", "../val", "gone", "../../../elsewhere"])
def test_a_link_to_a_folder_is_told_rather_than_left_out(leads_to: str, tmp_path: Path) -> None:
    root = layouts.coco128(tmp_path / "data")
    layouts.picture(root / "images" / "val" / "more" / "c.jpg")
    layouts.picture(tmp_path / "elsewhere" / "d.jpg")
    assert len(read(root).images) == 4
    link = root / "images" / "val" / "link"
    link.symlink_to(leads_to)
    said = complaint(root)
    assert said.startswith(f"{root / 'data.yaml'}: {link} is a link to a folder or to nothing")


def pose(root: Path, shape: str, count: int, point: str = "0.1 0.2") -> Path:
    """A dataset of poses: box and so many points."""
    layouts.coco128(root, f"val: images/val\nkpt_shape: {shape}\n{NAMES}")
    write(root / "labels" / "val" / "a.txt", " ".join([layouts.BOX_LINE.strip(), *[point] * count]) + "\n")
    write(root / "labels" / "val" / "b.txt", "")
    return root


@pytest.mark.parametrize(
    ("shape", "count", "point"),
    [("[12, 2]", 12, "0.1 0.2"), ("[17, 3]", 17, "0.1 0.2 2"), ("[1, 2]", 1, "0 0"), ("[4, 3]", 0, "")],
)
def test_the_box_of_a_pose_is_its_box_and_not_around_its_points(
    shape: str, count: int, point: str, tmp_path: Path
) -> None:
    assert read(pose(tmp_path, shape, count, point)).images[0].boxes.tolist() == [BOX]


def test_a_pose_with_another_number_of_points_and_a_shape_that_is_none_are_told(tmp_path: Path) -> None:
    root = pose(tmp_path, "[12, 2]", 11)
    assert f"{root / 'labels' / 'val' / 'a.txt'}, line 1: a class and 26 numbers are no box (4)" in complaint(root)
    for shape in ("12", "[12]", "[12, x]", "[0, 2]", "[true, 2]"):
        assert f"{root / 'data.yaml'}, line 2: `kpt_shape` is not like" in complaint(pose(tmp_path, shape, 12))


@pytest.mark.parametrize("test", ["../test/images", "test-dev2017.txt", "images/test", "[images/test, images/more]"])
def test_a_test_split_that_is_named_but_not_there_leaves_the_judging_to_val(test: str, tmp_path: Path) -> None:
    root = layouts.coco128(tmp_path, f"test: {test}\nval: images/val\n{NAMES}")
    assert len(read(root).images) == 3
    asked = complaint(root, "test")
    assert asked.startswith(f"{root / 'data.yaml'}, line 1: ")
    assert "not there" in asked


def test_a_list_of_which_no_image_is_there_leaves_the_judging_to_val(tmp_path: Path) -> None:
    root = layouts.coco128(tmp_path, f"test: test.txt\nval: images/val\n{NAMES}")
    write(root / "test.txt", "./images/test2017/a.jpg\n./images/test2017/b.jpg\n")
    assert len(read(root).images) == 3
    assert complaint(root, "test").startswith(
        f"{root / 'test.txt'}, line 1: the image './images/test2017/a.jpg' is not"
    )
    layouts.picture(root / "images" / "test2017" / "b.jpg")
    assert complaint(root).startswith(f"{root / 'test.txt'}, line 1: ")


def test_a_folder_for_test_images_that_is_empty_leaves_the_judging_to_val(tmp_path: Path) -> None:
    root = layouts.coco128(tmp_path, f"test: images/test\nval: images/val\n{NAMES}")
    (root / "images" / "test").mkdir()
    assert len(read(root).images) == 3
    assert "holds no image for test" in complaint(root, "test")


def test_where_neither_is_there_the_first_is_told_and_train_judges_nothing(tmp_path: Path) -> None:
    root = layouts.coco128(tmp_path, f"train: images/val\ntest: images/test\nval: images/gone\n{NAMES}")
    assert complaint(root).startswith(f"{root / 'data.yaml'}, line 2: test is 'images/test', which is not there")


def test_a_list_of_images_whose_labels_are_kept_secret_says_how_to_choose_another_split(tmp_path: Path) -> None:
    root = layouts.coco128(tmp_path, f"test: test.txt\nval: images/val\n{NAMES}")
    layouts.picture(root / "images" / "test" / "a.jpg")
    write(root / "test.txt", "./images/test/a.jpg\n")
    said = complaint(root)
    assert "none of the 1 images has a label file" in said
    assert said.endswith("or choose another split with BANANA_HOLDOUT_SPLIT.")
    assert len(read(root, "val").images) == 3


def test_what_a_mac_notes_beside_a_file_is_no_image(tmp_path: Path) -> None:
    root = layouts.coco128(tmp_path)
    (root / "images" / "val" / "._a.jpg").write_bytes(b"\x00\x05\x16\x07")
    assert [image.path.name for image in read(root).images if image.path] == ["a.jpg", "b.png", "empty.jpg"]


def test_labels_whose_ending_is_in_capitals_are_not_taken_for_an_image_without_objects(tmp_path: Path) -> None:
    root = layouts.coco128(tmp_path)
    (root / "labels" / "val" / "a.txt").rename(root / "labels" / "val" / "a.TXT")
    assert read(root).images[0].boxes.tolist() == [BOX]


@pytest.mark.parametrize("name", ["a.txt", "a.TXT"])
def test_labels_beside_one_image_are_told_rather_than_overlooked(tmp_path: Path, name: str) -> None:
    root = layouts.coco128(tmp_path)
    (root / "labels" / "val" / "a.txt").rename(root / "images" / "val" / name)
    assert f"images/val/{name}: labels lie beside their image, where they are not read; move to" in complaint(root)


@pytest.mark.parametrize("name", [".ipynb_checkpoints/a-checkpoint.jpg", ".thumbnails/large/a.png", ".a.jpg"])
def test_what_a_program_hides_among_the_images_judges_no_more_than_it_trains(tmp_path: Path, name: str) -> None:
    """Its copies have no labels, so that whatever is found on them would be a false box."""
    root = layouts.coco128(tmp_path / ".data")
    layouts.picture(root / "images" / "val" / name)
    assert [image.path.name for image in read(root).images if image.path] == ["a.jpg", "b.png", "empty.jpg"]


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "deep/IMG_1.heif", "raw.dng"])
def test_labels_of_a_photo_that_nobody_answers_are_told_rather_than_left_out(tmp_path: Path, name: str) -> None:
    root = layouts.coco128(tmp_path)
    photo, labels = root / "images" / "val" / name, root / "labels" / "val" / name
    photo.parent.mkdir(exist_ok=True)
    photo.write_bytes(b"\x00\x00\x00\x18ftypheic")
    assert len(read(root).images) == 3
    write(labels.with_suffix(".txt"), layouts.BOX_LINE)
    assert complaint(root).startswith(f"{photo}: has labels, but is of a kind that is not answered; save it as JPEG")
    layouts.picture(photo.with_suffix(".jpg"))
    assert len(read(root).images) == 4


@pytest.mark.parametrize(
    ("line", "box"),
    [
        ("1 0.5 0.5 1.004 0.5", [0.0, 12.0, 64.0, 36.0]),
        ("1 1.008 0.5 0.25 0.5", [56.512, 12.0, 64.0, 36.0]),
        ("1 -0.004 0.25 1.01 0.25 0.5 0.75", [0.0, 12.0, 64.0, 36.0]),
    ],
)
def test_a_coordinate_that_leaves_its_image_by_what_training_takes_is_cut(
    tmp_path: Path, line: str, box: list[float]
) -> None:
    root = layouts.coco128(tmp_path)
    write(root / "labels" / "val" / "a.txt", line)
    assert read(root).images[0].boxes.tolist() == [pytest.approx(box)]
    write(root / "labels" / "val" / "a.txt", "1 0.5 0.5 1.02 0.5")
    assert "not a share of the image" in complaint(root)


@pytest.mark.parametrize("description", ["nc: 2\n", "nc: '2'\nnames:\n", "nc: 2.0\nnames: [class_0, class_1]\n"])
def test_classes_that_are_only_counted_have_the_names_that_training_gives_them(
    tmp_path: Path, description: str
) -> None:
    assert read(layouts.coco128(tmp_path, f"val: images/val\n{description}")).class_names == ("class_0", "class_1")


@pytest.mark.parametrize(
    ("description", "wrong"),
    [
        ("nc: many\n", "`nc` is no number of classes"),
        ("nc: 1000000000\n", "`nc` is no number of classes"),
        ("nc: -1\n", "`nc` is no number of classes"),
        ("nc: .inf\n", "`nc` is no number of classes"),
        ("names: {.inf: a, 0: b}\n", "a class has no whole number"),
        ("names: {0.7: a, 1: b}\n", "a class has no whole number"),
        ("names: {.nan: a, 1: b}\n", "a class has no whole number"),
        ("names: ['a', ' ']\n", "there is no class"),
    ],
)
def test_a_number_that_counts_nothing_is_told(tmp_path: Path, description: str, wrong: str) -> None:
    said = complaint(layouts.coco128(tmp_path, f"val: images/val\n{description}"))
    assert said.startswith(f"{tmp_path / 'data.yaml'}, line 2: {wrong}")


def test_a_class_is_called_as_a_model_that_is_trained_by_the_same_file_calls_it(tmp_path: Path) -> None:
    assert read(layouts.coco128(tmp_path, "val: images/val\nnames: ['streak ', spot]\n")).class_names[0] == "streak "


@pytest.mark.parametrize("above", ["images", "images/deep", "deep/images"])
@pytest.mark.parametrize("layout", [layouts.coco128, layouts.roboflow, layouts.cvat_yolo, layouts.label_studio_yolo])
def test_a_folder_is_the_same_from_wherever_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, above: str, layout: Callable[[Path], Path]
) -> None:
    root = layout(tmp_path / above / "data")
    whole = read(root)
    for here in (root, root.parent, tmp_path, root / (whole.images[0].path or root).parent.relative_to(root)):
        monkeypatch.chdir(here)
        assert read(Path(os.path.relpath(root, here))).digest == whole.digest


@pytest.mark.parametrize("above", ["images", "images/deep", "deep/images"])
def test_where_the_whole_folder_lies_is_no_part_of_where_labels_are(tmp_path: Path, above: str) -> None:
    root = tmp_path / above / "data"
    layouts.picture(root / "val" / "a.jpg")
    write(root / "val" / "a.txt", layouts.BOX_LINE)
    write(root / "data.yaml", f"val: val\n{NAMES}")
    assert read(root).images[0].boxes.tolist() == [BOX]
