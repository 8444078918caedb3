"""Which images stay and which go: a pure decision that every store shares."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from banana_delivery.images.base import PruneDecision
from banana_delivery.names import STABLE_TAG
from banana_delivery.policy.model import ImageRef

REMOVAL_SECONDS = 600.0
"""How long a removal may take from marking an image to deleting it. A mark twice as old is void: whoever made it died,
or could not take it back, and nobody would be given that image ever again."""


@dataclass(frozen=True)
class Stored:
    """An image as a store has it.

    Attributes:
        ref: the image.
        built_at: seconds since the epoch.
        used_at: when somebody was last given this image, seconds since the epoch; protects who is about to deploy it.
        tags: the tags that point at it.
        blobs: size in bytes of everything it consists of, by digest.
        parts: digests of the images that it names, if it is an index.
    """

    ref: ImageRef
    built_at: float
    used_at: float
    tags: frozenset[str]
    blobs: dict[str, int]
    parts: tuple[str, ...] = ()


def decide(
    images: Iterable[Stored], keep_versions: int, in_use: Collection[str], now: float, lease_seconds: float
) -> list[PruneDecision]:
    """Decide for each image, newest first, whether it stays, why, and what its removal frees."""
    ordered = sorted(images, key=lambda image: (-image.built_at, image.ref.digest))
    reasons = {
        image.ref.digest: keep_reason(image, in_use, now, lease_seconds)
        or (f"one of the newest {keep_versions}" if rank < keep_versions else "")
        for rank, image in enumerate(ordered)
    }
    counted = {blob for image in ordered if reasons[image.ref.digest] for blob in image.blobs}
    decisions = []
    for image in ordered:
        if reason := reasons[image.ref.digest]:
            decisions.append(PruneDecision(image.ref, keep=True, reason=reason))
            continue
        freed = sum(size for blob, size in image.blobs.items() if blob not in counted)
        counted.update(image.blobs)
        gone = f"older than the newest {keep_versions}, and nothing runs it"
        decisions.append(PruneDecision(image.ref, keep=False, reason=gone, freed_bytes=freed))
    return decisions


def refusals(decisions: Iterable[PruneDecision]) -> str:
    """Why images stay that were to go, as a sentence; empty if none does."""
    refused = [one for one in decisions if one.refused]
    if not refused:
        return ""
    first, more = refused[0], len(refused) - 1
    also = f", and {more} more images stay so" if more else ""
    return f"{first.ref.digest[:19]} of version {first.ref.version} stays{also}: {first.reason}"


def void_before(now: float) -> float:
    """A mark made before this moment, in seconds since the epoch, dooms an image no more."""
    return now - 2 * REMOVAL_SECONDS


def too_late(marked_at: float, now: float) -> str:
    """Why a removal that took too long must be given up, before its mark is void; empty if it may go on."""
    if now - marked_at < REMOVAL_SECONDS:
        return ""
    return f"its removal took longer than {REMOVAL_SECONDS / 60:.0f} minutes and was given up"


def keep_reason(image: Stored, in_use: Collection[str], now: float, lease_seconds: float) -> str:
    """Why an image must stay however old it is; empty if nothing protects it."""
    if image.ref.digest in in_use:
        return "an environment runs it, served it lately or is about to"
    if STABLE_TAG in image.tags:
        return f"tagged {STABLE_TAG}"
    if now - image.used_at < lease_seconds:
        return f"built or asked for less than {lease_seconds / 60:.0f} minutes ago"
    return ""
