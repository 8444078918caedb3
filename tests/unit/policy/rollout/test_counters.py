import pytest

from banana_delivery.policy.model import Counters
from banana_delivery.policy.rollout.counters import delta, p95, tally


def test_what_happened_between_two_looks_is_their_difference() -> None:
    older = Counters(requests=100, failures={"5xx": 3}, overloads=1, retries=2, latency={"1": 90, "+Inf": 96})
    newer = Counters(
        requests=150, failures={"5xx": 5, "timeout": 2}, overloads=1, retries=3, latency={"1": 130, "+Inf": 142}
    )
    assert delta(newer, older) == Counters(
        requests=50, failures={"5xx": 2, "timeout": 2}, overloads=0, retries=1, latency={"1": 40, "+Inf": 46}
    )


def test_a_restarted_router_counts_from_zero_in_all_its_counts() -> None:
    older = Counters(requests=100, failures={"5xx": 3}, retries=2)
    newer = Counters(requests=120, failures={"5xx": 1}, retries=5)
    assert delta(newer, older) == newer


def test_a_failure_class_that_vanished_means_a_restart() -> None:
    assert delta(Counters(requests=120), Counters(requests=100, failures={"5xx": 3})).requests == 120


def test_a_restarted_replica_leaves_the_counts_of_the_router_alone() -> None:
    older = Counters(requests=100, latency={"1": 90, "+Inf": 96})
    newer = Counters(requests=110, latency={"1": 4, "+Inf": 4})
    assert delta(newer, older) == Counters(requests=10, latency={"1": 4, "+Inf": 4})


def test_slow_requests_are_the_ones_beyond_the_budget() -> None:
    seen = tally(Counters(requests=100, latency={"0.5": 60, "1.0": 90, "+Inf": 97}), budget_seconds=1)
    assert (seen.answered, seen.slow) == (97, 7)


def test_a_backend_without_requests_has_no_latency() -> None:
    assert tally(Counters(), budget_seconds=1).answered == 0
    assert p95({}) is None
    assert p95({"0.1": 0, "+Inf": 0}) is None


@pytest.mark.parametrize(
    ("latency", "seconds"),
    [
        ({"0.1": 100, "1": 100, "+Inf": 100}, 0.095),
        ({"0.1": 90, "1": 100, "+Inf": 100}, 0.55),
        ({"+Inf": 100, "0.1": 90, "1": 94}, 1.0),
        ({"0.1": 0, "1": 1, "+Inf": 1}, 0.955),
    ],
)
def test_p95_is_interpolated_within_its_bucket(latency: dict[str, int], seconds: float) -> None:
    assert p95(latency) == pytest.approx(seconds)
