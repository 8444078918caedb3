from __future__ import annotations

import pytest

from banana_delivery.policy.approvals.withdrawn import HowFar, standing, what_becomes_of
from banana_delivery.policy.asset_records import DecisionKind
from tests.unit.policy.test_gate import decision


def test_what_was_taken_back_is_as_if_not_said_and_what_was_said_after_that_counts() -> None:
    others = decision(DecisionKind.APPROVAL, 1.0).replace(version="8")
    before = [decision(DecisionKind.OVERRIDE, 2.0), decision(DecisionKind.APPROVAL, 3.0)]
    twice = [decision(DecisionKind.WITHDRAWAL, 4.0), decision(DecisionKind.WITHDRAWAL, 5.0)]
    anew = decision(DecisionKind.APPROVAL, 6.0)
    assert [*standing([anew, *twice, *before[::-1], others])] == [anew, others]
    assert [*standing([])] == []


@pytest.mark.parametrize(
    ("how_far", "says"),
    [
        (HowFar.WAITS, "waits for its turn, and then goes only as far as it may without that"),
        (HowFar.STARTS, "is being started, and goes only as far as it may without that"),
        (HowFar.BEGUN, "into production it goes only if it may without that"),
        (HowFar.IN_PRODUCTION, "has come to production, and may go on by what it saw"),
    ],
)
def test_of_each_delivery_that_has_not_ended_it_is_said_whether_it_goes_by_that_and_what_ends_it(
    how_far: HowFar, says: str
) -> None:
    (said,) = what_becomes_of("7", [how_far, how_far])
    assert says in said
    assert said.endswith("to end it, type: banana-delivery abort 7 --reason '...'")


def test_of_a_delivery_that_is_ending_nothing_is_to_be_typed_and_the_one_that_came_furthest_is_told_first() -> None:
    *before, last = what_becomes_of("7", [HowFar.ENDS, HowFar.WAITS, HowFar.IN_PRODUCTION])
    assert last == "A delivery of it is ending."
    assert ["production" in one for one in before] == [True, False]
    assert what_becomes_of("7", []) == []
