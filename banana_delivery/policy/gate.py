"""Whether a release may enter production. Fails closed: without a reason to let it in, it stays out.

The A/B report's verdict: what production traffic says and what the labelled images say, taken together.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, TypedDict

from pydantic import Field

from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import (
    AbVerdict,
    AttemptRecord,
    DecisionKind,
    ManualDecision,
    QualityRecord,
    ShiftStep,
    Verdict,
)
from banana_delivery.policy.hindsight.would_have import TRY
from banana_delivery.policy.model import Model, Outcome
from banana_delivery.policy.outcomes import decisive, is_redeploy, is_revoked
from banana_delivery.policy.rollout.decision import ActionKind

CLAIMED = "claimed by "
"""Before the name of a person whom nobody asked for a proof."""


class GateStatus(StrEnum):
    """What the gate says."""

    OPEN = "open"
    PARKED = "parked"
    REFUSED = "refused"


class GateDecision(Model):
    """The gate's answer and its basis, recorded with the release.

    Attributes:
        status: open, parked or refused.
        basis: what opened it: ``verdict``, ``observed``, ``redeploy``, ``approval`` or ``override``; empty
            if it is not open.
        reason: one sentence for a person.
        frozen: whether a freeze keeps it shut, which no approval opens.
    """

    status: GateStatus
    basis: str
    reason: str
    frozen: bool = False


class Approvers(Model):
    """Whose word lets a version in that the evidence does not, by an approval or an override.

    Attributes:
        needed: how many different people have to say so.
        who: who may, as the audit trail names them; empty: anybody. Whoever only claims to be somebody is none of them.
    """

    needed: int = Field(default=1, ge=1, le=10)
    who: tuple[Annotated[str, Field(pattern=r"^\S(.*\S)?$", examples=["ada@example.com"])], ...] = ()

    def may(self, by: str) -> bool:
        """Whether somebody's word counts; behind a name stands who vouches for it, and all before that is the name."""
        return not self.who or not {by, named(by)}.isdisjoint(self.who)


ANYBODY = Approvers()


class GateInputs(TypedDict):
    """What a gate goes by beside the evidence.

    Attributes:
        history: all attempts at the version, in any order.
        decisions: all that people said of it, in any order.
        frozen: whether a freeze window is open.
        freeze: which one, as a clause.
        approvers: whose word counts.
    """

    history: Sequence[AttemptRecord]
    decisions: Sequence[ManualDecision]
    frozen: bool
    freeze: str
    approvers: Approvers


def evaluate_gate(
    version: str,
    digest: str,
    *,
    verdicts: Sequence[AbVerdict],
    history: Sequence[AttemptRecord],
    decisions: Sequence[ManualDecision],
    frozen: bool,
    freeze: str = "",
    approvers: Approvers = ANYBODY,
    observing: bool = False,
) -> GateDecision:
    """Decide whether ``digest`` of ``version`` may take production traffic.

    Args:
        version: MLflow model version.
        digest: the image that would be released.
        verdicts: all A/B verdicts of this version, in any order; those of other digests do not count.
        history: all attempts at this version, in any order.
        decisions: all that people said of this version, in any order.
        frozen: whether a freeze window is open.
        freeze: which one, as a clause.
        approvers: whose word counts.
        observing: whether the policy only observes: then a report that was made under such a one keeps nobody out.
    """
    latest = max((one for one in verdicts if one.digest == digest), key=lambda one: one.order, default=None)
    override = standing_override(digest, history=history, decisions=decisions, approvers=approvers)
    if override:
        return _open("override", f"{somebody(override.by)} overrode the gate: {override.reason}")
    closed = standing_block(
        version, digest, history=history, decisions=decisions, frozen=frozen, freeze=freeze, approvers=approvers
    )
    after = latest.order if latest else None
    approval = _decision(decisions, DecisionKind.APPROVAL, digest, after, approvers)
    if closed and closed.frozen and latest and latest.verdict is not Verdict.FAIL:
        some = _fitting(decisions, DecisionKind.APPROVAL, digest, after, approvers)
        if some:
            # Where the report lets it in, whoever approved it has only to have it begun.
            enough = approval or (max(some, key=lambda one: one.order) if latest.verdict is Verdict.PASS else None)
            so_far = _so_far(decisions, DecisionKind.APPROVAL, digest, after, approvers)
            return closed.replace(reason=_approved_and_frozen(version, enough, so_far, freeze))
    if closed:
        return closed
    if is_redeploy(history) and digest in {one.digest for one in history if one.outcome is Outcome.RELEASED}:
        return _open("redeploy", f"Version {version} was released before and never revoked.")
    if latest and latest.verdict is Verdict.PASS:
        return _open("verdict", latest.reason)
    if latest and latest.observed and observing:
        return _open("observed", f"The policy only observes; the A/B report says {latest.verdict}: {latest.reason}")
    if approval and latest and latest.verdict is Verdict.INCONCLUSIVE:
        return _open("approval", f"{somebody(approval.by)} approved an inconclusive report: {approval.reason}")
    if latest and latest.verdict is Verdict.INCONCLUSIVE:
        so_far = _so_far(decisions, DecisionKind.APPROVAL, digest, after, approvers)
        return _parked(f"{latest.reason} To release it all the same, type: {commands.approve(version)}{so_far}")
    if latest:
        return _refused(f"The A/B report of version {version} failed: {latest.reason}")
    return _refused(
        f"Nothing vouches for version {version} as {digest[:19]}: no A/B report of this image exists. "
        f"Deliver it as a whole, type: {commands.deliver(version)}"
    )


def standing_block(
    version: str,
    digest: str,
    *,
    history: Sequence[AttemptRecord],
    decisions: Sequence[ManualDecision],
    frozen: bool,
    freeze: str = "",
    approvers: Approvers = ANYBODY,
) -> GateDecision | None:
    """What keeps a version away from production's users whatever the evidence; None if nothing does.

    Args:
        version: MLflow model version.
        digest: the image that would meet users.
        history: all attempts at this version, in any order.
        decisions: all that people said of this version, in any order.
        frozen: whether a freeze window is open.
        freeze: which one, as a clause.
        approvers: whose word counts.
    """
    if standing_override(digest, history=history, decisions=decisions, approvers=approvers):
        return None
    so_far = _so_far(decisions, DecisionKind.OVERRIDE, digest, _settled(history), approvers)
    if is_revoked(history):
        return _refused(
            f"Version {version} was rolled back before; to release it all the same, type: {commands.override(version)}"
            f"{so_far}"
        )
    if frozen:
        return _parked(
            f"A freeze window is open{f' ({freeze})' if freeze else ''}; version {version} waits. "
            f"When it is over, type: {commands.deliver(version)}; "
            f"if it cannot wait, type before that: {commands.override(version)}{so_far}"
        ).replace(frozen=True)
    return None


def standing_override(
    digest: str,
    *,
    history: Sequence[AttemptRecord],
    decisions: Sequence[ManualDecision],
    approvers: Approvers = ANYBODY,
) -> ManualDecision | None:
    """The person's word that lets this image in whatever speaks against it; None if nobody gave it, or it is spent.

    Args:
        digest: the image.
        history: all attempts at the version, in any order.
        decisions: all that people said of the version, in any order.
        approvers: whose word counts.
    """
    return _decision(decisions, DecisionKind.OVERRIDE, digest, _settled(history), approvers)


def is_spent(decision: ManualDecision, history: Sequence[AttemptRecord]) -> bool:
    """Whether production took the version in or threw it out after a decision, which counts no more then."""
    settled = _settled(history)
    return settled is not None and decision.order <= settled


def counts(
    decision: ManualDecision, digest: str, history: Sequence[AttemptRecord], verdicts: Sequence[AbVerdict]
) -> bool:
    """Whether a decision is about an image as it stands now: made after its last report, or not spent.

    Args:
        decision: a person's.
        digest: the image.
        history: all attempts at the version, in any order.
        verdicts: all A/B verdicts of the version, in any order.
    """
    if decision.kind is DecisionKind.OVERRIDE:
        settled = _settled(history)
    else:
        settled = max((one.order for one in verdicts if one.digest == digest), default=None)
    return decision.digest in {"", digest} and (settled is None or decision.order > settled)


def somebody(by: str) -> str:
    """Who decided, as the subject of a sentence; of one who only says so, that he says so."""
    return f"Somebody ({by})" if by.startswith(CLAIMED) else by


def named(by: str) -> str:
    """The name of who decided, whoever vouches for it: one person by two ways is one person."""
    return by.rpartition(" (")[0] or by


def _settled(history: Sequence[AttemptRecord]) -> int | None:
    """Where in the audit trail production last took the version in or threw it out; an override before it is spent."""
    settled = (attempt.order for attempt in decisive(history))
    return max(settled, default=None)


def _decision(
    decisions: Sequence[ManualDecision], kind: DecisionKind, digest: str, after: int | None, approvers: Approvers
) -> ManualDecision | None:
    """The latest decision of a kind about this digest, made after the fact it settles, if enough people agree."""
    fitting = _fitting(decisions, kind, digest, after, approvers)
    enough = len({named(decision.by) for decision in fitting}) >= approvers.needed
    return max(fitting, key=lambda decision: decision.order) if enough and fitting else None


def _so_far(
    decisions: Sequence[ManualDecision], kind: DecisionKind, digest: str, after: int | None, approvers: Approvers
) -> str:
    """How many people have decided and how many have to, where one alone may not."""
    if approvers == ANYBODY:
        return ""
    names = sorted({decision.by for decision in _fitting(decisions, kind, digest, after, approvers)})
    who = f" of {', '.join(approvers.who)}" if approvers.who else " people"
    return f" ({approvers.needed}{who} have to; so far: {', '.join(names) or 'nobody'})"


def _fitting(
    decisions: Sequence[ManualDecision], kind: DecisionKind, digest: str, after: int | None, approvers: Approvers
) -> list[ManualDecision]:
    return [
        decision
        for decision in decisions
        if decision.kind is kind
        and decision.digest in {"", digest}
        and decision.reason.strip()
        and approvers.may(decision.by)
        and (after is None or decision.order > after)
    ]


def _open(basis: str, reason: str) -> GateDecision:
    return GateDecision(status=GateStatus.OPEN, basis=basis, reason=reason)


def _parked(reason: str) -> GateDecision:
    return GateDecision(status=GateStatus.PARKED, basis="", reason=reason)


def _refused(reason: str) -> GateDecision:
    return GateDecision(status=GateStatus.REFUSED, basis="", reason=reason)


def _approved_and_frozen(version: str, approval: ManualDecision | None, so_far: str, freeze: str) -> str:
    """A delivery as a whole would make another report, for which no approval counts.

    Args:
        version: MLflow model version.
        approval: the one that lets it in once the freeze is over; None while somebody is missing.
        so_far: who has approved and how many have to, as a clause; empty where one alone may.
        freeze: which window is open, as a clause.
    """
    if approval:
        who = f"which {somebody(approval.by)} approved. Once it is over, the version"
        then = f"goes on by itself while that counts; later, type: {commands.approve(version)}"
    else:
        who = f"which not enough people approved{so_far}. Whoever is missing, types: {commands.approve(version)}; once"
        then = "it is over and all of that counts, the version goes on by itself"
    return (
        f"A freeze window is open{f' ({freeze})' if freeze else ''}; version {version} waits, {who} {then}; if it "
        f"cannot wait, type: {commands.override(version)}, and then: {commands.deliver(version)}; to take back what "
        f"was approved, type: {commands.withdraw(version)}"
    )


def ab_verdict(step: ShiftStep | None, quality: QualityRecord, block: GateDecision | None) -> tuple[Verdict, str]:
    """PASS needs both; one FAIL is enough; everything else is inconclusive.

    Args:
        step: how the A/B step ended; None if the labelled images had already decided against the candidate.
        quality: what the labelled images say.
        block: what kept the candidate from the users; None if nothing did.

    Returns:
        The verdict and one sentence with the numbers that decided.
    """
    if quality.verdict is Verdict.FAIL:
        return Verdict.FAIL, quality.reason
    if block:
        return Verdict.INCONCLUSIVE, block.reason
    if step is None:
        return Verdict.FAIL, quality.reason
    decision, reason = step.decision, step.reason
    if step.observed and decision == ActionKind.SET_WEIGHT:
        decision, reason = step.observed.what, step.observed.reason
    if decision == ActionKind.ROLL_BACK:
        return Verdict.FAIL, reason
    if decision in {ActionKind.PARK, ActionKind.STAND_BACK, TRY}:
        return Verdict.INCONCLUSIVE, reason
    if quality.verdict is Verdict.INCONCLUSIVE:
        return Verdict.INCONCLUSIVE, quality.reason
    return Verdict.PASS, f"{step.reason} {quality.reason}"
