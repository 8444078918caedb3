"""One look of the staging sensor after the other: what is newly staged, and what people wrote beside it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

import dagster as dg

from banana_delivery.delivery.deciding.going_on import Due, GoingOn
from banana_delivery.delivery.deciding.wishes import TRIGGER, Wishes
from banana_delivery.delivery.publish_outcome import OutcomePublisher
from banana_delivery.delivery.record_attempt import AttemptRecorder, newest_of
from banana_delivery.errors import RegistryError, RegistryUnreadError
from banana_delivery.model_registry.base import ModelRegistry, StagedVersion
from banana_delivery.names import ACTOR_TAG, REQUEST_TAG, STAGED_AT_TAG, STAGING_ORDER_TAG, TRIGGER_TAG
from banana_delivery.notifications.alarms import registry_trouble
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outages import Outage, Trouble, Word, assess
from banana_delivery.policy.staged_versions import (
    Cursor,
    Overtaken,
    Staging,
    Trigger,
    choose,
    look,
    parse_cursor,
    superseded,
)
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.runs.policies import KeptMemory
from banana_delivery.waiting import Clock

LOG = logging.getLogger(__name__)


class Looking:
    """The looks of one tick; what one has seen, the next one knows.

    Attributes:
        cursor: what is known after the last look.
    """

    def __init__(
        self,
        context: dg.SensorEvaluationContext,
        here: CodeLocation,
        registry: ModelRegistry,
        clock: Clock,
        recorder: AttemptRecorder,
    ) -> None:
        self.cursor = parse_cursor(context.cursor)
        self._registry, self._clock, self._recorder = registry, clock, recorder
        self._watch = _RegistryWatch(recorder.publisher, clock, dict(self.cursor.outages))
        self._here = here
        self._audit_log, self._runs = AuditLog(context.instance, self._here), Runs(context.instance, self._here)
        self._wishes = Wishes(registry, recorder, self._audit_log, self._runs, clock, met=dict(self.cursor.wishes))
        self._kept = KeptMemory(context.instance, here)
        registry.recall(self._kept.text())
        self._looked_back = self._caught_up = False

    def look(self) -> dg.SensorResult | dg.SkipReason:
        """Ask the registry once, and ask for a delivery of what is new."""
        found = self._look()
        if isinstance(found, dg.SkipReason) and not self._caught_up:
            self._catch_up()
        return found

    def _catch_up(self) -> None:
        """Tell what could not be told when it happened, once in a tick.

        That takes versions out of stage "Staging", so it comes after a look: one that was staged again has been seen.
        """
        self._caught_up = True
        newest = partial(newest_of, self._audit_log)
        if (refused := self._recorder.publisher.catch_up(self._audit_log.made, newest)) is not None:
            self._watch.tried(Trouble.REFUSED, refused)
            self.cursor = self._known(self.cursor)

    def _look(self) -> dg.SensorResult | dg.SkipReason:
        parsed = self.cursor
        try:
            staged = self._registry.staged()
        except RegistryUnreadError as error:
            self._watch.tried(Trouble.UNREACHABLE, "")
            self._kept.keep(self._registry.memory)
            self.cursor = self._known(parsed)
            return dg.SkipReason(str(error))
        except RegistryError as error:
            self._watch.tried(Trouble.UNREACHABLE, str(error))
            self.cursor = self._known(parsed)
            return dg.SkipReason(f"The registry does not answer, nothing is lost, the next tick asks again: {error}")
        self._watch.tried(Trouble.UNREACHABLE, "")
        self._kept.keep(self._registry.memory)
        rejected = self._wishes.act_on(staged)
        now = [_staging(one) for one in staged]
        self.cursor, triggers = look(self._known(parsed), now, self._clock.time())
        if not parsed.looked:
            triggers = [one for one in triggers if not _tried_before(self._audit_log, self._runs, one)]
        deliver, overtaken = choose([one for one in triggers if one.version not in rejected])
        kept_out, unknown = self._kept_out()
        going_on = [*self._wishes.approved, *(one for one in kept_out if one.approval.version not in rejected)]
        due = {one.request: one for one in going_on}
        approved = [rest_of_delivery(self._here, one, TRIGGER) for one in due.values()]
        self._wishes.approved.clear()
        if not deliver and not approved:
            return dg.SkipReason(" ".join([f"{len(now)} versions are staged, none of them newly.", *unknown]))
        for one in overtaken:
            # What is delivered instead does not wait for the registry to be written.
            self._recorder.record(self._audit_log, _never_started(one, self._clock.time()), mark_later=True)
        for first in deliver[:1]:
            for run in superseded(self._runs.under_way(), first):
                self._runs.supersede(run.run_id, first.version)
        return dg.SensorResult(
            run_requests=[*approved, *(_request(trigger) for trigger in deliver)],
            dynamic_partitions_requests=[
                self._here.partitions.build_add_request([trigger.version for trigger in deliver])
            ],
            cursor=self.cursor.model_dump_json(),
        )

    def _kept_out(self) -> tuple[list[Due], list[str]]:
        """What goes on after a freeze, once in a tick: its end is no moment that anybody waits for."""
        if self._looked_back:
            return [], []
        self._looked_back = True
        due, unknown = GoingOn(self._recorder, self._audit_log, self._runs).kept_out()
        for said in unknown:
            LOG.warning("%s", said)
        return due, unknown

    def _known(self, cursor: Cursor) -> Cursor:
        return cursor.replace(outages=dict(self._watch.outages), wishes=dict(self._wishes.met))


@dataclass
class _RegistryWatch:
    """Tells people once in a while that the registry is away or refuses us, and that it is well again."""

    publisher: OutcomePublisher
    clock: Clock
    outages: dict[Trouble, Outage]

    def tried(self, trouble: Trouble, failed: str) -> None:
        """Take one more try into account; ``failed`` says why it failed, and is empty if it did not."""
        before = self.outages.get(trouble, Outage())
        now, word = assess(before, trouble, failed, self.clock.monotonic(), self.clock.time())
        self.outages[trouble] = now
        if word is None:
            return
        told = registry_trouble(self.publisher.model, trouble, before if word is Word.OVER else now, word)
        try:
            self.publisher.notifier.send(told)
        except OSError as error:
            LOG.warning("Nobody could be told that %s: %s", told.title, error)


def rest_of_delivery(here: CodeLocation, due: Due, trigger: str) -> dg.RunRequest:
    """What is left of a delivery that waited for an approval."""
    return dg.RunRequest(
        run_key=due.request,
        partition_key=due.approval.version,
        asset_selection=[here.key("production_release")],
        tags={TRIGGER_TAG: trigger, ACTOR_TAG: due.approval.by, REQUEST_TAG: due.request},
    )


def _staging(one: StagedVersion) -> Staging:
    return Staging(version=one.version, staged_at=one.staged_at if one.by_stage else None)


def _tried_before(audit_log: AuditLog, runs: Runs, trigger: Trigger) -> bool:
    """Whether the audit trail knows of this staging, since the cursor does not: parked versions stay staged, too.

    A delivery that this sensor started says for which staging, in the registry's own time; it is asked whether that was
    this one, never whether it was before. What a person delivered counts for whatever staging there is.
    """
    stagings = (runs.staging_of(attempt.run_id) for attempt in audit_log.said_attempts(trigger.version, readable=True))
    return any(not staging or not trigger.by_stage or staging == trigger.staging for staging in stagings)


def _request(trigger: Trigger) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=trigger.run_key,
        partition_key=trigger.version,
        tags={
            TRIGGER_TAG: "sensor",
            STAGED_AT_TAG: trigger.staging,
            STAGING_ORDER_TAG: str(trigger.order),
        },
    )


def _never_started(one: Overtaken, now: float) -> AttemptRecord:
    """A version that a later staging overtook before its run existed still gets its line in the audit trail."""
    return AttemptRecord(
        version=one.trigger.version,
        outcome=Outcome.SUPERSEDED,
        reason=f"Version {one.by.version} was staged later, before this delivery started.",
        trigger="sensor",
        run_id=one.trigger.run_key,
        at=now,
    )
