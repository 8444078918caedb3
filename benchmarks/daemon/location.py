"""The code location that the code server loads: the pipeline's own definitions, what is outside of them played."""

from __future__ import annotations

from banana_delivery.defs.build import build_defs
from banana_delivery.evaluation.fake import FakeEvaluator
from banana_delivery.images.fake import FakeImages
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.policy.quality.comparison import RESAMPLES
from banana_delivery.settings import Settings, load_settings
from benchmarks.daemon.outside import VERSIONS, PlayedBell, PlayedClock, PlayedRegistry, SharedTarget, Staging
from tests.support.phases import conversion

FOUND = 0.999
"""Share of the labelled objects that each version finds."""


def played(settings: Settings) -> dict[str, object]:
    """The parts by their names in ``Resources``; pictures are drawn, and comparisons take as many resamples as ever."""
    clock, staging = PlayedClock(now=0.0), Staging(settings.home)
    target = SharedTarget(settings.home, clock)
    evaluator = FakeEvaluator(
        found={str(number + 1): FOUND for number in range(VERSIONS)},
        resamples=RESAMPLES,
    )
    clock.target, clock.evaluator = target, evaluator
    return {
        "model_registry": PlayedRegistry(staging),
        "exporter": conversion({}),
        "image_store": FakeImages(),
        "release_target": target,
        "evaluator": evaluator,
        "notifier": Notifier(settings.home / "notifications.jsonl"),
        "clock": clock,
        "bell": PlayedBell(staging),
    }


SETTINGS = load_settings()
defs = build_defs(SETTINGS, played(SETTINGS))
