"""What a release in a registry says of itself: an image for one platform, or an index over those for several."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from banana_delivery.errors import ImageError
from banana_delivery.images.oci_registry import blobs
from banana_delivery.images.oci_registry import pins as leases
from banana_delivery.images.oci_registry.client import MOST_BYTES, RegistryClient
from banana_delivery.images.oci_registry.kept import KeptContent
from banana_delivery.images.oci_registry.manifest import DIGEST, INDEX_TYPES, Manifest
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.images.release import LAYERS, Contents, start_of
from banana_delivery.names import KEY_LABEL, KEY_TAG_PREFIX, VERSION_LABEL
from banana_delivery.policy.model import ImageRef

_OURS = f"{KEY_LABEL.partition('.')[0]}."
"""What our own labels begin with; an image has its base's as well."""


@dataclass(frozen=True)
class RemoteImage:
    """A release as the registry has it.

    Attributes:
        ref: the release.
        manifest: what its digest names: the manifest of an image, or an index.
        config: the image's config; of an index, that of its first image, which says the same but for the platform.
        parts: the images of an index, each by the release that it belongs to.
    """

    ref: ImageRef
    manifest: Manifest
    config: dict[str, Any]
    parts: tuple[RemoteImage, ...] = ()

    @property
    def images(self) -> tuple[RemoteImage, ...]:
        """The image of each platform: itself, if it is for one."""
        return self.parts or (self,)

    @property
    def platform(self) -> str:
        """What an image is for, for example ``linux/amd64``."""
        return f"{self.config.get('os')}/{self.config.get('architecture')}"

    def on(self, platform: str) -> RemoteImage:
        """The image for a platform; of a release for one platform, that one.

        Raises:
            ImageError: if none of several is for it.
        """
        for image in self.images:
            if image.platform == platform or not self.parts:
                return image
        there = " and ".join(image.platform for image in self.images)
        raise ImageError(f"{self.ref.pinned} is for {there}, and this host is {platform}: it cannot be run here.")

    @property
    def stored(self) -> set[str]:
        """The digests of its small parts: manifests and configs."""
        every = {self.manifest.digest, *(image.manifest.digest for image in self.images)}
        return every.union(image.config_digest for image in self.images)

    @property
    def blobs(self) -> dict[str, int]:
        """Size of everything that it consists of, by digest."""
        found = {self.manifest.digest: len(self.manifest.body)}
        for image in self.images:
            found |= image.manifest.blobs
        return found

    @property
    def config_digest(self) -> str:
        """Where an image's config is."""
        return str(self.manifest.document["config"]["digest"])

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.config["config"].get("Labels") or {}

    @property
    def own_labels(self) -> dict[str, str]:
        """Those of its labels that say what it was made of. Its base's may name a platform, as Red Hat's do."""
        return {name: value for name, value in self.labels.items() if name.startswith(_OURS)}

    @property
    def diff_ids(self) -> list[str]:
        """Digests of an image's layers before compression, bottom first: equal content, equal id."""
        ids: list[str] = self.config["rootfs"]["diff_ids"]
        return ids

    @property
    def contents(self) -> Contents:
        """What an image is made of, for a comparison."""
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


def described(repository: str, manifest: Manifest, config: bytes) -> RemoteImage | None:
    """The release that a manifest and its config describe; None if they describe none, whatever somebody wrote."""
    try:
        document: dict[str, Any] = json.loads(config)
        labels = document.get("config", {}).get("Labels") or {}
        if KEY_LABEL not in labels:
            return None
        version, key = labels[VERSION_LABEL], labels[KEY_LABEL]
        image = RemoteImage(
            ImageRef(repository=repository, digest=manifest.digest, version=version, key=key), manifest, document
        )
        told = [isinstance(size, int) and bool(DIGEST.fullmatch(digest)) for digest, size in manifest.blobs.items()]
        told += [isinstance(one, str) for one in image.diff_ids]
        return image if all(told) and image.built_at else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def indexed(index: Manifest, read: Callable[[str], RemoteImage | None]) -> RemoteImage | None:
    """The release that an index is; None if it is none.

    Each of its images is a release that says the same of itself, and is for the one platform that the index says:
    whoever takes one by its platform gets what all that is known of the release was said of.

    Args:
        index: the index.
        read: the release of one platform behind a digest.
    """
    named = index.platforms
    if not named or list(named.values()) != index.children or len(named) != len(index.document["manifests"]):
        return None
    if index.media_type not in INDEX_TYPES or not {"config", "layers"}.isdisjoint(index.document):
        return None  # What is two things at once is to each reader another one.
    parts: list[RemoteImage] = []
    for platform, digest in named.items():
        part = read(digest)
        if part is None or part.platform != platform or (parts and part.own_labels != parts[0].own_labels):
            return None
        parts.append(part)
    ref = parts[0].ref.replace(digest=index.digest)
    whole = [RemoteImage(ref, part.manifest, part.config) for part in parts]
    return RemoteImage(ref, index, parts[0].config, tuple(whole))


def key_tag(key_sha256: str) -> str:
    """The tag under which an image is found by its identity key."""
    return f"{KEY_TAG_PREFIX}{key_sha256[:32]}"


@dataclass(frozen=True)
class ReleaseReader:
    """Reads the releases of one repository.

    Attributes:
        client: the repository.
        repository: its name.
        kept: what was read before and cannot change.
    """

    client: RegistryClient
    repository: Repository
    kept: KeptContent

    def read(self, reference: str) -> RemoteImage | None:
        """The release behind a tag or digest as it is now; None if there is none."""
        manifest = self.client.manifest(reference)
        return self._release(manifest) if manifest else None

    def all(self, tags: Collection[str]) -> list[RemoteImage]:
        """The releases that tags lead to; an image that an index names is a part of that one, and none by itself."""
        found = {image.ref.digest: image for _, _, image in self._looked_at(tags) if image}
        parts = {part.manifest.digest for image in found.values() for part in image.parts}
        return [image for digest, image in found.items() if digest not in parts]

    def named(self, tags: Collection[str]) -> tuple[set[str], set[str]]:
        """What indexes name, be they releases or not, and the tags that lead to nothing which can be seen now.

        Those that lead to a note of their own were about to be removed, by somebody who did not live to do it.
        """
        found: set[str] = set()
        lost: set[str] = set()
        for tag, manifest, _ in self._looked_at(tags):
            if manifest is None or manifest.digest == leases.note_of(tag).digest:
                start = leases.named_by(tag)
                lost |= {one for one in tags if start and leases.named_by(one) == start} or {tag}
            elif manifest.is_index:
                found.update(manifest.children)
        return found, lost

    def _looked_at(self, tags: Collection[str]) -> Iterator[tuple[str, Manifest | None, RemoteImage | None]]:
        """What tags lead to: one of them, its manifest if it is there, and the release if it is one.

        Whatever gives an image out leases it, and a lease's tag names its digest, so most images are known without
        being asked for. One that nobody leased has the tag of its key: it was pushed by that name. Other tags are
        given to images that have one of the two.
        """
        leased = {start: tag for tag in tags if (start := leases.named_by(tag))}
        parts, told = leases.part_tags(tags).keys(), set()
        for start in sorted(leased.keys() - parts):
            tag = leased[start]
            known = self._known(start)
            answered = known or self.client.manifest(tag)
            # A cache may answer the tag of an index with the image of one platform: the index is not seen then.
            manifest = answered if answered and leases.short(answered.digest) == start else None
            image = self._release(manifest, kept=bool(known)) if manifest else None
            told |= {key_tag(image.ref.key)} if image else set()
            yield tag, manifest, image
        for tag in tags:
            if tag.startswith(KEY_TAG_PREFIX) and tag not in told:
                answered = self.client.manifest(tag)
                manifest = answered if answered and leases.short(answered.digest) not in parts else None
                yield tag, manifest, self._release(manifest) if manifest else None

    def _known(self, start: str) -> Manifest | None:
        """The manifest whose digest begins so, as it was read before; None if it was not."""
        for digest in self.kept.beginning_with(start):
            if content := self.kept.get(digest):
                return Manifest.of(content)
        return None

    def _release(self, manifest: Manifest, *, kept: bool = False) -> RemoteImage | None:
        """The release that a manifest or index describes; None if it is none, whatever somebody wrote who may push.

        Args:
            manifest: which.
            kept: whether what an index names need not be asked for again.
        """
        if not manifest.is_index:
            return self._image(manifest)
        image = indexed(manifest, lambda digest: self._part(digest, kept=kept))
        if image:
            self.kept.keep(manifest.body)
        return image

    def _part(self, digest: str, *, kept: bool) -> RemoteImage | None:
        content = self.kept.get(digest) if kept else None
        manifest = Manifest.of(content) if content else self.client.manifest(digest)
        return self._image(manifest) if manifest and not manifest.is_index else None

    def _image(self, manifest: Manifest) -> RemoteImage | None:
        config = manifest.document.get("config")
        name = config.get("digest") if isinstance(config, dict) else None
        if not isinstance(name, str) or not DIGEST.fullmatch(name) or manifest.media_type in INDEX_TYPES:
            return None
        content = self.kept.get(name) or blobs.found(self.client, name, MOST_BYTES)
        image = described(self.repository.name, manifest, content) if content else None
        if image and content:
            self.kept.keep(manifest.body)
            self.kept.keep(content)
        return image
