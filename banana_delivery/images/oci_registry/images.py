"""The releases in one repository of a registry: finding, lending, tagging and forgetting them by digest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from banana_delivery.errors import ImageError, RefusedRemovalError
from banana_delivery.images.base import PruneDecision
from banana_delivery.images.layers import EPOCH
from banana_delivery.images.oci_registry import pins as leases
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.kept import KeptContent
from banana_delivery.images.oci_registry.manifest import Manifest
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.images.oci_registry.remote import ReleaseReader, RemoteImage, key_tag
from banana_delivery.images.oci_registry.removal.removals import Removals
from banana_delivery.images.retention import Stored, decide, void_before
from banana_delivery.images.supply_chain import attachments
from banana_delivery.images.supply_chain.attachments import Attachment, AttachmentKind
from banana_delivery.names import STABLE_TAG


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
        self._reader = ReleaseReader(client, repository, self._kept)

    def find(self, key_sha256: str) -> RemoteImage | None:
        """The image built for a key, leased; None if it is not there, not whole, or about to be removed."""
        image = self.read(key_tag(key_sha256))
        if image is None or image.ref.key != key_sha256 or not self._is_whole(image):
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
        return self._reader.read(reference)

    def pin(self, image: RemoteImage) -> RemoteImage | None:
        """Lease an image for whoever asked for it; None if it is about to be removed. The order of steps matters."""
        digest, now = image.ref.digest, self._clock()
        if self._lend:
            return image if self._lend(digest) else None
        tags = self._client.tags()
        before = leases.leases_of(tags, digest)
        if not before and self._client.digest_of(digest) is None:
            return None
        if now - leases.pinned_at(before) > self._lease_seconds / 2:
            self._client.put_manifest(leases.pin_tag(digest, now), image.manifest)
        after = self._client.tags()
        # A lease on an image that was removed a moment ago brings it back, without the leases it had. Of one that had
        # none retention knows by the tag of its key.
        removed = not (before or {key_tag(image.ref.key)}.intersection(tags)).issubset(after)
        return None if removed or leases.standing_marks(after, digest, void_before(now)) else image

    def publish(self, key_sha256: str, digest: str) -> bool:
        """Lease an image that was pushed by the tag of its key.

        Returns:
            Whether it is there to stay; False if retention is about to remove it, or has.
        """
        image = self._client.manifest(digest)
        if image is None or self._place([image]):
            return False
        # It may have been removed before it was leased, and with it the tag by which it was pushed.
        self._client.put_manifest(key_tag(key_sha256), image)
        return True

    def put(self, key_sha256: str, made: Callable[[str], Sequence[Manifest]]) -> Manifest:
        """Make an image whose blobs are there known by its key, which is the last step, and leased before.

        Equal inputs give the digest that was there before. If retention has doomed that one, it may delete it at any
        moment, whatever is put upon it now; another one then takes its place.

        Args:
            key_sha256: its identity key.
            made: makes its manifests, an index after those that it names; given a text, ones with other digests that
                say the same.

        Returns:
            The manifest that it has, or its index.
        """
        manifests = made("")
        if doubt := self._place(manifests):
            manifests = made(doubt)
            self._place(manifests)
        self._client.put_manifest(key_tag(key_sha256), manifests[-1])
        return manifests[-1]

    def _place(self, manifests: Sequence[Manifest]) -> str:
        """Write and lease manifests, in their order; returns which is about to go, or gone, as a text; empty: none is.

        The images of an index have leases of their own, so that nobody takes them for what no index names any more.
        """
        *parts, release = manifests
        now = self._clock()
        leased = {leases.part_tag(part.digest, now): part for part in parts}
        for tag, part in leased.items():
            self._client.put_manifest(tag, part)
        if parts and (doubt := self._doubt(leased, parts)):
            return doubt  # A registry may refuse an index without one that it names.
        pin = leases.pin_tag(release.digest, now)
        leased[pin] = release
        self._client.put_manifest(pin, release)
        return self._doubt(leased, parts)

    def _doubt(self, leased: Mapping[str, Manifest], parts: Sequence[Manifest]) -> str:
        """See ``_place``.

        Args:
            leased: what was leased, by the tag of its lease.
            parts: the images of an index among it.
        """
        tags, since = set(self._client.tags()), void_before(self._clock())
        for manifest in leased.values():
            if marks := leases.standing_marks(tags, manifest.digest, since):
                return marks[0]
        # A doom goes once its work is done: what we wrote may have been removed before we looked. Of a tag that is only
        # not in the list yet the registry says where it leads.
        lost = [one for tag, one in leased.items() if tag not in tags and self._client.digest_of(tag) is None]
        lost += [part for part in parts if self._client.digest_of(part.digest) is None]
        return lost[0].digest if lost else ""

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
        tags = self._client.tags()
        images = self._stored(tags)
        decisions = decide(images, keep_versions, in_use(), self._clock(), self._lease_seconds)
        if dry_run:
            return decisions
        by_digest = {image.ref.digest: image for image in images}
        removals = Removals(self._client, self._reader, self._kept, self._lease_seconds, self._clock, in_use)
        done = [self._removed(decision, by_digest[decision.ref.digest], removals) for decision in decisions]
        parts = {
            keep: {part for one in done if one.keep is keep for part in by_digest[one.ref.digest].parts}
            for keep in (True, False)
        }
        if parts[False] or leases.part_tags(tags) or leases.lost_marks(tags):
            removals.remove_parts(parts[False], staying=parts[True])
        removals.tidy(tags)
        return done

    def labels(self, name: str) -> set[str]:
        """Every value that a label has among the releases that are left."""
        images = self._reader.all(self._client.tags())
        return {image.labels[name] for image in images if name in image.labels}

    def _removed(self, decision: PruneDecision, stored: Stored, removals: Removals) -> PruneDecision:
        """What came of a decision; one image that the registry refuses to remove stops no other."""
        if decision.keep:
            return decision
        try:
            reason, refused = removals.remove(stored), False
        except RefusedRemovalError as error:
            reason, refused = str(error), True
        return replace(decision, keep=True, reason=reason, freed_bytes=0, refused=refused) if reason else decision

    def _stored(self, tags: Collection[str]) -> list[Stored]:
        """Every release that is there, in as few requests as there are new ones."""
        stable = self._client.digest_of(STABLE_TAG) if STABLE_TAG in tags else None
        images = self._reader.all(tags)
        self._kept.forget_all_but({part for image in images for part in image.stored})
        found = []
        for image in images:
            own = leases.leases_of(tags, image.ref.digest)
            its = frozenset([*own, STABLE_TAG] if image.ref.digest == stable else own)
            # Without a date of its own, it was built when it was leased first.
            built_at = image.built_at if image.built_at > EPOCH else leases.first_pinned_at(own)
            parts = tuple(part.manifest.digest for part in image.parts)
            found.append(Stored(image.ref, built_at, leases.pinned_at(own), its, image.blobs, parts))
        return found

    def _is_whole(self, image: RemoteImage) -> bool:
        blobs = {digest: size for one in image.images for digest, size in one.manifest.blobs.items()}
        small = {one.manifest.digest for one in image.images}  # They have just been read.
        return all(self._client.has_blob(digest, size) for digest, size in blobs.items() if digest not in small)
