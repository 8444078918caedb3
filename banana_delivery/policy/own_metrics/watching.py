"""What follows for the release that serves from a team's metrics, after its promotion."""

from __future__ import annotations

from collections.abc import Sequence

from banana_delivery.policy.own_metrics.judging import MetricVerdict, Standing
from banana_delivery.policy.rollout.decision import StepAssessment, StepVerdict


def with_metrics(judgement: StepAssessment, verdicts: Sequence[MetricVerdict]) -> StepAssessment:
    """The assessment of a watch with what a team's metrics say.

    One that fails, and tells this release from the one before, turns it back. What is not known, or fails for both,
    changes nothing: there is no step to hold any more. Of what is not known it is said that nothing is watched by it.

    Args:
        judgement: by the counters.
        verdicts: of each metric that is judged at 100 %.
    """
    failing = next((one for one in verdicts if one.standing is Standing.FAILS), None)
    if judgement.verdict is StepVerdict.FAIL:
        return judgement
    if failing is None:
        unheard = [_unheard(one) for one in verdicts if one.standing is Standing.UNKNOWN]
        return judgement.model_copy(update={"reason": " ".join([judgement.reason, *unheard])})
    found = {"verdict": StepVerdict.FAIL, "reason": failing.reason, "limit": None, "proven": True}
    return judgement.model_copy(update=found)


def _unheard(verdict: MetricVerdict) -> str:
    return f"The metric {verdict.seen.name} is not heard, so that nothing is watched by it: {verdict.seen.said}."
