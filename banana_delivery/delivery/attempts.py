"""An attempt, from the inside of a run: who started it and why, and how it is written down when it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg

from banana_delivery.conversion.errors import RejectedModelError
from banana_delivery.delivery.history import History
from banana_delivery.delivery.recording import record
from banana_delivery.policy.outcomes import Outcome
from banana_delivery.policy.releases import AttemptRecord
from banana_delivery.registry.base import MissingCheckpointError, UnknownVersionError
from banana_delivery.services import Services
from banana_delivery.targets.base import FencedError

TRIGGER_TAG = "banana/trigger"
ACTOR_TAG = "banana/actor"
STAGED_AT_TAG = "banana/staged_at"
SUPERSEDED_TAG = "banana/superseded_by"
BACKFILL_TAG = "dagster/backfill"
PARENT_RUN_TAG = "dagster/parent_run_id"
PARTITION_TAG = "dagster/partition"


class GateError(Exception):
    """The gate refused the release; one sentence."""


REJECTIONS = (RejectedModelError, GateError, MissingCheckpointError, UnknownVersionError)
"""What is the version's own fault; everything else is an error of the place."""


def trigger_of(tags: Mapping[str, str]) -> str:
    """What started a run: ``sensor``, ``cli``, ``redeploy``, ``backfill`` or ``manual``.

    A person who executes a run again in the Dagster pages copies its tags; it is that person's all the same.
    """
    if PARENT_RUN_TAG in tags:
        return "manual"
    return tags.get(TRIGGER_TAG) or ("backfill" if BACKFILL_TAG in tags else "manual")


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
    def history(self) -> History:
        """The audit trail of this instance."""
        return History(self.context.instance)

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
