"""Tags that lead to nothing: whether what they led to was removed, or cannot be seen just now.

Docker's registry deletes an image and then its tags, one by one; where it is stopped in between, tags stay that lead to
nothing, for ever. A registry that has lost sight of an image for a moment answers the same. What an index names that
cannot be seen is not known, and nothing may be removed for that. So whoever meets such a tag first notes when; whoever
meets it again much later, with nothing seen of it in between, knows that it was removed, and removes the tag.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from banana_delivery.errors import ImageError
from banana_delivery.images.oci_registry import pins as leases
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.removal.notes import Notes

_log = logging.getLogger(__name__)
LOST_SECONDS = 86_400.0
"""So long after a tag was met that led to nothing it has to do so still. Storage that is away, a replica that is far
behind or whose clock is wrong: that may last for hours, and nothing hurries."""


@dataclass(frozen=True)
class LostTags:
    """Those of one repository.

    Attributes:
        client: the repository.
        notes: where it is noted when one was met first.
        clock: seconds since the epoch.
    """

    client: RegistryClient
    notes: Notes
    clock: Callable[[], float]

    def are_removed(self, tags: Collection[str], lost: Collection[str], in_use: Callable[[], Collection[str]]) -> bool:
        """Whether all was removed that tags led to; a tag of which that is certain is gone then.

        Args:
            tags: all that there are.
            lost: those of them that lead to nothing.
            in_use: says which digests something runs, whatever the registry says of them.
        """
        noted = leases.lost_marks(tags)
        try:
            # What is seen again was not removed: the next time that it is not counts anew.
            for name in noted.keys() - {leases.lost_name(tag) for tag in lost}:
                self._forget(noted[name])
            used = {leases.short(digest) for digest in in_use()} if lost else set[str]()
            removed = [self._is_removed(tag, noted.get(leases.lost_name(tag), {}), used) for tag in sorted(lost)]
            return all(removed)
        except ImageError as error:
            _log.warning("Tags of %s that lead to nothing stay: %s", self.client.name, error)
            return False

    def _is_removed(self, tag: str, marks: Mapping[str, float], used: Collection[str]) -> bool:
        if leases.named_by(tag) in used:
            return False
        # One that was taken back may still be listed: Docker's registry leaves such a tag, too.
        standing = [marked for mark, marked in marks.items() if self.notes.has(mark)]
        if not standing:
            self.notes.put(leases.lost_mark(tag, self.clock()))
            return False
        if min(standing) >= self.clock() - LOST_SECONDS:
            return False
        if self.client.digest_of(tag) not in (None, leases.note_of(tag).digest):
            return False  # Somebody built it again meanwhile.
        # Most registries delete no tag, but what it leads to, and with that every tag that leads there.
        self.notes.put(tag)
        self.notes.delete(tag)
        self._forget(marks)
        return True

    def _forget(self, marks: Collection[str]) -> None:
        for mark in marks:
            self.notes.delete(mark)
