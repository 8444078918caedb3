"""How much chance may do where many gates watch, and which losses are found then."""

from statistics import NormalDist

import numpy as np
import pytest

from banana_delivery.policy.quality.stages.levels import UNSEEN, found, of_all, standard_errors, unseen_of
from banana_delivery.policy.quality.stages.looks import ONE_SIDED

CHANCE = NormalDist()
RESOLVED, FEW = (0.07, 0.01), (0.07, 0.05)
"""A margin of seven standard errors, and one of 1.4."""


def test_tests_that_need_no_share_leave_theirs_to_the_others() -> None:
    alone, equal = standard_errors([FEW], 0.02), standard_errors([FEW] * 9, 0.02)
    assert alone == pytest.approx(CHANCE.inv_cdf(0.98), abs=1e-3)
    assert equal == pytest.approx(CHANCE.inv_cdf(1 - 0.02 / 9), abs=1e-3)
    assert standard_errors([FEW, *[RESOLVED] * 8], 0.02) == pytest.approx(alone, abs=1e-3)


@pytest.mark.parametrize("tests", [[FEW] * 13, [RESOLVED] * 13, [RESOLVED, FEW, (0.02, 0.02)] * 4, [(0.05, 0.0)], []])
def test_all_tests_together_turn_an_equal_model_back_no_more_often_than_they_may(
    tests: list[tuple[float, float]],
) -> None:
    level = standard_errors(tests, 0.02)
    wrong = [CHANCE.cdf(-max(margin / error, level)) for margin, error in tests if error]
    assert sum(wrong) <= 0.02
    assert level >= ONE_SIDED


def test_a_loss_that_is_said_to_be_found_is_found_in_nine_of_ten_deliveries_or_more() -> None:
    objects, beyond, draws = 400, 2.5, np.random.default_rng(3)
    loss = found(0.0, beyond, 0.001, objects)
    lost = draws.binomial(objects, loss, 20_000) / objects
    errors = np.sqrt((lost * (1 - lost) * objects + 2) / objects**2)
    assert float((lost > beyond * errors).mean()) > 0.9


def test_a_loss_beyond_a_margin_is_found_the_sooner_the_surer_the_estimate_is() -> None:
    assert found(0.05, 0.0, 0.02, 10_000) == pytest.approx(0.05 + 1.282 * 0.02)
    losses = [found(0.05, 1.645, 0.001, objects) for objects in (1, 10, 100, 1000, 100_000)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.06


def test_objects_that_come_together_in_few_images_count_as_images() -> None:
    spread, one, two = np.ones(300, np.int64), np.array([30, 0, 0]), np.array([15, 15])
    assert unseen_of(spread) == UNSEEN
    assert unseen_of(one) == 30 * UNSEEN
    assert unseen_of(two) == 15 * UNSEEN
    assert unseen_of(np.array([25, 1, 1, 1, 1, 1])) > 20 * UNSEEN, "five more images say little beside that one"
    assert UNSEEN < unseen_of(np.full(1000, 3)) < 1.1 * UNSEEN, "where there are many, they show how far they lie apart"


def test_no_more_than_everything_can_be_lost_and_of_three_objects_nobody_can_tell() -> None:
    assert of_all(0.4, 0.07, 3.0, 90) == 0.4
    assert of_all(2.5, 0.07, 3.0, 5) == 1.0
    assert of_all(2.5, 0.07, 3.0, 3) == 2.5
    assert of_all(2.5, 0.07, 3.0, 5, unseen_of(np.array([5]))) == 2.5


def test_a_margin_that_lets_everything_be_lost_promises_to_find_nothing() -> None:
    assert of_all(found(1.0, 1.645, 0.01, 1000), 1.0, 1.645, 1000) > 1
    assert of_all(found(0.99, 1.645, 0.01, 1000), 0.99, 1.645, 1000) == 1.0
