"""Which of several COCO files judges: the one of the split that is asked, and never one of training by itself."""

from pathlib import Path

import pytest

from banana_delivery.evaluation.holdout.read import read
from tests.unit.evaluation.holdout.layouts import coco_file
from tests.unit.evaluation.holdout.test_read import complaint


def folder(root: Path, *names: str) -> Path:
    """A folder with files of labels, each with an image beside it that is called after it."""
    for name in names:
        coco_file(root / name, (root / name).parent / "a.jpg")
    return root


@pytest.mark.parametrize(
    ("names", "split", "chosen"),
    [
        (["instances_val2017", "instances_train2017"], "", "instances_val2017"),
        (["instances_val2017", "instances_train2017"], "val", "instances_val2017"),
        (["instances_val2017", "instances_train2017"], "validation", "instances_val2017"),
        (["instances_val2017", "instances_train2017"], "train", "instances_train2017"),
        (["instances_val2017", "instances_test2017"], "", "instances_test2017"),
        (["instances_val2017", "captions_val2017", "image_info_test2017"], "", "instances_val2017"),
        (["instances_trainval2014", "instances_minival2014", "instances_val2014"], "", "instances_val2014"),
        (["instances_default"], "", "instances_default"),
        (["instances_default"], "val", "instances_default"),
        (["instances_default"], "train", "instances_default"),
        (["instances_dev"], "", "instances_dev"),
        (["instances_dev", "instances_val"], "dev", "instances_dev"),
        (["leaves_valid", "leaves_train"], "", "leaves_valid"),
        (["of_the_latest_constraint"], "test", "of_the_latest_constraint"),
    ],
)
def test_a_file_is_chosen_by_the_split_that_its_name_tells(
    names: list[str], split: str, chosen: str, tmp_path: Path
) -> None:
    in_annotations = folder(tmp_path / "one", *(f"annotations/{name}.json" for name in names))
    assert read(in_annotations, split).path == in_annotations / "annotations" / f"{chosen}.json"
    beside = folder(tmp_path / "two", *(f"{name}.json" for name in names))
    assert read(beside, split).path == beside / f"{chosen}.json"


@pytest.mark.parametrize(
    "names",
    [
        ["annotations/instances_train2017.json"],
        ["annotations/instances_train2017.json", "notes.json"],
        ["annotations/instances_trainval2014.json"],
        ["training.json"],
        ["train/_annotations.coco.json"],
    ],
)
def test_what_models_were_trained_on_judges_only_where_somebody_asks_for_it(names: list[str], tmp_path: Path) -> None:
    root = folder(tmp_path, *names)
    assert complaint(root).startswith(f"{root}: has labels of nothing but `train` ({names[0]})")
    assert complaint(root, "val").startswith(f"{root}: has labels, but none of the split 'val' ({names[0]})")
    assert read(root, "train").path == root / names[0]


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (["annotations/instances_dev.json", "labels.json.json"], "val"),
        (["test/_annotations.coco.json", "valid/_annotations.coco.json"], "dev"),
        (["labels_val.json"], "test"),
    ],
)
def test_no_other_split_takes_the_place_of_the_one_that_is_asked(names: list[str], split: str, tmp_path: Path) -> None:
    said = complaint(folder(tmp_path, *names), split)
    assert f"none of the split '{split}' ({names[0]}" in said
    assert "set BANANA_HOLDOUT_SPLIT to one of these" in said


def test_a_file_that_is_named_is_read_unless_another_split_is_asked(tmp_path: Path) -> None:
    root = folder(tmp_path, "instances_train2017.json", "instances_dev.json", "train/_annotations.coco.json")
    for name in ("instances_train2017.json", "train/_annotations.coco.json"):
        assert read(root / name).path == read(root / name, "train").path == root / name
        assert complaint(root / name, "val").startswith(f"{root / name}: is not of the split 'val'")
        assert "is not of the split 'val'" in complaint((root / name).with_name(f"{(root / name).name}#val"))
    assert read(root / "instances_dev.json", "val").path == root / "instances_dev.json"
    own = folder(tmp_path / "test site", "_annotations.coco.json")
    assert read(own, "val").path == own / "_annotations.coco.json"
