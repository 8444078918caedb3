from dataclasses import replace

import numpy as np
import pytest

from banana_delivery.policy.quality.assessment import cannot_be_compared
from banana_delivery.policy.quality.comparison import absolute_quality, compare
from banana_delivery.policy.quality.gates import QualityVerdict, verdict_on
from banana_delivery.policy.quality.margins import QualityMargins
from tests.unit.policy.quality.random_leaves import CLASSES, random_answers

NOT_WORSE = QualityVerdict.NOT_WORSE


def test_a_clearly_worse_model_is_worse_and_the_sentence_says_by_how_much() -> None:
    production = random_answers(1000, seed=1, noise=2.0)
    candidate = random_answers(1000, seed=1, noise=7.0, model_seed=1)
    comparison = compare(candidate, production, resample_count=200)
    assert comparison.verdict is QualityVerdict.WORSE
    assert comparison.quantile_95 < -0.02
    assert f"{comparison.candidate_map50:.3f} against {comparison.production_map50:.3f}" in comparison.reason
    assert "on 1,000 labelled images" in comparison.reason
    assert "loses more than 0.02" in comparison.reason


def test_the_same_model_twice_is_not_worse_and_never_disagrees() -> None:
    answers = random_answers(1000, seed=1, noise=4.0)
    comparison = compare(answers, answers, resample_count=100)
    assert comparison.verdict is QualityVerdict.NOT_WORSE
    assert (comparison.quantile_5, comparison.quantile_95) == (0.0, 0.0)
    assert comparison.disagreements == ()


def test_pairing_makes_the_interval_narrower_than_unpaired_resampling_would() -> None:
    production = random_answers(300, seed=1, noise=4.0)
    candidate = random_answers(300, seed=1, noise=4.1)
    paired = compare(candidate, production, resample_count=300)
    other_images = compare(candidate, production, resample_count=300, seed=1)
    assert paired.quantile_95 - paired.quantile_5 < 0.05
    assert paired.quantile_5 == pytest.approx(other_images.quantile_5, abs=0.01)


def test_the_same_answers_always_get_the_same_figures() -> None:
    production = random_answers(200, seed=2, noise=3.0)
    candidate = random_answers(200, seed=2, noise=3.0, model_seed=1)
    assert compare(candidate, production, resample_count=50) == compare(candidate, production, resample_count=50)


def test_with_few_images_a_clear_loss_is_a_loss_and_what_cannot_be_resolved_is_said() -> None:
    production = random_answers(200, seed=1, noise=1.0)
    worse = compare(random_answers(200, seed=1, noise=9.0, model_seed=1), production, resample_count=50)
    assert worse.verdict is QualityVerdict.WORSE
    sibling = compare(random_answers(200, seed=1, noise=1.0, model_seed=1), production, resample_count=200)
    assert sibling.verdict is QualityVerdict.NOT_WORSE
    (unresolved,) = (gate for gate in sibling.gates if not gate.resolved)
    assert unresolved.loss < unresolved.margin < unresolved.missable
    assert f"a loss of up to {unresolved.missable:.3f} could have been missed, of which the policy" in sibling.reason


def test_whether_a_loss_may_be_missed_is_for_the_policy_to_say() -> None:
    production = random_answers(200, seed=1, noise=1.0)
    sibling = random_answers(200, seed=1, noise=1.0, model_seed=1)
    strict = compare(sibling, production, resample_count=200, margins=QualityMargins(missable=1))
    assert strict.verdict is QualityVerdict.INCONCLUSIVE
    assert all(gate.missable <= gate.margin for gate in strict.gates if gate.decides and gate.verdict is NOT_WORSE)


def test_models_that_answer_alike_on_few_images_are_not_said_to_lose_nothing() -> None:
    answers = random_answers(60, seed=1, noise=1.0)
    comparison = compare(answers, answers, resample_count=50)
    assert all(gate.missable > 0 for gate in comparison.gates if gate.decides)


def test_a_class_of_which_no_object_is_labelled_is_named() -> None:
    production = random_answers(100, seed=1, noise=1.0)
    blind = replace(production, truths=production.truths * np.array([1, 1, 0]))
    comparison = compare(blind, blind, resample_count=20)
    assert "Nothing is known of edge, of which no object is labelled." in comparison.reason
    assert comparison.per_class["edge"].weight == 0


def test_nothing_is_shown_to_hold_on_a_handful_of_images() -> None:
    answers = random_answers(49, seed=1, noise=1.0)
    comparison = compare(answers, answers, resample_count=50)
    assert comparison.verdict is QualityVerdict.INCONCLUSIVE
    assert "at least 50 images are needed" in comparison.reason


@pytest.mark.parametrize(
    ("quantiles", "verdict"),
    [
        ((-0.019, 0.01), QualityVerdict.NOT_WORSE),
        ((-0.02, 0.01), QualityVerdict.INCONCLUSIVE),
        ((-0.08, -0.02), QualityVerdict.INCONCLUSIVE),
        ((-0.08, -0.021), QualityVerdict.WORSE),
    ],
)
def test_the_verdict_follows_the_quantiles(quantiles: tuple[float, float], verdict: QualityVerdict) -> None:
    assert verdict_on(*quantiles, images=1000, minimum_images=1000) is verdict


def test_the_images_on_which_they_differ_most_come_first() -> None:
    production = random_answers(200, seed=1, noise=1.0)
    candidate = random_answers(200, seed=1, noise=9.0, model_seed=1)
    shown = compare(candidate, production, resample_count=10).disagreements
    differences = [
        abs(d.candidate_missed - d.production_missed) + abs(d.candidate_false - d.production_false) for d in shown
    ]
    assert len(shown) == 12
    assert differences == sorted(differences, reverse=True)
    assert shown[0].extra_errors > 0


def test_answers_to_other_images_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="same labelled images"):
        compare(random_answers(10, seed=1, noise=1.0), random_answers(11, seed=1, noise=1.0))


def test_per_class_figures_name_the_objects_they_rest_on() -> None:
    production = random_answers(100, seed=1, noise=1.0)
    comparison = compare(production, production, resample_count=10)
    assert tuple(comparison.per_class) == CLASSES
    assert sum(quality.objects for quality in comparison.per_class.values()) == int(np.sum(production.truths))


def test_a_first_release_must_reach_the_minimum() -> None:
    good = absolute_quality(random_answers(100, seed=1, noise=1.0))
    bad = absolute_quality(random_answers(100, seed=1, noise=12.0))
    assert good.passed
    assert not bad.passed
    assert f"mAP50 {bad.map50:.3f} on 100 labelled images is below the minimum of 0.500" in bad.reason


def test_images_without_any_object_cannot_measure_quality() -> None:
    with pytest.raises(ValueError, match="nothing to measure"):
        absolute_quality(random_answers(0, seed=1, noise=1.0))


def test_labelled_images_that_show_nothing_that_production_knows_are_told_and_not_judged_by() -> None:
    answers = random_answers(100, seed=1, noise=1.0)
    new_only = replace(answers, truths=answers.truths * np.array([0, 1, 1]))
    said = cannot_be_compared(new_only, ("streak",))
    assert said.startswith("No labelled image shows an object of streak, which production knows")
    assert cannot_be_compared(answers, ("streak",)) == cannot_be_compared(new_only, ()) == ""


def test_what_has_exactly_the_confidence_is_seen_by_nobody() -> None:
    """A replica answers with what scores higher than the confidence that was asked for."""
    answers = random_answers(300, seed=1, noise=1.0)
    above, at = (replace(answers, score=np.full_like(answers.score, score)) for score in (0.26, 0.25))
    assert compare(above, above, resample_count=50).verdict is QualityVerdict.NOT_WORSE
    lost = compare(at, above, resample_count=50)
    assert lost.candidate_map50 == lost.production_map50
    assert lost.verdict is QualityVerdict.WORSE
    assert "recall at confidence 0.25 0.000 against" in lost.reason
