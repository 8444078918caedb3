"""A delivery's loop as ``delivery.traffic_shift`` runs it, second by second, with made-up traffic and no waiting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from banana_delivery.policy.rollout.analysis import StepState, begin_step, observe
from banana_delivery.policy.rollout.comparison import NOT_COMPARED, Paired
from banana_delivery.policy.rollout.decision import (
    Action,
    ActionKind,
    StepAssessment,
    assess_step,
    control_rate,
    may_begin,
    next_action,
    probe_rate,
    stand_back,
)
from banana_delivery.policy.rollout.plan import Plan, Step, StepKind, ab_step, release_steps
from banana_delivery.policy.rollout.traffic.split import Split
from banana_delivery.policy.rollout.trial.judge import (
    TRIED,
    Trial,
    assess_trial,
    begin_trial,
    needs_trial,
    trial_rate,
)
from banana_delivery.policy.rollout.trial.resuming import after_trial
from banana_delivery.policy.rollout.trial.tried import NOTHING_TRIED, Tried
from banana_delivery.policy.simulation.traffic import CANDIDATE, DIGEST, Traffic

ENTRY_LOOKS = 2
"""How often production is looked at before the A/B and before the first shift."""
LONGEST_WAIT = 600

Pace = Callable[[Step, int], int]
"""Seconds from a moment of a step, in seconds of the delivery, to the next look."""


@dataclass(frozen=True)
class End:
    """How a delivery ended.

    Attributes:
        kind: what the policy said last.
        reason: why.
        seconds: when.
        hurt: user requests that had failed on the candidate by then.
        protected: when its users were taken away by evidence for the first time; None if they never were.
        trials: how many there were.
    """

    kind: ActionKind
    reason: str
    seconds: float
    hurt: int
    protected: float | None = None
    trials: int = 0


def every_second(step: Step, now: int) -> int:
    """As a real delivery looks."""
    del step, now
    return 1


def deliver(plan: Plan, traffic: Traffic, pace: Pace = every_second, *, is_tried: bool = True) -> End:
    """A whole delivery: the A/B, the shifts and the watch, until one of them does not pass.

    Args:
        plan: the rollout plan.
        traffic: what comes.
        pace: how many seconds pass between two looks.
        is_tried: whether a candidate whose users were taken away is tried; otherwise the delivery ends there.
    """
    steps = release_steps(plan)
    paired, tried = NOT_COMPARED, NOTHING_TRIED
    for step in (ab_step(plan), *steps):
        enters = step.kind is StepKind.AB or step == steps[0]
        action, paired, tried = _until_decided(
            plan, step, traffic, pace, paired, tried, enters=enters, is_tried=is_tried
        )
        if action.kind not in {ActionKind.SET_WEIGHT, ActionKind.PROMOTE}:
            break
    return end_of(action, traffic, tried)


def _until_decided(
    plan: Plan, step: Step, traffic: Traffic, pace: Pace, paired: Paired, tried: Tried, *, enters: bool, is_tried: bool
) -> tuple[Action, Paired, Tried]:
    """A step, as often as it begins again."""
    while True:
        hindered = enter(plan, step, traffic) if enters else None
        if hindered:
            return hindered, paired, tried
        action, state, tried = play(plan, step, traffic, pace, paired, tried, is_tried=is_tried)
        paired, enters = state.paired, True
        if action.kind is not ActionKind.RESUME:
            return action, paired, tried


def enter(plan: Plan, step: Step, traffic: Traffic) -> Action | None:
    """Look at production before the first users are given away, as the delivery's loop does."""
    state = begin_step(plan, step, traffic.snapshot())
    for _ in range(LONGEST_WAIT):
        traffic.second(0, probe_rate(plan, state, state.seen, CANDIDATE), control_rate(state))
        state = observe(plan, state, traffic.snapshot(), CANDIDATE)
        reason = may_begin(plan, state, CANDIDATE)
        if not reason and state.seconds >= ENTRY_LOOKS:
            return None
        if reason and state.seconds >= 2 * step.ceiling_seconds:
            return stand_back(reason)
    raise AssertionError(f"Production was looked at for {LONGEST_WAIT} s and nothing was said.")


def play(
    plan: Plan,
    step: Step,
    traffic: Traffic,
    pace: Pace = every_second,
    paired: Paired = NOT_COMPARED,
    tried: Tried = NOTHING_TRIED,
    *,
    is_tried: bool = True,
) -> tuple[Action, StepState, Tried]:
    """One step, as the delivery's loop runs it: what it ends with; ``is_tried`` as in ``deliver``."""
    split = Split(share=step.weight / 100)
    state = begin_step(plan, step, traffic.snapshot(), paired=paired, tried=tried, split=split)
    while True:
        snapshot = traffic.snapshot()
        judgement, state = assess_step(plan, state, snapshot, CANDIDATE, DIGEST)
        action = next_action(plan, state, judgement)
        if is_tried and action.kind in TRIED and needs_trial(judgement):
            action, trial = try_again(plan, state, judgement, traffic)
            action, tried = after_trial(trial, action)
            return action, trial.state, tried
        if action.kind is not ActionKind.WAIT:
            return action, state, tried
        probe, control = probe_rate(plan, state, snapshot, CANDIDATE), control_rate(state)
        traffic.second(step.weight, probe, control, lasting=pace(step, traffic.now))


def try_again(plan: Plan, state: StepState, failed: StepAssessment, traffic: Traffic) -> tuple[Action, Trial]:
    """The users are with the active release again, and the candidate is tried, as the delivery's loop does it."""
    traffic.protected = traffic.now if traffic.protected is None else traffic.protected
    seed = int(traffic.rng.integers(2**32))
    trial = begin_trial(plan, state, traffic.snapshot(), failed, CANDIDATE, DIGEST, seed=seed)
    weight = 0
    while True:
        rate = trial_rate(plan, trial)
        traffic.second(weight, rate, rate)
        action, trial = assess_trial(plan, trial, traffic.snapshot(), CANDIDATE)
        if action.kind is not ActionKind.WAIT:
            return action, trial
        weight = action.weight


def end_of(action: Action, traffic: Traffic, tried: Tried = NOTHING_TRIED) -> End:
    """How a delivery ends with this."""
    return End(action.kind, action.reason, traffic.now, traffic.hurt, traffic.protected, tried.trials)
