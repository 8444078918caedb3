"""What production served when, read from the audit trail."""

from __future__ import annotations

from collections.abc import Sequence

from banana_delivery.policy.outcomes import Outcome
from banana_delivery.policy.releases import AttemptRecord


def served_since(attempts: Sequence[AttemptRecord], since: float) -> set[str]:
    """The digests that had production's traffic at rest at any time since then.

    Args:
        attempts: the whole audit trail, newest first.
        since: seconds since the epoch.
    """
    served = set()
    for attempt in attempts:
        live = attempt.digest if attempt.outcome is Outcome.RELEASED else attempt.previous_digest
        if live and attempt.outcome in {Outcome.RELEASED, Outcome.ROLLED_BACK}:
            served.add(live)
            if attempt.at <= since:
                break
    return served
