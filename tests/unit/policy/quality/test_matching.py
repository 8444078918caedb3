import numpy as np
import pytest

from banana_delivery.policy.quality.matching import Detections, Labelled, Truth, intersection_over_union, match_answers


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array(rows, np.float64).reshape(-1, 4)


def answer(truth: Truth, detections: Detections) -> list[bool]:
    matches = match_answers([Labelled("leaf", truth, detections)], ["streak", "spot"])
    return [bool(hit) for hit in matches.hit]


ONE_STREAK = Truth(boxes((0, 0, 10, 10)), np.array([0]))


def test_overlap_of_half_and_of_nothing() -> None:
    overlap = intersection_over_union(boxes((0, 0, 10, 10)), boxes((0, 5, 10, 10), (20, 20, 30, 30)))
    assert overlap.tolist() == [[0.5, 0.0]]


def test_the_surer_of_two_detections_takes_the_object_and_the_other_is_false() -> None:
    twice = Detections(boxes((0, 0, 10, 9), (0, 0, 10, 10)), np.array([0, 0]), np.array([0.6, 0.9]))
    assert answer(ONE_STREAK, twice) == [True, False]


def test_a_detection_of_another_class_finds_nothing() -> None:
    assert answer(ONE_STREAK, Detections(boxes((0, 0, 10, 10)), np.array([1]), np.array([0.9]))) == [False]


def test_an_overlap_below_one_half_finds_nothing() -> None:
    assert answer(ONE_STREAK, Detections(boxes((0, 0, 10, 4.9)), np.array([0]), np.array([0.9]))) == [False]


def test_an_image_without_detections_still_counts_its_objects() -> None:
    nothing = Detections(boxes(), np.zeros(0, np.int64), np.zeros(0))
    matches = match_answers([Labelled("leaf", ONE_STREAK, nothing)], ["streak", "spot"])
    assert matches.truths.tolist() == [[1, 0]]
    assert matches.hit.size == 0


def test_a_class_number_without_a_name_is_refused_by_image_name() -> None:
    with pytest.raises(ValueError, match=r"leaf: class numbers must lie in 0\.\.1"):
        answer(ONE_STREAK, Detections(boxes((0, 0, 1, 1)), np.array([2]), np.array([0.9])))


def test_a_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        answer(ONE_STREAK, Detections(boxes((0, 0, 1, 1)), np.array([0]), np.array([np.nan])))
