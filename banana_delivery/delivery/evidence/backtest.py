"""Past attempts judged again by another policy, as far as what they looked at was kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from banana_delivery.delivery.evidence.kept import kept_steps
from banana_delivery.delivery.record_attempt import report_file
from banana_delivery.policies.document import ReleasePolicy
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.hindsight.replay import Replay, replay
from banana_delivery.policy.model import Outcome
from banana_delivery.quoting import one_line
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.settings import Settings

NOT_KEPT = "nothing that it looked at was kept"
MET_NOBODY = frozenset({Outcome.SUPERSEDED})
"""These ended before any users."""
CUT_SHORT = frozenset({Outcome.ROLLED_BACK, Outcome.CANCELLED, Outcome.ERROR})
"""Where the steps that were kept went on, a person ended these, or what they run on."""


@dataclass(frozen=True)
class Judged:
    """A past attempt.

    Attributes:
        attempt: as it is on record.
        replay: how it would have gone; None if nobody can tell.
        why: why not, as a clause.
    """

    attempt: AttemptRecord
    replay: Replay | None
    why: str = ""


def backtest(
    policy: ReleasePolicy, log: AuditLog, settings: Settings, last: int, tell: Callable[[int], None] = lambda _: None
) -> list[Judged]:
    """The latest attempts, judged again.

    Args:
        policy: by which.
        log: the audit trail.
        settings: where the home is.
        last: how many of them.
        tell: told after each how many there were so far.
    """
    found = []
    for attempt in islice(_with_users(log), last):
        found.append(_judge(policy, settings, attempt))
        tell(len(found))
    return found


def _with_users(log: AuditLog) -> Iterator[AttemptRecord]:
    """What may have met users: what people and the watch did later has no run that shifted any."""
    return (one for one in log.each_readable() if one.run_id and not one.revokes and one.outcome not in MET_NOBODY)


def _judge(policy: ReleasePolicy, settings: Settings, attempt: AttemptRecord) -> Judged:
    try:
        steps = kept_steps(report_file(settings, attempt))
    except ValueError as unreadable:
        return Judged(attempt, None, str(unreadable))
    if not steps:
        return Judged(attempt, None, NOT_KEPT)
    try:
        found = replay(policy.plan, policy.metrics, steps)
    except ValueError as error:
        # Of an earlier version, or damaged: the others can be judged none the less.
        return Judged(
            attempt, None, f"{policy.name} cannot judge what it looked at ({one_line(str(error).rstrip('.'))})"
        )
    return Judged(attempt, found.cut_short if attempt.outcome in CUT_SHORT else found)
