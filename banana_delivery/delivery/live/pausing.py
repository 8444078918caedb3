"""A rollout that a person keeps where it is: said, asked for at every look, and told when it lasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from banana_delivery.delivery.deciding.rehearsing import on_record
from banana_delivery.delivery.live.beside import Beside
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.errors import GateError
from banana_delivery.notifications.alarms import paused_long
from banana_delivery.policy import commands
from banana_delivery.policy.holds import PauseRecord
from banana_delivery.policy.model import Environment
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.evidence.reasons import stated
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.waiting import Clock

TOLD_SECONDS = 1800.0
"""A pause that lasts so long is told, and again each time that it has lasted twice as long."""


@dataclass
class PauseWatch:
    """Asks who keeps a delivery where it is. While nobody answers, what was known last holds.

    It is asked beside the delivery: an audit trail that hangs keeps no look waiting that finds a fault.

    Attributes:
        ask: who does now.
        tell: told who and for how many seconds, when it lasts.
        clock: times that.
    """

    ask: Callable[[], PauseRecord | None]
    tell: Callable[[PauseRecord, float], object]
    clock: Clock
    _known: PauseRecord | None = field(default=None, init=False)
    _since: float = field(default=0.0, init=False)
    _next: float = field(default=TOLD_SECONDS, init=False)
    _beside: Beside = field(default_factory=lambda: Beside("asking for a pause"), init=False)

    def __call__(self) -> str:
        """Who and why, for people; empty if nobody does."""
        self._beside.do(lambda: self._take_up(self.ask()))
        return self._known.words if self._known else ""

    def _take_up(self, found: PauseRecord | None) -> None:
        if found and not self._known:
            self._since, self._next = self.clock.monotonic(), TOLD_SECONDS
        self._known = found
        lasted = self.clock.monotonic() - self._since
        if found and lasted >= self._next:
            self._next = 2 * lasted
            self.tell(found, lasted)


def pause_watch(log: AuditLog, recorder: AttemptRecorder, run_id: str) -> PauseWatch:
    """Whoever keeps a delivery where it is, asked and told with what its recorder knows."""
    publisher = recorder.publisher

    def tell(said: PauseRecord, seconds: float) -> None:
        publisher.tell(paused_long(publisher.model, said, seconds))

    return PauseWatch(lambda: log.pause(run_id), tell, recorder.clock)


def say_pause(
    target: ReleaseTarget,
    log: AuditLog,
    clock: Clock,
    by: str,
    reason: str,
    *,
    paused: bool,
    run_id: str = "",
    dry_run: bool = False,
) -> PauseRecord:
    """Put on record that the delivery in production is to stay where it is, or to go on; it counts at its next look.

    Args:
        target: knows which delivery that is.
        log: the audit trail.
        clock: dates it, for people.
        by: who says it.
        reason: why, in one sentence.
        paused: which of the two.
        run_id: the delivery that is meant; empty for whichever it is.
        dry_run: whether nothing is put on record.

    Raises:
        GateError: if there is no reason, no delivery, another one, or nothing that could go on.
        EvidenceError: if there is no key to sign it with.
        TargetError: if production cannot be seen.
    """
    record = target.record(Environment.PRODUCTION)
    if record.owner not in {run.run_id for run in Runs(log.instance, log.location).unfinished()}:
        raise GateError(
            f"No delivery is under way in production, so there is nothing to {'pause' if paused else 'resume'}; see: "
            f"{commands.status()}"
        )
    if run_id not in {"", record.owner}:
        raise GateError("Another delivery is in production than the one that was meant; look what is now.")
    run_id = str(record.owner)
    if not paused and log.pause(run_id) is None:
        raise GateError("The delivery in production is not paused.")
    why = stated(reason)
    version = record.candidate.version if record.candidate else ""
    said = PauseRecord(run_id=run_id, version=version, paused=paused, by=by, reason=why, at=clock.time())
    return on_record(log, log.record_pause, said, dry_run=dry_run)
