"""The sensors: each does the talking around a pure decision.

``staged_versions`` starts deliveries; ``after_*`` make good what a run could not do itself; ``reconcile`` finds the
dead; ``production_watch`` keeps an eye on a release after its promotion; ``cool_down`` lets the replaced colour go;
``page_decisions``, where people may decide on the page of deliveries, does what they ask for, and ``page_approvals``
starts what follows.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import dagster as dg

from banana_delivery.defs.jobs import digest_to_roll_back
from banana_delivery.defs.staging import Looking, rest_of_delivery
from banana_delivery.delivery.deciding.by_page import TRIGGER, ByPage, desk_of
from banana_delivery.delivery.evidence.asking import Questions
from banana_delivery.delivery.evidence.watched import watched_metrics
from banana_delivery.delivery.observing.survey import refresh
from banana_delivery.delivery.record_attempt import AttemptRecorder, runs_without_attempt, tell_what_was_not_told
from banana_delivery.delivery.recovery import Recovery
from banana_delivery.delivery.rescue.drift_watch import DriftWatch
from banana_delivery.delivery.rescue.emergency import EmergencyRollback
from banana_delivery.delivery.rescue.ticks import noted
from banana_delivery.delivery.scale_down import scale_down_if_due, scale_staging_down_if_due
from banana_delivery.delivery.upkeep.room import Room
from banana_delivery.delivery.watch import act_on, assess_held, assess_production, leave_alone, traffic_with_control
from banana_delivery.errors import BananaDeliveryError, ClaimRefusedError, TargetError, redacted
from banana_delivery.evaluation.base import Evaluator
from banana_delivery.evaluation.own_metrics.base import MetricSource
from banana_delivery.images.base import ImageStore
from banana_delivery.model_registry.base import ModelRegistry
from banana_delivery.model_registry.webhooks.bell import Bell
from banana_delivery.notifications.alarms import held_version_fails, rollback_failed
from banana_delivery.policies.document import Rules
from banana_delivery.policy.model import COLOURS, Environment, Phase
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import DELIVER, ROLLBACK, CodeLocation
from banana_delivery.runs.evidence.expiry import LOOKED_AT, unexpired
from banana_delivery.runs.evidence.requests import Requests
from banana_delivery.runs.instance import may_take_its_time
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.targets.sightings import sightings
from banana_delivery.waiting import Clock, Deadline

LOG = logging.getLogger(__name__)
EVERY_LOOP = 3
"""Seconds. The daemon looks every five; a sensor that asks for five too comes a moment early every other time."""
LISTENING_SECONDS = 4.4
"""From the beginning of a tick: it is over when the daemon comes again, five seconds after it began. One that takes
longer is passed over then, and nobody listens for another five."""
BETWEEN_LOOKS_SECONDS = 0.4
"""However often it rings, the registry is not asked more often."""
Declared = Callable[[dg.DefaultSensorStatus], dg.SensorDefinition]


def _sensor(description: str, minimum_interval_seconds: int, job_name: str | None = None) -> Callable[..., Declared]:
    """Make a function a sensor, once it is told whether that starts by itself."""

    def declare(evaluate: Callable[..., Any]) -> Declared:
        return lambda status: dg.sensor(
            job_name=job_name,
            minimum_interval_seconds=minimum_interval_seconds,
            default_status=status,
            description=description,
        )(evaluate)

    return declare


def _here(context: dg.SensorEvaluationContext, settings: Settings) -> CodeLocation:
    """Our part of the instance, under the name that the workspace really gave it."""
    origin = context.code_location_origin
    return CodeLocation.of(settings).called(origin.location_name if origin else None)


@_sensor(
    job_name=DELIVER,
    minimum_interval_seconds=EVERY_LOOP,
    description="Starts a delivery for every version that is newly staged in MLflow, by stage or by alias.",
)
@noted("staged_versions")
def staged_versions(
    context: dg.SensorEvaluationContext,
    model_registry: dg.ResourceParam[ModelRegistry],
    clock: dg.ResourceParam[Clock],
    recorder: dg.ResourceParam[AttemptRecorder],
    bell: dg.ResourceParam[Bell],
) -> dg.SensorResult | dg.SkipReason:
    """Look, and look again whenever it rings until the next tick is due. Whoever rings, this alone starts deliveries.

    What rang before the first look is what that look sees, so it listens from before it.
    """
    listening = Deadline(LISTENING_SECONDS, clock)
    heard = bell.heard() if bell.can_ring and may_take_its_time(context.instance, "staged_versions") else None
    looking = Looking(context, _here(context, recorder.settings), model_registry, clock, recorder)
    found = looking.look()
    while heard and isinstance(found, dg.SkipReason) and (heard := bell.wait(heard, listening.left)):
        found = looking.look()
        clock.sleep(min(BETWEEN_LOOKS_SECONDS, listening.left) if isinstance(found, dg.SkipReason) else 0.0)
    if isinstance(found, dg.SkipReason):
        context.update_cursor(looking.cursor.model_dump_json())
    return found


def _after(status: dg.DagsterRunStatus, name: str, starting: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    # Dagster shows it the runs of its own code location only, 25 events of anybody's at a tick.
    @dg.run_status_sensor(
        run_status=status,
        name=name,
        default_status=starting,
        minimum_interval_seconds=EVERY_LOOP,
        description=f"Puts on record how a delivery ended in {status.value}, if its run could not, and tells people.",
    )
    def after(
        context: dg.RunStatusSensorContext,
        clock: dg.ResourceParam[Clock],
        recorder: dg.ResourceParam[AttemptRecorder],
    ) -> None:
        run, settings = context.dagster_run, recorder.settings
        here = CodeLocation.of(settings)
        if here.version_of(run):
            recorder.record_run(AuditLog(context.instance, here), run, clock.time())
        elif here.owns(run) and run.job_name == ROLLBACK and run.status is dg.DagsterRunStatus.FAILURE:
            digest = digest_to_roll_back(run)
            recorder.publisher.notifier.send(
                rollback_failed(settings.model_name, run.run_id, digest, settings.pages_url)
            )

    return after


@_sensor(
    minimum_interval_seconds=10,
    description="Compares production with its record and makes good what can be; finds deliveries whose process died, "
    "restores one stable colour and fails their runs.",
)
@noted("reconcile")
def reconcile(
    context: dg.SensorEvaluationContext,
    release_target: dg.ResourceParam[ReleaseTarget],
    image_store: dg.ResourceParam[ImageStore],
    clock: dg.ResourceParam[Clock],
    recorder: dg.ResourceParam[AttemptRecorder],
) -> dg.SkipReason:
    """Environments first, since users are waiting; then the runs."""
    done = []
    here = _here(context, recorder.settings)
    audit_log, runs = AuditLog(context.instance, here), Runs(context.instance, here)
    recovery = Recovery(runs, release_target, recorder.settings, clock)
    for environment in COLOURS:
        try:
            found = release_target.record(environment)
            if recovery.is_orphaned(found):
                recovery.take_back(found)
                done.append(f"{environment} was taken back from {found.owner}")
        except ClaimRefusedError as error:
            done.append(f"{environment} was left to whoever works there: {error}")
        except TargetError as error:
            done.append(f"{environment} does not answer: {error}")
    watch = DriftWatch(recorder.publisher, clock, recorder.settings.heartbeat_seconds)
    cursor, drift = watch.look(context.cursor)
    context.update_cursor(cursor)
    done += filter(None, [drift])
    try:
        rollback = EmergencyRollback(release_target, recorder, audit_log, context.log.info, image_store)
        done += filter(None, [rollback.finish()])
    except BananaDeliveryError as error:
        done.append(f"a rollback could not be finished: {error}")
    unexpired(audit_log.decisions(latest=LOOKED_AT), sightings(recorder.settings, clock), recorder.settings)
    for run in runs.dead(sightings(recorder.settings, clock)):
        done.append(_done(f"run {run.run_id[:8]} had died", partial(recovery.fail, run)))
    for run in runs_without_attempt(audit_log, sightings(recorder.settings, clock)):
        record = partial(recorder.record_run, audit_log, run, clock.time())
        done.append(_done(f"run {run.run_id[:8]} had no line in the audit trail", record))
    for attempt in tell_what_was_not_told(audit_log, recorder.publisher):
        done.append(f"people were told late how version {attempt.version} ended")
    refresh(recorder.settings.home, audit_log, release_target)
    done += filter(None, [Room(recorder.settings).look(recorder.publisher.tell)])
    return dg.SkipReason("; ".join(done) or "No orphaned environment or run.")


def _done(what: str, do: Callable[[], object]) -> str:
    """Do something about one of several, which keeps none of those behind it; the next tick finds it again."""
    try:
        do()
    except Exception as error:
        LOG.exception("Nothing could be done about it: %s.", what)
        return f"{what}, and nothing could be done about it now: {redacted(str(error) or type(error).__name__)}"
    return what


@_sensor(
    minimum_interval_seconds=EVERY_LOOP,
    description="Watches production after a promotion, while the release before is warm; rising errors roll it back.",
)
@noted("production_watch")
def production_watch(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    release_target: dg.ResourceParam[ReleaseTarget],
    evaluator: dg.ResourceParam[Evaluator],
    metric_source: dg.ResourceParam[MetricSource],
    metric_questions: dg.ResourceParam[Questions],
    image_store: dg.ResourceParam[ImageStore],
    clock: dg.ResourceParam[Clock],
    recorder: dg.ResourceParam[AttemptRecorder],
) -> dg.SkipReason:
    """Compare the counters with those of the last look, and before a rollback with the release before.

    What has to go, goes at once: a run would wait for room. Of a held production, whatever it is, people are only told.
    """
    try:
        production = release_target.record(Environment.PRODUCTION)
        snapshot = release_target.traffic(Environment.PRODUCTION)
    except TargetError as error:
        return dg.SkipReason(f"Production does not answer: {error}")
    rules = Rules.kept(production.rules)  # By which it was released, whatever the file says by now.
    plan = rules.plan_of_limits if rules else recorder.policy_file.plan_in_any_case
    if production.phase is Phase.DRIFTED:
        held = assess_held(production, snapshot, context.cursor, plan)
        context.update_cursor(held.cursor)
        for version, reason in held.failing.items():
            recorder.publisher.notifier.send(held_version_fails(settings.model_name, production, version, reason))
        return dg.SkipReason(" ".join(held.failing.values()) or f"Production is held: {production.note}")
    assess = partial(
        assess_production,
        production,
        cursor=context.cursor,
        plan=plan,
        warm_seconds=settings.warm_seconds,
        own=watched_metrics(rules, metric_source, metric_questions, production),
    )
    watched = assess(snapshot)
    if watched.reason:
        try:
            snapshot = traffic_with_control(release_target, evaluator, production, clock)
        except TargetError as error:
            return dg.SkipReason(f"Production does not answer: {error}")
        watched = assess(snapshot)
    context.update_cursor(watched.cursor)
    audit_log = AuditLog(context.instance, _here(context, settings))
    rollback = EmergencyRollback(release_target, recorder, audit_log, context.log.info, image_store)
    leaves = watched.reason and watched.by_evidence and rules is not None and rules.observes
    return dg.SkipReason((leave_alone if leaves else act_on)(watched, production, rollback))


@_sensor(
    minimum_interval_seconds=15,
    description="Scales the replaced colour down once its time to stay warm is over, and staging if it is told to.",
)
@noted("cool_down")
def cool_down(
    settings: dg.ResourceParam[Settings],
    release_target: dg.ResourceParam[ReleaseTarget],
    clock: dg.ResourceParam[Clock],
) -> dg.SkipReason:
    """Only at rest, and only under a claim of its own."""
    said, seen = [], sightings(settings, clock)
    for scale_down in (scale_down_if_due, scale_staging_down_if_due):
        try:
            said.append(scale_down(release_target, seen, settings))
        except TargetError as error:
            said.append(f"Not now: {error}")
    return dg.SkipReason(" ".join(said))


@_sensor(
    minimum_interval_seconds=EVERY_LOOP,
    description="Does what people ask for on the page of deliveries, if they may, and puts on record who and why.",
)
def page_decisions(
    context: dg.SensorEvaluationContext,
    release_target: dg.ResourceParam[ReleaseTarget],
    image_store: dg.ResourceParam[ImageStore],
    clock: dg.ResourceParam[Clock],
    recorder: dg.ResourceParam[AttemptRecorder],
) -> dg.SkipReason:
    """Look again and again until the next tick is due: who presses a button at night waits for no tick.

    It launches nothing: until Dagster has done that, which takes seconds, nobody would be heard.
    """
    listening = Deadline(LISTENING_SECONDS, clock)
    by_page = _by_page(context, release_target, image_store, clock, recorder)
    patient = may_take_its_time(context.instance, "page_decisions", "staged_versions")
    if lack := by_page.begin():
        return dg.SkipReason(lack)
    told = by_page.look()
    while patient and listening.left > 0:
        clock.sleep(min(BETWEEN_LOOKS_SECONDS, listening.left))
        told += by_page.look()
    return dg.SkipReason(" ".join(told) or "Nobody asked for anything.")


@_sensor(
    job_name=DELIVER,
    minimum_interval_seconds=EVERY_LOOP,
    description="Starts what is left of a delivery that was approved on the page of deliveries, once it may go on.",
)
def page_approvals(
    context: dg.SensorEvaluationContext,
    release_target: dg.ResourceParam[ReleaseTarget],
    image_store: dg.ResourceParam[ImageStore],
    clock: dg.ResourceParam[Clock],
    recorder: dg.ResourceParam[AttemptRecorder],
) -> dg.SensorResult | dg.SkipReason:
    """Beside who listens, whom this keeps from nothing, and whether the registry answers or not."""
    due, told = _by_page(context, release_target, image_store, clock, recorder).going_on()
    if due:
        here = _here(context, recorder.settings)
        return dg.SensorResult(run_requests=[rest_of_delivery(here, one, TRIGGER) for one in due])
    return dg.SkipReason(" ".join(told) or "Nothing goes on that was approved on the page.")


def _by_page(
    context: dg.SensorEvaluationContext,
    target: ReleaseTarget,
    image_store: ImageStore,
    clock: Clock,
    recorder: AttemptRecorder,
) -> ByPage:
    here = _here(context, recorder.settings)
    log = AuditLog(context.instance, here)
    rollback = EmergencyRollback(target, recorder, log, context.log.info, image_store)
    return ByPage(recorder, log, Requests(context.instance, here), rollback, clock, desk_of(here))


def build_sensors(*, starting: bool, deciding: bool = False) -> list[dg.SensorDefinition]:
    """All sensors.

    Args:
        starting: whether they run as soon as a daemon knows them; otherwise somebody starts them in the pages.
        deciding: whether people may decide on the page of deliveries.
    """
    status = dg.DefaultSensorStatus.RUNNING if starting else dg.DefaultSensorStatus.STOPPED
    return [
        staged_versions(status),
        _after(dg.DagsterRunStatus.SUCCESS, "after_success", status),
        _after(dg.DagsterRunStatus.FAILURE, "after_failure", status),
        _after(dg.DagsterRunStatus.CANCELED, "after_cancel", status),
        reconcile(status),
        production_watch(status),
        cool_down(status),
        *([page_decisions(status), page_approvals(status)] if deciding else []),
    ]
