"""Probes of both colours, look by look: what a look may say, on average and at most."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banana_delivery.policy.rollout.active import Part
from banana_delivery.policy.rollout.comparison import NOT_COMPARED, Paired, log_factor
from banana_delivery.policy.rollout.decision import StepVerdict
from banana_delivery.policy.rollout.e_values import THETAS
from banana_delivery.policy.rollout.plan import PAIRED, Limit, blame_threshold
from tests.unit.policy.rollout.scene import BLUE, GREEN, PROBE, QUICK, SHIFT_20, USER, WATCH, Scene

BAD = st.integers(0, 30)


@given(bad=BAD, other=BAD, theta=st.sampled_from(THETAS))
@settings(max_examples=60)
def test_a_look_that_might_as_well_have_met_the_other_colour_says_nothing_on_average(
    bad: int, other: int, theta: float
) -> None:
    """However much of it hangs together: one stall of a node is one event."""
    one, swapped = Part(bad, 30), Part(other, 30)
    factors = math.exp(log_factor(one, swapped, theta)), math.exp(log_factor(swapped, one, theta))
    assert math.fsum(factors) / 2 <= 1.0 + 1e-12
    assert max(factors) <= 2.0 + 1e-12


@given(ours=st.integers(1, 60), theirs=st.integers(1, 60), bad=st.integers(1, 8), theta=st.sampled_from(THETAS))
@settings(max_examples=60)
def test_requests_that_fail_independently_say_nothing_on_average_however_many_each_colour_had(
    ours: int, theirs: int, bad: int, theta: float
) -> None:
    """The bad ones belong to the candidate as its share of the requests would have it."""
    bad = min(bad, ours, theirs)
    share = ours / (ours + theirs)
    mean = math.fsum(
        math.comb(bad, mine)
        * share**mine
        * (1 - share) ** (bad - mine)
        * math.exp(log_factor(Part(mine, ours), Part(bad - mine, theirs), theta))
        for mine in range(bad + 1)
    )
    assert mean <= 1.0 + 1e-9


def after(seconds: int, ours: int, theirs: int, compared: Paired = NOT_COMPARED) -> Paired:
    for _ in range(seconds):
        compared = compared.after(Part(ours, 30), Part(theirs, 30))
    return compared


def test_a_look_in_which_one_colour_was_not_asked_changes_nothing() -> None:
    once = after(3, 1, 0)
    assert once.after(Part(5, 5), Part(0, 0)) == once
    assert once.after(Part(0, 0), Part(3, 5)) == once


@pytest.mark.parametrize(("ours", "most"), [(30, 11), (15, 11), (3, 12), (1, 14)])
def test_a_candidate_alone_in_its_failures_is_found_after_as_many_seconds(ours: int, most: int) -> None:
    needed, compared, seconds = blame_threshold(QUICK, PAIRED), NOT_COMPARED, 0
    while compared.log_e < needed:
        compared, seconds = after(1, ours, 0, compared), seconds + 1
    assert 5 < seconds <= most


@pytest.mark.parametrize("both", [1, 10, 30])
def test_what_both_suffer_alike_is_no_evidence_however_long_it_lasts(both: int) -> None:
    assert after(300, both, both).log_e <= 1e-9


def test_absurd_counts_stay_numbers() -> None:
    compared = NOT_COMPARED.after(Part(10**9, 10**9), Part(0, 1)).after(Part(0, 1), Part(10**9, 10**9))
    assert math.isfinite(compared.log_e)


def failing(scene: Scene, seconds: int, every: int) -> StepVerdict:
    """One probe of the candidate fails every so many seconds, of 5; the active release's never do."""
    for second in range(seconds):
        scene.serve(GREEN, USER, 20)
        scene.serve(BLUE, USER, 80)
        scene.serve(GREEN, PROBE, 5, failed=int(second % every == 0))
        scene.serve(BLUE, PROBE, 5)
        if scene.look().verdict is StepVerdict.FAIL:
            break
    return scene.judgements[-1].verdict


def test_a_candidate_within_its_limits_is_found_by_its_probes_over_several_steps() -> None:
    """It fails 2.5 % of its probes, and production none."""
    scene = Scene(step=SHIFT_20.replace(minimum_seconds=40))
    assert failing(scene, 39, every=8) is not StepVerdict.FAIL
    later = Scene(step=WATCH.replace(minimum_seconds=40), paired=scene.state.paired)
    assert failing(later, 80, every=8) is StepVerdict.FAIL
    judgement = later.judgements[-1]
    assert (judgement.limit, judgement.source, judgement.proven) == (Limit.WORSE_THAN_ACTIVE, PROBE, True)
    paired = later.state.paired
    assert judgement.reason.startswith(
        f"Green failed {paired.ours.bad} of {paired.ours.judged} probes and blue 0 of {paired.theirs.judged}"
    )
    assert judgement.metrics.paired == paired
