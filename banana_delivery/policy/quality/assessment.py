"""From the answers of two releases to one quality record."""

from __future__ import annotations

from collections.abc import Sequence

from banana_delivery.policy.asset_records import QualityRecord
from banana_delivery.policy.quality.comparison import absolute_quality, compare
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.matching import Matches
from banana_delivery.policy.quality.stages.looks import Look

TOLERATED_UNANSWERED = 0.05
"""Share of the images that production may leave unanswered before its earlier answers are the better comparison."""


def cannot_be_compared(candidate: Matches, common: Sequence[str]) -> str:
    """Why labelled images say nothing of the classes that production knows; empty if they do."""
    known = [name for name in candidate.class_names if name in common]
    if not known or candidate.only(known).truths.any():
        return ""
    return (
        f"No labelled image shows an object of {', '.join(known)}, which production knows, so that nobody can tell "
        "whether the candidate is worse at that; label some, then deliver again."
    )


def assess_quality(
    candidate: Matches,
    production: Matches | None,
    *,
    minimum_map50: float,
    waived: bool,
    resamples: int,
    unanswered: int = 0,
    kept: bool = False,
    overridden_by: str = "",
    margins: QualityMargins | None = None,
    common: Sequence[str] = (),
    holdout: str = "",
    look: Look | None = None,
) -> QualityRecord:
    """Judge the candidate alone, and beside production if there is one.

    Args:
        candidate: its answers, matched.
        production: production's answers to the same images; None before the first release.
        minimum_map50: what every release must reach, 0 to 1.
        waived: whether the comparison is recorded but not held against it.
        resamples: how many bootstrap resamples the comparison takes.
        unanswered: images that production did not answer now.
        kept: whether earlier answers of production's image were taken instead.
        overridden_by: whose word lets the version in; that will do instead of a comparison with a production that
            leaves more than ``TOLERATED_UNANSWERED`` unanswered, and of no other.
        margins: what it may lose beside production; None: what nobody would notice.
        common: classes that both models know, on which they are compared; empty: all of them.
        holdout: digest of the labelled images.
        look: which look at the comparison this is; None: the only one.
    """
    ours, theirs = candidate, production
    if production and any(name in common for name in candidate.class_names):
        ours, theirs = candidate.only(common), production.only(common)
    broken = unanswered > TOLERATED_UNANSWERED * len(candidate.names)
    return QualityRecord(
        absolute=absolute_quality(candidate, minimum_map50),
        comparison=compare(ours, theirs, margins=margins, resample_count=resamples, look=look) if theirs else None,
        waived=waived or (broken and bool(overridden_by)),
        unanswered=unanswered,
        kept=kept,
        overridden_by=overridden_by if broken else "",
        holdout=holdout,
    )
