"""What follows for the release that serves from a team's metrics, after its promotion."""

from __future__ import annotations

from collections.abc import Sequence

from banana_delivery.policy.own_metrics.judging import MetricVerdict, Standing
from banana_delivery.policy.rollout.decision import StepAssessment, StepVerdict


def with_metrics(judgement: StepAssessment, verdicts: Sequence[MetricVerdict]) -> StepAssessment:
    """The assessment of a watch with what a team's metrics say.

    One that fails, and tells this release from the one before, turns it back. What is not known, or fails for both,
    changes nothing: there is no step to hold any more.

    Args:
        judgement: by the counters.
        verdicts: of each metric that is judged at 100 %.
    """
    failing = next((one for one in verdicts if one.standing is Standing.FAILS), None)
    if failing is None or judgement.verdict is StepVerdict.FAIL:
        return judgement
    found = {"verdict": StepVerdict.FAIL, "reason": failing.reason, "limit": None, "proven": True}
    return judgement.model_copy(update=found)
