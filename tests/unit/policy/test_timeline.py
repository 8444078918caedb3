"""What production served since when."""

from __future__ import annotations

import pytest

from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outcomes import served_since


def attempt(at: float, outcome: Outcome, digest: str, previous: str = "") -> AttemptRecord:
    return AttemptRecord(version=digest, outcome=outcome, reason="", digest=digest, previous_digest=previous, at=at)


TRAIL = [
    attempt(60, Outcome.ROLLED_BACK, "d", previous="c"),
    attempt(50, Outcome.RELEASED, "d", previous="c"),
    attempt(40, Outcome.REJECTED, "bad", previous="c"),
    attempt(30, Outcome.RELEASED, "c", previous="b"),
    attempt(20, Outcome.RELEASED, "b", previous="a"),
    attempt(10, Outcome.RELEASED, "a"),
]


@pytest.mark.parametrize(
    ("since", "served"),
    [
        (70, {"c"}),
        (55, {"c", "d"}),
        (35, {"c", "d"}),
        (25, {"b", "c", "d"}),
        (0, {"a", "b", "c", "d"}),
    ],
)
def test_a_release_counts_if_it_still_served_then_and_a_rejected_one_never(since: float, served: set[str]) -> None:
    assert served_since(TRAIL, since) == served


def test_nothing_was_served_before_the_first_release() -> None:
    assert served_since([attempt(5, Outcome.ERROR, "x")], 0) == set()
