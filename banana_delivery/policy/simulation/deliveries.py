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
from banana_delivery.policy.rollout.trial.judge import assess_trial, begin_trial, needs_trial, trial_rate
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
        protected: when its users were taken away by evidence; None if they never were.
    """

    kind: ActionKind
    reason: str
    seconds: float
    hurt: int
    protected: float | None = None


def every_second(step: Step, now: int) -> int:
    """As a real delivery looks."""
    del step, now
    return 1


def deliver(plan: Plan, traffic: Traffic, pace: Pace = every_second, *, tried: bool = True) -> End:
    """A whole delivery: the A/B, the shifts and the watch, until one of them does not pass.

    Args:
        plan: the rollout plan.
        traffic: what comes.
        pace: how many seconds pass between two looks.
        tried: whether a candidate whose users were taken away is tried; otherwise the delivery ends there.
    """
    steps = release_steps(plan)
    paired = NOT_COMPARED
    for step in (ab_step(plan), *steps):
        if step.kind is StepKind.AB or step == steps[0]:
            hindered = enter(plan, step, traffic)
            if hindered:
                return end_of(hindered, traffic)
        action, state = play(plan, step, traffic, pace, paired, tried=tried)
        paired = state.paired
        if action.kind not in {ActionKind.SET_WEIGHT, ActionKind.PROMOTE}:
            break
    return end_of(action, traffic)


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
    *,
    tried: bool = True,
) -> tuple[Action, StepState]:
    """One step, as the delivery's loop runs it: what it ends with; ``tried`` as in ``deliver``."""
    state = begin_step(plan, step, traffic.snapshot(), paired=paired)
    while True:
        snapshot = traffic.snapshot()
        judgement, state = assess_step(plan, state, snapshot, CANDIDATE, DIGEST)
        action = next_action(plan, state, judgement)
        if tried and action.kind is ActionKind.ROLL_BACK and needs_trial(judgement):
            return try_again(plan, state, judgement, traffic), state
        if action.kind is not ActionKind.WAIT:
            return action, state
        probe, control = probe_rate(plan, state, snapshot, CANDIDATE), control_rate(state)
        traffic.second(step.weight, probe, control, lasting=pace(step, traffic.now))


def try_again(plan: Plan, state: StepState, failed: StepAssessment, traffic: Traffic) -> Action:
    """The users are with the active release again, and the candidate is tried, as the delivery's loop does it."""
    traffic.protected = traffic.now
    trial = begin_trial(plan, state, traffic.snapshot(), failed, DIGEST, seed=int(traffic.rng.integers(2**32)))
    weight = 0
    while True:
        rate = trial_rate(plan, trial)
        traffic.second(weight, rate, rate)
        action, trial = assess_trial(plan, trial, traffic.snapshot(), CANDIDATE)
        if action.kind is not ActionKind.WAIT:
            return action
        weight = action.weight


def end_of(action: Action, traffic: Traffic) -> End:
    """How a delivery ends with this."""
    return End(action.kind, action.reason, traffic.now, traffic.hurt, traffic.protected)
