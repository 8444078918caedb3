"""The dead: runs whose process is gone, and environments whose owner does not live any more."""

from __future__ import annotations

import time

import dagster as dg

from banana_delivery.defs.resources import Services
from banana_delivery.delivery.lease import RECONCILER
from banana_delivery.delivery.rollback import take_over
from banana_delivery.names import PARTITION_TAG
from banana_delivery.policy.model import Environment, Phase, RolloutRecord
from banana_delivery.runs.lifecycle import is_dead


def orphaned(instance: dg.DagsterInstance, services: Services, record: RolloutRecord) -> bool:
    """Whether an environment belongs to somebody who is dead: silent for too long, or whose process is gone.

    One that nobody owns counts too if its last owner could not bring the traffic back before giving it away.
    """
    if record.owner is None:
        return unsettled(record)
    run = instance.get_run_by_id(record.owner)
    if run is not None and (run.is_finished or is_dead(instance, run)):
        return True
    return time.time() - record.heartbeat > services.settings.stale_after_seconds and _still_silent(services, record)


def _still_silent(services: Services, record: RolloutRecord) -> bool:
    """Whether an owner shows no life although it can: while a place is away, all of its owners are silent."""
    services.sleep(2 * services.settings.heartbeat_seconds)
    return services.target.record(record.environment).heartbeat == record.heartbeat


def unsettled(record: RolloutRecord) -> bool:
    """Whether production rests with its traffic elsewhere than on the active colour."""
    resting = record.resting_weights
    split = any(record.weights.get(colour, 0) != weight for colour, weight in resting.items())
    return split and record.environment is Environment.PRODUCTION and record.phase is Phase.IDLE


def reclaim(services: Services, record: RolloutRecord) -> None:
    """Take an environment over and bring it back to one stable colour; after a hand edit only the owner goes.

    Raises:
        TargetError: if the place cannot be reached; the next tick tries again.
    """
    if record.phase is Phase.DRIFTED:
        services.target.release(services.target.claim(record.environment, RECONCILER, takeover=True))
        return
    take_over(services.target, record.environment, RECONCILER, takeover=record.owner is not None)


def dead_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Deliveries that Dagster believes to be running although their process is gone."""
    running = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=running))
    return [run for run in runs if PARTITION_TAG in run.tags and is_dead(instance, run)]


def fail_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """End a dead run and free its slot; the failure sensor writes its attempt down and tells people."""
    instance.report_run_failed(
        run,
        "The process of this run died. Production and staging were brought back to one stable colour; "
        f"to try again, type: banana-delivery deliver {run.tags[PARTITION_TAG]}",
    )
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
