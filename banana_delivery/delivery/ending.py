"""How a run ended that did not say so itself: read from its events."""

from __future__ import annotations

from dataclasses import dataclass

import dagster as dg
from dagster import DagsterEventType

from banana_delivery.delivery.attempts import PARTITION_TAG
from banana_delivery.delivery.history import History
from banana_delivery.delivery.supersede import in_production, superseded_by
from banana_delivery.policy.outcomes import Outcome
from banana_delivery.policy.releases import ImageRecord


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


def end_of_run(instance: dg.DagsterInstance, run: dg.DagsterRun, live_digest: str) -> End | None:
    """The outcome of an ended run; None for a success that delivered nothing, such as materializing one asset.

    Args:
        instance: where its events are.
        run: ended.
        live_digest: what production serves now; empty if nothing.
    """
    image = History(instance).latest(ImageRecord, "image", run.tags[PARTITION_TAG])
    digest = image.ref.digest if image else ""
    if digest and digest == live_digest and in_production(instance, run.run_id):
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


def _failed_blocking_check(instance: dg.DagsterInstance, run_id: str) -> str:
    """What the failed blocking check said; empty if none failed."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION).records
    for record in records:
        event = record.event_log_entry.dagster_event
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
    for record in records:
        event = record.event_log_entry.dagster_event
        if event and event.event_type is DagsterEventType.STEP_FAILURE and event.step_failure_data.error:
            return event.step_failure_data.error.message.strip().splitlines()[0]
    messages = [
        record.event_log_entry.dagster_event.message for record in records if record.event_log_entry.dagster_event
    ]
    return next(
        (message.strip().splitlines()[0] for message in messages if message), "The run failed without saying why."
    )
