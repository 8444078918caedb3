"""What people said of versions, without what somebody took back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from banana_delivery.policy.asset_records import DecisionKind, ManualDecision


def standing(said: Iterable[ManualDecision]) -> Iterator[ManualDecision]:
    """The approvals and overrides that nobody took back after them; they are as if they had not been said.

    Args:
        said: by whomever about whichever version, the latest first.
    """
    taken_back = set()
    for one in said:
        if one.kind is DecisionKind.WITHDRAWAL:
            taken_back.add(one.version)
        elif one.version not in taken_back:
            yield one
