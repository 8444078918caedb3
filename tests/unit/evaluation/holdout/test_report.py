"""What a hold-out is worth, before any model is asked about it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from banana_delivery.evaluation.holdout.report import detectable, report
from banana_delivery.policy.quality.margins import QualityMargins
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


def test_more_objects_show_smaller_losses_and_never_smaller_ones_than_are_looked_for() -> None:
    losses = [detectable(objects, MARGINS.recall) for objects in (1, 30, 300, 3000, 300_000)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == 1.0
    assert losses[-1] == MARGINS.recall
