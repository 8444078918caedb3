"""The runs of deliveries, as Dagster keeps them: who works on one, which are under way, dead, or ended without a word.

Dagster's default launcher does not notice that a run's process was killed: the run stays STARTED and keeps its slot.
So a run signs in with its process, and whoever reconciles looks whether that process is still there. A process is known
by the start of its machine and the clock tick at which it was started itself: pids are used again, and a date of its
start moves with the clock. The Kubernetes launcher watches the pods of its runs by itself.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import psutil

from banana_delivery.errors import redacted
from banana_delivery.names import (
    ACTOR_TAG,
    BACKFILL_TAG,
    ENDED_TAG,
    PARENT_RUN_TAG,
    PARTITION_TAG,
    STAGED_AT_TAG,
    STAGING_ORDER_TAG,
    SUPERSEDED_TAG,
    TRIGGER_TAG,
    WHY_TAG,
    WORKER_TAG,
)
from banana_delivery.policy.approvals.withdrawn import HowFar
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.staged_versions import UnderWay
from banana_delivery.quoting import in_log, one_line
from banana_delivery.runs.code_location import ROLLBACK, SCORE, CodeLocation
from banana_delivery.targets.sightings import Sightings
from banana_delivery.waiting import boot_id

LOG = logging.getLogger(__name__)
Run = dg.DagsterRun
_NOT_BEGUN = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
UNFINISHED = [*_NOT_BEGUN, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
_CANCELLED = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)
WHY_CHARACTERS = 240
"""Of a reason in a tag, which is for the list of runs; the whole of it is in the run's log and in the audit trail."""
SIGN_IN_SECONDS = 120.0
"""Between the start of a run and its first asset lie some imports; a process that needs longer does not live."""


@dataclass(frozen=True)
class Runs:
    """Our runs in one Dagster instance.

    Attributes:
        instance: where they are kept.
        location: says which are ours.
    """

    instance: dg.DagsterInstance
    location: CodeLocation = field(default_factory=CodeLocation)

    def sign_in(self, run_id: str) -> None:
        """Write down which process works on a run, and whose run it is; every asset calls it first."""
        self.instance.add_run_tags(run_id, {WORKER_TAG: identity(run_id, psutil.Process()), **self.location.tags})

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
        return is_gone(run.run_id, signed)

    def dead(self, sightings: Sightings) -> list[Run]:
        """Deliveries, rollbacks and scorecards that Dagster believes to be running although their process is gone.

        Args:
            sightings: for how long runs were seen on which no process ever worked.
        """
        running = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
        runs = self.location.runs(self.instance, dg.RunsFilter(statuses=running))
        ours = [run for run in runs if self.location.version_of(run) or run.job_name in {ROLLBACK, SCORE}]
        strangers = [run for run in ours if self._never_signed_in(run)]
        # Together, since they are few: one more among them, and all get a little longer.
        lasted = sightings.lasted("runs-never-signed-in", " ".join(run.run_id for run in strangers))
        unborn = strangers if lasted > SIGN_IN_SECONDS else []
        return [run for run in ours if self.is_dead(run) or run in unborn]

    def _never_signed_in(self, run: Run) -> bool:
        """Whether no process of its own ever worked on a run."""
        if run.tags.get(WORKER_TAG, "").startswith(f"{run.run_id}:"):
            return False
        return not self.instance.run_launcher.supports_check_run_worker_health

    def fail(self, run: Run, why: str) -> None:
        """End a dead run and free its slot; the failure sensor records its attempt and tells people."""
        self.instance.report_run_failed(run, why)
        self._free(run)

    def end_as_cancelled(self, run: Run, why: str) -> None:
        """The same for one that somebody had cancelled; its attempt is recorded as that."""
        self.instance.report_run_canceled(run, why)
        self._free(run)

    def _free(self, run: Run) -> None:
        self.instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)

    def say_end(self, attempt: AttemptRecord) -> None:
        """Write into the run of an attempt how it ended and why: its log has the sentence, its tags what lists show.

        A run that was refused by a check ends with nothing but a count of checks, and a parked one looks like a
        release. What had no run is passed over.
        """
        run = self.instance.get_run_by_id(attempt.run_id) if attempt.run_id else None
        if run is None:
            return
        outcome, why = attempt.outcome.replace("_", " "), redacted(attempt.reason)
        self.instance.report_engine_event(in_log(f"Version {attempt.version} {outcome}: {why}"), run)
        self.instance.add_run_tags(
            run.run_id, {ENDED_TAG: str(attempt.outcome), WHY_TAG: one_line(why, WHY_CHARACTERS)}
        )

    def unfinished(self) -> list[Run]:
        """Our runs that have not ended, deliveries and rollbacks."""
        statuses = [*UNFINISHED, dg.DagsterRunStatus.CANCELING]
        return list(self.location.runs(self.instance, dg.RunsFilter(statuses=statuses)))

    def ended_badly(self) -> Iterator[Run]:
        """Deliveries that failed or were cancelled, the latest first, by the order in which they were created."""
        ended = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
        return (run for run in self.location.runs(self.instance, ended) if self.location.version_of(run))

    def under_way(self) -> list[UnderWay]:
        """The unfinished deliveries that the staging sensor started; nothing else is ever superseded."""
        runs = self.location.runs(self.instance, dg.RunsFilter(statuses=UNFINISHED), {TRIGGER_TAG: "sensor"})
        return [found for run in runs if trigger_of(run.tags) == "sensor" and (found := self._under_way(run))]

    def _under_way(self, run: Run) -> UnderWay | None:
        """None for a run whose tags were not set by the sensor: anybody may copy one of them, and nobody stops us."""
        try:
            return UnderWay(
                run_id=run.run_id,
                version=run.tags[PARTITION_TAG],
                staged_at=float(run.tags[STAGED_AT_TAG]),
                in_production=self.in_production(run.run_id),
                order=int(run.tags.get(STAGING_ORDER_TAG, "0")),
            )
        except (KeyError, ValueError):
            return None

    def has_tag(self, name: str, value: str) -> bool:
        """Whether there is a run of ours with a tag, ended or not."""
        return any(self.location.runs(self.instance, dg.RunsFilter(), {name: value}))

    def latest_unfinished(self, job: str) -> str:
        """The run of a job that was created last among those that have not ended; empty if there is none."""
        runs = self.location.runs(self.instance, dg.RunsFilter(job_name=job, statuses=UNFINISHED))
        latest = next(runs, None)
        return latest.run_id if latest else ""

    def waiting(self) -> list[Run]:
        """Deliveries that have not begun, those that wait longest first."""
        queued = dg.RunsFilter(statuses=_NOT_BEGUN)
        newest_first = [run for run in self.location.runs(self.instance, queued) if self.location.version_of(run)]
        return newest_first[::-1]

    def in_production(self, run_id: str) -> bool:
        """Whether the production step of a run has started."""
        stats = self.instance.get_run_step_stats(run_id, step_keys=[self.location.step("production_release")])
        return any(step.start_time for step in stats)

    def how_far(self, run: Run) -> HowFar:
        """How far a delivery has come that has not ended; one whose process is gone goes no further."""
        if run.status is dg.DagsterRunStatus.CANCELING or self.is_dead(run):
            return HowFar.ENDS
        if run.status in _NOT_BEGUN:
            return HowFar.WAITS
        if run.status is dg.DagsterRunStatus.STARTING:
            return HowFar.STARTS
        return HowFar.IN_PRODUCTION if self.in_production(run.run_id) else HowFar.BEGUN

    def supersede(self, run_id: str, by: str) -> None:
        """End a delivery because version ``by`` was staged later; its run ends CANCELED and says why."""
        self.instance.add_run_tags(run_id, {SUPERSEDED_TAG: by})
        self.cancel(run_id)

    def cancel(self, run_id: str) -> bool:
        """End a delivery as its button in the pages does.

        Returns:
            Whether its process was told. A code server that did not start it cannot tell it, as after an upgrade; then
            it hears of it by ``is_to_end``.
        """
        try:
            return bool(self.instance.run_coordinator.cancel_run(run_id))
        except Exception as error:  # noqa: BLE001 - a code server that is gone, a cluster that refuses
            LOG.warning("The process of run %s could not be told to end: %s", run_id, redacted(str(error)))
            return False

    def is_to_end(self, run_id: str) -> bool:
        """Whether somebody cancelled a run: Dagster notes that before it tells the process, which it may not reach."""
        run = self.instance.get_run_by_id(run_id)
        return run is not None and run.status in _CANCELLED

    def note_cancel(self, run_id: str) -> None:
        """Have a run end CANCELED once its process does; a start that overlapped may have wiped that out."""
        run = self.instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished and run.status not in _CANCELLED:
            self.instance.report_run_canceling(run)

    def staging_of(self, run_id: str) -> str:
        """For which staging the sensor started a run, in the registry's time; empty if it did not, or nobody knows."""
        run = self.instance.get_run_by_id(run_id) if run_id else None
        if run is not None:
            return run.tags.get(STAGED_AT_TAG, "") if trigger_of(run.tags) == "sensor" else ""
        # One that was overtaken before its run existed stands in the audit trail under its run key.
        _, found, staging = run_id.partition("@")
        milliseconds = staging.partition("#")[0]
        return f"{int(milliseconds) / 1000:.3f}" if found and milliseconds.isdigit() else ""

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
                "asked_at": _asked_at(run, known),
                "seconds": max(0.0, now - started),
                **facts,
            }
        )


def _asked_at(run: Run, known: dg.RunRecord | None) -> float | None:
    """When a delivery was asked for: when its version was staged, or else when somebody made its run."""
    try:
        return float(run.tags[STAGED_AT_TAG]) if trigger_of(run.tags) == "sensor" else _created_at(known)
    except (KeyError, ValueError):
        return _created_at(known)


def _created_at(known: dg.RunRecord | None) -> float | None:
    return known.create_timestamp.timestamp() if known else None


def trigger_of(tags: Mapping[str, str]) -> str:
    """What started a run: ``sensor``, ``registry``, ``cli``, ``redeploy``, ``backfill`` or ``manual``.

    A person who executes a run again in the Dagster pages copies its tags; it is that person's all the same.
    """
    if PARENT_RUN_TAG in tags:
        return "manual"
    return tags.get(TRIGGER_TAG) or ("backfill" if BACKFILL_TAG in tags else "manual")


def superseded_by(tags: Mapping[str, str]) -> str:
    """The version that ended a delivery by being staged later; empty if none did."""
    return tags.get(SUPERSEDED_TAG, "") if trigger_of(tags) == "sensor" else ""


def identity(run_id: str, process: psutil.Process) -> str:
    """Run, host, pid, the start of the machine, and the tick after it at which the process was started."""
    return f"{run_id}:{socket.gethostname()}:{process.pid}:{boot_id()}:{_start_tick(process)}"


def is_gone(run_id: str, signed: str) -> bool:
    """Whether the process that signed in for a run ended, as far as that can be seen from here."""
    owner, host, pid, *start = signed.split(":")
    if (owner, host) != (run_id, socket.gethostname()):
        return False
    if len(start) > 1 and start[0] != boot_id():
        return True  # This machine was started anew since.
    try:
        process = psutil.Process(int(pid))
        # An earlier version signed with the date of its start, which a step of the clock moves: it proves nothing.
        another = len(start) > 1 and str(_start_tick(process)) != start[1]
        return another or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _start_tick(process: psutil.Process) -> int:
    """When a process was started, in clock ticks since its machine was: no clock that can be set has a part in it.

    Raises:
        psutil.NoSuchProcess: if it is gone.
    """
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise psutil.NoSuchProcess(process.pid) from error
    # The name, in brackets, may hold blanks and brackets itself; 20 fields after it comes the tick.
    return int(stat.rpartition(")")[2].split()[19])
