"""What every asset is declared with and starts with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import dagster as dg

from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.errors import (
    FencedError,
    GateError,
    MissingCheckpointError,
    RejectedModelError,
    UnknownVersionError,
)
from banana_delivery.evaluation.base import Evaluator, ReleaseEndpoint
from banana_delivery.policy.asset_records import AttemptRecord, ManualDecision, QualityRecord
from banana_delivery.policy.gate import GateInputs
from banana_delivery.policy.model import Environment, ImageRef, Outcome
from banana_delivery.policy.outcomes import is_redeploy
from banana_delivery.policy.quality.assessment import assess_quality
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget

GROUP = "delivery"
OWNERS = ["team:ml-platform"]
IO_MANAGER = "records"


REJECTIONS = (RejectedModelError, GateError, MissingCheckpointError, UnknownVersionError)
"""What is the version's own fault; everything else is an error of what it runs on."""


@dataclass(frozen=True)
class DeliveryRun:
    """One delivery under way, as seen by the asset that is running; what it needs to know is read once.

    Attributes:
        version: the model version: the run's partition.
        run_id: the Dagster run.
        attempts: all attempts at the version so far, newest first.
        decisions: what people decided about it.
        audit_log: where attempts are on record.
        recorder: puts this one on record.
        say: writes a line into the run's log.
        run: as Dagster knows it.
    """

    version: str
    run_id: str
    attempts: tuple[AttemptRecord, ...]
    decisions: tuple[ManualDecision, ...]
    audit_log: AuditLog
    recorder: AttemptRecorder
    say: Callable[[str], None]
    run: dg.DagsterRun

    @property
    def redeploying(self) -> bool:
        """Whether this delivery repeats a version that was released and never revoked."""
        return is_redeploy(self.attempts)

    @property
    def settings(self) -> Settings:
        """All settings."""
        return self.recorder.settings

    @property
    def gate_inputs(self) -> GateInputs:
        """What a gate goes by beside the evidence."""
        return GateInputs(history=self.attempts, decisions=self.decisions, frozen=self.settings.freeze)

    def fresh(self) -> DeliveryRun:
        """The same with what is on record now: under a claim on production nothing is revoked but by taking it over."""
        attempts, decisions = self.audit_log.attempts(self.version), self.audit_log.decisions(self.version)
        return replace(self, attempts=tuple(attempts), decisions=tuple(decisions))

    def lease(self, target: ReleaseTarget, environment: Environment) -> Lease:
        """This run's hold on an environment."""
        return Lease(target, environment, self.run_id, heartbeat_seconds=self.settings.heartbeat_seconds)

    def end(self, outcome: Outcome, reason: str, **facts: object) -> AttemptRecord:
        """Put the attempt on record, let the registry and the people know, and return what was recorded."""
        now = self.recorder.clock.time()
        attempt = Runs(self.audit_log.instance).attempt(self.run, now, outcome, reason, **facts)
        self.recorder.record(self.audit_log, attempt)
        return attempt

    @contextmanager
    def records_failure(self) -> Iterator[None]:
        """Put on record how the block fails before the op raises, and raise what Dagster shows as one sentence.

        Two ends are left to the status sensor, once the run has really ended: a cancel, and an environment that was
        taken over, since whoever took it may say why.
        """
        try:
            yield
        except dg.Failure:
            raise
        except FencedError as lost:
            raise dg.Failure(str(lost), allow_retries=False) from lost
        except REJECTIONS as rejection:
            self.end(Outcome.REJECTED, str(rejection))
            raise dg.Failure(str(rejection), allow_retries=False) from rejection
        except Exception as error:
            self.end(Outcome.ERROR, str(error) or repr(error))
            raise dg.Failure(str(error) or repr(error), allow_retries=False) from error


def start_run(context: dg.AssetExecutionContext, recorder: AttemptRecorder) -> DeliveryRun:
    """The delivery under way; its process signs in, so that its death is noticed."""
    Runs(context.instance).sign_in(context.run.run_id)
    audit_log, version = AuditLog(context.instance), str(context.partition_key)
    return DeliveryRun(
        version=version,
        run_id=context.run.run_id,
        attempts=tuple(audit_log.attempts(version)),
        decisions=tuple(audit_log.decisions(version)),
        audit_log=audit_log,
        recorder=recorder,
        say=context.log.info,
        run=context.run,
    )


def measure_quality(
    run: DeliveryRun, target: ReleaseTarget, evaluator: Evaluator, ref: ImageRef, *, fresh: Environment
) -> QualityRecord:
    """The image as it runs in staging, judged alone and beside production on the same labelled images.

    Args:
        run: the delivery under way.
        target: says where both answer.
        evaluator: asks them.
        ref: the image that runs in staging.
        fresh: whose answers are asked for in any case; earlier ones of the same digest will do for the other. For a
            redeploy they will do for both: its image was judged by them, and a comparison decides nothing.
    """
    live, waived = target.record(Environment.PRODUCTION).live, run.redeploying
    staged = ReleaseEndpoint(target.url(Environment.STAGING), ref)
    candidate = evaluator.answers(staged, run.say, fresh=fresh is Environment.STAGING and not waived)
    production = None
    if live:
        serving = ReleaseEndpoint(target.url(Environment.PRODUCTION), live)
        production = evaluator.answers(serving, run.say, fresh=fresh is Environment.PRODUCTION and not waived)
    record = assess_quality(
        candidate,
        production,
        minimum_map50=run.settings.minimum_map50,
        waived=waived,
        resamples=evaluator.resamples,
    )
    run.say(record.reason)
    return record
