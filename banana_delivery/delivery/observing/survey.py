"""Looking at what monitoring is told: the audit trail, the queue, and what each environment is at."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from banana_delivery.delivery.observing.snapshot import EnvironmentState, Snapshot, SnapshotFile
from banana_delivery.errors import TargetError
from banana_delivery.policy.model import COLOURS, Environment, RolloutRecord
from banana_delivery.policy.scorecard.totals import Totals, count
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.targets.base import ReleaseTarget


def refresh(home: Path, log: AuditLog, target: ReleaseTarget) -> None:
    """Look anew, and keep what is seen for whoever asks.

    The counters go on from what was kept. Where that is lost they begin with the whole trail, and so do not fall.

    Args:
        home: everything the pipeline keeps.
        log: the audit trail.
        target: where releases run.
    """
    file = SnapshotFile(home)
    before = file.read() or Snapshot()
    # A log whose newest line is older than what was counted is another one: its counters begin anew.
    head = log.head()
    known = Totals() if 0 < head < before.totals.order else before.totals
    fresh = takewhile(lambda one: one.order > known.order, log.each_readable() if head > known.order else ())
    environments, silent = _look(target)
    now = Snapshot(
        environments=environments,
        silent=silent,
        totals=count(known, fresh),
        waiting=len(Runs(log.instance, log.location).waiting()),
    )
    if now != before:
        file.write(now)


def _look(target: ReleaseTarget) -> tuple[dict[Environment, EnvironmentState], tuple[Environment, ...]]:
    seen: dict[Environment, EnvironmentState] = {}
    silent: list[Environment] = []
    for environment in COLOURS:
        try:
            seen[environment] = _state(target.record(environment))
        except TargetError:
            silent.append(environment)
    return seen, tuple(silent)


def _state(record: RolloutRecord) -> EnvironmentState:
    released = record.candidate.version if record.candidate else ""
    share = (
        record.weights.get(record.idle, 0) / 100 if released and record.environment is Environment.PRODUCTION else 0.0
    )
    return EnvironmentState(
        phase=record.phase,
        under_way=released,
        serving=record.live.version if record.live else "",
        digest=record.live.digest if record.live else "",
        candidate_share=share,
    )
