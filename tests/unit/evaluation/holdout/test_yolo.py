"""What is particular to YOLO datasets; what all forms have in common is in ``test_read``."""

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
