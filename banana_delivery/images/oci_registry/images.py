"""The releases in one repository of a registry: finding, lending, tagging and forgetting them by digest."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from banana_delivery.errors import ImageError
from banana_delivery.images.base import PruneDecision
from banana_delivery.images.layers import EPOCH
from banana_delivery.images.oci_registry import pins as leases
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.kept import KeptContent
from banana_delivery.images.oci_registry.manifest import DIGEST, Manifest
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.images.release import LAYERS, Contents, start_of
from banana_delivery.images.retention import Stored, decide, keep_reason, too_late, void_before
from banana_delivery.images.supply_chain import attachments
from banana_delivery.images.supply_chain.attachments import Attachment, AttachmentKind
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
    def config_digest(self) -> str:
        """Where its config is."""
        return str(self.manifest.document["config"]["digest"])

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
    def contents(self) -> Contents:
        """What it is made of, for a comparison."""
        return Contents(layer_names(self.diff_ids), self.labels, start_of(self.config["config"]))

    @property
    def built_at(self) -> float:
        """When it was built by the engine's clock, seconds since the epoch; up to ``EPOCH``: nobody noted it."""
        return datetime.fromisoformat(self.config["created"]).timestamp()


def layer_names(diff_ids: list[str]) -> dict[str, str]:
    """The layers of an image by name, bottom first: the release's own three lie on those of its runtime."""
    below = len(diff_ids) - len(LAYERS)
    names = [*(f"runtime {number}" for number in range(1, below + 1)), *LAYERS]
    return dict(zip(names, diff_ids, strict=False))  # A stranger's image may have fewer than ours.


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
        kept: what was read before and cannot change.
        lend: has somebody else lease an image, by its digest, and says whether it may be had; default: it is done here.
    """

    def __init__(
        self,
        client: RegistryClient,
        repository: Repository,
        lease_seconds: float,
        clock: Callable[[], float],
        kept: KeptContent | None = None,
        lend: Callable[[str], bool] | None = None,
    ) -> None:
        self._client = client
        self._lend = lend
        self._repository = repository
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._kept = kept or KeptContent()

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

    def peek(self, reference: str) -> RemoteImage | None:
        """The same without a lease, for who only looks."""
        image = self.read(reference)
        if image is None:
            return None
        doomed = leases.standing_marks(self._client.tags(), image.ref.digest, void_before(self._clock()))
        return None if doomed else image

    def read(self, reference: str) -> RemoteImage | None:
        """The image behind a tag or digest as it is now, not leased; None if there is none, or it is not a release."""
        manifest = self._client.manifest(reference)
        return self._release(manifest) if manifest else None

    def pin(self, image: RemoteImage) -> RemoteImage | None:
        """Lease an image for whoever asked for it; None if it is about to be removed. The order of steps matters."""
        digest, now = image.ref.digest, self._clock()
        if self._lend:
            return image if self._lend(digest) else None
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

    def put(self, key_sha256: str, made: Callable[[str], Manifest]) -> Manifest:
        """Make an image whose blobs are there known by its key, which is the last step, and leased before.

        Equal inputs give the digest that was there before. If retention has doomed that one, it may delete it at any
        moment, whatever is put upon it now; another one then takes its place.

        Args:
            key_sha256: its identity key.
            made: makes its manifest; given a text, one with another digest that says the same.

        Returns:
            The manifest that it has.
        """
        manifest = made("")
        self._client.put_manifest(leases.pin_tag(manifest.digest, self._clock()), manifest)
        if marks := leases.standing_marks(self._client.tags(), manifest.digest, void_before(self._clock())):
            manifest = made(marks[0])
            self._client.put_manifest(leases.pin_tag(manifest.digest, self._clock()), manifest)
        self._client.put_manifest(key_tag(key_sha256), manifest)
        return manifest

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
        names = leases.for_people(self._client.tags())
        return frozenset(tag for tag in names if self._client.digest_of(tag) == digest)

    def attach(self, digest: str, kind: AttachmentKind, parts: Sequence[Attachment]) -> None:
        """Put documents beside an image, in place of those of the kind that it had.

        Raises:
            ImageError: if the image is not there, or the registry refuses.
        """
        image = self._client.manifest(digest)
        if image is None:
            raise ImageError(f"{self._repository.name} holds no image {digest}; materialize `image` again.")
        subject = attachments.Subject(digest, image.media_type, len(image.body))
        config, manifest = attachments.documents(parts, subject)
        for content in (*(part.content for part in parts), config):
            self._client.put_blob(content)
        self._client.put_manifest(attachments.attachment_tag(digest, kind), Manifest.of(manifest))

    def attached(self, digest: str, kind: AttachmentKind) -> tuple[Attachment, ...]:
        """The documents of a kind beside an image; none if there are none.

        Raises:
            ImageError: if the registry cannot be reached, refuses, or has other content than it says.
        """
        manifest = self._client.manifest(attachments.attachment_tag(digest, kind))
        found = attachments.layers(manifest.document) if manifest else []
        return tuple(
            Attachment(self._client.blob(one.digest, one.size), one.media_type, one.annotations) for one in found
        )

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
        images = self._releases(self._client.tags())
        return {image.labels[name] for image in images if name in image.labels}

    def _remove(self, decision: PruneDecision, stored: Stored, in_use: Callable[[], Collection[str]]) -> PruneDecision:
        digest = decision.ref.digest
        manifest = self._client.manifest(digest)
        if manifest is None:
            self._kept.forget(digest)
            return decision  # Somebody else's retention was faster.
        marked = self._clock()
        mark = leases.deletion_tag(digest, marked)
        try:
            self._client.put_manifest(mark, manifest)
            if not (reason := self._objection(stored, in_use, marked)):
                self._client.delete_manifest(digest)
                self._kept.forget(digest)
                with contextlib.suppress(ImageError):  # The image is gone, and may not come back for their sake.
                    self._forget_attachments(digest)
                return decision
        except BaseException:
            with contextlib.suppress(ImageError):  # Where even this fails, time makes the doom void.
                self._client.put_manifest(leases.unmark_tag(mark), manifest)
            raise
        self._client.put_manifest(leases.unmark_tag(mark), manifest)
        return replace(decision, keep=True, reason=reason, freed_bytes=0)

    def _forget_attachments(self, digest: str) -> None:
        """The documents beside an image that was removed; what stays behind is small and is found by nobody."""
        tags = set(self._client.tags())
        for tag in attachments.attachment_tags(digest):
            if tag in tags and (manifest := self._client.digest_of(tag)):
                self._client.delete_manifest(manifest)

    def _objection(self, stored: Stored, in_use: Callable[[], Collection[str]], marked: float) -> str:
        """Why an image must stay after all, asked once it is doomed; empty if nothing speaks for it."""
        digest, used = stored.ref.digest, in_use()
        tags = self._own(self._client.tags(), digest)
        # `stable` may have moved here meanwhile; the other tags name the image and cannot protect it.
        moved = {STABLE_TAG} if self._client.digest_of(STABLE_TAG) == digest else set()
        now = replace(stored, used_at=leases.pinned_at(tags), tags=frozenset(moved))
        return keep_reason(now, used, self._clock(), self._lease_seconds) or too_late(marked, self._clock())

    def _stored(self) -> list[Stored]:
        """Every release that is there, in as few requests as there are new ones."""
        tags = self._client.tags()
        stable = self._client.digest_of(STABLE_TAG) if STABLE_TAG in tags else None
        images = self._releases(tags)
        self._kept.forget_all_but({part for image in images for part in (image.ref.digest, image.config_digest)})
        found = []
        for image in images:
            own = self._own(tags, image.ref.digest)
            its = frozenset([*own, STABLE_TAG] if image.ref.digest == stable else own)
            # Without a date of its own, it was built when it was leased first.
            built_at = image.built_at if image.built_at > EPOCH else leases.first_pinned_at(own)
            found.append(Stored(image.ref, built_at, leases.pinned_at(own), its, image.manifest.blobs))
        return found

    def _releases(self, tags: Collection[str]) -> list[RemoteImage]:
        """The releases that tags lead to.

        Whatever gives an image out leases it, and a lease's tag names its digest, so most images are known without
        being asked for. One that nobody leased has the tag of its key: it was pushed by that name. Other tags are
        given to images that have one of the two.
        """
        found: dict[str, RemoteImage] = {}
        for start, tag in {start: tag for tag in tags if (start := leases.named_by(tag))}.items():
            if image := self._known(start) or self.read(tag):
                found[image.ref.digest] = image
        told = {key_tag(image.ref.key) for image in found.values()}
        for tag in tags:
            if tag.startswith(KEY_TAG_PREFIX) and tag not in told and (image := self.read(tag)):
                found[image.ref.digest] = image
        return list(found.values())

    def _known(self, start: str) -> RemoteImage | None:
        """The release whose digest begins so, as it was read before; None if it was not."""
        for digest in self._kept.beginning_with(start):
            if content := self._kept.get(digest):
                return self._release(Manifest.of(content))
        return None

    def _release(self, manifest: Manifest) -> RemoteImage | None:
        """The release that a manifest describes; None if it is none, whatever somebody wrote who may push."""
        config = manifest.document.get("config")
        name = config.get("digest") if isinstance(config, dict) else None
        if not isinstance(name, str) or not DIGEST.fullmatch(name):
            return None
        content = self._kept.get(name) or self._client.blob(name)
        image = _described(self._repository.name, manifest, content)
        if image:
            self._kept.keep(manifest.body)
            self._kept.keep(content)
        return image

    def _own(self, tags: Collection[str], digest: str) -> list[str]:
        """The tags that name an image; those of documents beside it do so too, and are none of its own."""
        return [tag for tag in tags if leases.short(digest) in tag and not attachments.described_by(tag)]

    def _is_whole(self, manifest: Manifest) -> bool:
        blobs = {digest: size for digest, size in manifest.blobs.items() if digest != manifest.digest}
        return all(self._client.has_blob(digest, size) for digest, size in blobs.items())


def _described(repository: str, manifest: Manifest, content: bytes) -> RemoteImage | None:
    """The release that a manifest and its config describe; None if they describe none."""
    try:
        config: dict[str, Any] = json.loads(content)
        labels = config.get("config", {}).get("Labels") or {}
        if KEY_LABEL not in labels:
            return None
        version, key = labels[VERSION_LABEL], labels[KEY_LABEL]
        image = RemoteImage(
            ImageRef(repository=repository, digest=manifest.digest, version=version, key=key), manifest, config
        )
        told = [isinstance(size, int) and bool(DIGEST.fullmatch(digest)) for digest, size in manifest.blobs.items()]
        told += [isinstance(one, str) for one in image.diff_ids]
        return image if all(told) and image.built_at else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
