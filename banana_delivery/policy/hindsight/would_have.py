"""What a policy that only observes would have done."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from banana_delivery.policy.model import StoredModel

TRY = "try"
"""What ends a step only for now."""
DEEDS = {
    "roll_back": "sent its users back",
    "park": "parked it",
    TRY: "sent its users back and tried it",
    "stand_back": "ended with an error",
    "reject": "rejected it",
    "wait": "waited",
}
"""In words, by what would have been done."""


class Mode(StrEnum):
    """Whether a policy acts by the evidence, or says what it would have done."""

    ACT = "act"
    OBSERVE = "observe"


class WouldHave(StoredModel):
    """What would have been done, and was not.

    Attributes:
        what: a key of ``DEEDS``.
        where: in which part of the delivery.
        seconds: since that had begun; None where nobody counts them.
        reason: why, in one sentence.
    """

    what: str
    where: str
    seconds: float | None = None
    reason: str

    @property
    def sentence(self) -> str:
        """As people are told, without the reason's full stop."""
        after = "" if self.seconds is None else f" after {self.seconds:.0f} s"
        return f"have {DEEDS.get(self.what, self.what)} at {self.where}{after}: {self.reason.rstrip('.')}"


def summary(observed: Sequence[WouldHave]) -> str:
    """What a policy that only observed would have done, for a release that it let through."""
    ends = [one for one in observed if one.what != "wait"] or list(observed)
    if not ends:
        return "The policy only observes, and would have released it as well."
    more = f" (and {len(ends) - 1} more)" if len(ends) > 1 else ""
    return f"The policy only observes; it would {ends[0].sentence}{more}."
