"""Removing old images from an OCI image layout, without ever cutting off a release under way."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from banana_delivery.errors import ImageError
from banana_delivery.images.base import PruneDecision
from banana_delivery.images.oci_layout.blobs import LayoutFiles
from banana_delivery.images.oci_layout.index import Entry, LayoutIndex
from banana_delivery.images.oci_layout.manifest import blobs_of
from banana_delivery.images.retention import Stored, decide, keep_reason
from banana_delivery.policy.model import ImageRef


class LayoutRetention:
    """Retention of one layout.

    Removal takes two steps. First the image is marked, so that nobody is given it any more; then those who were given
    it before are asked for, and only if there are none does it go. Whichever comes first, a release or its removal, the
    other one sees it. A removal that fails takes its mark back.

    Args:
        files: the layout.
        index: its images.
        releases: where releases are unpacked.
        lease_seconds: how long an image that was built or asked for is safe.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        files: LayoutFiles,
        index: LayoutIndex,
        releases: Path,
        lease_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._files = files
        self._index = index
        self._releases = releases
        self._lease_seconds = lease_seconds
        self._clock = clock

    def prune(self, keep_versions: int, in_use: Callable[[], Collection[str]], *, dry_run: bool) -> list[PruneDecision]:
        """Forget what neither people nor environments need, and the files that only it used."""
        images = [self._stored(entry) for entry in self._index.entries()]
        decisions = decide(images, keep_versions, in_use(), self._clock(), self._lease_seconds)
        if dry_run:
            return decisions
        return [decision if decision.keep else self._remove(decision, in_use) for decision in decisions]

    def _remove(self, decision: PruneDecision, in_use: Callable[[], Collection[str]]) -> PruneDecision:
        digest = decision.ref.digest
        if not self._mark(digest, self._clock()):
            return decision  # Somebody else's retention was faster.
        try:
            # Asked without the lock: an environment may hold its own lock while it waits for ours to unpack a release.
            return self._remove_marked(decision, in_use())
        except BaseException:
            with contextlib.suppress(ImageError):  # Where even this fails, time makes the mark void.
                self._mark(digest, None)
            raise

    def _remove_marked(self, decision: PruneDecision, used: Collection[str]) -> PruneDecision:
        digest = decision.ref.digest
        with self._files.changing():
            if (entry := self._index.get(digest)) is None:
                return decision
            reason = keep_reason(self._stored(entry), used, self._clock(), self._lease_seconds)
            if reason:
                self._index.put(entry.replace(doomed_at=None))
                return replace(decision, keep=True, reason=reason, freed_bytes=0)
            self._index.drop(digest)
            self._sweep()
        return decision

    def _mark(self, digest: str, doomed_at: float | None) -> bool:
        """Doom an image, or pardon it; says whether it is still there."""
        with self._files.changing():
            if (entry := self._index.get(digest)) is None:
                return False
            self._index.put(entry.replace(doomed_at=doomed_at))
        return True

    def _sweep(self) -> None:
        digests = {entry.digest for entry in self._index.entries()}
        manifests = digests.union(self._index.attachments())
        named = manifests.union(*(self._parts(digest) for digest in manifests))
        for blob in self._files.blobs.iterdir():
            if f"sha256:{blob.name}" not in named:
                blob.unlink()
        for release in self._releases.glob("[0-9a-f]*"):
            if f"sha256:{release.name}" not in digests:
                shutil.rmtree(release)

    def _stored(self, entry: Entry) -> Stored:
        ref = ImageRef(repository=str(self._files.root), digest=entry.digest, version=entry.version, key=entry.key)
        blobs = {entry.digest: entry.size, **self._parts(entry.digest)}
        return Stored(ref, entry.built_at, entry.used_at, entry.tags, blobs)

    def _parts(self, digest: str) -> dict[str, int]:
        try:
            return blobs_of(self._files, digest)
        except ImageError:
            return {}  # Its manifest is damaged: nothing else can be said to belong to it.
