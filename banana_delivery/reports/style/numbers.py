"""The numbers of a release by name: what can be drawn over the versions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from banana_delivery.policy.asset_records import QualityRecord
from banana_delivery.policy.model import TrafficSource
from banana_delivery.policy.rollout.metrics import StepMetrics
from banana_delivery.quoting import one_line

MOST_CLASSES = 20
"""Of a model: more curves than these nobody looks at, and each is an entry of the event log."""
Numbers = Mapping[str, float | int | None]


def quality_numbers(quality: QualityRecord) -> Numbers:
    """mAP50 of the release and of production, and the AP50 of each class; None where there is none."""
    compared, by_class = quality.comparison, quality.absolute.per_class
    return {
        "mAP50": quality.absolute.map50,
        "mAP50 of production": compared.production_map50 if compared else None,
        "mAP50 difference": compared.candidate_map50 - compared.production_map50 if compared else None,
        **{f"AP50 {one_line(name, 60)}": value for name, value in islice(by_class.items(), MOST_CLASSES)},
    }


def traffic_numbers(seen: StepMetrics | None) -> Numbers:
    """What users and probes sent, what failed, and how long answers took, in milliseconds; nothing without a step."""
    if seen is None:
        return {}
    users = seen.sources.get(TrafficSource.USER)
    return {
        "requests": seen.requests,
        "failed": seen.failed,
        "requests of users": users.requests if users else None,
        "failed requests of users": users.failed if users else None,
        "p95 ms": 1000 * seen.p95_seconds if seen.p95_seconds is not None else None,
        "p95 ms of production": 1000 * seen.active.p95_seconds if seen.active.p95_seconds is not None else None,
    }
