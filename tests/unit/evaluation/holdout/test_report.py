"""What a hold-out is worth, before any model is asked about it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from banana_delivery.evaluation.holdout.report import detectable, report
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.matching import MAX_DETECTIONS
from banana_delivery.policy.quality.stages.levels import unseen_of
from tests.unit.evaluation.holdout import layouts
from tests.unit.evaluation.holdout.layouts import BOX_LINE, write

MARGINS = QualityMargins()


def photo(path: Path, seed: int, quality: int = 90) -> None:
    """A picture unlike that of any other seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 9, 3), np.uint8)
    Image.fromarray(coarse).resize(layouts.SIZE, Image.Resampling.BICUBIC).save(path, quality=quality)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three splits of unlike photos, each with one spot."""
    layouts.roboflow(tmp_path)
    for seed, split in enumerate(("train", "valid", "test")):
        photo(tmp_path / split / "images" / f"{split}_jpg.rf.0a1b.jpg", seed)
    return tmp_path


def test_a_hold_out_of_unlike_photos_is_counted_and_nothing_is_found_twice(dataset: Path) -> None:
    found = report(dataset, "", MARGINS)
    assert (found.images, found.empty, dict(found.objects)) == (1, 0, {"streak": 0, "spot": 1})
    assert (found.twice, found.near, found.shared) == ([], [], [])
    assert found.small == 0


def test_the_same_file_and_the_same_picture_saved_again_are_told_apart(dataset: Path) -> None:
    folder = dataset / "test" / "images"
    shutil.copy(folder / "test_jpg.rf.0a1b.jpg", folder / "copy.jpg")
    photo(folder / "again.jpg", seed=2, quality=60)
    found = report(dataset, "test", MARGINS)
    assert found.twice == [("test/images/copy.jpg", "test/images/test_jpg.rf.0a1b.jpg")]
    assert len(found.near) == 2
    assert all("again.jpg" in one + other for one, other in found.near)
    assert found.empty == 2


def test_a_picture_that_models_are_trained_on_as_well_is_found(dataset: Path) -> None:
    photo(dataset / "train" / "images" / "known.jpg", seed=2, quality=60)
    assert report(dataset, "test", MARGINS).shared == [("test/images/test_jpg.rf.0a1b.jpg", "train/images/known.jpg")]


def test_small_objects_are_those_that_a_network_sees_small(dataset: Path) -> None:
    label = dataset / "test" / "labels" / "test_jpg.rf.0a1b.txt"
    write(label, BOX_LINE + "1 0.2 0.2 0.04 0.04\n")
    assert report(dataset, "test", MARGINS).small == 1


def test_images_with_more_objects_than_an_answer_may_have_are_counted(dataset: Path) -> None:
    label = dataset / "test" / "labels" / "test_jpg.rf.0a1b.txt"
    for count, crowded in ((MAX_DETECTIONS, 0), (MAX_DETECTIONS + 1, 1)):
        lines = [f"0 {0.2 + number / 1000:.4f} 0.5 0.1 0.1" for number in range(count)]
        label.write_text("\n".join(lines))
        found = report(dataset, "test", MARGINS)
        assert (sum(found.objects.values()), found.crowded) == (count, crowded)


def test_more_objects_show_smaller_losses_and_never_smaller_ones_than_are_looked_for() -> None:
    shown = [detectable({"spot": objects}, 1000, MARGINS) for objects in (6, 30, 300, 3000, 300_000)]
    for name, margin in (("", MARGINS.recall), ("spot", MARGINS.class_recall)):
        losses = [one[name] for one in shown]
        assert losses == sorted(losses, reverse=True)
        assert losses[0] > 0.7
        assert margin < losses[-1] < margin + 0.003


def test_of_more_classes_each_shows_less_and_of_an_unlabelled_one_nothing_is_said() -> None:
    few, many = (
        detectable({"rare": 90} | {f"{number}": 500 for number in range(others)}, 1000, MARGINS) for others in (1, 40)
    )
    assert few["rare"] < many["rare"] < 0.3
    assert detectable({"rare": 0}, 10, MARGINS) == {}


def test_no_loss_is_promised_where_not_even_that_of_everything_would_be_found() -> None:
    assert detectable({"rare": 3, "spot": 500}, 1000, MARGINS).keys() == {"", "spot"}
    assert detectable({"rare": 5, "spot": 500}, 1000, MARGINS)["rare"] == 1.0
    together = {"rare": unseen_of(np.array([5] + [0] * 999))}
    assert detectable({"rare": 5, "spot": 500}, 1000, MARGINS, together).keys() == {"", "spot"}


def test_what_comes_in_one_image_shows_less_than_what_is_spread(dataset: Path) -> None:
    lines = "".join(f"1 0.{number} 0.5 0.05 0.05\n" for number in range(10, 70))
    alone = report(dataset, "test", MARGINS)
    write(dataset / "test" / "labels" / "test_jpg.rf.0a1b.txt", BOX_LINE + lines)
    crowded = report(dataset, "test", MARGINS)
    assert max(crowded.objects.values()) >= 60
    assert detectable(crowded.objects, crowded.images, MARGINS)["spot"] < 0.5 < crowded.detectable["spot"]
    assert "spot" not in alone.detectable


def test_images_that_a_list_of_training_names_as_well_are_found_though_the_split_has_others(dataset: Path) -> None:
    write(dataset / "train.txt", "train/images/train_jpg.rf.0a1b.jpg\ntest/images/test_jpg.rf.0a1b.jpg\n")
    write(
        dataset / "data.yaml",
        "path: .\ntrain: train.txt\nval: valid/images\ntest: test/images\nnames: [streak, spot]\n",
    )
    known = "test/images/test_jpg.rf.0a1b.jpg"
    assert report(dataset, "test", MARGINS).shared == [(known, known)]


def test_a_split_that_is_all_of_training_is_found(dataset: Path) -> None:
    write(dataset / "data.yaml", "path: .\ntrain: test/images\ntest: test/images\nnames: [streak, spot]\n")
    found = report(dataset, "", MARGINS)
    assert (len(found.shared), found.splits) == (1, ("train",))
    assert report(dataset, "train", MARGINS).shared == []


@pytest.mark.parametrize("named", ["", "test", "test/_annotations.coco.json"])
def test_of_coco_the_files_of_the_other_splits_are_looked_at(named: str, tmp_path: Path) -> None:
    for seed, split in enumerate(("train", "valid", "test")):
        write(tmp_path / split / "_annotations.coco.json", json.dumps(layouts.coco()))
        photo(tmp_path / split / "a.jpg", seed=min(seed, 1))
    found = report(tmp_path / named, "", MARGINS)
    assert (found.path.parent.name, found.splits) == ("test", ("val", "train"))
    assert len(found.shared) == 1


def test_labels_that_know_no_splits_are_not_compared_with_themselves(tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg", seed=1)
    write(tmp_path / "labels.json", json.dumps(layouts.coco()))
    found = report(tmp_path / "labels.json", "", MARGINS)
    assert (found.shared, found.splits) == ([], ())


def test_another_split_with_a_picture_that_cannot_be_read_keeps_nobody_from_looking_at_this_one(dataset: Path) -> None:
    broken = dataset / "train" / "images" / "train_jpg.rf.0a1b.jpg"
    broken.write_bytes(broken.read_bytes()[:700])
    assert report(dataset, "test", MARGINS).images == 1
