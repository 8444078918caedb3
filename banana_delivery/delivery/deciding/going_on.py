"""A version that was approved goes on, whenever its approval was heard and whoever ended before he could start it.

What is to be done is read from the audit trail and from Dagster each time: what this process remembers decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from banana_delivery.names import REQUEST_TAG
from banana_delivery.policy.asset_records import ManualDecision
from banana_delivery.policy.gate import awaits_approval
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.lifecycle import Run, Runs


class Approved(Enum):
    """What becomes of a version that was approved."""

    WAITS = auto()
    """Until the delivery under way has ended, which may have seen the approval or not."""
    DUE = auto()
    OVER = auto()
    """It went on, or another delivery has said more of it since."""


def request_of(approval: ManualDecision) -> str:
    """By which the delivery that follows from an approval is known: there is one of each."""
    return f"{approval.version} approved at {approval.at}"


@dataclass(frozen=True)
class GoingOn:
    """What follows from approvals.

    Attributes:
        log: the audit trail.
        runs: the deliveries.
    """

    log: AuditLog
    runs: Runs

    def under_way(self, version: str) -> list[Run]:
        """The deliveries of a version whose end is not on record; once it is, nobody decides anything in them."""
        runs = [run for run in self.runs.unfinished() if self.log.location.version_of(run) == version]
        return [run for run in runs if self.log.attempt_of(run.run_id, version) is None]

    def of(self, approval: ManualDecision) -> Approved:
        """What becomes of a version by an approval that stands."""
        if self.runs.has_tag(REQUEST_TAG, request_of(approval)):
            return Approved.OVER
        if self.under_way(approval.version):
            return Approved.WAITS
        latest = next(self.log.each_attempt(approval.version), None)
        return Approved.DUE if awaits_approval(latest, approval.digest) else Approved.OVER
