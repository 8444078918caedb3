"""Some of the answers, and several such together, are what matching some of the images would have given."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from banana_delivery.policy.quality.matching import Labelled, Matches, match_answers
from banana_delivery.policy.quality.stages.parts import chosen, joined, named
from tests.unit.policy.quality.random_leaves import CLASSES, random_images

IMAGES = random_images(12, 1, 2.0, 3, 0)
WHOLE = match_answers(IMAGES, CLASSES)


def of(images: Sequence[Labelled]) -> Matches:
    return match_answers(images, CLASSES)


def same(one: Matches, other: Matches) -> bool:
    if (one.placed is None) != (other.placed is None):
        return False
    mine: list[Any] = [one, *([one.placed, one.placed.objects] if one.placed else [])]
    theirs: list[Any] = [other, *([other.placed, other.placed.objects] if other.placed else [])]
    return (
        all(
            np.array_equal(
                getattr(a, field.name), getattr(b, field.name), equal_nan=getattr(a, field.name).dtype.kind == "f"
            )
            for a, b in zip(mine, theirs, strict=True)
            for field in fields(a)
            if isinstance(getattr(a, field.name), np.ndarray)
        )
        and one.names == other.names
    )


@pytest.mark.parametrize("numbers", [[0, 1, 2], [11, 3, 7], [5], list(range(12)), list(range(11, -1, -1)), []])
def test_some_answers_are_those_of_some_images(numbers: list[int]) -> None:
    assert same(chosen(WHOLE, np.array(numbers, np.int64)), of([IMAGES[number] for number in numbers]))


def test_of_an_image_that_comes_twice_the_answers_come_twice() -> None:
    twice = chosen(WHOLE, np.array([4, 4]))
    assert (twice.truths[0] == twice.truths[1]).all()
    assert (twice.image == 0).sum() == (twice.image == 1).sum() == (WHOLE.image == 4).sum()


def test_answers_are_found_by_name() -> None:
    names = [IMAGES[number].name for number in (9, 2)]
    found = named(WHOLE, names)
    assert found is not None
    assert same(found, of([IMAGES[9], IMAGES[2]]))
    assert named(WHOLE, [*names, "unknown"]) is None


def test_parts_make_the_whole() -> None:
    assert same(joined(of(IMAGES[:5]), of(IMAGES[5:])), WHOLE)
    assert same(joined(of([]), WHOLE), WHOLE)


def test_places_are_dropped_where_nobody_kept_those_of_one() -> None:
    bare = replace(of(IMAGES[:5]), placed=None)
    assert joined(bare, of(IMAGES[5:])).placed is None
    assert chosen(bare, np.array([1])).placed is None


def test_who_left_an_image_unanswered_is_remembered() -> None:
    silent = replace(of(IMAGES[5:]), unanswered=np.array([True] + [False] * 6))
    both = joined(of(IMAGES[:5]), silent)
    assert both.unanswered is not None
    assert both.unanswered.tolist() == [False] * 5 + [True] + [False] * 6
    some = chosen(both, np.array([5, 0])).unanswered
    assert some is not None
    assert some.tolist() == [True, False]
