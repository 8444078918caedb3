"""How much chance may do where many gates watch, and which losses are found then."""

from statistics import NormalDist

import numpy as np
import pytest

from banana_delivery.policy.quality.stages.levels import found, standard_errors
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
