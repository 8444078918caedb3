"""Labelled images are asked about by stages, and looking often makes nobody wrong more often."""

import numpy as np
import pytest
from pydantic import ValidationError

from banana_delivery.policy.quality.comparison import compare
from banana_delivery.policy.quality.gates import QualityVerdict
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.matching import Matches
from banana_delivery.policy.quality.stages.looks import EARLY_SHARE, Look, looks
from banana_delivery.policy.quality.stages.parts import chosen
from tests.unit.policy.quality.random_leaves import random_answers

STAGES = QualityMargins().stages


@pytest.mark.parametrize("images", [1, 50, 300, 301, 599])
def test_few_images_are_looked_at_once_and_as_ever(images: int) -> None:
    (only,) = looks(images, STAGES)
    assert (only.images, only.is_last, only.share) == (images, True, 1.0)
    assert only.passing_errors == only.turning_errors == 1.645
    assert only.confidence == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (600, [300, 600]),
        (1000, [300, 1000]),
        (2000, [300, 1000, 2000]),
        (3000, [300, 1000, 3000]),
        (10_000, [300, 1000, 3000, 10_000]),
    ],
)
def test_many_images_are_looked_at_by_stages(images: int, expected: list[int]) -> None:
    plan = looks(images, STAGES)
    assert [look.images for look in plan] == expected
    assert [look.is_last for look in plan] == [False] * (len(plan) - 1) + [True]
    assert sum(look.share for look in plan) == pytest.approx(1.0)
    assert plan[-1].share == 1 - EARLY_SHARE


def test_no_stages_are_one_look() -> None:
    assert looks(10_000, ()) == (Look(10_000, 10_000),)


@pytest.mark.parametrize("stages", [[300, 300], [1000, 300], [0]])
def test_stages_rise(stages: list[int]) -> None:
    with pytest.raises(ValidationError):
        QualityMargins.model_validate({"stages": stages})


TRIALS, SPREAD, MARGIN = 40_000, 0.3, 0.02


def tried(loss: float) -> tuple[float, float, float]:
    """How often 3,000 images let pass and turn back, and how often one look at them would let pass.

    Args:
        loss: that is true; sums over images are drawn instead of the images.
    """
    rng, before, lost = np.random.default_rng(8), 0, np.zeros(TRIALS)
    turned = np.zeros(TRIALS, np.bool_)
    for look in looks(3000, STAGES):
        more, before = look.images - before, look.images
        lost += rng.normal(loss * more, SPREAD * np.sqrt(more), TRIALS)
        mean, error = lost / look.images, SPREAD / np.sqrt(look.images)
        turned |= mean - look.turning_errors * error > MARGIN
    passes, alone = (mean + errors * error < MARGIN for errors in (look.passing_errors, 1.645))
    return float((passes & ~turned).mean()), float(turned.mean()), float(alone.mean())


def test_a_loss_as_large_as_the_margin_passes_no_more_often_than_by_one_look() -> None:
    passed, _, alone = tried(MARGIN)
    assert 0.045 < passed <= alone < 0.053


def test_looks_together_turn_a_candidate_that_keeps_the_margin_back_no_more_often_than_one() -> None:
    _, turned, _ = tried(MARGIN)
    assert 0.035 < turned < 0.05


def test_an_equal_candidate_passes_as_often_as_without_stages() -> None:
    passed, turned, alone = tried(0.0)
    assert passed == pytest.approx(alone, abs=0.002)
    assert turned < 0.002


def test_the_last_look_lets_pass_by_the_bounds_of_a_single_one_and_turns_back_by_wider_ones(
    production: Matches,
) -> None:
    staged, single = (
        compare(sibling(600), production, resample_count=100, look=look)
        for look in (looks(600, STAGES)[-1], looks(600, ())[-1])
    )
    by_stages, alone = ([gate for gate in one.gates if gate.decides] for one in (staged, single))
    assert all(one.findable > other.findable for one, other in zip(by_stages, alone, strict=True))
    assert [one.replace(findable=0.0) for one in by_stages] == [one.replace(findable=0.0) for one in alone]
    assert "with 91 % confidence" in staged.reason
    assert "with 90 % confidence" in single.reason


def sibling(images: int, noise: float = 1.0) -> Matches:
    return random_answers(images, seed=1, noise=noise, model_seed=1)


@pytest.fixture(scope="module")
def production() -> Matches:
    return random_answers(600, seed=1, noise=1.0)


def early(candidate: Matches, production: Matches, **margins: float) -> QualityVerdict:
    some = np.arange(300)
    found = compare(
        chosen(candidate, some),
        chosen(production, some),
        resample_count=100,
        look=looks(600, STAGES)[0],
        margins=QualityMargins.model_validate(margins),
    )
    assert (found.images, found.of) == (300, 600)
    assert "on 300 of 600 labelled images" in found.reason
    assert "with 98 % confidence" in found.reason
    return found.verdict


def test_a_clear_loss_is_told_after_the_first_stage(production: Matches) -> None:
    assert early(sibling(600, noise=9.0), production) is QualityVerdict.WORSE


def test_the_first_stage_lets_nobody_pass_whom_only_the_policys_patience_lets_pass(production: Matches) -> None:
    candidate = sibling(600)
    assert compare(candidate, production, resample_count=100).verdict is QualityVerdict.NOT_WORSE
    assert early(candidate, production) is QualityVerdict.INCONCLUSIVE


def test_the_first_stage_lets_nobody_pass_whatever_every_gate_shows(production: Matches) -> None:
    """A class that none of its images shows has no gate there."""
    wide = dict.fromkeys(("map50", "recall", "map50_95", "class_ap50", "class_recall", "flips", "displacement"), 0.5)
    false_boxes = {"false_boxes": 2.0, "class_false_boxes": 5.0}
    assert early(sibling(600), production, **wide, **false_boxes) is QualityVerdict.INCONCLUSIVE
