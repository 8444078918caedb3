"""The runtime images: the packages of one serving lock on one base, built once and reused by digest.

A tag is anybody's who may push. So where somebody says whom he vouches for, the tag of a lock is only where people find
its image: what is built on is what he vouches for, or what this process made itself.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from banana_delivery.files import file_sha256, text_sha256
from banana_delivery.images.base import Progress
from banana_delivery.images.docker.build_context import runtime_context, runtime_stages
from banana_delivery.images.docker.engine import Engine, PushProgress
from banana_delivery.images.docker.transfer import Transfer
from banana_delivery.images.oci_registry.client import Manifest, RegistryClient
from banana_delivery.names import LOCK_TAG_PREFIX


@dataclass(frozen=True)
class RuntimeImages:
    """Builds runtime images and keeps them in a repository of their own, which several release repositories may share.

    Attributes:
        client: their repository.
        engine: builds them.
        transfer: pushes them there and pulls them from there.
        made: digests of those that were built here, by tag.
    """

    client: RegistryClient
    engine: Engine
    transfer: Transfer
    made: dict[str, str] = field(default_factory=dict)

    def ensure(
        self,
        dockerfile: str,
        lock: Path,
        base: str,
        platform: str,
        progress: Progress,
        *,
        vouched: str | None = None,
    ) -> str:
        """The runtime image for a lock and base, pinned, and present in the engine; built if it never was.

        Args:
            dockerfile: with the stage ``runtime``.
            lock: what is installed.
            base: what it is built on, by digest.
            platform: for example ``linux/amd64``.
            progress: told what happens.
            vouched: the one that somebody vouches for, pinned; empty: none yet. None: the tag is believed.

        Raises:
            ImageError: if it cannot be built, pushed or pulled.
        """
        identity = "\n".join([instructions(runtime_stages(dockerfile)), file_sha256(lock), base, platform])
        tag = f"{LOCK_TAG_PREFIX}{text_sha256(identity)[:32]}"
        manifest = self.client.manifest(tag)
        if vouched is not None:
            ours = self.made.get(tag) or vouched.rpartition("@")[2]
            manifest = self._believed(tag, manifest, ours, platform, progress)
        digest = manifest.digest if manifest else self._build(dockerfile, lock, base, tag, progress)
        pinned = f"{self.transfer.repository}@{digest}"
        progress(f"runtime image {pinned} {'reused' if manifest else 'built'}")
        self.transfer.pull(pinned, progress)
        return pinned

    def prune(self, used: Collection[str]) -> list[str]:
        """Remove the runtime images that no release stands on, except the newest; returns their pinned names.

        A release holds all of its runtime's layers itself, so this can cost a build time, but never break a release.
        """
        created: dict[str, str] = {}
        for tag in self.client.tags():
            if manifest := self.client.manifest(tag):
                config = json.loads(self.client.blob(manifest.document["config"]["digest"]))
                created[manifest.digest] = config["created"]
        newest = max(created, key=lambda digest: created[digest], default="")
        names = {digest: f"{self.transfer.repository}@{digest}" for digest in created}
        gone = [digest for digest in created if digest != newest and names[digest] not in used]
        for digest in gone:
            self.client.delete_manifest(digest)
            self._forget_locally(names[digest])
        return [names[digest] for digest in gone]

    def _believed(
        self, tag: str, tagged: Manifest | None, digest: str, platform: str, progress: Progress
    ) -> Manifest | None:
        """The manifest with a digest, whatever its tag leads to by now; None if there is none for the platform."""
        ours = tagged if tagged and tagged.digest == digest else self.client.manifest(digest) if digest else None
        if ours and self._platform(ours) != platform:
            ours = None
        if tagged and tagged != ours:
            progress(
                f"The tag {tag} of {self.transfer.repository} leads to {tagged.digest[:19]}, which no record of this "
                f"pipeline vouches for: {f'{ours.digest[:19]} is taken, as before' if ours else 'it is built again'}"
            )
            if ours:
                self.client.put_manifest(tag, ours)
        return ours

    def _platform(self, manifest: Manifest) -> str:
        config = json.loads(self.client.blob(manifest.document["config"]["digest"]))
        return f"{config.get('os')}/{config.get('architecture')}"

    def _forget_locally(self, pinned: str) -> None:
        if image := self.engine.inspect(pinned):
            for name in [*image["RepoTags"], *image["RepoDigests"]]:
                self.engine.remove(name)

    def _build(self, dockerfile: str, lock: Path, base: str, tag: str, progress: Progress) -> str:
        with runtime_context(dockerfile, lock) as context:
            image = self.engine.build(
                context,
                progress,
                what="the runtime image",
                arguments={"BASE_IMAGE": base},
            )
        self.made[tag] = self.transfer.push(image, tag, progress, PushProgress())
        return self.made[tag]


def instructions(dockerfile: str) -> str:
    """A Dockerfile without comments and empty lines, which change nothing."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return "\n".join(lines)
