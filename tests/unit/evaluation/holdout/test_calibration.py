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


@pytest.mark.parametrize(
    ("count", "aside"),
    [(0, 0), (1, 0), (LEAST * SHARE - 1, 0), (LEAST * SHARE, LEAST), (300, 30), (3000, MOST)],
)
def test_a_tenth_is_set_aside_but_no_more_than_are_needed_and_not_too_few(count: int, aside: int) -> None:
    judging, calibrating = set_aside(images(count))
    assert len(calibrating) == aside
    assert len(judging) == count - aside
    assert not names(judging) & names(calibrating)


def test_names_and_order_decide_nothing() -> None:
    given = images(200)
    shuffled = [replace(image, name=f"other-{image.name}") for image in given]
    random.Random(0).shuffle(shuffled)
    assert {image.sha256 for image in set_aside(given)[1]} == {image.sha256 for image in set_aside(shuffled)[1]}


def test_the_same_file_is_never_on_both_sides() -> None:
    twice = [*images(100), *(replace(image, name=f"copy-{image.name}") for image in images(100))]
    judging, calibrating = set_aside(twice)
    assert len(calibrating) >= 20
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
