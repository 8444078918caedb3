"""How a run ended that did not say so itself: read from its events, and written down for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterEventType

from banana_delivery.delivery.attempts import PARTITION_TAG, attempt_of_run
from banana_delivery.delivery.history import History
from banana_delivery.delivery.recording import record
from banana_delivery.delivery.supersede import in_production, superseded_by
from banana_delivery.policy.outcomes import Outcome
from banana_delivery.policy.records import Environment
from banana_delivery.policy.releases import ImageRecord
from banana_delivery.services import Services

SENSORS_SECONDS = 60.0
"""The run-status sensor has so long before somebody else looks."""
LONGEST_MEMORY_SECONDS = 3600.0
MOST_RUNS = 20


STOPPED = (
    "The run was stopped, though nobody cancelled it: its pod was deleted, its node drained, or its machine shut down. "
    "The traffic is where it was."
)


@dataclass(frozen=True)
class End:
    """How a run ended.

    Attributes:
        outcome: the row of the outcome table.
        reason: one sentence.
        digest: the image it was about; empty if none was built.
    """

    outcome: Outcome
    reason: str
    digest: str


def write_down(instance: dg.DagsterInstance, services: Services, run: dg.DagsterRun) -> None:
    """See to it that an ended run has its line in the audit trail, and that everybody knows.

    Raises:
        TargetError: if production has to be asked what it serves, and does not answer.
    """
    attempt = History(instance).attempt_of(run.run_id, run.tags[PARTITION_TAG])
    if attempt:
        services.aftermath.settle(attempt)
        return
    end = end_of_run(instance, services, run)
    if end:
        record(instance, services, attempt_of_run(instance, run, end.outcome, end.reason, digest=end.digest))


def unwritten(instance: dg.DagsterInstance, now: float) -> list[dg.DagsterRun]:
    """Deliveries that ended badly some time ago and have no line yet: the status sensor looks at a run only once."""
    ended = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
        updated_after=datetime.fromtimestamp(now - LONGEST_MEMORY_SECONDS, UTC),
        updated_before=datetime.fromtimestamp(now - SENSORS_SECONDS, UTC),
    )
    history = History(instance)
    return [
        run
        for run in instance.get_runs(filters=ended, limit=MOST_RUNS)
        if PARTITION_TAG in run.tags and history.attempt_of(run.run_id, run.tags[PARTITION_TAG]) is None
    ]


def end_of_run(instance: dg.DagsterInstance, services: Services, run: dg.DagsterRun) -> End | None:
    """The outcome of an ended run; None for a success that delivered nothing, such as materializing one asset.

    Args:
        instance: where its events are.
        services: know what production serves now.
        run: ended.

    Raises:
        TargetError: if production has to be asked what it serves, and does not answer.
    """
    image = History(instance).latest(ImageRecord, "image", run.tags[PARTITION_TAG])
    digest = image.ref.digest if image else ""
    if digest and in_production(instance, run.run_id) and _serves(services, digest):
        return End(Outcome.RELEASED, "The run ended right after the promotion; production serves the release.", digest)
    match run.status:
        case dg.DagsterRunStatus.CANCELED if by := superseded_by(run.tags):
            return End(Outcome.SUPERSEDED, f"Version {by} was staged later.", digest)
        case dg.DagsterRunStatus.CANCELED:
            return End(Outcome.CANCELLED, "A person cancelled the run; the traffic is where it was.", digest)
        case dg.DagsterRunStatus.FAILURE:
            refused = _failed_blocking_check(instance, run.run_id)
            if refused:
                return End(Outcome.REJECTED, refused, digest)
            return End(Outcome.ERROR, _failure_message(instance, run.run_id), digest)
        case _:
            return None


def _serves(services: Services, digest: str) -> bool:
    live = services.target.record(Environment.PRODUCTION).live
    return live is not None and live.digest == digest


def _failed_blocking_check(instance: dg.DagsterInstance, run_id: str) -> str:
    """What the failed blocking check said; empty if none failed."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION).records
    for one in records:
        event = one.event_log_entry.dagster_event
        if event is None:
            continue
        evaluation = event.asset_check_evaluation_data
        if not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR:
            return evaluation.description or f"The check {evaluation.check_name} failed."
    return ""


def _failure_message(instance: dg.DagsterInstance, run_id: str) -> str:
    """The last thing that Dagster said about the failure, without the logs that it may add to it."""
    records = instance.get_records_for_run(
        run_id, of_type={DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    ).records
    for one in records:
        event = one.event_log_entry.dagster_event
        if event and event.event_type is DagsterEventType.STEP_FAILURE and event.step_failure_data.error:
            if event.step_failure_data.error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
                return STOPPED
            said = event.step_failure_data.user_failure_data
            if said and said.description:
                return said.description
            return event.step_failure_data.error.message.strip().splitlines()[0]
    messages = [one.event_log_entry.dagster_event.message for one in records if one.event_log_entry.dagster_event]
    return next(
        (message.strip().splitlines()[0] for message in messages if message), "The run failed without saying why."
    )
