"""The releases in one repository of a registry: finding, lending, tagging and forgetting them by digest."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from banana_delivery.errors import ImageError
from banana_delivery.images.base import PruneDecision
from banana_delivery.images.oci_registry import pins as leases
from banana_delivery.images.oci_registry.client import Manifest, RegistryClient
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.images.retention import Stored, decide, keep_reason, too_late, void_before
from banana_delivery.names import KEY_LABEL, KEY_TAG_PREFIX, STABLE_TAG, VERSION_LABEL
from banana_delivery.policy.model import ImageRef


@dataclass(frozen=True)
class RemoteImage:
    """A release as the registry has it.

    Attributes:
        ref: the release.
        manifest: its manifest.
        config: its image config.
    """

    ref: ImageRef
    manifest: Manifest
    config: dict[str, Any]

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.config["config"].get("Labels") or {}

    @property
    def diff_ids(self) -> list[str]:
        """Digests of its layers before compression, bottom first: equal content, equal id."""
        ids: list[str] = self.config["rootfs"]["diff_ids"]
        return ids

    @property
    def built_at(self) -> float:
        """When it was built by the engine's clock, seconds since the epoch."""
        return datetime.fromisoformat(self.config["created"]).timestamp()


def key_tag(key_sha256: str) -> str:
    """The tag under which an image is found by its identity key."""
    return f"{KEY_TAG_PREFIX}{key_sha256[:32]}"


class RegistryImages:
    """The releases of one repository.

    Args:
        client: the repository.
        repository: its name.
        lease_seconds: how long an image that was built or asked for is safe from retention.
        clock: seconds since the epoch.
    """

    def __init__(
        self, client: RegistryClient, repository: Repository, lease_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._repository = repository
        self._lease_seconds = lease_seconds
        self._clock = clock

    def find(self, key_sha256: str) -> RemoteImage | None:
        """The image built for a key, leased; None if it is not there, not whole, or about to be removed."""
        image = self.read(key_tag(key_sha256))
        if image is None or image.ref.key != key_sha256 or not self._is_whole(image.manifest):
            return None
        return self.pin(image)

    def resolve(self, reference: str) -> RemoteImage | None:
        """The image behind a tag or digest, leased; None if there is none or it is about to be removed."""
        image = self.read(reference)
        return self.pin(image) if image else None

    def read(self, reference: str) -> RemoteImage | None:
        """The image behind a tag or digest as it is now, not leased; None if there is none, or it is not a release."""
        manifest = self._client.manifest(reference)
        if manifest is None or "config" not in manifest.document:
            return None
        config: dict[str, Any] = json.loads(self._client.blob(manifest.document["config"]["digest"]))
        labels = config["config"].get("Labels") or {}
        if KEY_LABEL not in labels:
            return None
        ref = ImageRef(
            repository=self._repository.name,
            digest=manifest.digest,
            version=labels[VERSION_LABEL],
            key=labels[KEY_LABEL],
        )
        return RemoteImage(ref, manifest, config)

    def pin(self, image: RemoteImage) -> RemoteImage | None:
        """Lease an image for whoever asked for it; None if it is about to be removed. The order of steps matters."""
        digest, now = image.ref.digest, self._clock()
        before = set(self._own(self._client.tags(), digest))
        if not before and self._client.digest_of(digest) is None:
            return None
        if now - leases.pinned_at(before) > self._lease_seconds / 2:
            self._client.put_manifest(leases.pin_tag(digest, now), image.manifest)
        after = self._client.tags()
        # A lease on an image that was removed a moment ago brings it back, without the tags it had.
        removed = before and before.isdisjoint(after)
        return None if removed or leases.standing_marks(after, digest, void_before(now)) else image

    def publish(self, image: RemoteImage) -> None:
        """Lease a new image; it was just built, so a doom that its digest carries is void."""
        self._client.put_manifest(leases.pin_tag(image.ref.digest, self._clock()), image.manifest)
        for mark in leases.standing_marks(self._client.tags(), image.ref.digest, 0.0):
            self._client.put_manifest(leases.unmark_tag(mark), image.manifest)

    def tag(self, digest: str, tags: Collection[str]) -> None:
        """Make tags point at an image.

        Raises:
            ImageError: if the image is not there.
        """
        manifest = self._client.manifest(digest)
        if manifest is None:
            raise ImageError(f"{self._repository.name} holds no image {digest}; materialize `image` again.")
        for tag in sorted(tags):
            self._client.put_manifest(tag, manifest)

    def tags(self, digest: str) -> frozenset[str]:
        """The tags for people that point at an image now."""
        return leases.for_people(tag for tag, its in self._digests().items() if its == digest)

    def prune(self, keep_versions: int, in_use: Callable[[], Collection[str]], *, dry_run: bool) -> list[PruneDecision]:
        """Forget what neither people nor environments need, as the registry sees it now."""
        images = self._stored()
        decisions = decide(images, keep_versions, in_use(), self._clock(), self._lease_seconds)
        if dry_run:
            return decisions
        by_digest = {image.ref.digest: image for image in images}
        return [
            decision if decision.keep else self._remove(decision, by_digest[decision.ref.digest], in_use)
            for decision in decisions
        ]

    def labels(self, name: str) -> set[str]:
        """Every value that a label has among the releases that are left."""
        images = (self.read(digest) for digest in set(self._digests().values()))
        return {image.labels[name] for image in images if image and name in image.labels}

    def _remove(self, decision: PruneDecision, stored: Stored, in_use: Callable[[], Collection[str]]) -> PruneDecision:
        digest = decision.ref.digest
        manifest = self._client.manifest(digest)
        if manifest is None:
            return decision  # Somebody else's retention was faster.
        marked = self._clock()
        mark = leases.deletion_tag(digest, marked)
        try:
            self._client.put_manifest(mark, manifest)
            if not (reason := self._objection(stored, in_use, marked)):
                self._client.delete_manifest(digest)
                return decision
        except BaseException:
            with contextlib.suppress(ImageError):  # Where even this fails, time makes the doom void.
                self._client.put_manifest(leases.unmark_tag(mark), manifest)
            raise
        self._client.put_manifest(leases.unmark_tag(mark), manifest)
        return replace(decision, keep=True, reason=reason, freed_bytes=0)

    def _objection(self, stored: Stored, in_use: Callable[[], Collection[str]], marked: float) -> str:
        """Why an image must stay after all, asked once it is doomed; empty if nothing speaks for it."""
        digest, used = stored.ref.digest, in_use()
        tags = self._own(self._client.tags(), digest)
        # `stable` may have moved here meanwhile; the other tags name the image and cannot protect it.
        moved = {STABLE_TAG} if self._client.digest_of(STABLE_TAG) == digest else set()
        now = replace(stored, used_at=leases.pinned_at(tags), tags=frozenset(moved))
        return keep_reason(now, used, self._clock(), self._lease_seconds) or too_late(marked, self._clock())

    def _stored(self) -> list[Stored]:
        tags_of: dict[str, set[str]] = defaultdict(set)
        for tag, digest in self._digests().items():
            tags_of[digest].add(tag)
        found = []
        for digest, tags in tags_of.items():
            if image := self.read(digest):
                used_at = leases.pinned_at(tags)
                found.append(Stored(image.ref, image.built_at, used_at, frozenset(tags), image.manifest.blobs))
        return found

    def _digests(self) -> dict[str, str]:
        found = {tag: self._client.digest_of(tag) for tag in self._client.tags()}
        return {tag: digest for tag, digest in found.items() if digest}

    def _own(self, tags: Collection[str], digest: str) -> list[str]:
        return [tag for tag in tags if leases.short(digest) in tag]

    def _is_whole(self, manifest: Manifest) -> bool:
        blobs = {digest: size for digest, size in manifest.blobs.items() if digest != manifest.digest}
        return all(self._client.has_blob(digest, size) for digest, size in blobs.items())
