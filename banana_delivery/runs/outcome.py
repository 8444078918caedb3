"""How a run ended that did not say so itself, read from its events."""

from __future__ import annotations

import dagster as dg
from dagster import DagsterEventType

from banana_delivery.errors import redacted
from banana_delivery.policy.outcomes import SILENT, RunEnd, RunStatus
from banana_delivery.runs.lifecycle import superseded_by


def end_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> RunEnd:
    """The end of a run that has ended."""
    status = RunStatus(run.status.value)
    if status is not RunStatus.FAILURE:
        return RunEnd(status=status, superseded_by=superseded_by(run.tags))
    stopped, failure = _failure(instance, run.run_id)
    refused = _failed_blocking_checks(instance, run.run_id)
    return RunEnd(
        status=status,
        superseded_by=superseded_by(run.tags),
        refused=refused,
        cancelled=_was_cancelled(instance, run.run_id),
        stopped=stopped,
        failure=failure,
    )


def _was_cancelled(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether somebody cancelled a run, whatever it ended by."""
    return bool(instance.get_records_for_run(run_id, of_type=DagsterEventType.RUN_CANCELING, limit=1).records)


def _failed_blocking_checks(instance: dg.DagsterInstance, run_id: str) -> str:
    """What every failed blocking check said, each once; empty if none failed."""
    said: dict[str, None] = {}
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION).records
    for one in records:
        event = one.event_log_entry.dagster_event
        if event is None:
            continue
        evaluation = event.asset_check_evaluation_data
        if not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR:
            said[redacted(evaluation.description or "") or f"The check {evaluation.check_name} failed."] = None
    return " ".join(said)


def _failure(instance: dg.DagsterInstance, run_id: str) -> tuple[bool, str]:
    """Whether the run was stopped, and what was said last, without the logs that Dagster may add to it."""
    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    events = [one.event_log_entry.dagster_event for one in instance.get_records_for_run(run_id, of_type=kinds).records]
    for event in events:
        if event and event.event_type is DagsterEventType.STEP_FAILURE and event.step_failure_data.error:
            data, error = event.step_failure_data, event.step_failure_data.error
            if error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
                return True, ""
            said = data.user_failure_data
            return False, redacted((said and said.description) or error.message.strip().splitlines()[0])
    messages = [event.message for event in events if event and event.message]
    return False, redacted(next((message.strip().splitlines()[0] for message in messages), SILENT))
