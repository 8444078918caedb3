"""Figures of made-up releases, for tests of tables, plots and pages."""

from __future__ import annotations

import base64
import io
from functools import cache

from PIL import Image

from banana_delivery.evaluation.worst import WorstImage, WorstImages
from banana_delivery.policy.asset_records import (
    AbRecord,
    AbVerdict,
    AttemptRecord,
    QualityRecord,
    ShiftStep,
    StagingRecord,
    TestRow,
    Verdict,
)
from banana_delivery.policy.model import Colour, ImageRef, TrafficSource
from banana_delivery.policy.quality.boxes import boxes_on
from banana_delivery.policy.quality.comparison import QualityComparison, absolute_quality, compare
from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.policy.rollout.metrics import StepMetrics, TrafficMetrics
from banana_delivery.policy.rollout.plan import StepKind
from tests.unit.policy.quality.random_leaves import random_answers

IMAGES = 200


def traffic(requests: int, failed: int = 0, p95: float | None = 0.04) -> TrafficMetrics:
    return TrafficMetrics(requests=requests, failed=failed, overloads=0, retries=0, p95_seconds=p95)


def step(
    weight: int,
    seconds: float,
    decision: ActionKind,
    *,
    kind: StepKind = StepKind.SHIFT,
    failed: int = 0,
    p95: float = 0.05,
    reason: str = "126 requests without a failure.",
) -> ShiftStep:
    rate = 30.0
    users = traffic(int(rate * seconds * weight / 100), failed, p95)
    probes = traffic(int(5 * seconds), 0, p95)
    metrics = StepMetrics(
        kind=kind,
        weight=weight,
        seconds=seconds,
        requests=users.requests + probes.requests,
        failed=failed,
        overloads=0,
        retries=0,
        p95_seconds=p95,
        sources={TrafficSource.USER: users, TrafficSource.PROBE: probes},
        active=traffic(int(rate * seconds * (100 - weight) / 100)),
    )
    return ShiftStep(metrics=metrics, decision=decision, reason=reason)


def promoted_steps() -> tuple[ShiftStep, ...]:
    seconds = (9.0, 6.0, 5.0, 5.0, 5.0)
    shifts = [step(w, s, ActionKind.SET_WEIGHT) for w, s in zip((20, 40, 60, 80, 100), seconds, strict=True)]
    return (*shifts, step(100, 12, ActionKind.PROMOTE, kind=StepKind.WATCH))


def rolled_back_steps() -> tuple[ShiftStep, ...]:
    return (
        step(20, 9, ActionKind.SET_WEIGHT),
        step(40, 6, ActionKind.SET_WEIGHT),
        step(60, 4, ActionKind.ROLL_BACK, failed=11, p95=0.6, reason="11 of 72 user requests failed at 60 % in 4 s."),
    )


@cache
def comparison(candidate_noise: float) -> QualityComparison:
    candidate = random_answers(IMAGES, seed=1, noise=candidate_noise, model_seed=1)
    production = random_answers(IMAGES, seed=1, noise=3.0)
    return compare(candidate, production, minimum_images=IMAGES, resample_count=200)


@cache
def quality(candidate_noise: float) -> QualityRecord:
    alone = absolute_quality(random_answers(IMAGES, seed=1, noise=candidate_noise, model_seed=1), minimum_map50=0.3)
    return QualityRecord(absolute=alone, comparison=comparison(candidate_noise), waived=False)


def worst(compared: QualityComparison) -> WorstImages:
    """The pictures of such a comparison, all of them alike."""
    candidate = random_answers(IMAGES, seed=1, noise=7.0, model_seed=1)
    production = random_answers(IMAGES, seed=1, noise=3.0)
    picture = io.BytesIO()
    Image.new("RGB", (200, 200), "#3c6e2f").save(picture, "jpeg")
    leaf = base64.b64encode(picture.getvalue()).decode("ascii")
    shown = compared.disagreements[:6]
    boxes = [boxes_on(one.image, candidate, production) for one in shown]
    images = [
        WorstImage(errors=one, width=200, height=200, jpeg=leaf, boxes=there)
        for one, there in zip(shown, boxes, strict=True)
    ]
    return WorstImages(holdout="sha256:h", images=tuple(images))


def image(letter: str = "a") -> ImageRef:
    return ImageRef(repository="images", digest=f"sha256:{letter * 64}", version="7", key="k" * 64)


def staging(record: QualityRecord) -> StagingRecord:
    rows = (
        TestRow(name="is alive", passed=True, detail="alive", seconds=0.01),
        TestRow(name="refuses a | pipe", passed=False, detail="status 500\n<b>", seconds=1.234),
    )
    return StagingRecord(ref=image(), replicas=1, tests=rows, quality=record, seconds_to_ready=3.2, seconds=20.0)


def ab(record: QualityRecord) -> AbRecord:
    metrics = step(10, 20, ActionKind.SET_WEIGHT, kind=StepKind.AB).metrics
    verdict = AbVerdict(verdict=Verdict.PASS, reason="Not worse.", digest=image().digest, at=1.0)
    return AbRecord(
        ref=image(),
        colour=Colour.GREEN,
        against=image("b"),
        verdict=verdict,
        traffic=metrics,
        quality=record,
        seconds=30,
    )


def attempt(steps: tuple[ShiftStep, ...], outcome: str, reason: str) -> AttemptRecord:
    return AttemptRecord.model_validate(
        {
            "version": "7",
            "outcome": outcome,
            "reason": reason,
            "digest": image().digest,
            "previous_digest": image("b").digest,
            "serving_version": "7",
            "colour": "green",
            "steps": steps,
            "requests": 1834,
            "failed": 0,
            "actor": "sensor",
            "trigger": "sensor",
            "at": 1_790_000_000.0,
            "seconds": 74.0,
        }
    )
