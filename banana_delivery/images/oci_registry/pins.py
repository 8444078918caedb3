"""Leases and dooms: how pipelines that share only a registry agree on what retention may remove.

Both are tags, because those are the one thing that every registry lets everybody see and set. Who is given an image
first puts a lease on it and then looks for a doom; retention first dooms an image and then looks for leases. Whichever
order the two fall in, at least one of them sees the other: the image is then withheld (and built again), or kept.

A lease lies on the image. A doom does not: a registry deletes an image and then, one by one and in any order, the tags
that lay on it, and whoever looked in between would see a lease without the doom. So a doom lies on a note of its own,
which says nothing else, and goes when the deletion is done or given up. Where nothing can be deleted, it is pardoned by
name; one that nobody lived to carry out or to pardon is void after a while.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

from banana_delivery.files import bytes_digest, text_sha256
from banana_delivery.images.oci_registry.manifest import LAYER_TYPE, MANIFEST_TYPES, Manifest
from banana_delivery.images.supply_chain.attachments import CONFIG_TYPE, canonical, described_by
from banana_delivery.names import (
    DOOM_LABEL,
    DOOMED_TAG_PREFIX,
    KEY_TAG_PREFIX,
    LEASE_TAG_PREFIX,
    LOST_TAG_PREFIX,
    PARDONED_TAG_PREFIX,
    PART_TAG_PREFIX,
)

_LEASE = re.compile(rf"(?:{LEASE_TAG_PREFIX}|{PART_TAG_PREFIX})(\d+)-[0-9a-f]{{16}}")
_PART = re.compile(rf"{PART_TAG_PREFIX}\d+-([0-9a-f]{{16}})")
_DOOM = re.compile(rf"({DOOMED_TAG_PREFIX}|{PARDONED_TAG_PREFIX})([0-9a-f]{{16}})-((\d+)-[0-9a-f]{{8}})")
_LOST = re.compile(rf"{LOST_TAG_PREFIX}([0-9a-f]{{16}})-(\d+)")
_BOOKKEEPING = (
    LEASE_TAG_PREFIX,
    PART_TAG_PREFIX,
    DOOMED_TAG_PREFIX,
    PARDONED_TAG_PREFIX,
    LOST_TAG_PREFIX,
    KEY_TAG_PREFIX,
)
_NAMED = re.compile(rf"{LEASE_TAG_PREFIX}\d+-([0-9a-f]{{16}})")
_NO_FILES = bytes(1024)
_OF_NOTHING = canonical(
    {
        "architecture": "",
        "os": "",
        "config": {},
        "created": "1980-01-01T00:00:00Z",
        "rootfs": {"type": "layers", "diff_ids": [bytes_digest(_NO_FILES)]},
    }
)
NOTE_CONTENTS = (_OF_NOTHING, _NO_FILES)
"""What a note consists of, beside its manifest: an image without files. GitLab's registry refuses kinds of documents
that it does not know, ECR and GCR what has no layer."""


def short(digest: str) -> str:
    """The start of a digest's hex, which names it in tags."""
    return digest.removeprefix("sha256:")[:16]


def pin_tag(digest: str, now: float) -> str:
    """The tag that leases an image from now on."""
    return f"{LEASE_TAG_PREFIX}{int(now)}-{short(digest)}"


def part_tag(digest: str, now: float) -> str:
    """The tag that leases one of the images of an index, and tells it from a release."""
    return f"{PART_TAG_PREFIX}{int(now)}-{short(digest)}"


def part_tags(tags: Iterable[str]) -> dict[str, str]:
    """A tag of each image that is a part of an index, by the start of its digest."""
    return {match[1]: tag for tag in tags if (match := _PART.fullmatch(tag))}


def pinned_at(tags: Iterable[str]) -> float:
    """When the newest of an image's leases began, seconds since the epoch; 0 if it has none."""
    return max((float(match[1]) for tag in tags if (match := _LEASE.fullmatch(tag))), default=0.0)


def first_pinned_at(tags: Iterable[str]) -> float:
    """When the oldest of an image's leases began, seconds since the epoch; 0 if it has none."""
    return min((float(match[1]) for tag in tags if (match := _LEASE.fullmatch(tag))), default=0.0)


def leases_of(tags: Iterable[str], digest: str) -> set[str]:
    """The tags that lease an image."""
    return {tag for tag in tags if _LEASE.fullmatch(tag) and tag.endswith(f"-{short(digest)}")}


def named_by(tag: str) -> str:
    """The start of the digest that a release's lease names, and points at; empty for any other tag."""
    match = _NAMED.fullmatch(tag)
    return match[1] if match else ""


def deletion_tag(digest: str, now: float) -> str:
    """A new tag that dooms an image from now on."""
    return f"{DOOMED_TAG_PREFIX}{short(digest)}-{int(now)}-{uuid.uuid4().hex[:8]}"


def note_of(mark: str) -> Manifest:
    """What a tag lies on that says something of an image: an image without files, which no other tag lies on."""
    config, layer = (
        {"mediaType": kind, "digest": bytes_digest(content), "size": len(content)}
        for kind, content in zip((CONFIG_TYPE, LAYER_TYPE), NOTE_CONTENTS, strict=True)
    )
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPES[-1],
        "config": config,
        "layers": [layer],
        "annotations": {DOOM_LABEL: mark},
    }
    return Manifest.of(canonical(document))


def unmark_tag(mark: str) -> str:
    """The tag that pardons an image of one doom."""
    return mark.replace(DOOMED_TAG_PREFIX, PARDONED_TAG_PREFIX, 1)


def standing_marks(tags: Iterable[str], digest: str, since: float) -> list[str]:
    """The tags that doom an image, are not pardoned and were made since a moment; none if it is not doomed."""
    marks: dict[str, set[str]] = {DOOMED_TAG_PREFIX: set(), PARDONED_TAG_PREFIX: set()}
    for tag in tags:
        if (match := _DOOM.fullmatch(tag)) and match[2] == short(digest) and float(match[4]) >= since:
            marks[match[1]].add(match[3])
    return [
        f"{DOOMED_TAG_PREFIX}{short(digest)}-{name}"
        for name in sorted(marks[DOOMED_TAG_PREFIX] - marks[PARDONED_TAG_PREFIX])
    ]


def void_marks(tags: Iterable[str], before: float) -> list[str]:
    """The tags that doomed some image before a moment, pardoned or not: whoever made them is done, or died."""
    found = [(tag, match) for tag in tags if (match := _DOOM.fullmatch(tag)) and match[1] == DOOMED_TAG_PREFIX]
    return sorted(tag for tag, match in found if float(match[4]) < before)


def lost_name(tag: str) -> str:
    """What a tag that leads to nothing is called where that is noted."""
    return text_sha256(tag)[:16]


def lost_mark(tag: str, now: float) -> str:
    """The tag that says that another one was met which led to nothing."""
    return f"{LOST_TAG_PREFIX}{lost_name(tag)}-{int(now)}"


def lost_marks(tags: Iterable[str]) -> dict[str, dict[str, float]]:
    """The tags that say so, each with when that was in seconds since the epoch, by the name of what they say it of."""
    found: dict[str, dict[str, float]] = {}
    for tag in tags:
        if match := _LOST.fullmatch(tag):
            found.setdefault(match[1], {})[tag] = float(match[2])
    return found


def for_people(tags: Iterable[str]) -> frozenset[str]:
    """The tags without those that only this bookkeeping reads, and those of documents beside images."""
    return frozenset(tag for tag in tags if not (tag.startswith(_BOOKKEEPING) or described_by(tag)))
