"""The runs of deliveries, as Dagster keeps them: who works on one, which are under way, dead, or ended without a word.

Dagster's default launcher does not notice that a run's process was killed: the run stays STARTED and keeps its slot.
So a run signs in with its process, and whoever reconciles looks whether that process is still there. The Kubernetes
launcher watches the pods of its runs by itself.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
import psutil

from banana_delivery.names import (
    ACTOR_TAG,
    BACKFILL_TAG,
    PARENT_RUN_TAG,
    PARTITION_TAG,
    STAGED_AT_TAG,
    STAGING_ORDER_TAG,
    SUPERSEDED_TAG,
    TRIGGER_TAG,
    WORKER_TAG,
)
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.staged_versions import UnderWay

Run = dg.DagsterRun
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]
MOST_RUNS = 20
"""How many ended runs are looked at in one go."""

ROLLBACK_JOB = "rollback"
SIGN_IN_SECONDS = 120.0
"""Between the start of a run and its first asset lie some imports; a process that needs longer does not live."""


@dataclass(frozen=True)
class Runs:
    """The runs of one Dagster instance.

    Attributes:
        instance: where they are kept.
    """

    instance: dg.DagsterInstance

    def sign_in(self, run_id: str) -> None:
        """Write down which process works on a run; every asset calls it first."""
        self.instance.add_run_tags(run_id, {WORKER_TAG: identity(run_id, psutil.Process())})

    def is_over(self, run_id: str) -> bool:
        """Whether a run has ended or its process is gone; False for what is no run of this instance."""
        run = self.instance.get_run_by_id(run_id)
        return run is not None and (run.is_finished or self.is_dead(run))

    def is_dead(self, run: Run) -> bool:
        """Whether the process that signed in is gone. A process on another host cannot be seen and counts as alive.

        Where the launcher watches its runs, it is asked by Dagster and not by us: pods may share their node's name, but
        not its process ids.

        A re-execution inherits the tags of the run before it; until it has signed in itself it counts as alive.
        """
        signed = run.tags.get(WORKER_TAG)
        if not signed or self.instance.run_launcher.supports_check_run_worker_health:
            return False
        run_id, host, pid, _ = signed.split(":")
        if (run_id, host) != (run.run_id, socket.gethostname()):
            return False
        try:
            process = psutil.Process(int(pid))
            return identity(run_id, process) != signed or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def dead(self, now: float) -> list[Run]:
        """Deliveries and rollbacks that Dagster believes to be running although their process is gone.

        Args:
            now: seconds since the epoch.
        """
        running = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
        runs = self.instance.get_runs(filters=dg.RunsFilter(statuses=running))
        ours = [run for run in runs if PARTITION_TAG in run.tags or run.job_name == ROLLBACK_JOB]
        return [run for run in ours if self.is_dead(run) or self._never_signed_in(run, now)]

    def _never_signed_in(self, run: Run, now: float) -> bool:
        """Whether a run was started long ago and no process of its own ever worked on it: it died before."""
        if run.tags.get(WORKER_TAG, "").startswith(f"{run.run_id}:"):
            return False
        if self.instance.run_launcher.supports_check_run_worker_health:
            return False
        known = self.instance.get_run_record_by_id(run.run_id)
        return known is not None and known.start_time is not None and now - known.start_time > SIGN_IN_SECONDS

    def fail(self, run: Run, why: str) -> None:
        """End a dead run and free its slot; the failure sensor records its attempt and tells people."""
        self.instance.report_run_failed(run, why)
        self.instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)

    def ended_badly(self, after: float, before: float) -> list[Run]:
        """Deliveries that failed or were cancelled between two moments, in seconds since the epoch."""
        ended = dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED],
            updated_after=datetime.fromtimestamp(after, UTC),
            updated_before=datetime.fromtimestamp(before, UTC),
        )
        return [run for run in self.instance.get_runs(filters=ended, limit=MOST_RUNS) if PARTITION_TAG in run.tags]

    def under_way(self) -> list[UnderWay]:
        """The unfinished deliveries that the staging sensor started; nothing else is ever superseded."""
        runs = self.instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED, tags={TRIGGER_TAG: "sensor"}))
        return [
            UnderWay(
                run_id=run.run_id,
                version=run.tags[PARTITION_TAG],
                staged_at=float(run.tags[STAGED_AT_TAG]),
                in_production=self.in_production(run.run_id),
                order=int(run.tags.get(STAGING_ORDER_TAG, "0")),
            )
            for run in runs
            if trigger_of(run.tags) == "sensor"
        ]

    def begun(self, job: str, since: float) -> bool:
        """Whether a run of a job was launched since a moment and has not ended."""
        filters = dg.RunsFilter(job_name=job, statuses=UNFINISHED, created_after=datetime.fromtimestamp(since, UTC))
        return bool(self.instance.get_runs(filters=filters, limit=1))

    def in_production(self, run_id: str) -> bool:
        """Whether the production step of a run has started."""
        stats = self.instance.get_run_step_stats(run_id, step_keys=["production_release"])
        return any(step.start_time for step in stats)

    def supersede(self, run_id: str, by: str) -> None:
        """End a delivery because version ``by`` was staged later; its run ends CANCELED and says why."""
        self.instance.add_run_tags(run_id, {SUPERSEDED_TAG: by})
        self.instance.run_coordinator.cancel_run(run_id)

    def attempt(self, run: Run, now: float, outcome: Outcome, reason: str, **facts: object) -> AttemptRecord:
        """The attempt that a run made, with what Dagster knows of it filled in.

        Args:
            run: which one.
            now: seconds since the epoch.
            outcome: how it ended.
            reason: one sentence with the numbers.
            facts: other fields of the record.
        """
        known = self.instance.get_run_record_by_id(run.run_id)
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


def version_of(run: Run) -> str:
    """The model version that a run is about; empty for one that delivers none."""
    return run.tags.get(PARTITION_TAG, "")


def trigger_of(tags: Mapping[str, str]) -> str:
    """What started a run: ``sensor``, ``cli``, ``redeploy``, ``backfill`` or ``manual``.

    A person who executes a run again in the Dagster pages copies its tags; it is that person's all the same.
    """
    if PARENT_RUN_TAG in tags:
        return "manual"
    return tags.get(TRIGGER_TAG) or ("backfill" if BACKFILL_TAG in tags else "manual")


def superseded_by(tags: Mapping[str, str]) -> str:
    """The version that ended a delivery by being staged later; empty if none did."""
    return tags.get(SUPERSEDED_TAG, "") if trigger_of(tags) == "sensor" else ""


def identity(run_id: str, process: psutil.Process) -> str:
    """Run, host, pid and start time; the last one because pids are used again."""
    return f"{run_id}:{socket.gethostname()}:{process.pid}:{process.create_time():.0f}"
