"""Deliveries that the sensor started, and ending the ones that a later staging made pointless."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from banana_delivery.delivery.attempts import PARTITION_TAG, STAGED_AT_TAG, SUPERSEDED_TAG, TRIGGER_TAG, trigger_of
from banana_delivery.policy.staging import UnderWay

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def deliveries_under_way(instance: dg.DagsterInstance) -> list[UnderWay]:
    """The unfinished deliveries that the staging sensor started; nothing else is ever superseded."""
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED, tags={TRIGGER_TAG: "sensor"}))
    return [
        UnderWay(
            run_id=run.run_id,
            version=run.tags[PARTITION_TAG],
            staged_at=float(run.tags[STAGED_AT_TAG]),
            in_production=in_production(instance, run.run_id),
        )
        for run in runs
        if trigger_of(run.tags) == "sensor"
    ]


def in_production(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether the production step of a run has started."""
    stats = instance.get_run_step_stats(run_id, step_keys=["production_release"])
    return any(step.start_time for step in stats)


def superseded_by(tags: Mapping[str, str]) -> str:
    """The version that ended a delivery by being staged later; empty if none did."""
    return tags.get(SUPERSEDED_TAG, "") if trigger_of(tags) == "sensor" else ""


def supersede(instance: dg.DagsterInstance, run_id: str, by: str) -> None:
    """End a delivery because version ``by`` was staged later; its run ends CANCELED and says why."""
    instance.add_run_tags(run_id, {SUPERSEDED_TAG: by})
    instance.run_coordinator.cancel_run(run_id)
