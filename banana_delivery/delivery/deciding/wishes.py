"""Decisions that people write beside a version in the registry's pages, where they look at it anyway.

A registry does not say who wrote a tag. What may be decided so is a setting, therefore, and who did is said as claimed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from banana_delivery.delivery.deciding.decisions import put_on_record
from banana_delivery.delivery.deciding.going_on import Approved, Due, GoingOn, request_of
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.errors import GateError, redacted
from banana_delivery.files import text_sha256
from banana_delivery.model_registry.base import ModelRegistry, StagedVersion
from banana_delivery.names import REQUEST_TAG
from banana_delivery.policy import commands
from banana_delivery.policy.approvals.withdrawn import standing
from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind, ImageRecord, ManualDecision
from banana_delivery.policy.gate import CLAIMED, counts, somebody
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.staged_versions import Wish
from banana_delivery.quoting import one_line
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.evidence.expiry import unexpired
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.targets.sightings import sightings
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
        met: what was acted on and could not be taken away beside its version yet: hashes of the reasons by version and
            wish. It is not a second wish, whatever became of the first.
        approved: the deliveries that are to go on now.
    """

    registry: ModelRegistry
    recorder: AttemptRecorder
    log: AuditLog
    runs: Runs
    clock: Clock
    met: dict[str, str] = field(default_factory=dict)
    approved: list[Due] = field(default_factory=list, init=False)

    def act_on(self, staged: Sequence[StagedVersion]) -> set[str]:
        """Act on every wish once, and return the versions that are not to be delivered."""
        rejected = {one.version for one in staged if self._rejects(one)}
        for one in staged:
            for wish in Wish:
                if wish not in one.wishes:
                    self.met.pop(_key(one.version, wish), None)
            # Its rejection is answered last: it is what is to be read in the end.
            for wish, reason in sorted(one.wishes.items(), key=lambda item: item[0] is Wish.REJECT):
                self._see_to(one.version, wish, reason, rejected=one.version in rejected)
        return rejected

    def _rejects(self, one: StagedVersion) -> bool:
        return bool(one.wishes.get(Wish.REJECT)) and Wish.REJECT in self.recorder.settings.registry_decisions

    def _see_to(self, version: str, wish: Wish, reason: str, *, rejected: bool) -> None:
        key, sign = _key(version, wish), text_sha256(reason)
        try:
            if rejected and wish is not Wish.REJECT:
                sentence = "It does not count, since the version is rejected by the tag beside it."
            else:
                # As the audit trail keeps it, or it would not be known again there.
                sentence = self._act(version, wish, redacted(reason), again=self.met.get(key) == sign)
            if sentence or wish in DECIDES:
                self.met[key] = sign
            if sentence:
                self.registry.answer(version, wish, f"{wish.capitalize()}: {sentence}")
                del self.met[key]
        except Exception as error:  # noqa: BLE001 - whatever it is, the deliveries of others go on
            # It is met again at the next look.
            LOG.warning("'%s' of version %s could not be acted on or answered: %s", wish, version, redacted(str(error)))

    def _act(self, version: str, wish: Wish, reason: str, *, again: bool) -> str:
        """What became of it; empty while it is still to be seen. ``again``: it was acted on at a look before."""
        if wish not in self.recorder.settings.registry_decisions:
            how = f"type: {TYPED[wish](version)}, or " if wish in TYPED else ""
            return f"Nobody may {wish} by a tag here; {how}name it in BANANA_REGISTRY_DECISIONS, and write it again."
        if not reason:
            return f"It needs a reason, which the audit trail keeps; write it as the value of the tag banana.{wish}."
        if wish is Wish.REJECT:
            return self._reject(version, reason, again=again)
        return self._decide(version, wish, reason, again=again)

    def _decide(self, version: str, wish: Wish, reason: str, *, again: bool) -> str:
        """It is on record at one look and answered at the next, and its run is asked for at both, under one key.

        So nothing is lost and nothing is done twice, whenever this process ends. While a delivery of the version is
        under way, which may not see it any more, nothing is asked for and nothing answered.
        """
        kind = DECIDES[wish]
        known = self._known(kind, version, reason, again=again)
        try:
            if known is None and kind is DecisionKind.APPROVAL:
                self._follows.refuse_while_closed(version)
            said = known or put_on_record(self.log, self.clock, kind, version, "", reason, BY)
        except GateError as error:
            return str(error)
        follows = self._follows.of(said) if kind is DecisionKind.APPROVAL else None
        if follows and follows.due:
            self.approved.append(follows.due)
        if known is None or (follows and follows.state is Approved.WAITS):
            return ""
        done = f"on record as {said.kind} of {said.digest[:19]}, {BY}: {one_line(said.reason)}"
        if follows and follows.why_not:
            return f"{done}. {one_line(follows.why_not)}"
        if follows and follows.state is Approved.OVER and not self.runs.has_tag(REQUEST_TAG, request_of(said)):
            return f"{done}. Nothing begins by it; to release it all the same, type: {commands.approve(version)}"
        return done

    @property
    def _follows(self) -> GoingOn:
        return GoingOn(self.recorder, self.log, self.runs)

    def _known(self, kind: DecisionKind, version: str, reason: str, *, again: bool) -> ManualDecision | None:
        """The decision that a wish became already; the same words of another day, which count no more, are not it."""
        # One that was taken back and could not be taken away beside its version is not said again.
        said, settings = self.log.all_decisions(version), self.recorder.settings
        decisions = [*said] if again else [*standing(said)]
        same = [one for one in decisions if (one.kind, one.by, one.reason) == (kind, BY, reason)]
        if not again and same:
            image = self.log.latest(ImageRecord, "image", version)
            history, verdicts = [*self.log.each_readable(version)], self.log.verdicts(version)
            counting = unexpired(same, sightings(settings, self.clock), settings)
            same = [one for one in counting if image and counts(one, image.ref.digest, history, verdicts)]
        return next(iter(same), None)

    def _reject(self, version: str, reason: str, *, again: bool) -> str:
        if under_way := self._under_way(version):
            for run_id in under_way:
                self.runs.cancel(run_id)
            return ""  # Its users come first; what is left to say is said once it has ended.
        said = AttemptRecord(
            version=version,
            outcome=Outcome.REJECTED,
            reason=redacted(f"{somebody(BY)} rejected it: {one_line(reason)}"),
            trigger=TRIGGER,
            actor=BY,
            at=self.clock.time(),
        )
        known = next(self.log.each_readable(version), None)
        if known is None or (known.outcome, known.reason, known.trigger) != (said.outcome, said.reason, TRIGGER):
            self.recorder.record(self.log, said)
        elif not again:
            # Staged once more without a delivery, or whoever put it on record ended before the registry knew.
            self.recorder.publisher.publish(known, self.log.made)
        return "It is rejected, and leaves the staged versions."

    def _under_way(self, version: str) -> list[str]:
        return [run.run_id for run in self.runs.unfinished() if self.log.location.version_of(run) == version]


def _key(version: str, wish: Wish) -> str:
    return f"{version} {wish}"
