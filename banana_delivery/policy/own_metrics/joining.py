"""What follows for a step from its counters and a team's metrics, taken together."""

from __future__ import annotations

from collections.abc import Sequence

from banana_delivery.policy.own_metrics.judging import MetricVerdict, Standing
from banana_delivery.policy.rollout.analysis import StepState
from banana_delivery.policy.rollout.decision import StepAssessment, StepVerdict

AT_LAST = {
    Standing.SHARED: StepVerdict.TROUBLED,
    Standing.UNKNOWN: StepVerdict.TROUBLED,
    Standing.UNDECIDED: StepVerdict.INCONCLUSIVE,
    Standing.DOUBTFUL: StepVerdict.INCONCLUSIVE,
}
"""How a step ends that has waited for its ceiling twice."""
AT_ONCE = {Standing.FAILS: StepVerdict.FAIL, Standing.PARKS: StepVerdict.INCONCLUSIVE}


def joined(judgement: StepAssessment, state: StepState, verdicts: Sequence[MetricVerdict]) -> StepAssessment:
    """The assessment of a step with what a team's metrics say: they turn back and hold, and excuse nothing.

    Args:
        judgement: by the counters.
        state: of the step.
        verdicts: of each metric that is judged in it.
    """
    if not verdicts:
        return judgement
    seen = judgement.metrics.replace(own=tuple(one.seen for one in verdicts))
    judgement = judgement.model_copy(update={"metrics": seen})
    if judgement.verdict is StepVerdict.FAIL:
        return judgement
    gravest = min(verdicts, key=lambda one: list(Standing).index(one.standing))
    if gravest.standing in AT_ONCE:
        # Nothing is tried: the probe sends what no metric of a team counts.
        found = {"verdict": AT_ONCE[gravest.standing], "reason": gravest.reason, "limit": None}
        return judgement.model_copy(update={**found, "proven": gravest.standing is Standing.FAILS})
    if judgement.verdict is not StepVerdict.PASS or gravest.standing is Standing.FINE:
        return judgement
    over = state.seconds >= 2 * state.step.ceiling_seconds
    verdict = AT_LAST[gravest.standing] if over else StepVerdict.CONTINUE
    return judgement.model_copy(update={"verdict": verdict, "reason": gravest.reason})
