from __future__ import annotations

from banana_delivery.policy.approvals.withdrawn import standing
from banana_delivery.policy.asset_records import DecisionKind
from tests.unit.policy.test_gate import decision


def test_what_was_taken_back_is_as_if_not_said_and_what_was_said_after_that_counts() -> None:
    others = decision(DecisionKind.APPROVAL, 1.0).replace(version="8")
    before = [decision(DecisionKind.OVERRIDE, 2.0), decision(DecisionKind.APPROVAL, 3.0)]
    twice = [decision(DecisionKind.WITHDRAWAL, 4.0), decision(DecisionKind.WITHDRAWAL, 5.0)]
    anew = decision(DecisionKind.APPROVAL, 6.0)
    assert [*standing([anew, *twice, *before[::-1], others])] == [anew, others]
    assert [*standing([])] == []
