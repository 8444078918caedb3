"""A delivery that a person ends: its users go back to what serves, and its version stays staged and is not revoked."""

from __future__ import annotations

from typing import NamedTuple

from banana_delivery.delivery.deciding.rehearsing import on_record
from banana_delivery.errors import GateError
from banana_delivery.policy import commands
from banana_delivery.policy.holds import AbortRecord
from banana_delivery.policy.model import Environment
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.evidence.reasons import stated
from banana_delivery.runs.lifecycle import Run, Runs
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.waiting import Clock


class Aborted(NamedTuple):
    """What was said, and whether the delivery's process was told at once; else it hears of it at its next look."""

    said: AbortRecord
    told: bool

    @property
    def sentence(self) -> str:
        """What becomes of the delivery, for people."""
        if self.told:
            return f"the delivery of version {self.said.version} ends, and its users go back to what serves"
        return (
            f"the delivery of version {self.said.version} is to end; Dagster could not tell its process, which looks "
            f"by itself every second while it has users: see {commands.status()}"
        )


def say_abort(
    target: ReleaseTarget,
    log: AuditLog,
    clock: Clock,
    by: str,
    reason: str,
    *,
    version: str = "",
    run_id: str = "",
    dry_run: bool = False,
) -> Aborted:
    """Put on record that a delivery is to end, and end it, whether it waits or has begun.

    Args:
        target: knows which delivery has an environment.
        log: the audit trail.
        clock: dates it, for people.
        by: who says it.
        reason: why, in one sentence.
        version: the version that is delivered; empty for whichever is under way.
        run_id: the delivery itself; empty for whichever it is.
        dry_run: whether nothing is put on record and nothing ended.

    Raises:
        GateError: if there is no reason, no such delivery, or several.
        EvidenceError: if there is no key to sign it with.
        TargetError: if the environments cannot be seen, and it is not said which delivery is meant.
    """
    why = stated(reason)
    run = _meant(target, log, version, run_id)
    its = log.location.version_of(run)
    said = AbortRecord(run_id=run.run_id, version=its, by=by, reason=why, at=clock.time())
    on_record(log, log.record_abort, said, dry_run=dry_run)
    return Aborted(said, not dry_run and Runs(log.instance, log.location).cancel(run.run_id))


def _meant(target: ReleaseTarget, log: AuditLog, version: str, run_id: str) -> Run:
    unfinished = [one for one in Runs(log.instance, log.location).unfinished() if log.location.version_of(one)]
    found = [one for one in unfinished if run_id in {"", one.run_id} and version in {"", log.location.version_of(one)}]
    if len(found) > 1:
        owners = {target.record(environment).owner for environment in Environment}
        found = [one for one in found if one.run_id in owners] or found
    if len(found) == 1:
        return found[0]
    if found:
        versions = ", ".join(sorted({log.location.version_of(one) for one in found}))
        raise GateError(
            f"Deliveries of versions {versions} wait or are under way; say which, type: {commands.abort('N')}"
        )
    which = f"of version {version} " if version else ""
    raise GateError(f"No delivery {which}waits or is under way any more; see: {commands.status()}")
