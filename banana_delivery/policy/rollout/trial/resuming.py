"""What follows from a trial that is over: the version is blamed, or the step begins again, or there were enough."""

from __future__ import annotations

from banana_delivery.policy.rollout.decision import Action, ActionKind
from banana_delivery.policy.rollout.trial.judge import Trial
from banana_delivery.policy.rollout.trial.tried import MOST_TRIALS, Met, Tried, goes_on, kind_of, stops

UNBLAMED = (ActionKind.PARK, ActionKind.STAND_BACK)


def after_trial(trial: Trial, action: Action) -> tuple[Action, Tried]:
    """What to do after a trial.

    Args:
        trial: as its last look left it.
        action: what that look said.

    Returns:
        The same if the version is to blame, or another one answered. Otherwise ``RESUME`` with the step that begins
        again, or ``STAND_BACK`` after the last trial that there may be. And what the delivery's trials found.
    """
    tried = _with(trial, suffered=action.kind is ActionKind.STAND_BACK)
    if action.kind not in UNBLAMED:
        return action, tried
    if tried.trials < MOST_TRIALS:
        said = f"{action.reason} The step begins again ({tried.trials} of {MOST_TRIALS - 1} times)."
        return action.replace(kind=ActionKind.RESUME, step=trial.state.step, reason=said), tried
    said = (
        f"{action.reason} That was trial {tried.trials} of this delivery, and none showed that the version is to "
        "blame: see what else keeps its users from good answers, then deliver again."
    )
    return action.replace(kind=ActionKind.STAND_BACK, reason=said), tried


def _with(trial: Trial, *, suffered: bool) -> Tried:
    """What the trials found, this one included."""
    before, kind, crossover = trial.tried, kind_of(trial.limit), trial.crossover
    known = {limit: met for limit, met in before.met.items() if limit is not kind}
    if suffered:
        known[kind] = before.met.get(kind, Met())
    elif not stops(*trial.users, trial.anyway):
        found = Met(anyway=trial.anyway, goes_on=goes_on(*trial.users, trial.anyway))
        known[kind] = before.met.get(kind, Met()) + found
    return before.replace(
        trials=before.trials + 1,
        crossovers=before.crossovers + (crossover is not None),
        probes=trial.paired.ratios,
        users=crossover.ratios if crossover else before.users,
        met=known,
    )
