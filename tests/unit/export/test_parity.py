from __future__ import annotations

import pytest

from banana_delivery.export.parity import Agreement, assess_parity, compare
from banana_delivery.export.protocol import Detection

Box = tuple[float, float, float, float]
BOX: Box = (10.0, 20.0, 40.0, 60.0)


def seen(score: float = 0.8, class_id: int = 0, box: Box = BOX) -> Detection:
    return Detection(class_id=class_id, score=score, box=box)


def shifted(pixels: float) -> Detection:
    return seen(box=(10 + pixels, 20, 40 + pixels, 60))


def test_equal_answers_agree() -> None:
    agreement = compare(((seen(), seen(0.5, 1)), ()), ((seen(0.5, 1), seen()), ()))
    assert agreement == Agreement(detections=2, agreeing=2, max_box_difference_px=0.0, max_score_difference=0.0)


@pytest.mark.parametrize(("pixels", "agrees"), [(0.9, 1), (1.1, 0)])
def test_a_box_may_differ_by_a_pixel(pixels: float, agrees: int) -> None:
    agreement = compare(((seen(),),), ((shifted(pixels),),))
    assert (agreement.detections, agreement.agreeing) == (1, agrees)
    assert agreement.max_box_difference_px == pytest.approx(pixels)


@pytest.mark.parametrize(("score", "agrees"), [(0.795, 1), (0.78, 0)])
def test_a_score_may_differ_by_a_hundredth(score: float, agrees: int) -> None:
    agreement = compare(((seen(),),), ((seen(score),),))
    assert agreement.agreeing == agrees
    assert agreement.max_score_difference == pytest.approx(0.8 - score)


def test_the_same_box_of_another_class_is_two_disagreements() -> None:
    agreement = compare(((seen(),),), ((seen(class_id=1),),))
    assert (agreement.detections, agreement.agreeing) == (2, 0)


def test_what_only_one_side_finds_counts_on_either_side() -> None:
    assert compare(((seen(),),), ((),)).share == 0.0
    assert compare(((),), ((seen(),),)).share == 0.0


def test_a_box_just_below_the_threshold_is_a_counterpart_and_no_detection_of_its_own() -> None:
    assert compare(((seen(0.2501),),), ((seen(0.2499),),)).share == 1.0
    assert compare(((seen(0.2),),), ((),)).detections == 0


def test_of_two_near_boxes_each_finds_its_own() -> None:
    near = shifted(2.0)
    agreement = compare(((seen(0.8), near),), ((near, seen(0.8)),))
    assert (agreement.detections, agreement.agreeing, agreement.max_box_difference_px) == (2, 2, 0.0)


@pytest.mark.parametrize("box", [(0.0, 60.0, 0.0, 80.0), (50.0, 10.0, 20.0, 40.0), (0.0, 0.0, 0.0, 0.0)])
def test_a_box_without_area_is_the_same_as_itself(box: Box) -> None:
    """An end-to-end head has such beyond the edges of an image, and both sides answer them alike."""
    elsewhere: Box = (box[0] + 3, box[1], box[2] + 3, box[3])
    assert compare(((seen(box=box),),), ((seen(box=box),),)).share == 1.0
    assert compare(((seen(box=box),),), ((seen(box=elsewhere),),)).share == 0.0


def test_of_boxes_on_one_spot_each_finds_the_one_with_its_score() -> None:
    ours = (seen(0.9, box=(0, 0, 96.0, 64)), seen(0.6, box=(0, 0, 96.0, 64.1)))
    theirs = (seen(0.6, box=(0, 0, 96.0, 64.05)), seen(0.9, box=(0, 0, 96.0, 64.06)))
    assert compare((ours,), (theirs,)).agreeing == 2


def agreement(agreeing: int, of: int = 100) -> Agreement:
    return Agreement(detections=of, agreeing=agreeing, max_box_difference_px=0.5, max_score_difference=0.001)


@pytest.mark.parametrize(
    ("same_pixels", "files", "passed"), [(100, 100, True), (99, 80, True), (98, 100, False), (100, 79, False)]
)
def test_both_agreements_must_suffice(same_pixels: int, files: int, passed: bool) -> None:
    parity = assess_parity(agreement(same_pixels), agreement(files), images=24)
    assert parity.passed is passed
    assert f"{same_pixels} of 100" in parity.reason
    assert f"{files} of 100" in parity.reason


def test_nothing_found_proves_nothing() -> None:
    nothing = Agreement(detections=0, agreeing=0, max_box_difference_px=0.0, max_score_difference=0.0)
    parity = assess_parity(nothing, nothing, images=24)
    assert not parity.passed
    assert "nothing can be compared" in parity.reason
