"""A decision before it is made: whether it could be put on record, and what the gate would say then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from banana_delivery.policies.calendar import frozen
from banana_delivery.policies.document import ReleasePolicy
from banana_delivery.policy.asset_records import AbVerdict, AttemptRecord, ManualDecision
from banana_delivery.policy.gate import GateDecision, GateInputs, evaluate_gate
from banana_delivery.policy.hindsight.would_have import Mode
from banana_delivery.policy.model import StoredRecord
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.evidence.expiry import unexpired
from banana_delivery.settings import Settings
from banana_delivery.targets.sightings import sightings
from banana_delivery.waiting import Clock

Said = TypeVar("Said", bound=StoredRecord)


def on_record(log: AuditLog, record: Callable[[Said], None], said: Said, *, dry_run: bool) -> Said:
    """Put on record what a person said, or only look whether that could be done.

    Args:
        log: the audit trail.
        record: writes it there.
        said: what is to be written.
        dry_run: whether nothing is written.

    Raises:
        EvidenceError: if there is no key to sign it with.
    """
    if dry_run:
        log.location.evidence.refuse_unusable()
    else:
        record(said)
    return said


def gate_inputs(
    settings: Settings,
    policy: ReleasePolicy,
    log: AuditLog,
    clock: Clock,
    attempts: Sequence[AttemptRecord],
    decisions: Sequence[ManualDecision],
) -> GateInputs:
    """What a gate goes by beside the evidence.

    Args:
        settings: may close it.
        policy: has the calendar and the approvers.
        log: knows of freezes.
        clock: tells which windows are open.
        attempts: all at the version.
        decisions: all that people said of it and that count still.
    """
    closed = frozen(by_setting=settings.freeze, said=log.freeze(), windows=policy.freeze, now=clock.time())
    return GateInputs(
        history=attempts, decisions=decisions, frozen=bool(closed), freeze=closed, approvers=policy.approvers
    )


def gate_after(
    settings: Settings, policy: ReleasePolicy, log: AuditLog, clock: Clock, said: ManualDecision
) -> GateDecision:
    """What the gate would say of an image if a decision about it were the last thing on record.

    Args:
        settings: may close the gate.
        policy: by which it would judge.
        log: the audit trail without the decision.
        clock: tells what counts still.
        said: the decision.
    """
    attempts, verdicts = log.attempts(said.version), log.verdicts(said.version)
    before = unexpired(log.decisions(said.version), sightings(settings, clock), settings)
    orders = [*(one.order for one in attempts), *(one.order for one in verdicts), *(one.order for one in before)]
    last = said.replace(order=max(orders, default=0) + 1)
    inputs = gate_inputs(settings, policy, log, clock, attempts, [last, *before])
    return gate_about(said, policy, verdicts, inputs)


def gate_about(
    said: ManualDecision, policy: ReleasePolicy, verdicts: Sequence[AbVerdict], inputs: GateInputs
) -> GateDecision:
    """What the gate says of the image that a decision is about."""
    observing = policy.mode is Mode.OBSERVE
    return evaluate_gate(said.version, said.digest, verdicts=verdicts, observing=observing, **inputs)
