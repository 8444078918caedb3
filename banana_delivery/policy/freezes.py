"""What people said about letting deliveries into production at all."""

from __future__ import annotations

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
