"""Rollouts that a person keeps where they are: who said so, and whether it still counts."""

from __future__ import annotations

from collections.abc import Iterable

from banana_delivery.policy.model import StoredRecord


class PauseRecord(StoredRecord):
    """That somebody let a delivery's traffic stay where it is, or go on; the latest one about a delivery counts.

    Attributes:
        run_id: the delivery.
        version: that it delivers, for people.
        paused: which of the two.
        by: who.
        reason: why.
        at: seconds since the epoch, for people.
    """

    run_id: str
    version: str = ""
    paused: bool
    by: str
    reason: str
    at: float

    @property
    def words(self) -> str:
        """Who and why, for people."""
        return f"{self.by}: {self.reason}"


def standing_pause(said: Iterable[PauseRecord], run_id: str) -> PauseRecord | None:
    """Who keeps a delivery where it is; None if nobody does.

    Args:
        said: about whichever deliveries, the latest first.
        run_id: which one.
    """
    latest = next((one for one in said if one.run_id == run_id), None)
    return latest if latest and latest.paused else None
