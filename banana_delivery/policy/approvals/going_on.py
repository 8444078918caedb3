"""What an approval still asks for, by what became of its version since."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from banana_delivery.policy.asset_records import AttemptRecord, ManualDecision
from banana_delivery.policy.gate import is_spent
from banana_delivery.policy.model import Outcome


def awaits_approval(latest: AttemptRecord | None, digest: str = "") -> bool:
    """Whether an approval is what a version waits for, by what became of it last.

    Args:
        latest: the last attempt at the version; None if there was none.
        digest: the image that would be let in; empty for whichever it is.
    """
    if latest is None or latest.outcome is not Outcome.PARKED or latest.frozen:
        return False
    return bool(latest.digest) and digest in {"", latest.digest}


class GoesOn(StrEnum):
    """What an approval still asks for, by what became of its version."""

    NOTHING = "nothing"
    """It went on, or another delivery has said more of it since."""
    FIRST = "first"
    """The delivery that follows from it: the version waits for it, one beside it failed, or a freeze put it off."""
    AGAIN = "again"
    """Another one, since a freeze kept out what was approved."""


def goes_on(approval: ManualDecision, history: Sequence[AttemptRecord]) -> GoesOn:
    """What an approval asks for, by all attempts at its version; the gate says whether it still lets its image in.

    An error is nothing that the version did: where it met a delivery that was under way already, the one that follows
    from the approval was never made. A freeze ends by itself, so what it kept out, or put off, goes on then.
    """
    in_order = sorted(history, key=lambda attempt: attempt.order)
    latest = in_order[-1] if in_order else None
    if approval.frozen and (latest is None or latest.order < approval.order):
        return GoesOn.FIRST
    if latest is None or is_spent(approval, history) or approval.digest not in {"", latest.digest}:
        return GoesOn.NOTHING
    if awaits_approval(latest, approval.digest):
        return GoesOn.FIRST
    if was_kept_out(approval, latest):
        return GoesOn.AGAIN
    before = next((one for one in reversed(in_order) if one.order < approval.order), None)
    failed = latest.outcome is Outcome.ERROR and latest is not before
    return GoesOn.FIRST if failed and (approval.frozen or awaits_approval(before, approval.digest)) else GoesOn.NOTHING


def was_kept_out(approval: ManualDecision, latest: AttemptRecord | None) -> bool:
    """Whether a freeze kept out what was approved: an approval that was given after that was not about it."""
    if latest is None or latest.outcome is not Outcome.PARKED or not latest.frozen:
        return False
    return approval.digest in {"", latest.digest} and latest.order > approval.order
