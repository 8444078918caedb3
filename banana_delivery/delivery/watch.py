"""Keeping an eye on production after a promotion, from sensor tick to sensor tick."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pydantic import ValidationError

from banana_delivery.errors import BananaDeliveryError
from banana_delivery.evaluation.base import Evaluator
from banana_delivery.policy.model import Environment, RolloutRecord, StoredRecord, TrafficSnapshot
from banana_delivery.policy.rollout.analysis import StepState, begin_step
from banana_delivery.policy.rollout.decision import CONTROL_RATE, StepVerdict, assess_step
from banana_delivery.policy.rollout.plan import PLANS, release_steps
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.waiting import Clock

LOG = logging.getLogger(__name__)
CONTROL_SECONDS = 1.0
"""Enough for a few requests to the release before: a node that is slow, or fails, does not spare them."""


class _Cursor(StoredRecord):
    digest: str
    state: StepState


@dataclass(frozen=True)
class Watched:
    """What one look found.

    Attributes:
        cursor: for the next look.
        reason: why production must be rolled back; empty if it need not.
        detail: one sentence about the look.
    """

    cursor: str
    reason: str
    detail: str


def assess_production(
    record: RolloutRecord, snapshot: TrafficSnapshot, cursor: str | None, now: float, plan: str
) -> Watched:
    """Judge the active colour as the watch step of a release does, for as long as the one before it is warm."""
    if record.live is None or record.active is None or record.owner is not None:
        return Watched("", "", "Nothing to watch: production is empty or a delivery is under way.")
    if record.scale_down_at is None or now >= record.scale_down_at:
        return Watched("", "", "Nothing to watch: the last promotion is long past.")
    rules = PLANS[plan]
    state = _state(cursor, record.live.digest) or begin_step(rules, release_steps(rules)[-1], snapshot)
    judgement, state = assess_step(rules, state, snapshot, record.active, record.live.digest)
    if judgement.verdict is StepVerdict.FAIL and not judgement.wrong_release:
        return Watched("", judgement.reason, judgement.reason)
    if judgement.verdict is not StepVerdict.CONTINUE:
        return Watched("", "", judgement.reason)
    return Watched(_Cursor(digest=record.live.digest, state=state).model_dump_json(), "", judgement.reason)


def traffic_with_control(
    target: ReleaseTarget, evaluator: Evaluator, record: RolloutRecord, clock: Clock
) -> TrafficSnapshot:
    """The counters once the release before, which is still warm and has no users, was asked a little as well.

    For the moment before a rollback: whether it would do any better. If it cannot be asked, nothing is known of it.

    Raises:
        TargetError: if the target does not answer.
    """
    try:
        if record.active is not None:
            with evaluator.probe(target.probe_url(Environment.PRODUCTION, record.active.other)) as load:
                load.set_rate(CONTROL_RATE)
                clock.sleep(CONTROL_SECONDS)
    except BananaDeliveryError as error:
        LOG.warning("The release before could not be asked: %s", error)
    return target.traffic(Environment.PRODUCTION)


def _state(cursor: str | None, digest: str) -> StepState | None:
    """What the last look left, if it was about the same release."""
    if not cursor:
        return None
    try:
        kept = _Cursor.read_json(cursor)
    except ValidationError:
        return None
    return kept.state if kept.digest == digest else None
