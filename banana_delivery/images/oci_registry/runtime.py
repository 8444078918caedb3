"""The runtime images in a registry: the packages of one serving lock on one base, found again by what made them.

A tag is anybody's who may push. So where somebody says whom he vouches for, the tag of a lock is only where people find
its image: what is built on is what he vouches for.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from banana_delivery.errors import ImageError, UnreachableError
from banana_delivery.files import file_sha256, text_sha256
from banana_delivery.images.base import Progress
from banana_delivery.images.dockerfile import instructions, runtime_stages
from banana_delivery.images.oci_registry import blobs
from banana_delivery.images.oci_registry.client import MOST_BYTES, RegistryClient
from banana_delivery.images.oci_registry.manifest import Manifest
from banana_delivery.names import LOCK_TAG_PREFIX, MADE_TAG_PREFIX

_log = logging.getLogger(__name__)
UNUSED_SECONDS = 7 * 86_400.0
"""A runtime image stays so long before a release stands on it: one for GPUs too, or for the version to come."""


def runtime_tag(dockerfile: str, lock: Path, base: str, platform: str) -> str:
    """The tag under which the runtime image for a lock and base is found, whoever built it."""
    identity = "\n".join([instructions(runtime_stages(dockerfile)), file_sha256(lock), base, platform])
    return f"{LOCK_TAG_PREFIX}{text_sha256(identity)[:32]}"


def made_tag(seconds: float) -> str:
    """The tag that says when a runtime image was written whose config does not.

    Args:
        seconds: since the epoch.
    """
    return f"{MADE_TAG_PREFIX}{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H-%M-%SZ}"


def _made_at(tag: str) -> str:
    """The date in such a tag, as a config has it; empty: it is another tag."""
    day, _, time = tag.removeprefix(MADE_TAG_PREFIX).partition("T") if tag.startswith(MADE_TAG_PREFIX) else ("", "", "")
    return f"{day}T{time.replace('-', ':')}" if time else ""


@dataclass(frozen=True)
class RuntimeRepository:
    """A repository of runtime images, which several release repositories may share.

    Attributes:
        client: the repository.
    """

    client: RegistryClient

    def find(self, tag: str, platform: str, *, strict: bool = True) -> Manifest | None:
        """The image behind a tag; of an index over several platforms, the one for this platform. None if there is none.

        Args:
            tag: of a lock.
            platform: for example ``linux/amd64``.
            strict: whether nobody knows of another one, so that people have to hear of an index for others.

        Raises:
            ImageError: if it is for other platforms only, and that counts.
        """
        manifest = self.client.manifest(tag)
        if manifest is None or not manifest.is_index:
            return manifest
        if (image := self._part(manifest, platform)) or not strict:
            return image
        raise ImageError(f"{self.client.name}:{tag} holds no image for {platform}; build it for that platform too.")

    def believed(
        self,
        tag: str,
        tagged: Manifest | None,
        digest: str,
        platform: str,
        progress: Progress,
        otherwise: str = "it is built again",
    ) -> Manifest | None:
        """The image with a digest, whatever its tag leads to by now; None if there is none for the platform.

        Args:
            tag: of its lock.
            tagged: what the tag leads to.
            digest: of the one that somebody vouches for; empty: of none.
            platform: for example ``linux/amd64``.
            progress: told if the tag leads elsewhere.
            otherwise: what happens where the one that is vouched for is not there.
        """
        ours = tagged if tagged and tagged.digest == digest else self.client.manifest(digest) if digest else None
        if ours and ours.is_index:  # Of a release for several platforms.
            ours = self._part(ours, platform)
        if ours and self._platform(ours) != platform:
            ours = None
        self._compare([tag], tagged, ours, progress, otherwise)
        return ours

    def index(
        self, tags: Sequence[str], platforms: Sequence[str], digest: str | None, progress: Progress, otherwise: str
    ) -> Manifest | None:
        """The index for several platforms that is vouched for, or else that every tag leads to; None if there is none.

        Args:
            tags: of the lock, one for each platform.
            platforms: that it has to have an image for.
            digest: of the one that somebody vouches for; empty: of none. None: nobody is asked.
            progress: told if the tags lead elsewhere.
            otherwise: what happens where the one that is vouched for is not there.
        """
        ours = self._covering(digest, platforms) if digest else None
        led = {self.client.digest_of(tag) for tag in tags}
        tagged = self._covering(next(iter(led)) or "", platforms) if len(led) == 1 else None
        if digest is not None:
            self._compare(tags, tagged, ours, progress, otherwise)
        return ours or tagged

    def images(self, index: Manifest, platforms: Sequence[str]) -> list[Manifest]:
        """The image that an index has for each platform, as far as it has one."""
        found = (self._part(index, platform) for platform in platforms)
        return [image for image in found if image]

    def _covering(self, digest: str, platforms: Sequence[str]) -> Manifest | None:
        manifest = self.client.manifest(digest) if digest else None
        whole = manifest and manifest.is_index and len(self.images(manifest, platforms)) == len(platforms)
        return manifest if whole else None

    def _part(self, index: Manifest, platform: str) -> Manifest | None:
        for digest in index.images(platform):
            if (image := self.client.manifest(digest)) and not image.is_index:
                return image
        return None

    def _compare(
        self, tags: Sequence[str], tagged: Manifest | None, ours: Manifest | None, progress: Progress, otherwise: str
    ) -> None:
        """Say that tags lead to something that nobody vouches for, and let them lead to what is ours."""
        if tagged and tagged != ours:
            progress(
                f"The tag {tags[0]} of {self.client.name} leads to {tagged.digest[:19]}, which no record of this "
                f"pipeline vouches for: {f'{ours.digest[:19]} is taken, as before' if ours else otherwise}"
            )
            if ours:
                for tag in tags:
                    self._name(tag, ours, progress)

    def _name(self, tag: str, ours: Manifest, progress: Progress) -> None:
        """Let a tag lead to an image again; for people, so where it cannot be moved it stays."""
        try:
            self.client.put_manifest(tag, ours)
        except ImageError as error:
            progress(f"The tag {tag} of {self.client.name} stays where it leads: {error}")

    def _platform(self, manifest: Manifest) -> str:
        config = json.loads(self.client.blob(manifest.document["config"]["digest"]))
        return f"{config.get('os')}/{config.get('architecture')}"

    def pinned(self, digest: str) -> str:
        """An image's full name, by digest."""
        return f"{self.client.name}@{digest}"

    def prune(self, used: Callable[[], Collection[str]], now: float) -> list[str]:
        """Remove the runtime images that no release stands on, except the newest and those of the last days.

        A release holds all of its runtime's layers itself, so this can cost a build time, but never break a release.
        What has no tag of ours is somebody else's, the signature of one that stays for example, and is left alone, as
        is what somebody else gave a tag as well, or names in an index.

        Args:
            used: what releases stand on, pinned; asked once all that is there is known, just before what goes does.
            now: seconds since the epoch.

        Returns:
            Pinned names of what went.
        """
        created: dict[str, str] = {}
        parts: dict[str, list[str]] = {}
        tags = self.client.tags()
        others = set[str]()
        for tag in tags:
            if (manifest := self.client.manifest(tag)) is None:
                continue
            if not tag.startswith((LOCK_TAG_PREFIX, MADE_TAG_PREFIX)):
                others.update([manifest.digest], manifest.children if manifest.is_index else ())
            else:
                images = list(self._images(manifest))
                dates = [created.get(manifest.digest, ""), _made_at(tag), *map(self._created, images)]
                created[manifest.digest] = max(dates)
                parts[manifest.digest] = [image.digest for image in images]
        newest = max(created, key=lambda digest: created[digest], default="")
        young = f"{datetime.fromtimestamp(now - UNUSED_SECONDS, UTC):%Y-%m-%dT%H:%M:%S}"
        # By digest: a release that was copied from another place names its runtime as it was called there.
        needed = others.union(name.rpartition("@")[2] for name in used())
        kept = {
            digest
            for digest, date in created.items()
            if digest == newest or date >= young or not needed.isdisjoint((digest, *parts[digest]))
        }
        shared = kept.union(*(parts[digest] for digest in kept))
        # The index first: what it names may not go before it, and is found by nobody afterwards.
        every = [part for digest in created if digest not in kept for part in (digest, *parts[digest])]
        gone = [part for part in dict.fromkeys(every) if part not in shared]
        # Somebody writes here meanwhile, maybe an index over one of these, whose digest is the same each time.
        if gone and set(self.client.tags()) != set(tags):
            return []
        return [self.pinned(part) for part in gone if self._delete(part)]

    def _delete(self, digest: str) -> bool:
        """Remove one; False if the registry refuses, which may be about this one alone."""
        try:
            self.client.delete_manifest(digest)
        except UnreachableError:
            raise
        except ImageError as error:
            _log.warning("The runtime image %s stays: %s", self.pinned(digest), error)
            return False
        return True

    def _images(self, manifest: Manifest) -> Iterator[Manifest]:
        if not manifest.is_index:
            yield manifest
            return
        for digest in manifest.children:
            if (image := self.client.manifest(digest)) and not image.is_index:
                yield image

    def _created(self, image: Manifest) -> str:
        try:
            content = blobs.found(self.client, image.document["config"]["digest"], MOST_BYTES)
            return str(json.loads(content or b"").get("created", ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return ""  # Documents of a builder, which have no such date, or what was lost.
