"""What people said of versions, without what somebody took back, and what becomes of a delivery that saw it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum

from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import DecisionKind, ManualDecision


class HowFar(StrEnum):
    """How far a delivery has come that has not ended, the furthest first."""

    IN_PRODUCTION = "in production"
    """Its production step has begun, which may have asked the gate for the last time."""
    BEGUN = "begun"
    STARTS = "starts"
    """Its process is being started, and has read nothing yet."""
    WAITS = "waits"
    ENDS = "ends"
    """It was ended, or has said how it ended, and decides nothing any more."""


_SENTENCES = {
    HowFar.IN_PRODUCTION: "A delivery of it has come to production, and may go on by what it saw",
    HowFar.BEGUN: "A delivery of it is under way: before production it may go on by what it saw, and into production "
    "it goes only if it may without that",
    HowFar.STARTS: "A delivery of it is being started, and goes only as far as it may without that",
    HowFar.WAITS: "A delivery of it waits for its turn, and then goes only as far as it may without that",
    HowFar.ENDS: "A delivery of it is ending.",
}


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


def what_becomes_of(version: str, deliveries: Collection[HowFar]) -> list[str]:
    """What becomes of the deliveries of a version of which somebody took back what was said, as sentences.

    Args:
        version: MLflow model version.
        deliveries: how far each had come after that was on record.
    """
    told = [(one, _SENTENCES[one]) for one in HowFar if one in deliveries]
    end = f"; to end it, type: {commands.abort(version)}"
    return [said if one is HowFar.ENDS else f"{said}{end}" for one, said in told]
