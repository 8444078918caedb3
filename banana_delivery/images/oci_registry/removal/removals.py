"""Removing images that retention chose: each is doomed first, then asked about again, and only then deleted."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from banana_delivery.errors import ImageError, RefusedRemovalError, UnreachableError
from banana_delivery.images.oci_registry import pins as leases
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.kept import KeptContent
from banana_delivery.images.oci_registry.remote import ReleaseReader
from banana_delivery.images.oci_registry.removal.lost import LostTags
from banana_delivery.images.oci_registry.removal.notes import Notes
from banana_delivery.images.retention import Stored, keep_reason, too_late, void_before
from banana_delivery.images.supply_chain import attachments
from banana_delivery.names import STABLE_TAG
from banana_delivery.policy.model import ImageRef

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Removals:
    """Removes images of one repository.

    Attributes:
        client: the repository.
        reader: of the releases there.
        kept: what was read before and cannot change.
        lease_seconds: how long an image that was built or asked for is safe.
        clock: seconds since the epoch.
        in_use: says which digests stay, each time it is asked.
    """

    client: RegistryClient
    reader: ReleaseReader
    kept: KeptContent
    lease_seconds: float
    clock: Callable[[], float]
    in_use: Callable[[], Collection[str]]

    def remove(self, stored: Stored) -> str:
        """Delete an image, unless something speaks for it after all: what that is.

        Raises:
            RefusedRemovalError: if the registry refuses this one, or does not say who was given it.
            ImageError: if it removes nothing, or cannot be reached.
        """
        digest = stored.ref.digest
        if self.client.digest_of(digest) is None:
            self.kept.forget(digest)
            return ""  # Somebody else's retention was faster.
        marked = self.clock()
        mark = leases.deletion_tag(digest, marked)
        with contextlib.ExitStack() as doomed:
            doomed.callback(self._pardon, mark)
            self._notes.put(mark)
            if reason := self._objection(stored, mark, marked):
                return reason
            doomed.pop_all()
        try:
            if self._carry_out(digest):
                self._pardon(mark)
        except UnreachableError:
            raise  # It may still be carried out; time makes the doom void.
        except ImageError as error:
            if self._pardon(mark):
                raise RefusedRemovalError(f"{self.client.host} refuses to remove it: {error}") from error
            raise
        return ""

    def remove_parts(self, gone: Collection[str], staying: Collection[str]) -> None:
        """Remove the images of indexes that no index names any more.

        Args:
            gone: those of indexes that were removed just now. Others may be left from somebody who did not live to
                remove them.
            staying: those of indexes that were seen and stay, whatever the list of tags says by now.
        """
        tags = self.client.tags()
        named, lost = self.reader.named(tags)
        if lost and STABLE_TAG in tags and self.client.digest_of(STABLE_TAG) is None:
            return  # It may lead to what cannot be seen.
        if not self._lost.are_removed(tags, lost, self.in_use):
            return  # Not every index can be seen now; what it names is not known.
        named |= set(staying)
        known = {leases.short(digest) for digest in named}
        left = [tag for start, tag in leases.part_tags(tags).items() if start not in known]
        found = {manifest.digest for tag in left if (manifest := self.client.manifest(tag))}
        for digest in sorted({*gone, *found} - named):
            part = ImageRef(repository=self.client.name, digest=digest, version="", key="")
            leased = leases.pinned_at(leases.leases_of(tags, digest))
            stored = Stored(part, 0.0, leased, frozenset(), {})
            if not keep_reason(stored, self.in_use(), self.clock(), self.lease_seconds):
                self._remove_part(stored)

    def tidy(self, tags: Collection[str]) -> None:
        """Forget the dooms among tags that are void: nobody looks at them any more."""
        with contextlib.suppress(ImageError):  # The next retention tries again.
            for mark in leases.void_marks(tags, void_before(self.clock())):
                self._notes.delete(mark)

    def _remove_part(self, stored: Stored) -> None:
        try:
            self.remove(stored)
        except RefusedRemovalError as error:
            _log.warning("%s stays, which no index names any more: %s", stored.ref.digest, error)

    def _carry_out(self, digest: str) -> bool:
        """Remove an image, and what lies beside it; False if the registry may still be at it.

        Raises:
            ImageError: if it refuses.
            UnreachableError: if nobody knows whether it does.
        """
        self.client.delete_manifest(digest)
        self.kept.forget(digest)
        try:
            tags = set(self.client.tags())
        except ImageError:
            return False
        with contextlib.suppress(ImageError):  # The image is gone, and may not come back for their sake.
            self._forget_attachments(digest, tags)
        return not leases.leases_of(tags, digest)

    def _pardon(self, mark: str) -> bool:
        """Take a doom back; returns whether anything can be deleted here."""
        with contextlib.suppress(ImageError):
            self._notes.delete(mark)
            return True
        with contextlib.suppress(ImageError):  # Where even this fails, time makes the doom void.
            self.client.put_manifest(leases.unmark_tag(mark), leases.note_of(mark))
        return False

    def _forget_attachments(self, digest: str, tags: Collection[str]) -> None:
        """The documents beside an image that was removed; what stays behind is small and is found by nobody."""
        for tag in attachments.attachment_tags(digest):
            if tag in tags and (manifest := self.client.digest_of(tag)):
                self.client.delete_manifest(manifest)

    def _objection(self, stored: Stored, mark: str, marked: float) -> str:
        """Why an image must stay after all, asked once it is doomed; empty if nothing speaks for it.

        Raises:
            RefusedRemovalError: if the list of tags lags behind, which hides leases as well as the doom.
        """
        digest, used = stored.ref.digest, self.in_use()
        listed = self.client.tags()
        if mark not in listed:
            raise RefusedRemovalError(
                f"{self.client.host} does not list the tag that was written just now, so nobody knows who was given it."
            )
        tags = leases.leases_of(listed, digest)
        # `stable` may have moved here meanwhile; the other tags name the image and cannot protect it.
        moved = {STABLE_TAG} if self._stable(listed) == digest else set()
        now = replace(stored, used_at=leases.pinned_at(tags), tags=frozenset(moved))
        return keep_reason(now, used, self.clock(), self.lease_seconds) or too_late(marked, self.clock())

    def _stable(self, listed: Collection[str]) -> str | None:
        """What `stable` leads to; None if there is no such tag.

        Raises:
            RefusedRemovalError: if the list of tags says something else of it. A list that was cut off is without
                `stable` as without the newest leases, since it is in the order of the alphabet.
        """
        leads_to = self.client.digest_of(STABLE_TAG)
        if (leads_to is not None) != (STABLE_TAG in listed):
            raise RefusedRemovalError(
                f"{self.client.host} does not list `{STABLE_TAG}`, which is there, so its list of tags is not whole."
                if leads_to
                else f"{self.client.host} lists `{STABLE_TAG}` and does not find what it leads to, which may be this."
            )
        return leads_to

    @property
    def _notes(self) -> Notes:
        return Notes(self.client)

    @property
    def _lost(self) -> LostTags:
        return LostTags(self.client, self._notes, self.clock)
