"""What the audit trail adds up to, as counters: each line is counted once, in the order in which it was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import Field

from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome, StoredModel, StoredRecord

DURATION_EDGES = (30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)
"""Upper edges in seconds; 900 s is what is promised of a delivery."""
ROLLBACK_EDGES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""The same of a rollback; 300 s is promised."""


class Distribution(StoredModel):
    """Durations, by how many stay within each edge.

    Attributes:
        edges: upper ones, in seconds.
        counts: how many lie between an edge and the one before; the last counts those above all of them.
        total: seconds of all together.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    total: float = 0.0

    def plus(self, seconds: float) -> Distribution:
        """With one duration more."""
        place = next((place for place, edge in enumerate(self.edges) if seconds <= edge), len(self.edges))
        counts = tuple(count + (number == place) for number, count in enumerate(self.counts))
        return self.replace(counts=counts, total=self.total + seconds)


def empty(edges: tuple[float, ...]) -> Distribution:
    """Of nothing."""
    return Distribution(edges=edges, counts=(0,) * (len(edges) + 1))


class Totals(StoredRecord):
    """All lines together, up to one.

    Attributes:
        order: the place in the log of the last line that is counted.
        attempts: how many ended in which way.
        last_end: when the last of them did, seconds since the epoch.
        durations: of those that took any time, by how they ended.
        rollbacks: from verdict to all users back.
        requests: that users and probes sent while rollouts were under way.
        failed: of these, failed.
    """

    order: int = 0
    attempts: Mapping[Outcome, int] = Field(default_factory=dict)
    last_end: Mapping[Outcome, float] = Field(default_factory=dict)
    durations: Mapping[Outcome, Distribution] = Field(default_factory=dict)
    rollbacks: Distribution = Field(default_factory=lambda: empty(ROLLBACK_EDGES))
    requests: int = 0
    failed: int = 0


def count(totals: Totals, attempts: Iterable[AttemptRecord]) -> Totals:
    """With the lines that are not counted yet.

    Args:
        totals: what is counted.
        attempts: lines, in any order; those counted already are passed over.
    """
    for one in sorted(attempts, key=lambda attempt: attempt.order):
        if one.order > totals.order:
            totals = _plus(totals, one)
    return totals


def _plus(totals: Totals, one: AttemptRecord) -> Totals:
    durations = dict(totals.durations)
    if one.seconds and one.run_id:
        durations[one.outcome] = durations.get(one.outcome, empty(DURATION_EDGES)).plus(one.seconds)
    back = one.rollback_seconds if one.outcome is Outcome.ROLLED_BACK else None
    return totals.replace(
        order=one.order,
        attempts={**totals.attempts, one.outcome: totals.attempts.get(one.outcome, 0) + 1},
        last_end={**totals.last_end, one.outcome: one.at},
        durations=durations,
        rollbacks=totals.rollbacks if back is None else totals.rollbacks.plus(back),
        requests=totals.requests + one.requests,
        failed=totals.failed + one.failed,
    )
