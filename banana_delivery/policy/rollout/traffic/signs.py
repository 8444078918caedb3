"""Signs of life: a colour that reports, or on which requests are counted."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from banana_delivery.policy.model import Colour, Counters


def counted(news: Mapping[str, Counters]) -> set[str]:
    """The colours on which requests were counted."""
    return {key.partition("/")[0] for key, counters in news.items() if counters.requests}


def silent_polls(before: int, heard: Collection[str], colour: Colour) -> int:
    """Polls in a row without a sign of life; one at which nobody gave any tells of the target, not of the colour."""
    if colour in heard:
        return 0
    return before + bool(heard)


def active_silent_polls(before: int | None, heard: Collection[str], active: Colour) -> int | None:
    """The same of the active release, once there was a sign of it; None until then."""
    if before is None:
        return 0 if active in heard else None
    return silent_polls(before, heard, active)
