"""Keeping an eye on production after a promotion, from sensor tick to sensor tick."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from banana_delivery.policy.model import RolloutRecord, StoredRecord, TrafficSnapshot
from banana_delivery.policy.rollout.analysis import StepState, begin_step
from banana_delivery.policy.rollout.decision import StepVerdict, assess_step
from banana_delivery.policy.rollout.plan import PLANS, release_steps


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


def assess_production(record: RolloutRecord, snapshot: TrafficSnapshot, cursor: str | None, plan: str) -> Watched:
    """Judge the active colour as the watch step of a release does, for as long as the one before it is warm."""
    if record.live is None or record.active is None or record.owner is not None:
        return Watched("", "", "Nothing to watch: production is empty or a delivery is under way.")
    if record.scale_down_at is None:
        return Watched("", "", "Nothing to watch: the last promotion is long past.")
    rules = PLANS[plan]
    state = _state(cursor, record.live.digest) or begin_step(rules, release_steps(rules)[-1], snapshot)
    judgement, state = assess_step(rules, state, snapshot, record.active, record.live.digest)
    if judgement.verdict is StepVerdict.FAIL and not judgement.wrong_release:
        return Watched("", judgement.reason, judgement.reason)
    if judgement.verdict is not StepVerdict.CONTINUE:
        return Watched("", "", judgement.reason)
    return Watched(_Cursor(digest=record.live.digest, state=state).model_dump_json(), "", judgement.reason)


def _state(cursor: str | None, digest: str) -> StepState | None:
    """What the last look left, if it was about the same release."""
    if not cursor:
        return None
    try:
        kept = _Cursor.read_json(cursor)
    except ValidationError:
        return None
    return kept.state if kept.digest == digest else None
