"""Whether the process of a run lives.

Dagster's default launcher does not notice that a run's process was killed: the run stays STARTED and keeps its slot.
So a run signs in with its process, and the reconcile sensor looks whether that process is still there. The Kubernetes
launcher watches the pods of its runs by itself.

Deliveries that the sensor started, and ending the ones that a later staging made pointless.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

import dagster as dg
import psutil

from banana_delivery.names import (
    BACKFILL_TAG,
    PARENT_RUN_TAG,
    PARTITION_TAG,
    STAGED_AT_TAG,
    SUPERSEDED_TAG,
    TRIGGER_TAG,
    WORKER_TAG,
)
from banana_delivery.policy.staged_versions import UnderWay


def sign_in(instance: dg.DagsterInstance, run_id: str) -> None:
    """Write down which process works on a run; every asset calls it first."""
    instance.add_run_tags(run_id, {WORKER_TAG: identity(run_id, psutil.Process())})


def is_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the process that signed in is gone. A process on another host cannot be seen and counts as alive.

    Where the launcher watches its runs, it is asked by Dagster and not by us: pods may share their node's name, but
    not its process ids.

    A re-execution inherits the tags of the run before it; until it has signed in itself it counts as alive.
    """
    signed = run.tags.get(WORKER_TAG)
    if not signed or instance.run_launcher.supports_check_run_worker_health:
        return False
    run_id, host, pid, _ = signed.split(":")
    if (run_id, host) != (run.run_id, socket.gethostname()):
        return False
    try:
        process = psutil.Process(int(pid))
        return identity(run_id, process) != signed or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def identity(run_id: str, process: psutil.Process) -> str:
    """Run, host, pid and start time; the last one because pids are used again."""
    return f"{run_id}:{socket.gethostname()}:{process.pid}:{process.create_time():.0f}"


UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def trigger_of(tags: Mapping[str, str]) -> str:
    """What started a run: ``sensor``, ``cli``, ``redeploy``, ``backfill`` or ``manual``.

    A person who executes a run again in the Dagster pages copies its tags; it is that person's all the same.
    """
    if PARENT_RUN_TAG in tags:
        return "manual"
    return tags.get(TRIGGER_TAG) or ("backfill" if BACKFILL_TAG in tags else "manual")


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
