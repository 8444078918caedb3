"""What a person gives as the reason of a decision."""

from __future__ import annotations

from banana_delivery.errors import GateError


def stated(reason: str) -> str:
    """A reason as it goes on record, without the space around it.

    Raises:
        GateError: if there is none.
    """
    if not reason.strip():
        raise GateError("It needs a reason, which the audit trail keeps; say why: --reason '...'")
    return reason.strip()
