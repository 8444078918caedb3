"""Writing an attempt down, with its report and pictures, and everything that follows from it.

An attempt, from the inside of a run: who started it and why, and how it is written down when it ends.

How a run ended that did not say so itself: read from its events, and written down for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import dagster as dg
from dagster import DagsterEventType

from banana_delivery.defs.resources import Services
from banana_delivery.errors import (
    FencedError,
    GateError,
    MissingCheckpointError,
    RejectedModelError,
    TargetError,
    UnknownVersionError,
)
from banana_delivery.names import ACTOR_TAG, PARTITION_TAG
from banana_delivery.policy.asset_records import AbRecord, AttemptRecord, ImageRecord, StagingRecord
from banana_delivery.policy.model import Environment, Outcome
from banana_delivery.policy.rollout.plan import PLANS
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.lifecycle import in_production, superseded_by, trigger_of

LOG = logging.getLogger(__name__)
UNKNOWN = "unknown"
"""What production serves while it cannot be asked."""
Found = TypeVar("Found", StagingRecord, AbRecord)


def record(instance: dg.DagsterInstance, services: Services, attempt: AttemptRecord) -> None:
    """Log an attempt unless it is known, then let the registry and the people know."""
    history = AuditLog(instance)
    if history.knows(attempt):
        return
    attempt = _completed(services, history, attempt)
    history.log(attempt, **_pictures(services, history, attempt))
    services.aftermath.settle(attempt)


def _completed(services: Services, history: AuditLog, attempt: AttemptRecord) -> AttemptRecord:
    """With the image and what serves, where whoever made the attempt did not know them."""
    image = None if attempt.digest else history.latest(ImageRecord, "image", attempt.version)
    return attempt.replace(
        digest=image.ref.digest if image else attempt.digest,
        serving_version=attempt.serving_version or _serving(services),
    )


def _serving(services: Services) -> str:
    try:
        live = services.target.record(Environment.PRODUCTION).live
    except TargetError:
        return UNKNOWN
    return live.version if live else ""


def _pictures(services: Services, history: AuditLog, attempt: AttemptRecord) -> dict[str, dg.MetadataValue]:
    """The report as a file, and the rollout as a picture; failing to draw never loses the attempt."""
    try:
        shown: dict[str, dg.MetadataValue] = {
            "report": dg.MetadataValue.path(_write_report(services, history, attempt))
        }
        if attempt.steps:
            shown["rollout"] = dg.MetadataValue.md(rollout_picture(services, attempt))
    except Exception:
        LOG.exception("The report about version %s could not be drawn.", attempt.version)
        return {}
    return shown


def rollout_picture(services: Services, attempt: AttemptRecord) -> str:
    """What moved when, as markdown that carries its own picture."""
    from banana_delivery.reports.plots import embedded, rollout_plot

    if attempt.colour is None:
        return ""
    title = f"Version {attempt.version}"
    drawn = rollout_plot(attempt.steps, attempt.colour, budget_seconds=_budget(services), title=title)
    return embedded(drawn, title)


def _write_report(services: Services, history: AuditLog, attempt: AttemptRecord) -> Path:
    from banana_delivery.reports.html import html_report

    page = html_report(
        attempt,
        budget_seconds=_budget(services),
        staging=_of_this_image(history.latest(StagingRecord, "staging_release", attempt.version), attempt),
        ab=_of_this_image(history.latest(AbRecord, "ab_report", attempt.version), attempt),
        links={"run": f"{services.settings.pages_url}/runs/{attempt.run_id}"} if attempt.run_id else {},
    )
    file = services.settings.home / "reports" / f"version-{attempt.version}-{attempt.at:.0f}-{attempt.outcome}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    return file


def _of_this_image(found: Found | None, attempt: AttemptRecord) -> Found | None:
    """What was recorded about another image of the version is no evidence here."""
    return found if found and found.ref.digest == attempt.digest else None


def _budget(services: Services) -> float:
    return PLANS[services.settings.plan].latency_budget_seconds


REJECTIONS = (RejectedModelError, GateError, MissingCheckpointError, UnknownVersionError)
"""What is the version's own fault; everything else is an error of the place."""


@dataclass(frozen=True)
class Attempting:
    """One delivery under way, as seen by the op that is running.

    Attributes:
        context: of the asset's op.
        services: what the pipeline works with.
    """

    context: dg.AssetExecutionContext
    services: Services

    @property
    def version(self) -> str:
        """The model version: the run's partition."""
        return str(self.context.partition_key)

    @property
    def history(self) -> AuditLog:
        """The audit trail of this instance."""
        return AuditLog(self.context.instance)

    def ended(self, outcome: Outcome, reason: str, **facts: object) -> AttemptRecord:
        """Write the attempt down, tell the registry and the people, and return what was written."""
        attempt = attempt_of_run(self.context.instance, self.context.run, outcome, reason, **facts)
        record(self.context.instance, self.services, attempt)
        return attempt

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Log how the block fails before the op raises, and raise what Dagster shows as one sentence.

        Two ends are left to the status sensor, once the run has really ended: a cancel, and an environment that was
        taken over, since whoever took it may write down why.
        """
        try:
            yield
        except dg.Failure:
            raise
        except FencedError as lost:
            raise dg.Failure(str(lost), allow_retries=False) from lost
        except REJECTIONS as rejection:
            self.ended(Outcome.REJECTED, str(rejection))
            raise dg.Failure(str(rejection), allow_retries=False) from rejection
        except Exception as error:
            self.ended(Outcome.ERROR, str(error) or repr(error))
            raise dg.Failure(str(error) or repr(error), allow_retries=False) from error


def attempt_of_run(
    instance: dg.DagsterInstance, run: dg.DagsterRun, outcome: Outcome, reason: str, **facts: object
) -> AttemptRecord:
    """The attempt that a run made, with what Dagster knows of it filled in."""
    known = instance.get_run_record_by_id(run.run_id)
    now = time.time()
    started = known.start_time if known and known.start_time else now
    return AttemptRecord.model_validate(
        {
            "version": run.tags[PARTITION_TAG],
            "outcome": outcome,
            "reason": reason,
            "trigger": trigger_of(run.tags),
            "actor": run.tags.get(ACTOR_TAG, ""),
            "run_id": run.run_id,
            "at": now,
            "seconds": max(0.0, now - started),
            **facts,
        }
    )


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
    attempt = AuditLog(instance).attempt_of(run.run_id, run.tags[PARTITION_TAG])
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
    history = AuditLog(instance)
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
    image = AuditLog(instance).latest(ImageRecord, "image", run.tags[PARTITION_TAG])
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
