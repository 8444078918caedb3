"""A version that was approved goes on, whenever its approval was heard and whoever ended before he could start it.

What is to be done is read from the audit trail and from Dagster each time: what this process remembers decides nothing.
Each approval starts one delivery, and one more after each freeze that kept it out. A delivery of its own that failed is
not tried again by itself: whatever failed is told with what to type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from banana_delivery.delivery.deciding.rehearsing import gate_about, gate_inputs
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.errors import GateError, redacted
from banana_delivery.names import PARENT_RUN_TAG, REQUEST_TAG, RETRY_TAG
from banana_delivery.policies.document import ReleasePolicy
from banana_delivery.policies.reading import load_policy
from banana_delivery.policy.approvals.going_on import GoesOn, goes_on, was_kept_out
from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind, ManualDecision
from banana_delivery.policy.gate import GateStatus, counts
from banana_delivery.quoting import one_line
from banana_delivery.reports.freezing import closed
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.evidence.expiry import LOOKED_AT, unexpired
from banana_delivery.runs.lifecycle import Run, Runs
from banana_delivery.targets.sightings import sightings

VIA_PAGE = " (via page)"
"""Behind the name of who decided on the page of deliveries."""
APPROVED, KEPT_OUT = " approved at ", ", kept out in "
"""Within the request by which a delivery is known that follows from an approval; the second after a freeze."""
AGAIN_SECONDS = 300.0
"""From when it was kept out for the second time until it is begun again; twice as long each time after that."""
COUNTS_NO_MORE = (
    "It counts no more: a report came after it, or its time is over. Look at what is now, and approve that."
)


class Approved(Enum):
    """What becomes of a version that was approved."""

    WAITS = auto()
    """Until the delivery under way, which may have seen the approval or not, or a freeze has ended."""
    DUE = auto()
    UNDER_WAY = auto()
    """What follows from the approval was begun and has not ended."""
    OVER = auto()
    """It went on, or another delivery has said more of it since, or the approval lets nothing in."""


class Due(NamedTuple):
    """A delivery that follows from an approval.

    Attributes:
        approval: whose.
        request: by which the delivery is known: there is one of each.
    """

    approval: ManualDecision
    request: str


class Follows(NamedTuple):
    """What follows from an approval now.

    Attributes:
        state: what becomes of its version.
        due: the delivery that is to be asked for; None if none is.
        why_not: why it lets nothing in, as a sentence; empty if it does, or if that was not asked.
    """

    state: Approved
    due: Due | None = None
    why_not: str = ""


def request_of(approval: ManualDecision, kept_out: str = "") -> str:
    """By which the delivery that follows from an approval is known.

    Args:
        approval: whose.
        kept_out: the run before it, which a freeze kept out; empty for the first.
    """
    return f"{approval.version}{APPROVED}{approval.at}{f'{KEPT_OUT}{kept_out}' if kept_out else ''}"


def began_by_itself(tags: Mapping[str, str]) -> bool:
    """Whether a delivery followed from an approval, by its tags: what a command starts is known by a request, too.

    Who executes one again in Dagster's pages copies them; Dagster's own retries do, too, and are nobody's word.
    """
    return APPROVED in tags.get(REQUEST_TAG, "") and (PARENT_RUN_TAG not in tags or RETRY_TAG in tags)


@dataclass(frozen=True)
class GoingOn:
    """What follows from approvals.

    Attributes:
        recorder: has the settings, the policy and the clock.
        log: the audit trail.
        runs: the deliveries.
    """

    recorder: AttemptRecorder
    log: AuditLog
    runs: Runs

    def under_way(self, version: str) -> list[Run]:
        """The deliveries of a version whose end is not on record; once it is, nobody decides anything in them."""
        runs = [run for run in self.runs.unfinished() if self.log.location.version_of(run) == version]
        return [run for run in runs if self.log.attempt_of(run.run_id, version) is None]

    def refuse_while_closed(self, version: str) -> None:
        """Spare people an approval that a freeze would only keep waiting.

        Raises:
            GateError: if nothing enters production now; one sentence with what ends that.
        """
        if shut := self.closed():
            raise GateError(f"Approved now, version {version} would only wait again. {shut}")

    def closed(self) -> str:
        """What keeps deliveries out now, and what ends that, as a sentence; empty if nothing does.

        Raises:
            BadSettingsError: if the policy cannot be read.
        """
        return closed(self.recorder.settings, self._policy.freeze, self.log.freeze(), self.recorder.clock.time())

    def of(self, said: ManualDecision) -> Follows:
        """What becomes of a version by an approval.

        Args:
            said: the approval, read from the audit trail or just written there.
        """
        # Its time runs from when it is looked at first, also while it waits.
        settings, decisions = self.recorder.settings, self.log.decisions(said.version)
        still = unexpired(decisions, sightings(settings, self.recorder.clock), settings)
        if under_way := self.under_way(said.version):
            its = any(run.tags.get(REQUEST_TAG, "").partition(KEPT_OUT)[0] == request_of(said) for run in under_way)
            return Follows(Approved.UNDER_WAY if its else Approved.WAITS)
        approval = next((one for one in decisions if one.replace(order=said.order) == said), None)
        attempts = self.log.attempts(said.version)
        asks = goes_on(approval, attempts) if approval else GoesOn.NOTHING
        if approval is None or asks is GoesOn.NOTHING or _is_overtaken(approval, decisions):
            return Follows(Approved.OVER)
        kept_out = [one.run_id for one in attempts if was_kept_out(approval, one)]
        followed = kept_out[:1] if asks is GoesOn.AGAIN else ["", *kept_out]
        if any(self.runs.has_tag(REQUEST_TAG, request_of(approval, each)) for each in followed):
            return Follows(Approved.OVER)
        if asks is GoesOn.AGAIN and not self._is_time(said.version, kept_out):
            return Follows(Approved.WAITS)
        return self._at_the_gate(Due(approval, request_of(approval, followed[0])), still, attempts)

    @property
    def _policy(self) -> ReleasePolicy:
        """As a delivery would read it that is begun now; a sensor's process may have read another one days ago."""
        return load_policy(self.recorder.settings.policy_source)

    def _is_time(self, version: str, kept_out: Sequence[str]) -> bool:
        """Whether to begin again what was kept out.

        Where that had been begun after a freeze and met one all the same, its process knows of a freeze that this one
        does not, by another environment or clock. Nobody here would see it end, so it is tried ever more rarely.
        """
        if len(kept_out) < 2:
            return True
        settings, clock = self.recorder.settings, self.recorder.clock
        name = f"kept-out-{settings.dagster_prefix}-{version}"
        return sightings(settings, clock).lasted(name, kept_out[0]) >= AGAIN_SECONDS * 2.0 ** (len(kept_out) - 2)

    def _at_the_gate(self, due: Due, still: Sequence[ManualDecision], attempts: Sequence[AttemptRecord]) -> Follows:
        """A delivery that the gate would only turn away again is not begun."""
        approval, recorder = due.approval, self.recorder
        verdicts, policy = self.log.verdicts(approval.version), self._policy
        if approval not in still or not counts(approval, approval.digest, [], verdicts):
            return Follows(Approved.OVER, why_not=COUNTS_NO_MORE)
        inputs = gate_inputs(recorder.settings, policy, self.log, recorder.clock, attempts, still)
        gate = gate_about(approval, policy, verdicts, inputs)
        # What an override opens in a freeze is for whoever has the version delivered: nothing begins by itself in one.
        if gate.frozen or (inputs["frozen"] and gate.status is GateStatus.OPEN):
            return Follows(Approved.WAITS)
        if gate.status is not GateStatus.OPEN:
            return Follows(Approved.OVER, why_not=gate.reason)
        return Follows(Approved.DUE, due)

    def kept_out(self) -> tuple[list[Due], list[str]]:
        """What a freeze kept out that is over, or kept from being begun.

        The page sees to what was approved there, as long as anybody decides on it: it has no sensor otherwise.

        Returns:
            The deliveries that are to be asked for, and of which versions that is not known, as sentences.
        """
        latest: dict[tuple[str, str], ManualDecision] = {}
        for one in self.log.decisions(latest=LOOKED_AT):
            if one.kind is DecisionKind.APPROVAL:
                latest.setdefault((one.version, one.digest), one)
        due: list[Due] = []
        told: list[str] = []
        for (version, _), approval in latest.items():
            if approval.by.endswith(VIA_PAGE) and self.recorder.settings.pages_deciders:
                continue
            try:
                due += filter(None, [self._kept_out(approval)])
            except Exception as error:  # noqa: BLE001 - whatever it is, the deliveries of others go on
                told.append(not_known(f"Whether version {version} goes on, which was approved,", error))
        return due, told

    def _kept_out(self, approval: ManualDecision) -> Due | None:
        if not approval.frozen and not was_kept_out(approval, next(self.log.each_attempt(approval.version), None)):
            return None
        return self.of(approval).due


def not_known(what: str, error: Exception) -> str:
    """What is told of something that cannot be found out now, as a sentence in one line."""
    return f"{what} is not known now: {one_line(redacted(str(error) or type(error).__name__))}"


def _is_overtaken(approval: ManualDecision, decisions: Sequence[ManualDecision]) -> bool:
    """Whether somebody approved the same image later: whoever did starts what follows from both, by his way."""
    same = (one for one in decisions if (one.kind, one.digest) == (approval.kind, approval.digest))
    return any(one.order > approval.order for one in same)
