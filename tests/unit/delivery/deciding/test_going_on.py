"""Which deliveries begin by themselves because somebody approved before."""

from __future__ import annotations

import pytest

from banana_delivery.delivery.deciding.going_on import APPROVED, began_by_itself
from banana_delivery.names import PARENT_RUN_TAG, REQUEST_TAG, RETRY_TAG

FOLLOWS = {REQUEST_TAG: f"7 {APPROVED} 3"}
AGAIN = {PARENT_RUN_TAG: "the one before"}


@pytest.mark.parametrize(
    ("tags", "by_itself"),
    [
        (FOLLOWS, True),
        (FOLLOWS | AGAIN | {RETRY_TAG: "1"}, True),
        (FOLLOWS | AGAIN, False),
        ({REQUEST_TAG: "a command's"}, False),
        (AGAIN | {RETRY_TAG: "1"}, False),
        ({}, False),
    ],
    ids=[
        "follows",
        "tried again by Dagster",
        "executed again by a person",
        "a command",
        "a retry of a command",
        "a click",
    ],
)
def test_what_follows_from_an_approval_began_by_itself_unless_a_person_had_it_executed_again(
    tags: dict[str, str], by_itself: bool
) -> None:
    assert began_by_itself(tags) is by_itself
