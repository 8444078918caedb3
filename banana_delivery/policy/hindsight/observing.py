"""A step under a policy that only observes: the evidence is judged as ever, and ends nothing.

What needs no evidence goes on to be acted upon: that another release answers than is meant, that nobody answers, and
that nobody says what answers.
"""

from __future__ import annotations

from banana_delivery.policy.hindsight.would_have import TRY, WouldHave
from banana_delivery.policy.model import Colour
from banana_delivery.policy.rollout import reasons
from banana_delivery.policy.rollout.analysis import MAX_SILENT_POLLS, StepState
from banana_delivery.policy.rollout.decision import Action, ActionKind, StepAssessment, StepVerdict, next_action
from banana_delivery.policy.rollout.plan import Plan, Step, StepKind
from banana_delivery.policy.rollout.trial.judge import needs_trial

NAMES = {StepKind.AB: "the A/B", StepKind.SHIFT: "the shift", StepKind.WATCH: "the watch"}
ENDS = {ActionKind.ROLL_BACK, ActionKind.PARK, ActionKind.STAND_BACK}


def by_evidence(judgement: StepAssessment) -> bool:
    """Whether what was counted or measured turns the candidate back, rather than that nobody or a stranger answers."""
    return judgement.limit is not None or judgement.proven


def nobody_answers(state: StepState, candidate: Colour) -> bool:
    """Whether no replica says anything, and no request to the candidate was answered at the last looks."""
    last = [seen for poll in state.lately[-MAX_SILENT_POLLS:] for seen in poll.candidate.values()]
    asked = sum(seen.accepted for seen in last)
    return candidate not in state.seen.digests and asked > 0 and asked == sum(seen.failed for seen in last)


def place_of(step: Step) -> str:
    """A step as people call it."""
    return f"{NAMES[step.kind]} with {step.weight} % of the users"


def let_go_on(
    plan: Plan, state: StepState, judgement: StepAssessment, action: Action, candidate: Colour, *, paused: bool
) -> tuple[Action, WouldHave | None]:
    """What is done, and what would have been done instead.

    Args:
        plan: the rollout plan.
        state: of the step.
        judgement: what the look said.
        action: what follows where a policy acts.
        candidate: the colour that is judged.
        paused: whether a person keeps the step where it is.
    """
    if action.kind not in ENDS or _must_act(state, judgement, candidate):
        return action, None
    is_tried = action.kind is ActionKind.PARK and needs_trial(judgement)
    would = WouldHave(
        what=TRY if is_tried else action.kind.value,
        where=place_of(state.step),
        seconds=round(state.whole_seconds, 1),
        reason=action.reason,
    )
    lasts = max(state.step.ceiling_seconds, state.step.minimum_seconds)
    known = candidate in state.seen.digests
    if not known and state.seconds >= 2 * lasts:
        # Whatever the evidence says: it may be about something else.
        nameless = {"verdict": StepVerdict.INCONCLUSIVE, "reason": reasons.unidentified(state, candidate)}
        return next_action(plan, state, judgement.model_copy(update=nameless), paused=paused), None
    verdict = StepVerdict.PASS if known and state.seconds >= lasts else StepVerdict.CONTINUE
    found = {"verdict": verdict, "reason": f"Only observed; would {would.sentence}."}
    return next_action(plan, state, judgement.model_copy(update=found), paused=paused), would


def _must_act(state: StepState, judgement: StepAssessment, candidate: Colour) -> bool:
    if judgement.verdict is StepVerdict.FAIL:
        return not by_evidence(judgement) or nobody_answers(state, candidate)
    return judgement.verdict is StepVerdict.INCONCLUSIVE and candidate not in state.seen.digests
