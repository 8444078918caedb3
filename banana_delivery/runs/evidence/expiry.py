"""How long a person's decision counts: as long as it was seen to be there, by the clock of whoever sees it.

A date would be the word of two clocks, of the machine on which it was written and of the one on which it is read. So
an observer times a decision from when it first sees it, as it times everything else; the sensors look at the latest
ones at every tick. While nobody looks nothing is delivered either, and that time is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable

from banana_delivery.policy.asset_records import ManualDecision
from banana_delivery.settings import Settings
from banana_delivery.targets.sightings import Sightings

HOUR_SECONDS = 3600.0
LOOKED_AT = 20
"""How many observations of the audit trail, the latest first, a tick searches for decisions: one page of them."""


def left(decision: ManualDecision, sightings: Sightings, settings: Settings) -> float:
    """Seconds for which a decision still counts; 0 once it has expired. Whoever asks has looked at it."""
    limit, name = settings.decision_hours * HOUR_SECONDS, _name(decision, settings)
    sign = str(decision.order)
    seen = sightings.remembered(name, sign)
    # What has expired stays so and need not be kept again and again.
    return max(0.0, limit - (sightings.lasted(name, sign) if seen < limit else seen))


def unexpired(
    decisions: Iterable[ManualDecision], sightings: Sightings, settings: Settings
) -> tuple[ManualDecision, ...]:
    """Those that still count; what counts no more is as if it had not been said."""
    return tuple(one for one in decisions if left(one, sightings, settings) > 0)


def _name(decision: ManualDecision, settings: Settings) -> str:
    """Two pipelines may share a home, and each its own log has an event of that number."""
    return f"decision-{settings.dagster_prefix}-{decision.order}"
