"""A delivery that a person pauses in the middle of its shift, and lets go on: on record, and no step is lost."""

from __future__ import annotations

import pytest

from banana_delivery.delivery.live.pausing import TOLD_SECONDS, say_pause
from banana_delivery.errors import GateError
from banana_delivery.policy.model import Environment, Outcome
from banana_delivery.policy.rollout.live import live_of
from tests.support.pipeline import PipelineHarness

LOOKS = 90


def say(pipeline: PipelineHarness, reason: str, *, paused: bool) -> None:
    say_pause(pipeline.target, pipeline.audit_log, pipeline.clock, "Ada", reason, paused=paused)


def test_a_paused_delivery_stays_at_its_weight_is_told_and_goes_on_to_the_end(pipeline: PipelineHarness) -> None:
    first, second = pipeline.stage(), pipeline.stage(0.95)
    pipeline.run(first)
    shares: list[list[int]] = []

    def steer() -> None:
        share = sorted(pipeline.weights.values())
        if len(shares) == LOOKS or (not shares and share != [40, 60]):
            return
        if not shares:
            with pytest.raises(GateError, match="not paused"):
                say(pipeline, "Too early.", paused=False)
            with pytest.raises(GateError, match="reason"):
                say(pipeline, " ", paused=True)
            say(pipeline, "Let me look.", paused=True)
        shares.append(share)
        if len(shares) == 10:
            pipeline.clock.now += TOLD_SECONDS
        if len(shares) == LOOKS:
            say(pipeline, "It is fine.", paused=False)

    pipeline.clock.on_sleep.append(steer)
    pipeline.run(second)

    attempt = pipeline.attempts(second)[0]
    assert attempt.outcome is Outcome.RELEASED
    assert shares == [[40, 60]] * LOOKS
    assert [step.metrics.weight for step in attempt.steps] == [20, 40, 60, 80, 100, 100]
    assert [notice for notice in pipeline.sent if "has been paused for 30 minutes" in notice.title]
    assert live_of(pipeline.target.record(Environment.PRODUCTION)) is None
