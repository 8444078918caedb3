"""Which labelled images calibrate, so that they judge nothing."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from banana_delivery.evaluation.holdout.calibration import LEAST, MOST, SHARE, set_aside
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.files import text_sha256


def images(count: int) -> list[LabelledImage]:
    return [
        LabelledImage(
            name=f"{index}.jpg",
            width=10,
            height=10,
            boxes=np.array([[1.0, 1.0, 5.0, 5.0]]),
            classes=np.zeros(1, np.int64),
            class_names=("spot",),
            sha256=text_sha256(str(index)),
        )
        for index in range(count)
    ]


def names(some: list[LabelledImage]) -> set[str]:
    return {image.name for image in some}


@pytest.mark.parametrize("count", [0, 1, LEAST * 2])
def test_of_few_images_all_judge(count: int) -> None:
    given = images(count)
    assert set_aside(given) == (given, [])


@pytest.mark.parametrize("count", [200, 600, 3000])
def test_about_a_tenth_is_set_aside_and_no_more_of_them_calibrate_than_are_needed(count: int) -> None:
    judging, calibrating = set_aside(images(count))
    assert count - len(judging) == pytest.approx(count / SHARE, rel=0.35)
    assert len(calibrating) == min(MOST, count - len(judging))
    assert not names(judging) & names(calibrating)


def test_what_calibrated_never_judges_however_the_hold_out_grows() -> None:
    everything, calibrated = images(5000), set[str]()
    random.Random(1).shuffle(everything)
    for count in (150, 151, 300, 640, 650, 2000, 5000):
        judging, calibrating = set_aside(everything[:count])
        calibrated |= names(calibrating)
        assert calibrating
        assert not names(judging) & calibrated


def test_names_and_order_decide_nothing() -> None:
    given = images(200)
    shuffled = [replace(image, name=f"other-{image.name}") for image in given]
    random.Random(0).shuffle(shuffled)
    assert {image.sha256 for image in set_aside(given)[1]} == {image.sha256 for image in set_aside(shuffled)[1]}


def test_the_same_file_is_never_on_both_sides() -> None:
    twice = [*images(200), *(replace(image, name=f"copy-{image.name}") for image in images(200))]
    judging, calibrating = set_aside(twice)
    assert len(calibrating) % 2 == 0
    assert not {image.sha256 for image in judging} & {image.sha256 for image in calibrating}


def test_of_copies_of_one_file_all_judge() -> None:
    copies = [replace(image, sha256="a" * 64) for image in images(100)]
    assert set_aside(copies) == (copies, [])


def test_the_only_image_with_an_object_judges() -> None:
    given = images(100)
    calibrating = names(set_aside(given)[1])
    empty = replace(given[0], boxes=np.zeros((0, 4)), classes=np.zeros(0, np.int64))
    only = [
        image if image.name in calibrating else replace(empty, name=image.name, sha256=image.sha256) for image in given
    ]
    assert set_aside(only) == (only, [])
