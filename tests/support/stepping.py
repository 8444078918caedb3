"""A process that delivers in memory by real time, for tests that set its clock: run it as a program.

What time it is, it asks the C library, as every process does; whoever starts it may stand between the two.
"""

from __future__ import annotations

import json
import select
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import SupportsIndex

from typing_extensions import override

from banana_delivery.policy.model import Environment, Phase
from tests.support.phases import PhaseHook, SimulatedClock
from tests.support.pipeline import open_pipeline

FASTER = 4.0
"""Seconds of the rollout's plan that pass in one of a real clock, so that nobody waits for long."""
STEP_SECONDS = 30.0
"""What counts as a step: nothing but a hand on the clock lets so much pass between two looks."""
PATIENCE = 30.0 * FASTER
"""Seconds of the same kind; an owner shows life every two real ones."""


@dataclass
class RealClock(SimulatedClock):
    """The clocks of this machine, as a process reads them; the one that never steps runs faster.

    Attributes:
        steps: how often the wall clock was seen to step.
    """

    steps: int = 0
    _lead: float = field(default_factory=lambda: time.time() - time.monotonic())

    @override
    def time(self) -> float:
        lead = time.time() - time.monotonic()
        self.steps += abs(lead - self._lead) > STEP_SECONDS
        self._lead = lead
        return time.time()

    @override
    def monotonic(self) -> float:
        return time.monotonic() * FASTER

    @override
    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / FASTER)
        super().sleep(seconds)


def main(home: Path) -> None:
    """Release twice, turn back what is bad, roll back; meanwhile a sensor looks who is dead. Say what became of it."""
    clock = RealClock()
    with open_pipeline(home, clock, stale_after_seconds=PATIENCE) as pipeline:
        looking: list[bool] = []
        said: set[str] = set()

        def look() -> None:
            clock.time()
            if looking:
                return
            looking.append(True)
            said.add(str(getattr(pipeline.tick("reconcile"), "skip_message", "")))
            pipeline.tick("cool_down")
            looking.clear()

        clock.on_sleep.append(look)
        first, second, bad = pipeline.stage(), pipeline.stage(0.999), pipeline.stage(0.999)
        pipeline.run(first)
        pipeline.run(second)
        for _ in range(4):
            clock.sleep(2 * FASTER)
        warm = pipeline.target.record(Environment.PRODUCTION).deployments
        both = sum(one.replicas > 0 for one in warm.values())
        pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SHIFTING)] = lambda: pipeline.break_candidate(
            error_rate=1.0
        )
        pipeline.run(bad)
        pipeline.roll_back(reason="It looks wrong.", version=second)
        pipeline.tick("reconcile")
        record = pipeline.target.record(Environment.PRODUCTION)
        sys.stdout.write(
            json.dumps(
                {
                    "outcomes": {
                        version: [one.outcome for one in pipeline.attempts(version)] for version in (first, second, bad)
                    },
                    "serving": [first, second, bad].index(pipeline.serving or ""),
                    "weights": [pipeline.weights, record.resting_weights],
                    "owner": record.owner,
                    "taken": sorted(one for one in said if "taken back" in one or "died" in one),
                    "replicas": both,
                    "steps": clock.steps,
                }
            )
        )


def sleep(seconds: float | SupportsIndex) -> None:
    """Sleep without a date to wake up at: libfaketime takes the one that Python gives the kernel for a wrong one."""
    select.select([], [], [], max(float(seconds), 0.0))


if __name__ == "__main__":
    time.sleep = sleep
    main(Path(sys.argv[1]))
