"""What people said about keeping deliveries out of production, and about keeping one where it is."""

from __future__ import annotations

from collections.abc import Iterable

from banana_delivery.policy.model import StoredRecord


class FreezeRecord(StoredRecord):
    """That somebody let nothing into production any more, or let deliveries in again; the latest one counts.

    Attributes:
        frozen: which of the two.
        by: who.
        reason: why.
        at: seconds since the epoch.
        until: when it ends by itself, seconds since the epoch; None if it does not.
    """

    frozen: bool
    by: str
    reason: str
    at: float
    until: float | None = None


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
