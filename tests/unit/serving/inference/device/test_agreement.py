import numpy as np
import pytest

from serving.inference.device.agreement import LEAST_SCORE, PIXELS, SCORE, difference
from serving.inference.postprocess import Boxes

CORNERS = np.array([[10, 10, 20, 20], [30, 30, 60, 60], [31, 30, 60, 60]], np.float32)
SCORES = np.array([0.9, 0.5, 0.49999], np.float32)


def boxes(corners: object = CORNERS, scores: object = SCORES, classes: tuple[int, ...] = (0, 1, 1)) -> Boxes:
    return Boxes(np.array(corners, np.float32), np.array(scores, np.float32), np.array(classes))


def test_the_same_answer_is_no_difference() -> None:
    found = difference(boxes(), boxes())
    assert (found.score, found.pixels, found.is_small) == (0, 0, True)


def test_two_boxes_that_change_places_by_a_rounding_are_the_same_answer() -> None:
    other = boxes(CORNERS[[0, 2, 1]], SCORES)
    assert difference(boxes(), other).is_small


@pytest.mark.parametrize(
    "other",
    [
        boxes(scores=SCORES + 2 * SCORE),
        boxes(CORNERS + 2 * PIXELS),
        boxes(classes=(1, 1, 1)),
        boxes(CORNERS[:2], SCORES[:2], (0, 1)),
        boxes(scores=[0.9, 0.5, np.nan]),
    ],
    ids=["scores", "corners", "a class", "one box fewer", "no number"],
)
def test_whatever_a_client_would_notice_is_a_difference(other: Boxes) -> None:
    assert not difference(boxes(), other).is_small


def test_boxes_that_are_nothing_may_lie_anywhere() -> None:
    nothing = np.full(3, LEAST_SCORE / 2)
    assert difference(boxes(scores=nothing), boxes(CORNERS + 50, nothing)).is_small


def test_no_boxes_at_all_are_no_difference() -> None:
    none = boxes(np.zeros((0, 4)), np.zeros(0), ())
    assert difference(none, none).is_small
