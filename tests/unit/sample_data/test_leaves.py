from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from banana_delivery.sample_data.leaves import CLASSES, LabelledImage, generate, make


@pytest.fixture(scope="module")
def pictures() -> list[LabelledImage]:
    return list(generate(100, seed=5))


def test_a_picture_depends_on_its_seed_and_index_alone(pictures: list[LabelledImage]) -> None:
    alone, in_a_row = make(5, 7), pictures[7]
    assert alone.name == in_a_row.name
    np.testing.assert_array_equal(alone.image, in_a_row.image)
    np.testing.assert_array_equal(alone.boxes, in_a_row.boxes)
    np.testing.assert_array_equal(alone.classes, in_a_row.classes)


def test_no_two_pictures_are_the_same(pictures: list[LabelledImage]) -> None:
    other_seed = islice(generate(20, seed=6), 20)
    seen = {picture.image.tobytes() for picture in [*pictures, *other_seed]}
    assert len(seen) == 120


def test_a_picture_has_the_size_asked_for() -> None:
    assert make(5, 0, size=(96, 80)).image.shape == (80, 96, 3)


def test_every_box_is_inside_its_picture_and_has_a_class(pictures: list[LabelledImage]) -> None:
    for picture in pictures:
        height, width = picture.image.shape[:2]
        assert picture.image.dtype == np.uint8
        assert picture.boxes.dtype == np.float32
        assert picture.boxes.shape == (len(picture.classes), 4)
        assert (picture.boxes >= 0).all()
        assert (picture.boxes <= [width, height, width, height]).all()
        assert (picture.boxes[:, 2:] - picture.boxes[:, :2] >= 5.99).all()
        assert set(picture.classes.tolist()) <= set(range(len(CLASSES)))


def test_healthy_leaves_and_both_classes_are_common(pictures: list[LabelledImage]) -> None:
    healthy = sum(len(picture.classes) == 0 for picture in pictures)
    counts = np.bincount(np.concatenate([picture.classes for picture in pictures]), minlength=len(CLASSES))
    assert 10 <= healthy <= 45
    assert counts.min() >= 60


def test_boxes_are_where_the_lesions_are(pictures: list[LabelledImage]) -> None:
    """A lesion is less green than the blade, so green falls from the rim of its box to the middle."""
    darker = [_green(picture, box, 0.2) < _green(picture, box, 1.0) for picture in pictures for box in picture.boxes]
    mirrored = [
        _green(picture, _mirrored(box, picture), 0.2) < _green(picture, _mirrored(box, picture), 1.0)
        for picture in pictures
        for box in picture.boxes
    ]
    assert np.mean(darker) > 0.93
    assert np.mean(mirrored) < 0.65


def _green(picture: LabelledImage, box: np.ndarray, extent: float) -> float:
    """Excess of green over red, on the corners (extent 1) or the middle of a box."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * extent
    height, width = picture.image.shape[:2]
    points = [centre + half * sign for sign in np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])]
    pixels = [picture.image[min(int(y), height - 1), min(int(x), width - 1)].astype(float) for x, y in points]
    return float(np.mean([pixel[1] - pixel[2] for pixel in pixels]))


def _mirrored(box: np.ndarray, picture: LabelledImage) -> np.ndarray:
    width = picture.image.shape[1]
    return np.array([width - box[2], box[1], width - box[0], box[3]])
