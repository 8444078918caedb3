"""Leases and dooms: how pipelines that share only a registry agree on what retention may remove.

Both are tags on the image itself, because tags are the one thing that every registry lets everybody see and set. Who is
given an image first puts a lease on it and then looks for a doom; retention first puts a doom on an image and then
looks for leases. Whichever order the two fall in, at least one of them sees the other: the image is then withheld (and
built again), or kept. A doom that came to nothing is pardoned by name, since registries cannot remove single tags; one
that nobody lived to carry out or to pardon is void after a while.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

_LEASE = re.compile(r"lease-(\d+)-[0-9a-f]{16}")
_DOOM = re.compile(r"(doomed|pardoned)-([0-9a-f]{16})-((\d+)-[0-9a-f]{8})")
_NAMED = re.compile(r"(?:lease-\d+|(?:doomed|pardoned))-([0-9a-f]{16})(?:-\d+-[0-9a-f]{8})?")
_BOOKKEEPING = re.compile(r"(lease|doomed|pardoned|key)-.*")


def short(digest: str) -> str:
    """The start of a digest's hex, which names it in tags."""
    return digest.removeprefix("sha256:")[:16]


def pin_tag(digest: str, now: float) -> str:
    """The tag that leases an image from now on."""
    return f"lease-{int(now)}-{short(digest)}"


def pinned_at(tags: Iterable[str]) -> float:
    """When the newest of an image's leases began, seconds since the epoch; 0 if it has none."""
    return max((float(match[1]) for tag in tags if (match := _LEASE.fullmatch(tag))), default=0.0)


def named_by(tag: str) -> str:
    """The start of the digest that a tag of this bookkeeping names, and always points at; empty for any other tag."""
    match = _NAMED.fullmatch(tag)
    return match[1] if match else ""


def deletion_tag(digest: str, now: float) -> str:
    """A new tag that dooms an image from now on."""
    return f"doomed-{short(digest)}-{int(now)}-{uuid.uuid4().hex[:8]}"


def unmark_tag(mark: str) -> str:
    """The tag that pardons an image of one doom."""
    return mark.replace("doomed", "pardoned", 1)


def standing_marks(tags: Iterable[str], digest: str, since: float) -> list[str]:
    """The tags that doom an image, are not pardoned and were made since a moment; none if it is not doomed."""
    marks: dict[str, set[str]] = {"doomed": set(), "pardoned": set()}
    for tag in tags:
        if (match := _DOOM.fullmatch(tag)) and match[2] == short(digest) and float(match[4]) >= since:
            marks[match[1]].add(match[3])
    return [f"doomed-{short(digest)}-{name}" for name in sorted(marks["doomed"] - marks["pardoned"])]


def for_people(tags: Iterable[str]) -> frozenset[str]:
    """The tags without those that only this bookkeeping reads."""
    return frozenset(tag for tag in tags if not _BOOKKEEPING.fullmatch(tag))
