"""Looks at production from sensor tick to sensor tick: what is observed is compared with what is on record.

What the record says enough about is made good, and people are told.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from banana_delivery.delivery.publish_outcome import OutcomePublisher
from banana_delivery.delivery.recovery import make_good
from banana_delivery.errors import TargetError
from banana_delivery.notifications.alarms import ProductionDrift, drift_notice
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
from banana_delivery.policy.model import Environment, Phase, RolloutRecord
from banana_delivery.waiting import Clock

LOG = logging.getLogger(__name__)


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
