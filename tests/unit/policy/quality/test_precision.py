"""When 8-bit integers are served, when they are not, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.matching import (
    Booleans,
    Detections,
    Labelled,
    Matches,
    Placed,
    Truth,
    match_answers,
)
from banana_delivery.policy.quality.precision import LEAST_GAIN, Asked, Precision, PrecisionChoice, choose

MARGINS = QualityMargins()
FASTER = 1.5
CLASSES = ("streak", "spot", "edge")
RESAMPLES = 60

Change = Callable[[Matches], Matches]


def labelled(index: int) -> Labelled:
    """An image of one object, which is found, now and then beside another box."""
    corner = np.array([index % 97, index % 89], np.float64)
    box = np.concatenate([corner, corner + 30 + index % 7])
    boxes = np.array([box, box + 200])[: 1 + (index % 10 == 0)]
    klass = np.full(len(boxes), index % 3)
    scores = np.array([0.3 + index % 61 / 100, 0.2 + index % 13 / 100])[: len(boxes)]
    truth = Truth(box[None], klass[:1], np.array([640.0, 640.0]))
    return Labelled(f"leaf-{index}", truth, Detections(boxes, klass, scores))


def answers(count: int) -> Matches:
    return match_answers(map(labelled, range(count)), CLASSES)


MANY = answers(900)


def unchanged(matches: Matches) -> Matches:
    return matches


def chosen(
    f32: Matches, change: Change = unchanged, asked: Asked = Asked.AUTO, gain: float = FASTER
) -> PrecisionChoice:
    return choose(asked, change(f32), f32, gain, MARGINS, resamples=RESAMPLES)


def without(matches: Matches, rows: Booleans) -> Matches:
    """The same answers but for these detections."""
    placed, kept = matches.placed, ~rows
    assert placed
    return replace(
        matches,
        image=matches.image[kept],
        klass=matches.klass[kept],
        score=matches.score[kept],
        hit=matches.hit[kept],
        placed=Placed(placed.boxes[kept], placed.found[kept], placed.hits[kept], placed.objects),
    )


def lost(matches: Matches, one_in: int, klass: int | None = None) -> Matches:
    """Without one in so many of the detections."""
    rows = np.ones(len(matches.klass), np.bool_) if klass is None else matches.klass == klass
    return without(matches, rows & (np.cumsum(rows) % one_in == 0))


def pale(matches: Matches) -> Matches:
    return replace(matches, score=matches.score * 0.3)


def loose(matches: Matches) -> Matches:
    """Every box fits less, but well enough for mAP50."""
    placed = matches.placed
    assert placed
    hits = placed.hits.copy()
    hits[:, 7:] = False
    return replace(matches, placed=replace(placed, hits=hits))


def test_integers_that_answer_alike_are_served() -> None:
    choice = chosen(MANY)
    assert (choice.taken, choice.rejected, choice.gain) == (Precision.INT8, False, FASTER)
    assert "loses at most 0.00" in choice.reason
    assert "900 labelled images that it was not calibrated on" in choice.reason


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (partial(lost, one_in=1, klass=1), "of AP50 of 'spot' (0.01 allowed)"),
        (partial(lost, one_in=30, klass=1), "AP50 of 'spot'"),
        (partial(lost, one_in=140), "of mAP50 (0.005 allowed)"),
        (pale, "of recall (0.03 allowed)"),
        (loose, "mAP50-95"),
    ],
    ids=["a class is lost", "a class gets worse", "all gets worse", "scores fade", "boxes move"],
)
def test_integers_that_lose_something_are_not_served_and_it_is_named(change: Change, says: str) -> None:
    choice = chosen(MANY, change)
    assert choice.taken is Precision.F32
    assert choice.reason.startswith("f32 is served, since int8 loses ")
    assert says in choice.reason


@pytest.mark.parametrize(("count", "says"), [(49, "judged on 49 images, and 50 are the least"), (120, "may lose")])
def test_on_few_images_nothing_is_proven(count: int, says: str) -> None:
    choice = chosen(answers(count))
    assert choice.taken is Precision.F32
    assert says in choice.reason


def test_a_rare_class_is_judged_by_itself_and_asks_for_more_images() -> None:
    common = (labelled(index) for index in range(900) if index % 3 < 2 or index < 60)
    choice = chosen(match_answers(common, CLASSES))
    assert choice.taken is Precision.F32
    assert "may lose AP50 of 'edge' (up to 0.1" in choice.reason
    assert "labelled images would tell" in choice.reason
    assert "streak" not in choice.reason


def test_what_no_image_shows_is_not_proven() -> None:
    choice = chosen(match_answers((labelled(index) for index in range(900) if index % 3 < 2), CLASSES))
    assert choice.taken is Precision.F32
    assert "cannot be judged on 'edge'" in choice.reason


@pytest.mark.parametrize("gain", [0.6, LEAST_GAIN - 0.001])
def test_what_is_hardly_faster_is_not_worth_it(gain: float) -> None:
    choice = chosen(MANY, gain=gain)
    assert (choice.taken, choice.gain) == (Precision.F32, gain)
    assert "saves less than 5%" in choice.reason


def test_the_reason_is_the_same_however_fast_the_machine_is_today() -> None:
    assert chosen(MANY, gain=1.4).reason == chosen(MANY, gain=1.6).reason


def test_who_insists_on_integers_gets_them_where_nothing_is_proven() -> None:
    choice = chosen(answers(60), partial(lost, one_in=50), Asked.INT8, gain=0.9)
    assert (choice.taken, choice.rejected) == (Precision.INT8, False)
    assert "as BANANA_PRECISION asks" in choice.reason


def test_but_not_where_they_lose_more_than_the_policy_allows() -> None:
    choice = chosen(MANY, partial(lost, one_in=1, klass=1), Asked.INT8)
    assert choice.rejected
    assert "loses more than the policy allows" in choice.reason
    assert "'spot'" in choice.reason
    assert "Set BANANA_PRECISION to auto or f32" in choice.reason


def test_a_policy_that_is_stricter_than_the_product_holds() -> None:
    strict = MARGINS.replace(map50=0.0001)
    choice = choose(Asked.AUTO, MANY, MANY, FASTER, strict, resamples=RESAMPLES)
    assert choice.taken is Precision.F32


def test_a_class_name_cannot_break_out_of_the_sentence() -> None:
    nasty = ("streak", "it's\nall fine", "edge")
    broken, sound = (replace(one, class_names=nasty) for one in (lost(MANY, 1, klass=1), MANY))
    reason = choose(Asked.AUTO, broken, sound, FASTER, MARGINS, resamples=RESAMPLES).reason
    assert "\n" not in reason
    assert "'it’s all fine'" in reason


@pytest.mark.long
def test_what_loses_just_too_much_of_a_class_is_hardly_ever_served() -> None:
    """By its nature at most one in twenty; here every other chance is against it as well."""
    served = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = (MANY.klass == 1) & (rng.random(len(MANY.klass)) < 0.011)
        served += chosen(MANY, partial(without, rows=rows)).taken is Precision.INT8
    assert served <= 2
