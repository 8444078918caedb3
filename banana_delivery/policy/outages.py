"""When people are told that the registry is away or refuses us, and that it is well again.

The observer says how its last try went; its own monotonic clock says how long that has been so. No clock of another
machine is asked, and time in which nobody looked counts little.
"""

from __future__ import annotations

from enum import StrEnum

from banana_delivery.policy.model import Model, StoredModel

MINUTE, HOUR = 60.0, 3600.0
MOST_BETWEEN_LOOKS = MINUTE
"""Seconds that one look may add: in a longer gap nobody looked, and a clock that began anew says nothing."""
DAILY = 24 * HOUR


class Trouble(StrEnum):
    """What is wrong with the registry."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"


class Word(StrEnum):
    """What is to be told about it."""

    BEGUN = "begun"
    STILL = "still"
    OVER = "over"


class Patience(Model):
    """How long a trouble may last before it is told.

    Attributes:
        tell_after: seconds until it is told for the first, second, ... time; after the last one daily.
        steady: seconds of good tries until it counts as over, so that a registry that flaps is one trouble.
    """

    tell_after: tuple[float, ...]
    steady: float


PATIENCE = {
    Trouble.UNREACHABLE: Patience(tell_after=(15 * MINUTE, 4 * HOUR, DAILY), steady=MINUTE),
    # An answer, not a silence: it stays so until somebody changes it. Writing is rare, so one success is enough.
    Trouble.REFUSED: Patience(tell_after=(0.0, DAILY), steady=0.0),
}


class Outage(StoredModel):
    """One trouble, small enough for a sensor's cursor.

    Attributes:
        since: when it began by the observer's clock, for people, seconds since the epoch; None if there is none.
        reason: what the last failed try said.
        looked_at: the observer's monotonic clock at the last try, seconds.
        lasted: seconds that it has been observed.
        well: seconds of good tries since; None while it fails.
        told: how many times it was told.
    """

    since: float | None = None
    reason: str = ""
    looked_at: float = 0.0
    lasted: float = 0.0
    well: float | None = None
    told: int = 0


def assess(outage: Outage, trouble: Trouble, failed: str, monotonic: float, wall: float) -> tuple[Outage, Word | None]:
    """Take one more try into account.

    Args:
        outage: what the last call returned; ``Outage()`` at first.
        trouble: which kind it is about.
        failed: why the try failed; empty if it succeeded.
        monotonic: the observer's clock that never goes back, seconds from anywhere; may begin anew with a process.
        wall: seconds since the epoch, for people.

    Returns:
        What to keep, and what is to be told now, if anything.
    """
    if outage.since is None:
        if not failed:
            return outage, None
        outage = Outage(since=wall, looked_at=monotonic)
    passed = min(max(0.0, monotonic - outage.looked_at), MOST_BETWEEN_LOOKS)
    outage = outage.replace(looked_at=monotonic)
    if not failed:
        return _recovering(outage, PATIENCE[trouble], passed)
    lasted = outage.lasted + (passed if outage.well is None else 0.0)
    outage = outage.replace(reason=failed, lasted=lasted, well=None)
    if lasted < _next_telling(PATIENCE[trouble], outage.told):
        return outage, None
    return outage.replace(told=outage.told + 1), Word.STILL if outage.told else Word.BEGUN


def _recovering(outage: Outage, patience: Patience, passed: float) -> tuple[Outage, Word | None]:
    well = 0.0 if outage.well is None else outage.well + passed
    outage = outage.replace(well=well)
    if well < patience.steady:
        return outage, None
    return Outage(), Word.OVER if outage.told else None


def _next_telling(patience: Patience, told: int) -> float:
    beyond = told - len(patience.tell_after) + 1
    return patience.tell_after[told] if beyond <= 0 else patience.tell_after[-1] + beyond * DAILY
