"""The A/B report's verdict: what production traffic says and what the labelled images say, taken together."""

from __future__ import annotations

from banana_delivery.policy.gates import Verdict
from banana_delivery.policy.releases import QualityRecord, ShiftStep
from banana_delivery.policy.rollout import ActionKind


def ab_verdict(step: ShiftStep | None, quality: QualityRecord) -> tuple[Verdict, str]:
    """PASS needs both; one FAIL is enough; everything else is inconclusive.

    Args:
        step: how the A/B step ended; None if the labelled images had already decided against the candidate.
        quality: what the labelled images say.

    Returns:
        The verdict and one sentence with the numbers that decided.
    """
    if quality.verdict is Verdict.FAIL or step is None:
        return Verdict.FAIL, quality.reason
    if step.decision == ActionKind.ROLL_BACK:
        return Verdict.FAIL, step.reason
    if step.decision == ActionKind.PARK:
        return Verdict.INCONCLUSIVE, step.reason
    if quality.verdict is Verdict.INCONCLUSIVE:
        return Verdict.INCONCLUSIVE, quality.reason
    return Verdict.PASS, f"{step.reason} {quality.reason}"
