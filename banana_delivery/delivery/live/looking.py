"""Everything that can be seen now, looked up once; what does not answer is among it."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from banana_delivery.delivery.rescue.ticks import Ticks
from banana_delivery.errors import TargetError
from banana_delivery.policy.gate import is_spent
from banana_delivery.policy.model import Environment
from banana_delivery.reports.freezing import freeze_view
from banana_delivery.reports.overview import Overview
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.evidence.expiry import LOOKED_AT, left
from banana_delivery.runs.lifecycle import Runs, trigger_of
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.targets.sightings import sightings
from banana_delivery.waiting import SYSTEM_CLOCK, Clock

SHOWN = 10
"""How many of the last attempts."""


def look_around(
    settings: Settings, target: ReleaseTarget, log: AuditLog | None, *, clock: Clock = SYSTEM_CLOCK, shown: int = SHOWN
) -> Overview:
    """All that can be seen now.

    Args:
        settings: whose pipeline.
        target: where releases run.
        log: the audit trail; None while it is away.
        clock: tells when that is.
        shown: how many of the last attempts.
    """
    records, observed, unseen = [], {}, {}
    for environment in Environment:
        try:
            records.append(target.record(environment))
            observed[environment] = target.observed(environment)
        except TargetError as error:
            unseen[environment] = str(error)
    now, ticks = clock.time(), Ticks(settings.home).last()
    seen = Overview(now, records, observed, unseen, freeze=freeze_view(settings, None, now, asked=False), ticks=ticks)
    if log is None:
        return seen
    memory, queue = sightings(settings, clock), Runs(log.instance, log.location).waiting()
    said = log.freeze()
    return replace(
        seen,
        waiting=[f"version {log.location.version_of(run)} ({trigger_of(run.tags)})" for run in queue],
        attempts=list(islice(log.each_readable(), shown)),
        unsigned=len(log.unsigned(LOOKED_AT)),
        freeze=freeze_view(settings, said, now),
        hold=said if said and said.frozen and (said.until is None or said.until > now) else None,
        decisions=[
            (one, left(one, memory, settings), is_spent(one, [*log.each_readable(one.version)]))
            for one in log.decisions(latest=LOOKED_AT)
        ],
    )


def look_again(before: Overview, target: ReleaseTarget, clock: Clock = SYSTEM_CLOCK) -> Overview:
    """The same with the records as they are now, which is all that moves from one second to the next, and cheap."""
    records, unseen = [], {}
    for environment in Environment:
        try:
            records.append(target.record(environment))
        except TargetError as error:
            unseen[environment] = str(error)
    return replace(before, at=clock.time(), records=records, unseen=unseen)
