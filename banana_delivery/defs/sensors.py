"""The sensors: each does the talking around a pure decision.

``staged_versions`` starts deliveries; ``after_*`` make good what a run could not do itself; ``reconcile`` finds the
dead; ``production_watch`` keeps an eye on a release after its promotion; ``cool_down`` lets the replaced colour go.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from banana_delivery.defs.jobs import ROLLBACK, digest_to_roll_back
from banana_delivery.delivery.publish_outcome import OutcomePublisher
from banana_delivery.delivery.record_attempt import AttemptRecorder, runs_without_attempt, tell_what_was_not_told
from banana_delivery.delivery.recovery import Recovery
from banana_delivery.delivery.rollback import EmergencyRollback
from banana_delivery.delivery.scale_down import scale_down_if_due
from banana_delivery.delivery.watch import assess_production
from banana_delivery.errors import BananaDeliveryError, RegistryError, TargetError
from banana_delivery.model_registry.base import ModelRegistry, StagedVersion
from banana_delivery.names import STAGED_AT_TAG, STAGING_ORDER_TAG, TRIGGER_TAG
from banana_delivery.notifications.messages import registry_trouble, rollback_failed
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import COLOURS, Environment, Outcome
from banana_delivery.policy.outages import Outage, Trouble, Word, assess
from banana_delivery.policy.staged_versions import Overtaken, Staging, Trigger, choose, look, parse_cursor, superseded
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.lifecycle import Runs, version_of
from banana_delivery.runs.partitions import MODEL_VERSIONS
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.waiting import Clock

LOG = logging.getLogger(__name__)
LAUNCH_SECONDS = 60.0
"""A rollback that has not begun after so long is taken for lost; a second one finds nothing left to do."""
RUNNING = dg.DefaultSensorStatus.RUNNING
EVERY_LOOP = 3
"""Seconds. The daemon looks every five; a sensor that asks for five too comes a moment early every other time."""


@dg.sensor(
    job_name="deliver",
    minimum_interval_seconds=EVERY_LOOP,
    default_status=RUNNING,
    description="Starts a delivery for every version that is newly staged in MLflow, by stage or by alias.",
)
def staged_versions(
    context: dg.SensorEvaluationContext,
    model_registry: dg.ResourceParam[ModelRegistry],
    clock: dg.ResourceParam[Clock],
    recorder: dg.ResourceParam[AttemptRecorder],
) -> dg.SensorResult | dg.SkipReason:
    """Ask the registry once, and deliver what is new; before that, tell what could not be told when it happened."""
    parsed = parse_cursor(context.cursor)
    watch = _RegistryWatch(recorder.publisher, clock, dict(parsed.outages))
    if (refused := recorder.publisher.catch_up()) is not None:
        watch.tried(Trouble.REFUSED, refused)
    try:
        staged = model_registry.staged()
    except RegistryError as error:
        watch.tried(Trouble.UNREACHABLE, str(error))
        context.update_cursor(parsed.replace(outages=watch.outages).model_dump_json())
        return dg.SkipReason(f"The registry does not answer, nothing is lost, the next tick asks again: {error}")
    watch.tried(Trouble.UNREACHABLE, "")
    audit_log, runs = AuditLog(context.instance), Runs(context.instance)
    now = [_staging(one) for one in staged]
    cursor, triggers = look(parsed.replace(outages=watch.outages), now, clock.time())
    if not parsed.looked:
        triggers = [trigger for trigger in triggers if not _tried_before(audit_log, trigger, now)]
    deliver, overtaken = choose(triggers)
    if not deliver:
        context.update_cursor(cursor.model_dump_json())
        return dg.SkipReason(f"{len(now)} versions are staged, none of them newly.")
    for one in overtaken:
        recorder.record(audit_log, _never_started(one, clock.time()))
    for run in superseded(runs.under_way(), deliver[0]):
        runs.supersede(run.run_id, deliver[0].version)
    return dg.SensorResult(
        run_requests=[_request(trigger) for trigger in deliver],
        dynamic_partitions_requests=[MODEL_VERSIONS.build_add_request([trigger.version for trigger in deliver])],
        cursor=cursor.model_dump_json(),
    )


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


def _staging(one: StagedVersion) -> Staging:
    return Staging(version=one.version, staged_at=one.staged_at if one.by_stage else None)


def _tried_before(audit_log: AuditLog, trigger: Trigger, now: Sequence[Staging]) -> bool:
    """Whether the audit trail knows of this staging, since the cursor does not: parked versions stay staged, too."""
    staged_at = next(one.staged_at for one in now if one.version == trigger.version)
    return any(staged_at is None or attempt.at >= staged_at for attempt in audit_log.attempts(trigger.version))


def _request(trigger: Trigger) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=trigger.run_key,
        partition_key=trigger.version,
        tags={
            TRIGGER_TAG: "sensor",
            STAGED_AT_TAG: f"{trigger.staged_at:.3f}",
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


def _after(status: dg.DagsterRunStatus, name: str) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=status,
        name=name,
        default_status=RUNNING,
        minimum_interval_seconds=EVERY_LOOP,
        description=f"Puts on record how a delivery ended in {status.value}, if its run could not, and tells people.",
    )
    def after(
        context: dg.RunStatusSensorContext,
        clock: dg.ResourceParam[Clock],
        recorder: dg.ResourceParam[AttemptRecorder],
    ) -> None:
        run, settings = context.dagster_run, recorder.settings
        if version_of(run):
            recorder.record_run(AuditLog(context.instance), run, clock.time())
        elif run.job_name == ROLLBACK and run.status is dg.DagsterRunStatus.FAILURE:
            digest = digest_to_roll_back(run)
            recorder.publisher.notifier.send(
                rollback_failed(settings.model_name, run.run_id, digest, settings.pages_url)
            )

    return after


@dg.sensor(
    minimum_interval_seconds=10,
    default_status=RUNNING,
    description="Finds deliveries whose process died, restores one stable colour and fails their runs.",
)
def reconcile(
    context: dg.SensorEvaluationContext,
    release_target: dg.ResourceParam[ReleaseTarget],
    clock: dg.ResourceParam[Clock],
    recorder: dg.ResourceParam[AttemptRecorder],
) -> dg.SkipReason:
    """Environments first, since users are waiting; then the runs."""
    done = []
    audit_log, runs = AuditLog(context.instance), Runs(context.instance)
    recovery = Recovery(runs, release_target, recorder.settings, clock)
    for environment in COLOURS:
        try:
            found = release_target.record(environment)
            if recovery.is_orphaned(found):
                recovery.take_back(found)
                done.append(f"{environment} was taken back from {found.owner}")
        except TargetError as error:
            done.append(f"{environment} does not answer: {error}")
    try:
        done += filter(None, [EmergencyRollback(release_target, recorder, audit_log, context.log.info).finish()])
    except BananaDeliveryError as error:
        done.append(f"a rollback could not be finished: {error}")
    for run in runs.dead(clock.time()):
        recovery.fail(run)
        done.append(f"run {run.run_id[:8]} had died")
    for run in runs_without_attempt(audit_log, clock.time()):
        recorder.record_run(audit_log, run, clock.time())
        done.append(f"run {run.run_id[:8]} had no line in the audit trail")
    for attempt in tell_what_was_not_told(audit_log, recorder.publisher, clock.time()):
        done.append(f"people were told late how version {attempt.version} ended")
    return dg.SkipReason("; ".join(done) or "No orphaned environment or run.")


@dg.sensor(
    job_name=ROLLBACK,
    minimum_interval_seconds=EVERY_LOOP,
    default_status=RUNNING,
    description="Watches production after a promotion, while the release before is warm; rising errors roll it back.",
)
def production_watch(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    release_target: dg.ResourceParam[ReleaseTarget],
    clock: dg.ResourceParam[Clock],
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Compare the counters with those of the last look."""
    try:
        production = release_target.record(Environment.PRODUCTION)
        snapshot = release_target.traffic(Environment.PRODUCTION)
    except TargetError as error:
        yield dg.SkipReason(f"Production does not answer: {error}")
        return
    watched = assess_production(production, snapshot, context.cursor, clock.time(), settings.plan)
    context.update_cursor(watched.cursor)
    if watched.reason and production.live:
        # Without a run_key, so that a rollback that failed is tried again.
        if Runs(context.instance).begun(ROLLBACK, clock.time() - LAUNCH_SECONDS):
            yield dg.SkipReason(f"A rollback is under way: {watched.reason}")
            return
        config = {"reason": watched.reason, "actor": "production_watch", "digest": production.live.digest}
        yield dg.RunRequest(
            run_config={"ops": {"roll_back_production": {"config": config}}},
        )
        return
    yield dg.SkipReason(watched.detail)


@dg.sensor(
    minimum_interval_seconds=15,
    default_status=RUNNING,
    description="Scales the replaced colour down once its time to stay warm is over.",
)
def cool_down(
    settings: dg.ResourceParam[Settings],
    release_target: dg.ResourceParam[ReleaseTarget],
    clock: dg.ResourceParam[Clock],
) -> dg.SkipReason:
    """Only at rest, and only under a claim of its own."""
    try:
        return dg.SkipReason(scale_down_if_due(release_target, settings.heartbeat_seconds, clock.time()))
    except TargetError as error:
        return dg.SkipReason(f"Not now: {error}")


def build_sensors() -> list[dg.SensorDefinition]:
    """All sensors."""
    return [
        staged_versions,
        _after(dg.DagsterRunStatus.SUCCESS, "after_success"),
        _after(dg.DagsterRunStatus.FAILURE, "after_failure"),
        _after(dg.DagsterRunStatus.CANCELED, "after_cancel"),
        reconcile,
        production_watch,
        cool_down,
    ]
