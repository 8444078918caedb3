"""The tags by which a registry tells how the latest attempt to deliver a version ended."""

from __future__ import annotations

from banana_delivery.policy.outcomes import RegistryMark

TAG_PREFIX = "banana."
TIME_TAG = f"{TAG_PREFIX}at"
MAX_REASON = 5000
"""Characters of the reason: what MLflow servers of every age take."""


def mark_tags(mark: RegistryMark) -> dict[str, str]:
    """The tags of a mark, all but its time; a tag of an earlier attempt never survives beside them."""
    reason = mark.reason if len(mark.reason) <= MAX_REASON else mark.reason[: MAX_REASON - 1] + "…"
    return {
        f"{TAG_PREFIX}outcome": str(mark.outcome),
        f"{TAG_PREFIX}reason": reason,
        f"{TAG_PREFIX}digest": mark.digest,
        f"{TAG_PREFIX}run": mark.run_id,
    }
