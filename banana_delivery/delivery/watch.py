"""Keeping an eye on production after a promotion, from sensor tick to sensor tick."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pydantic import Field, ValidationError

from banana_delivery.delivery.evidence.watched import WatchedMetrics
from banana_delivery.delivery.lease import TIDIERS
from banana_delivery.delivery.rescue.emergency import EmergencyRollback
from banana_delivery.delivery.traffic_shift import probing
from banana_delivery.errors import BananaDeliveryError, GoneAlreadyError
from banana_delivery.evaluation.base import Evaluator
from banana_delivery.notifications.alarms import only_observed, rollback_failed, wrong_release
from banana_delivery.policy.hindsight.observing import by_evidence, nobody_answers
from banana_delivery.policy.model import Environment, RolloutRecord, StoredRecord, TrafficSnapshot
from banana_delivery.policy.own_metrics.judging import MetricState
from banana_delivery.policy.rollout.analysis import StepState, begin_step
from banana_delivery.policy.rollout.decision import CONTROL_RATE, StepVerdict, assess_step
from banana_delivery.policy.rollout.plan import DAY_SECONDS, Plan, release_steps
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.waiting import Clock

LOG = logging.getLogger(__name__)
CONTROL_SECONDS = 1.0
"""Enough for a few requests to the release before: a node that is slow, or fails, does not spare them."""
CONTROL_READING_SECONDS = 5.0
"""How long a rollback waits for the labelled images to be read: on a slow disk that takes minutes, and users fail."""

WATCH = "production_watch"
"""Who rolls back, in the audit trail."""


class _Cursor(StoredRecord):
    digest: str
    state: StepState | None
    failing: int = 0
    starts: int = 1
    own: dict[str, MetricState] = Field(default_factory=dict)


class _HeldCursor(StoredRecord):
    colours: dict[str, _Cursor]


@dataclass(frozen=True)
class Watched:
    """What one look found.

    Attributes:
        cursor: for the next look.
        reason: why production must be rolled back; empty if it need not.
        detail: one sentence about the look.
        by_evidence: whether it is for what was counted, rather than that nobody answers.
        failing: how many times in a row it had to be rolled back at this look and those before, this one included.
        stranger: why what answers is not what is recorded; empty if it is. A rollback would not help against that.
    """

    cursor: str
    reason: str
    detail: str
    stranger: str = ""
    failing: int = 0
    by_evidence: bool = True


@dataclass(frozen=True)
class HeldColours:
    """What one look at a held production found.

    Attributes:
        cursor: for the next look.
        failing: why a version fails its users, by version.
    """

    cursor: str
    failing: dict[str, str]


def assess_production(
    record: RolloutRecord,
    snapshot: TrafficSnapshot,
    cursor: str | None,
    plan: Plan,
    warm_seconds: float = 0.0,
    own: WatchedMetrics | None = None,
) -> Watched:
    """Judge the active colour as the watch step of a release does, for as long as the one before it is warm.

    Args:
        record: of production.
        snapshot: the counters now.
        cursor: what the last look returned.
        plan: by which it was released, with what of alpha is its own limits'.
        warm_seconds: how long the release before it stays warm.
        own: the team's own metrics; None without any.
    """
    if record.owner in TIDIERS:
        # It is theirs for seconds, and no other release serves by that: what was seen so far goes on to count.
        return Watched(cursor or "", "", f"Nothing to see while {record.owner} is at work; the next look goes on.")
    if record.live is None or record.active is None or record.owner is not None:
        return Watched("", "", "Nothing to watch: production is empty or a delivery is under way.")
    if record.scale_down_at is None:
        return Watched("", "", "Nothing to watch: the last promotion is long past.")
    kept = _kept(cursor, record.live.digest) or _Cursor(digest=record.live.digest, state=None)
    plan = for_start(as_one_watch(plan, warm_seconds), kept.starts)
    state = kept.state or begin_step(plan, release_steps(plan)[-1], snapshot)
    judgement, state = assess_step(plan, state, snapshot, record.active, record.live.digest)
    measured: dict[str, MetricState] = {}
    if own:
        judgement, measured = own.assess(judgement, state, kept.own, for_start(own.rules.plan, kept.starts))
    if judgement.verdict is StepVerdict.FAIL and not judgement.wrong_release:
        # The evidence stays until the release is gone: who rolls back may be away, and tries again at the next look.
        again = kept.replace(state=state, own=measured, failing=kept.failing + 1)
        # A router goes on counting where there is nobody to ask, so that this looks like evidence as well.
        counted = by_evidence(judgement) and not nobody_answers(state, record.active)
        return Watched(
            again.model_dump_json(), judgement.reason, judgement.reason, failing=again.failing, by_evidence=counted
        )
    if judgement.verdict is not StepVerdict.CONTINUE:
        anew = kept.replace(state=None, own={}, failing=0, starts=kept.starts + (not judgement.wrong_release))
        stranger = judgement.reason if judgement.wrong_release else ""
        return Watched(anew.model_dump_json(), "", judgement.reason, stranger)
    return Watched(kept.replace(state=state, own=measured).model_dump_json(), "", judgement.reason)


def as_one_watch(plan: Plan, warm_seconds: float) -> Plan:
    """The plan with a watch that lasts as long as the release before stays warm: one test from end to end.

    Its starts share one part of the risk, as those of any step do; it never ends early, to begin anew.
    """
    seconds = min(max(warm_seconds, plan.watch_seconds), DAY_SECONDS)
    return plan.replace(watch_seconds=seconds, watch_minimum_seconds=seconds)


def for_start(plan: Plan, start: int) -> Plan:
    """The plan with the part of the risk that the first, second, ... start of the watch over one release gets.

    It is one start where the release before is cold when its time is over. The second, third, ... get 1/3, 1/6, ... of
    alpha: however often it starts anew, all of them together spend two alphas.
    """
    return plan if start == 1 else plan.replace(alpha=plan.alpha * 2 / (start * (start + 1)))


def act_on(watched: Watched, production: RolloutRecord, rollback: EmergencyRollback) -> str:
    """Roll production back where it has to be, and tell people what nobody else would tell them.

    Returns:
        One sentence about what was done.
    """
    live, publisher = production.live, rollback.recorder.publisher
    model, url, tell = publisher.model, publisher.dagster_url, publisher.tell
    if live and watched.stranger:
        tell(wrong_release(model, live.version, watched.stranger))
    if live is None or not watched.reason:
        return watched.detail
    try:
        done = rollback.roll_back(actor=WATCH, reason=watched.reason, digest=live.digest)
    except GoneAlreadyError as gone:
        return str(gone)
    except BananaDeliveryError as error:
        if is_told(watched.failing):
            occasion = f"{production.generation}/{watched.failing}"
            tell(rollback_failed(model, "", live.digest, url, why=str(error), occasion=occasion))
        return f"Rolling back version {live.version} failed {watched.failing} times; the next look tries again: {error}"
    return done.reason


def leave_alone(watched: Watched, production: RolloutRecord, rollback: EmergencyRollback) -> str:
    """Tell people what a policy that only observes does not do; once for each time that it would have begun to.

    Returns:
        One sentence about it.
    """
    live, publisher = production.live, rollback.recorder.publisher
    if live and watched.failing == 1:
        publisher.tell(only_observed(publisher.model, live.version, live.digest, watched.reason, production.generation))
    return f"The policy only observes; it would have rolled back: {watched.reason}"


def is_told(failing: int) -> bool:
    """Whether people are told of so many failures in a row: the first, the second, the fourth, and so on."""
    return failing > 0 and failing & (failing - 1) == 0


def traffic_with_control(
    target: ReleaseTarget, evaluator: Evaluator, record: RolloutRecord, clock: Clock
) -> TrafficSnapshot:
    """The counters once the release before, which is still warm and has no users, was asked a little as well.

    For the moment before a rollback: whether it would do any better. If it cannot be asked, or not soon, nothing is
    known of it.

    Raises:
        TargetError: if the target does not answer.
    """
    try:
        if record.active is not None and not evaluator.ready(CONTROL_READING_SECONDS):
            LOG.warning("The release before is not asked: the labelled images are not read yet.")
        elif record.active is not None:
            with probing(evaluator, target, record.active.other) as load:
                load.set_rate(CONTROL_RATE)
                clock.sleep(CONTROL_SECONDS)
    except BananaDeliveryError as error:
        LOG.warning("The release before could not be asked: %s", error)
    return target.traffic(Environment.PRODUCTION)


def assess_held(record: RolloutRecord, snapshot: TrafficSnapshot, cursor: str | None, plan: Plan) -> HeldColours:
    """Judge every colour of a held production as the watch step of a release does: nobody moves it, somebody looks.

    Args:
        record: of production, held.
        snapshot: the counters now.
        cursor: what the last look returned.
        plan: the rollout plan, for its limits.
    """
    step = release_steps(plan)[-1]
    known, kept, failing = _held_states(cursor), {}, {}
    for colour, deployment in record.deployments.items():
        before = known.get(colour)
        digest = deployment.image.digest
        state = (before and before.digest == digest and before.state) or begin_step(plan, step, snapshot)
        judgement, state = assess_step(plan, state, snapshot, colour, digest)
        if judgement.verdict is StepVerdict.FAIL:
            failing[deployment.image.version] = judgement.reason
        elif judgement.verdict is StepVerdict.CONTINUE:
            kept[str(colour)] = _Cursor(digest=digest, state=state)
    return HeldColours(_HeldCursor(colours=kept).model_dump_json(), failing)


def _held_states(cursor: str | None) -> dict[str, _Cursor]:
    try:
        return _HeldCursor.read_json(cursor or "").colours
    except ValidationError:
        return {}


def _kept(cursor: str | None, digest: str) -> _Cursor | None:
    """What the last look left, if it was about the same release."""
    if not cursor:
        return None
    try:
        kept = _Cursor.read_json(cursor)
    except ValidationError:
        return None
    return kept if kept.digest == digest else None
