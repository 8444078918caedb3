"""Decisions that people write beside a version in the registry's pages, where they look at it anyway.

A registry does not say who wrote a tag. What may be decided so is a setting, therefore, and who did is said as claimed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from banana_delivery.delivery.deciding.decisions import put_on_record
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.errors import BananaDeliveryError, GateError, redacted
from banana_delivery.model_registry.base import ModelRegistry, StagedVersion
from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind, ManualDecision
from banana_delivery.policy.gate import CLAIMED, somebody
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.staged_versions import Wish
from banana_delivery.quoting import one_line
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.waiting import Clock

LOG = logging.getLogger(__name__)
BY = f"{CLAIMED}a user of the model registry"
DECIDES = {Wish.APPROVE: DecisionKind.APPROVAL, Wish.OVERRIDE: DecisionKind.OVERRIDE}
TYPED = {Wish.APPROVE: commands.approve, Wish.OVERRIDE: commands.override}
TRIGGER = "registry"


@dataclass
class Wishes:
    """Acts on what was written, and answers beside it.

    Attributes:
        registry: where it was written.
        recorder: puts a rejection on record; its settings say what may be decided so.
        log: the audit trail.
        runs: the deliveries under way.
        clock: dates decisions.
        approved: decisions that were put on record and let a version go on that waits for nothing else.
    """

    registry: ModelRegistry
    recorder: AttemptRecorder
    log: AuditLog
    runs: Runs
    clock: Clock
    approved: list[ManualDecision] = field(default_factory=list, init=False)

    def act_on(self, staged: Sequence[StagedVersion]) -> set[str]:
        """Act on every wish once, and return the versions that are not to be delivered."""
        allowed = self.recorder.settings.registry_decisions
        for one in staged:
            for wish, reason in one.wishes.items():
                try:
                    if sentence := self._act(one.version, wish, reason):
                        self.registry.answer(one.version, wish, f"{wish.capitalize()}: {sentence}")
                except BananaDeliveryError as error:
                    # The deliveries of others go on, and it is met again at the next look.
                    LOG.warning("'%s' of version %s could not be acted on or answered: %s", wish, one.version, error)
        return {one.version for one in staged if one.wishes.get(Wish.REJECT) and Wish.REJECT in allowed}

    def _act(self, version: str, wish: Wish, reason: str) -> str:
        """What became of it; empty while it is still to be seen."""
        if wish not in self.recorder.settings.registry_decisions:
            how = f"type: {TYPED[wish](version)}, or " if wish in TYPED else ""
            return f"Nobody may {wish} by a tag here; {how}name it in BANANA_REGISTRY_DECISIONS, and write it again."
        if not reason:
            return f"It needs a reason, which the audit trail keeps; write it as the value of the tag banana.{wish}."
        if wish is Wish.REJECT:
            return self._reject(version, reason)
        return self._decide(version, wish, reason)

    def _decide(self, version: str, wish: Wish, reason: str) -> str:
        """It is on record at one look and answered at the next, and its run is asked for at both, under one key.

        So nothing is lost and nothing is done twice, whenever this process ends.
        """
        kind = DECIDES[wish]
        known = next((one for one in self.log.decisions(version) if one.kind is kind), None)
        if known and (known.by, known.reason) != (BY, reason):
            known = None
        try:
            said = known or put_on_record(self.log, self.clock, kind, version, "", reason, BY)
        except GateError as error:
            return str(error)
        if kind is DecisionKind.APPROVAL and not self._under_way(version):
            self.approved.append(said)
        if known is None:
            return ""
        return f"on record as {said.kind} of {said.digest[:19]}, {BY}: {one_line(said.reason)}"

    def _reject(self, version: str, reason: str) -> str:
        if under_way := self._under_way(version):
            for run_id in under_way:
                self.runs.cancel(run_id)
            return ""  # Its users come first; what is left to say is said once it has ended.
        said = AttemptRecord(
            version=version,
            outcome=Outcome.REJECTED,
            reason=f"{somebody(BY)} rejected it: {one_line(redacted(reason))}",
            trigger=TRIGGER,
            actor=BY,
            at=self.clock.time(),
        )
        known = next(self.log.each_readable(version), None)
        if known is None or (known.outcome, known.reason, known.trigger) != (said.outcome, said.reason, TRIGGER):
            self.recorder.record(self.log, said)
        return "It is rejected, and leaves the staged versions."

    def _under_way(self, version: str) -> list[str]:
        return [run.run_id for run in self.runs.unfinished() if self.log.location.version_of(run) == version]
