"""Keeping an eye on production from sensor tick to sensor tick.

After a promotion its counters are judged; always, what is observed is compared with what is on record, and what the
record says enough about is made good.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from banana_delivery.delivery.publish_outcome import OutcomePublisher
from banana_delivery.delivery.recovery import make_good
from banana_delivery.errors import TargetError
from banana_delivery.notifications.messages import ProductionDrift, drift_notice
from banana_delivery.policy.drift import (
    AWAY_SECONDS,
    LOOK_AGAIN_SECONDS,
    RESTART_SECONDS,
    Drift,
    DriftKind,
    DriftMemory,
    failing,
    find_drift,
    follow,
    is_at_rest,
    news,
)
from banana_delivery.policy.model import Environment, Phase, RolloutRecord, StoredRecord, TrafficSnapshot
from banana_delivery.policy.rollout.analysis import StepState, begin_step
from banana_delivery.policy.rollout.decision import StepVerdict, assess_step
from banana_delivery.policy.rollout.plan import PLANS, release_steps
from banana_delivery.waiting import Clock

LOG = logging.getLogger(__name__)


class _Cursor(StoredRecord):
    digest: str
    state: StepState


class _HeldCursor(StoredRecord):
    colours: dict[str, _Cursor]


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


def assess_held(record: RolloutRecord, snapshot: TrafficSnapshot, cursor: str | None, plan: str) -> HeldColours:
    """Judge every colour of a held production as the watch step of a release does: nobody moves it, somebody looks.

    Args:
        record: of production, held.
        snapshot: the counters now.
        cursor: what the last look returned.
        plan: name of the rollout plan, for its limits.
    """
    rules = PLANS[plan]
    step = release_steps(rules)[-1]
    known, kept, failing = _held_states(cursor), {}, {}
    for colour, deployment in record.deployments.items():
        before = known.get(colour)
        digest = deployment.image.digest
        state = before.state if before and before.digest == digest else begin_step(rules, step, snapshot)
        judgement, state = assess_step(rules, state, snapshot, colour, digest)
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


def _state(cursor: str | None, digest: str) -> StepState | None:
    """What the last look left, if it was about the same release."""
    if not cursor:
        return None
    try:
        kept = _Cursor.read_json(cursor)
    except ValidationError:
        return None
    return kept.state if kept.digest == digest else None


@dataclass(frozen=True)
class _Look:
    """One look at production; no record where it cannot be read."""

    record: RolloutRecord | None
    drifts: tuple[Drift, ...]

    @property
    def generation(self) -> int:
        return self.record.generation if self.record else -1

    @property
    def is_disturbed(self) -> bool:
        """Whether somebody has production or holds it, so that little was looked for."""
        return self.record is not None and not is_at_rest(self.record)


@dataclass(frozen=True)
class DriftWatch:
    """Compares production with its record, makes good what can be, and tells people what happened.

    Attributes:
        publisher: where production runs, and how people are told.
        clock: the observer's.
        heartbeat_seconds: of the claim under which something is made good.
    """

    publisher: OutcomePublisher
    clock: Clock
    heartbeat_seconds: float

    def look(self, cursor: str | None) -> tuple[str, str]:
        """Look once, and once more after a moment if something is wrong.

        Args:
            cursor: what the last look returned.

        Returns:
            The cursor for the next look, and a sentence about what was found; empty if nothing was.
        """
        look = self._look()
        memory = self._follow(_memory(cursor), look)
        if any(drift.settles <= LOOK_AGAIN_SECONDS for drift in look.drifts):
            self.clock.sleep(LOOK_AGAIN_SECONDS)
            look = self._look()
            memory = self._follow(memory, look)
        believed = memory.believed(look.drifts)
        if not believed and look.is_disturbed:
            return memory.model_dump_json(), ""
        now = self.clock.time()
        begun = now if memory.since is None else memory.since
        left = self._mend(believed, told=memory.since is not None)
        memory, word = news(memory, look.drifts, left, now)
        if word is not None:
            found = ProductionDrift(
                drifts=believed,
                failing=failing(believed),
                since=begun,
                serving=look.record.live.version if look.record and look.record.live else "",
                frozen=look.record is not None and look.record.phase is Phase.DRIFTED,
                owner=(look.record.owner or "") if look.record else "",
                times=memory.times,
            )
            try:
                self.publisher.notifier.send(drift_notice(self.publisher.model, word, found))
            except OSError as error:
                LOG.warning("Nobody could be told what is wrong with production: %s", error)
        said = " ".join(drift.sentence for drift in believed)
        return (
            memory.model_dump_json(),
            f"production: {said}{' It was made good.' if left == () else ''}" if said else "",
        )

    def _look(self) -> _Look:
        """What is wrong. While somebody has production, or it is held, only what users feel for some time."""
        target = self.publisher.target
        try:
            record = target.record(Environment.PRODUCTION)
        except TargetError as error:
            return _Look(None, self._without_record(str(error)))
        try:
            drifts = find_drift(record, target.observed(Environment.PRODUCTION))
        except TargetError as error:
            return _Look(record, (_away(str(error)),))
        if not is_at_rest(record):
            drifts = tuple(
                drift.replace(mendable=False, settles=max(drift.settles, RESTART_SECONDS))
                for drift in drifts
                if drift.share
            )
        return _Look(record, drifts)

    def _without_record(self, why: str) -> tuple[Drift, ...]:
        """Nothing can be compared, but whether there is a way for users at all may still be seen."""
        try:
            route = self.publisher.target.observed(Environment.PRODUCTION).route
        except TargetError:
            route = ""
        return (Drift(kind=DriftKind.ROUTE, share=1.0, sentence=route),) if route else (_away(why),)

    def _follow(self, memory: DriftMemory, look: _Look) -> DriftMemory:
        return follow(memory, look.drifts, look.generation, self.clock.monotonic())

    def _mend(self, believed: Sequence[Drift], *, told: bool) -> tuple[Drift, ...] | None:
        """What is left once everything was done that the record allows; None if nothing was done.

        Replicas that stay silent beside others that answer are started once; then it is for people to see why.
        """
        if not any(drift.mendable and not (told and drift.is_patient) for drift in believed):
            return None
        try:
            whole = make_good(self.publisher.target, self.clock, self.heartbeat_seconds)
        except TargetError as error:
            LOG.warning("Production could not be made good now: %s", error)
            return tuple(believed)
        left, tried = self._look().drifts, {drift.key for drift in believed}
        # What is only on its way up again, beside what answers, needs nobody.
        return left if not whole else tuple(drift for drift in left if drift.key in tried or not drift.is_patient)


def _memory(cursor: str | None) -> DriftMemory:
    try:
        return DriftMemory.read_json(cursor or "{}")
    except ValidationError:
        return DriftMemory()


def _away(why: str) -> Drift:
    return Drift(kind=DriftKind.AWAY, settles=AWAY_SECONDS, sentence=why)
