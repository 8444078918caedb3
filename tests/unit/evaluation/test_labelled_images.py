import json
from pathlib import Path
from typing import Any

import pytest

from banana_delivery.errors import LabelledImagesError
from banana_delivery.evaluation.labelled_images import load
from banana_delivery.sample_data.leaves import CLASSES, make, write_dataset


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_dataset(tmp_path, 5, seed=3, progress=False)
    return tmp_path


def change_first_image(directory: Path, **changes: Any) -> None:
    index = json.loads((directory / "labels.json").read_text())
    index["images"][0].update(changes)
    (directory / "labels.json").write_text(json.dumps(index))


def test_the_generated_leaves_are_read_as_they_were_painted(directory: Path) -> None:
    images = load(directory)
    assert len(images) == 5
    for index, image in enumerate(images):
        painted = make(3, index)
        assert image.boxes == pytest.approx(painted.boxes, abs=0.01)
        assert image.classes.tolist() == painted.classes.tolist()
        assert (image.height, image.width) == painted.image.shape[:2]
        assert image.class_names == tuple(CLASSES)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"boxes": [[0, 0, 9000, 10]], "classes": [0]}, "outside"),
        ({"boxes": [[10, 10, 5, 20]], "classes": [0]}, "outside"),
        ({"boxes": [[0, 0, 5, 5]], "classes": []}, "1 boxes but 0 classes"),
        ({"boxes": [[0, 0, 5, 5]], "classes": [99]}, "class without a name"),
        ({"boxes": [[0, 0, "wide", 5]], "classes": [0]}, "images.0.boxes.0.2"),
        ({"file": "images/gone.jpg"}, "cannot be read"),
        ({"file": "labels.json"}, "not a JPEG"),
    ],
)
def test_a_wrong_label_is_named_in_one_sentence(directory: Path, changes: dict[str, Any], complaint: str) -> None:
    change_first_image(directory, **changes)
    with pytest.raises(LabelledImagesError, match=complaint) as caught:
        load(directory)
    assert str(directory) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_without_labels_says_which_setting_to_change(tmp_path: Path) -> None:
    with pytest.raises(LabelledImagesError, match="BANANA_HOLDOUT"):
        load(tmp_path)


def test_an_index_that_was_cut_off_is_no_json(directory: Path) -> None:
    (directory / "labels.json").write_text('{"classes": [')
    with pytest.raises(LabelledImagesError, match="not JSON"):
        load(directory)
