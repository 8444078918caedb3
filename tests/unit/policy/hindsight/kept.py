"""Deliveries that looked at something, kept as the loop of a release keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from banana_delivery.policy.hindsight.looks import KeptStep, Own, StepHeader, StepLook, end_of, look_since
from banana_delivery.policy.own_metrics.metric import OwnMetric, Usual
from banana_delivery.policy.rollout.decision import Action, ActionKind
from banana_delivery.policy.rollout.plan import Step
from tests.unit.policy.rollout.scene import DIGEST, GREEN, QUICK, SHIFT_20, Scene


def recorded(
    second: Callable[[Scene], None],
    step: Step = SHIFT_20,
    *,
    looks: int = 200,
    metrics: tuple[OwnMetric, ...] = (),
    own: Mapping[int, Own] | None = None,
    usual: dict[str, Usual] | None = None,
    first: bool = False,
) -> KeptStep:
    """A step under ``QUICK`` that ends as that says, or after so many looks by a person's word.

    Args:
        second: what happens between two looks.
        step: which one.
        looks: how many at most.
        metrics: the team's.
        own: what these were answered with, by look.
        usual: how the active release stood by these before.
        first: whether nothing serves yet.
    """
    scene = Scene(step, first=first)
    header = StepHeader(
        step=step,
        candidate=GREEN,
        digest=DIGEST,
        snapshot=scene.state.seen,
        metrics=metrics,
        usual=usual or {},
        first=first,
    )
    kept: list[StepLook] = []
    action = Action(kind=ActionKind.WAIT, weight=0, reason="")
    while action.kind is ActionKind.WAIT and len(kept) < looks:
        before = scene.snapshot()
        second(scene)
        verdict = scene.look().verdict
        kept.append(look_since(before, scene.snapshot(), paused=False, own=(own or {}).get(len(kept), {})))
        action = scene.action()
    ended = None if action.kind is ActionKind.WAIT else end_of(verdict, action, cut=False)
    assert scene.plan == QUICK
    return KeptStep(header=header, looks=tuple(kept), end=ended)
