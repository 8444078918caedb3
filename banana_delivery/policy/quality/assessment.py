"""From the answers of two releases to one quality record."""

from __future__ import annotations

from banana_delivery.policy.asset_records import QualityRecord
from banana_delivery.policy.quality.comparison import absolute_quality, compare
from banana_delivery.policy.quality.matching import Matches


def assess_quality(
    candidate: Matches, production: Matches | None, *, minimum_map50: float, waived: bool, resamples: int
) -> QualityRecord:
    """Judge the candidate alone, and beside production if there is one.

    Args:
        candidate: its answers, matched.
        production: production's answers to the same images; None before the first release.
        minimum_map50: what every release must reach, 0 to 1.
        waived: whether the comparison is recorded but not held against it.
        resamples: how many bootstrap resamples the comparison takes.
    """
    return QualityRecord(
        absolute=absolute_quality(candidate, minimum_map50),
        comparison=compare(candidate, production, resample_count=resamples) if production else None,
        waived=waived,
    )
