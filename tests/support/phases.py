"""The edges of the pipeline in memory: its clock, a target that can be watched, and an export that takes no time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from banana_delivery.defs.resources import Exporter
from banana_delivery.evaluation.base import Log
from banana_delivery.evaluation.fake import FakeEvaluator
from banana_delivery.export.export import Artifact
from banana_delivery.export.parity import Agreement, Parity
from banana_delivery.export.protocol import Frame
from banana_delivery.model_registry.base import ModelVersion
from banana_delivery.policy.model import Colour, Environment, Phase, RolloutRecord
from banana_delivery.reports.plots import Plots
from banana_delivery.targets.base import Claim, ReleaseTarget
from banana_delivery.targets.fake import FakeTarget

USERS_PER_SECOND = 40
ALIKE = Agreement(detections=1, agreeing=1, max_box_difference_px=0.0, max_score_difference=0.0)
PARITY = Parity(images=1, same_pixels=ALIKE, files=ALIKE, passed=True, reason="Both answer alike.")


class PhaseHook(NamedTuple):
    """When an environment's record shows a phase."""

    environment: Environment
    phase: Phase

    def __str__(self) -> str:
        return f"{self.phase} in {self.environment}"


class Watched(ReleaseTarget):
    """A target at which something can be made to happen as soon as its record shows a phase; mixed into any other.

    Attributes:
        passed: every moment so far, in order.
        at: what happens at a moment, once.
    """

    passed: list[PhaseHook]
    at: dict[PhaseHook, Callable[[], object]]

    def watch(self) -> None:
        """Begin with nothing passed and nothing to happen."""
        self.passed, self.at = [], {}

    def write(self, claim: Claim, record: RolloutRecord) -> RolloutRecord:
        """As any target, and then whatever is to happen at this moment."""
        written = super().write(claim, record)  # type: ignore[safe-super]  # the other base class has it
        hook = PhaseHook(written.environment, written.phase)
        if self.passed[-1:] != [hook]:
            self.passed.append(hook)
        happens = self.at.pop(hook, None)
        if happens:
            happens()
        return written


class WatchedTarget(Watched, FakeTarget):
    """A fake target that is watched."""

    def __init__(self, clock: SimulatedClock) -> None:
        super().__init__(clock=clock, monotonic=clock.monotonic)
        self.watch()


@dataclass
class SimulatedClock:
    """Time that passes when somebody sleeps; users arrive meanwhile, and so does the probe's load.

    Attributes:
        stepped: seconds by which somebody has set the wall clock on, or back.
        on_sleep: called at every look of a rollout, for example to break something in the middle of it.
    """

    target: FakeTarget | None = None
    evaluator: FakeEvaluator | None = None
    now: float = field(default_factory=time.time)
    stepped: float = 0.0
    on_sleep: list[Callable[[], object]] = field(default_factory=list)

    def __call__(self) -> float:
        return self.time()

    def time(self) -> float:
        """Seconds since the epoch, as far as this machine knows."""
        return self.now + self.stepped

    def monotonic(self) -> float:
        """The same without the steps."""
        return self.now

    @property
    def far(self) -> float:
        """A moment after everything that happens in a test, by any clock."""
        return self.now + 1e9

    def sleep(self, seconds: float) -> None:
        """Let users and probes send what they send in so many seconds."""
        self.now += seconds
        assert self.target is not None
        assert self.evaluator is not None
        self.target.place.serve(Environment.PRODUCTION, round(USERS_PER_SECOND * seconds))
        for load in self.evaluator.loads:
            colour = Colour(load.url.rpartition("/")[2])
            self.target.place.probe(Environment.PRODUCTION, colour, round(load.rate * seconds), load.token)
        for call in list(self.on_sleep):
            call()


class NoPlots(Plots):
    """Draws nothing: pictures have unit tests of their own."""

    def rollout(self, *facts: object, **options: object) -> bytes:
        """No picture."""
        return b"a picture"

    def quality(self, *facts: object, **options: object) -> bytes:
        """No picture."""
        return b"a picture"

    def rollout_in_page(self, *facts: object, **options: object) -> str:
        """No picture."""
        return "<svg></svg>"

    def quality_in_page(self, *facts: object, **options: object) -> str:
        """No picture."""
        return "<svg></svg>"


def conversion(classes: Mapping[str, tuple[str, ...]]) -> Exporter:
    """An export that takes no time: the version's own bytes as its model.

    Args:
        classes: what a version knows, by version; others know ``streak``.
    """

    def convert(checkpoint: Path, to: Path, described: ModelVersion, images: Sequence[Path], log: Log) -> Artifact:
        (to / "model.onnx").write_bytes(checkpoint.read_bytes() + described.version.encode())
        (to / "version.json").write_text(described.version)
        return Artifact(
            checkpoint_sha256=hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
            onnx_sha256=hashlib.sha256((to / "model.onnx").read_bytes()).hexdigest(),
            classes=classes.get(described.version, ("streak",)),
            frame=Frame(width=160, height=160, stride=32, stretched=False),
            exported_with="nothing",
            parity=PARITY,
            seconds=0.0,
        )

    return convert
