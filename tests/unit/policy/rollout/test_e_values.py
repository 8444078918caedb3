import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banana_delivery.policy.rollout import e_values
from banana_delivery.policy.rollout.e_values import log_e_healthy, log_e_too_many_errors, log_e_worse_than_active

ALONE = math.log(1 / 0.01)
SPLIT_18_WAYS = math.log(18 / 0.01)
LONGEST = 4000


def exact_log_es(failures: int, successes: int, threshold: float) -> tuple[float, float]:
    """Too-many-errors and healthy by rational arithmetic: Beta(s + 1, f + 1) above p is Binomial(s + f + 1, p) <= s."""
    p, n = Fraction(threshold), failures + successes + 1
    above = sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(failures + 1))
    mean = 1 / (n * math.comb(n - 1, failures) * p**failures * (1 - p) ** successes)
    return log(mean * above / (1 - p)), log(mean * (1 - above) / p)


def log(value: Fraction) -> float:
    return math.log(value.numerator) - math.log(value.denominator)


def fewest_failures(needed: float, longest: int = LONGEST) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """For each number of requests, the fewest failures that reach the evidence; more than all if none does."""
    fewest, s = [1], 0
    for n in range(1, longest + 1):
        while s <= n and log_e_too_many_errors(s, n - s, 0.05) < needed:
            s += 1
        fewest.append(max(s, 3))
    return np.array(fewest)


def stopping_times(
    rate: float, fewest: np.ndarray[tuple[int], np.dtype[np.int64]], runs: int, seed: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Requests until the evidence is reached, one number a run; the length of ``fewest`` if it never is."""
    fails = np.random.default_rng(seed).random((runs, len(fewest) - 1)) < rate
    reached = np.cumsum(fails, axis=1) >= fewest[1:]
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, len(fewest))


@pytest.mark.parametrize(
    ("failures", "successes", "e"), [(1, 1, 3.6667), (2, 0, 140.33), (6, 14, 169.71), (10, 40, 160.10)]
)
def test_too_many_errors_has_the_published_values(failures: int, successes: int, e: float) -> None:
    assert math.exp(log_e_too_many_errors(failures, successes, 0.05)) == pytest.approx(e, rel=5e-5)


@pytest.mark.parametrize(("failures", "successes", "e"), [(0, 100, 33.258), (1, 150, 38.114)])
def test_healthy_has_the_published_values(failures: int, successes: int, e: float) -> None:
    assert math.exp(log_e_healthy(failures, successes, 0.05)) == pytest.approx(e, rel=2e-5)


@pytest.mark.parametrize(("errors", "e"), [("CC", 37.874), ("CCC", 296.16), ("CBCC", 58.076)])
def test_candidate_against_active_has_the_published_values(errors: str, e: float) -> None:
    sequence = [(1, 0, 0.1) if error == "C" else (0, 1, 0.1) for error in errors]
    assert math.exp(log_e_worse_than_active(sequence)) == pytest.approx(e, rel=2e-5)
    at_one_look = [(errors.count("C"), errors.count("B"), 0.1)]
    assert log_e_worse_than_active(at_one_look) == pytest.approx(log_e_worse_than_active(sequence))


@pytest.mark.parametrize(("failures", "requests"), [(2, 2), (3, 5), (5, 10), (6, 20), (10, 50), (24, 200)])
def test_alone_at_one_percent_these_are_the_fewest_failures_that_turn_back(failures: int, requests: int) -> None:
    assert log_e_too_many_errors(failures, requests - failures, 0.05) >= ALONE
    assert log_e_too_many_errors(failures - 1, requests - failures + 1, 0.05) < ALONE


@pytest.mark.parametrize(("failures", "successes"), [(0, 126), (1, 175), (2, 216)])
def test_alone_at_one_percent_these_are_the_fewest_successes_that_show_health(failures: int, successes: int) -> None:
    assert log_e_healthy(failures, successes, 0.05) >= ALONE
    assert log_e_healthy(failures, successes - 1, 0.05) < ALONE


@given(
    failures=st.integers(0, 60),
    successes=st.integers(0, 300),
    threshold=st.sampled_from([0.01, 0.05, 0.1, 0.3, 0.9]),
)
@settings(max_examples=50)
def test_both_tests_agree_with_exact_arithmetic(failures: int, successes: int, threshold: float) -> None:
    too_many, healthy = exact_log_es(failures, successes, threshold)
    assert log_e_too_many_errors(failures, successes, threshold) == pytest.approx(too_many, abs=1e-9)
    assert log_e_healthy(failures, successes, threshold) == pytest.approx(healthy, abs=1e-9)


@given(failures=st.integers(0, 10**6), successes=st.integers(0, 10**6))
@settings(max_examples=60)
def test_a_failure_never_speaks_for_health_however_many_requests_there_were(failures: int, successes: int) -> None:
    more = failures + 1
    assert log_e_too_many_errors(more, successes, 0.05) > log_e_too_many_errors(failures, successes, 0.05)
    assert log_e_healthy(more, successes, 0.05) < log_e_healthy(failures, successes, 0.05)


@given(requests=st.integers(1, 2000), allowed=st.sampled_from([0.05, 0.1]))
@settings(max_examples=50)
def test_at_the_allowed_share_nothing_speaks_for_too_many_errors(requests: int, allowed: float) -> None:
    failures = math.floor(allowed * requests)
    assert log_e_too_many_errors(failures, requests - failures, allowed) <= 1e-9


@pytest.mark.parametrize(
    ("rate", "median", "tolerance"), [(1.0, 3, 0.0), (0.5, 9, 0.0), (0.2, 61, 0.04), (0.1, 474, 0.04)]
)
def test_split_18_ways_faults_are_found_in_the_published_medians(rate: float, median: int, tolerance: float) -> None:
    fewest = fewest_failures(SPLIT_18_WAYS)
    assert np.median(stopping_times(rate, fewest, runs=3000, seed=18)) == pytest.approx(median, rel=tolerance)


def test_a_long_healthy_past_hides_a_fault_from_a_test_that_does_not_restart() -> None:
    straight = next(s for s in range(1, 200) if log_e_too_many_errors(s, 1000, 0.05) >= ALONE)
    assert straight == 87


def test_at_the_threshold_looking_at_every_request_raises_fewer_false_alarms_than_alpha() -> None:
    fewest = fewest_failures(ALONE)
    alarms = np.mean(stopping_times(0.05, fewest, runs=3000, seed=1) < len(fewest))
    assert 0 < alarms <= 0.01


def test_candidate_against_active_raises_no_more_false_alarms_than_alpha_while_the_base_rate_drifts() -> None:
    rng = np.random.default_rng(7)
    alarms, runs, looks = 0, 600, 120
    base = 0.02 + 0.3 * (np.arange(looks) > 60)
    for _ in range(runs):
        ours, theirs = rng.poisson(4, looks), rng.poisson(36, looks)
        errors = rng.binomial(ours, base), rng.binomial(theirs, base)
        evidence, highest = e_values.NO_SHARE_EVIDENCE, 0.0
        for c, b, mine, yours in zip(*errors, ours, theirs, strict=True):
            evidence = e_values.add_share_evidence(evidence, int(c), int(b), mine / (mine + yours))
            highest = max(highest, e_values.log_e_of_share_evidence(evidence))
        alarms += highest >= ALONE
    assert alarms / runs <= 0.01


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_with_all_or_no_traffic_errors_say_nothing_about_candidate_against_active(share: float) -> None:
    assert log_e_worse_than_active([(50, 0, share), (0, 50, share)]) == 0.0


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: log_e_too_many_errors(-1, 5, 0.05), "never negative"),
        (lambda: log_e_healthy(1, 5, 5), "for example 0.05"),
        (lambda: log_e_worse_than_active([(1, 0, 1.2)]), "between 0 and 1"),
    ],
)
def test_impossible_figures_are_refused_in_a_sentence(ask: object, said: str) -> None:
    assert callable(ask)
    with pytest.raises(ValueError, match=said):
        ask()
