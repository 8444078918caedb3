from __future__ import annotations

import pytest

from banana_delivery.policy.approvals.going_on import GoesOn, goes_on
from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind
from banana_delivery.policy.model import Outcome
from tests.unit.policy.test_gate import DIGEST, OTHER, PARKED, RELEASED, attempt, decision

FROZEN = PARKED.replace(frozen=True)


@pytest.mark.parametrize(
    ("before", "after", "asks"),
    [
        ([], [], GoesOn.NOTHING),
        ([PARKED], [], GoesOn.FIRST),
        ([FROZEN], [], GoesOn.NOTHING),
        ([PARKED], [PARKED], GoesOn.FIRST),
        ([PARKED], [FROZEN], GoesOn.AGAIN),
        ([FROZEN], [FROZEN], GoesOn.AGAIN),
        ([PARKED], [attempt(Outcome.ERROR, 12.0)], GoesOn.FIRST),
        ([RELEASED], [attempt(Outcome.ERROR, 12.0)], GoesOn.NOTHING),
        ([PARKED.replace(order=9), attempt(Outcome.ERROR, 10.0)], [], GoesOn.NOTHING),
        ([PARKED], [FROZEN.replace(digest=OTHER)], GoesOn.NOTHING),
        *(
            ([PARKED], [attempt(ended, 12.0)], GoesOn.NOTHING)
            for ended in Outcome
            if ended not in {Outcome.PARKED, Outcome.ERROR}
        ),
    ],
)
def test_an_approval_asks_for_a_delivery_until_something_else_has_said_more(
    before: list[AttemptRecord], after: list[AttemptRecord], asks: GoesOn
) -> None:
    approval = decision(DecisionKind.APPROVAL, 11.0, DIGEST)
    history = [*before, *(one.replace(order=12) for one in after)]
    assert goes_on(approval, history) is asks
    assert goes_on(approval, history[::-1]) is asks


@pytest.mark.parametrize(
    ("before", "after", "asks"),
    [
        ([PARKED], [], GoesOn.FIRST),
        ([FROZEN], [], GoesOn.FIRST),
        ([PARKED, attempt(Outcome.CANCELLED, 10.5)], [], GoesOn.FIRST),
        ([PARKED, attempt(Outcome.ERROR, 10.5).replace(digest="")], [], GoesOn.FIRST),
        ([PARKED], [FROZEN], GoesOn.AGAIN),
        ([FROZEN], [attempt(Outcome.ERROR, 12.0)], GoesOn.FIRST),
        ([RELEASED, FROZEN], [attempt(Outcome.ERROR, 12.0)], GoesOn.FIRST),
        ([FROZEN], [attempt(Outcome.ERROR, 12.0).replace(digest=OTHER)], GoesOn.NOTHING),
        ([PARKED], [attempt(Outcome.CANCELLED, 12.0)], GoesOn.NOTHING),
        ([PARKED], [RELEASED], GoesOn.NOTHING),
        ([], [], GoesOn.FIRST),
        ([], [RELEASED], GoesOn.NOTHING),
    ],
)
def test_an_approval_that_a_freeze_put_off_asks_for_what_its_command_would_have_begun(
    before: list[AttemptRecord], after: list[AttemptRecord], asks: GoesOn
) -> None:
    approval = decision(DecisionKind.APPROVAL, 11.0, DIGEST).replace(frozen=True)
    assert goes_on(approval, [*before, *(one.replace(order=12) for one in after)]) is asks


def test_an_approval_asks_for_nothing_once_its_version_was_released() -> None:
    history = [PARKED, RELEASED.replace(order=12), FROZEN.replace(order=13)]
    assert goes_on(decision(DecisionKind.APPROVAL, 11.0, DIGEST), history) is GoesOn.NOTHING
