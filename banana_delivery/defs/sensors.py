"""The sensors: each does the talking around a pure decision.

``staged_versions`` starts deliveries; ``after_*`` make good what a run could not do itself; ``reconcile`` finds the
dead; ``production_watch`` keeps an eye on a release after its promotion; ``cool_down`` lets the replaced colour go.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg

from banana_delivery.defs.jobs import ROLLBACK, digest_to_roll_back
from banana_delivery.defs.resources import Services
from banana_delivery.delivery.record_attempt import record, unwritten, write_down
from banana_delivery.delivery.recovery import dead_runs, fail_run, orphaned, reclaim
from banana_delivery.delivery.scale_down import scale_down_if_due
from banana_delivery.delivery.watch import assess_production
from banana_delivery.errors import RegistryError, TargetError
from banana_delivery.model_registry.base import StagedVersion
from banana_delivery.names import PARTITION_TAG, STAGED_AT_TAG, TRIGGER_TAG
from banana_delivery.notifications.messages import rollback_failed
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import COLOURS, Environment, Outcome
from banana_delivery.policy.staged_versions import Staging, Trigger, look, newest, parse_cursor, superseded
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.lifecycle import UNFINISHED, deliveries_under_way, supersede
from banana_delivery.runs.partitions import MODEL_VERSIONS

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
    context: dg.SensorEvaluationContext, services: dg.ResourceParam[Services]
) -> dg.SensorResult | dg.SkipReason:
    """Ask the registry once, and deliver what is new; before that, tell what could not be told when it happened."""
    services.aftermath.catch_up()
    try:
        staged = services.registry.staged()
    except RegistryError as error:
        return dg.SkipReason(f"The registry does not answer, nothing is lost, the next tick asks again: {error}")
    now = [_staging(one) for one in staged]
    cursor, triggers = look(parse_cursor(context.cursor), now, time.time())
    if not context.cursor:
        triggers = [trigger for trigger in triggers if not _tried_before(context.instance, trigger, now)]
    winner = newest(triggers)
    if winner is None:
        context.update_cursor(cursor.model_dump_json())
        return dg.SkipReason(f"{len(now)} versions are staged, none of them newly.")
    for trigger in triggers[:-1]:
        _never_started(context.instance, services, trigger, winner)
    for run in superseded(deliveries_under_way(context.instance), winner):
        supersede(context.instance, run.run_id, winner.version)
    return dg.SensorResult(
        run_requests=[_request(winner)],
        dynamic_partitions_requests=[MODEL_VERSIONS.build_add_request([winner.version])],
        cursor=cursor.model_dump_json(),
    )


def _staging(one: StagedVersion) -> Staging:
    return Staging(version=one.version, staged_at=one.staged_at if one.by_stage else None)


def _tried_before(instance: dg.DagsterInstance, trigger: Trigger, now: Sequence[Staging]) -> bool:
    """Whether the audit trail knows of this staging, since the cursor does not: parked versions stay staged, too."""
    staged_at = next(one.staged_at for one in now if one.version == trigger.version)
    return any(staged_at is None or attempt.at >= staged_at for attempt in AuditLog(instance).attempts(trigger.version))


def _request(trigger: Trigger) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=trigger.run_key,
        partition_key=trigger.version,
        tags={TRIGGER_TAG: "sensor", STAGED_AT_TAG: f"{trigger.staged_at:.3f}"},
    )


def _never_started(instance: dg.DagsterInstance, services: Services, trigger: Trigger, winner: Trigger) -> None:
    """A version that a later staging overtook before its run existed still gets its line in the audit trail."""
    attempt = AttemptRecord(
        version=trigger.version,
        outcome=Outcome.SUPERSEDED,
        reason=f"Version {winner.version} was staged later, before this delivery started.",
        trigger="sensor",
        run_id=trigger.run_key,
        at=time.time(),
    )
    record(instance, services, attempt)


def _after(status: dg.DagsterRunStatus, name: str) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=status,
        name=name,
        default_status=RUNNING,
        minimum_interval_seconds=EVERY_LOOP,
        description=f"Writes down how a delivery ended in {status.value}, if its run could not, and tells people.",
    )
    def after(context: dg.RunStatusSensorContext, services: dg.ResourceParam[Services]) -> None:
        run = context.dagster_run
        if PARTITION_TAG in run.tags:
            write_down(context.instance, services, run)
        elif run.job_name == ROLLBACK and run.status is dg.DagsterRunStatus.FAILURE:
            settings = services.settings
            services.notifier.send(
                rollback_failed(settings.model_name, run.run_id, digest_to_roll_back(run), settings.pages_url)
            )

    return after


@dg.sensor(
    minimum_interval_seconds=10,
    default_status=RUNNING,
    description="Finds deliveries whose process died, restores one stable colour and fails their runs.",
)
def reconcile(context: dg.SensorEvaluationContext, services: dg.ResourceParam[Services]) -> dg.SkipReason:
    """Environments first, since users are waiting; then the runs."""
    done = []
    for environment in COLOURS:
        try:
            found = services.target.record(environment)
            if orphaned(context.instance, services, found):
                reclaim(services, found)
                done.append(f"{environment} was taken back from {found.owner}")
        except TargetError as error:
            done.append(f"{environment} does not answer: {error}")
    for run in dead_runs(context.instance):
        fail_run(context.instance, run)
        done.append(f"run {run.run_id[:8]} had died")
    for run in unwritten(context.instance, time.time()):
        write_down(context.instance, services, run)
        done.append(f"run {run.run_id[:8]} had no line in the audit trail")
    return dg.SkipReason("; ".join(done) or "Everybody lives.")


@dg.sensor(
    job_name=ROLLBACK,
    minimum_interval_seconds=EVERY_LOOP,
    default_status=RUNNING,
    description="Watches production after a promotion, while the release before is warm; rising errors roll it back.",
)
def production_watch(
    context: dg.SensorEvaluationContext, services: dg.ResourceParam[Services]
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Compare the counters with those of the last look."""
    try:
        production = services.target.record(Environment.PRODUCTION)
        snapshot = services.target.traffic(Environment.PRODUCTION)
    except TargetError as error:
        yield dg.SkipReason(f"Production does not answer: {error}")
        return
    watched = assess_production(production, snapshot, context.cursor, time.time(), services.settings.plan)
    context.update_cursor(watched.cursor)
    if watched.reason and production.live:
        # Without a run_key, so that a rollback that failed is tried again.
        if _rollback_begins(context.instance):
            yield dg.SkipReason(f"A rollback is under way: {watched.reason}")
            return
        config = {"reason": watched.reason, "actor": "production_watch", "digest": production.live.digest}
        yield dg.RunRequest(
            run_config={"ops": {"roll_back_production": {"config": config}}},
        )
        return
    yield dg.SkipReason(watched.detail)


def _rollback_begins(instance: dg.DagsterInstance) -> bool:
    """Whether a run was launched that has not claimed production yet."""
    since = datetime.fromtimestamp(time.time() - LAUNCH_SECONDS, UTC)
    begun = dg.RunsFilter(job_name=ROLLBACK, statuses=UNFINISHED, created_after=since)
    return bool(instance.get_runs(filters=begun, limit=1))


@dg.sensor(
    minimum_interval_seconds=15,
    default_status=RUNNING,
    description="Scales the replaced colour down once its time to stay warm is over.",
)
def cool_down(services: dg.ResourceParam[Services]) -> dg.SkipReason:
    """Only at rest, and only under a claim of its own."""
    try:
        return dg.SkipReason(scale_down_if_due(services, time.time()))
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
