"""The runtime images: the packages of one serving lock on one base, built once and reused by digest."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from banana_delivery.files import file_sha256, text_sha256
from banana_delivery.images.base import Progress
from banana_delivery.images.docker.build_context import runtime_context, runtime_stages
from banana_delivery.images.docker.engine import Engine, PushProgress
from banana_delivery.images.docker.transfer import Transfer
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.names import LOCK_TAG_PREFIX


@dataclass(frozen=True)
class RuntimeImages:
    """Builds runtime images and keeps them in a repository of their own, which several release repositories may share.

    Attributes:
        client: their repository.
        engine: builds them.
        transfer: pushes them there and pulls them from there.
    """

    client: RegistryClient
    engine: Engine
    transfer: Transfer

    def ensure(self, dockerfile: str, lock: Path, base: str, platform: str, progress: Progress) -> str:
        """The runtime image for a lock and base, pinned, and present in the engine; built if it never was.

        Raises:
            ImageError: if it cannot be built, pushed or pulled.
        """
        identity = "\n".join([instructions(runtime_stages(dockerfile)), file_sha256(lock), base, platform])
        tag = f"{LOCK_TAG_PREFIX}{text_sha256(identity)[:32]}"
        manifest = self.client.manifest(tag)
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
        return self.transfer.push(image, tag, progress, PushProgress())


def instructions(dockerfile: str) -> str:
    """A Dockerfile without comments and empty lines, which change nothing."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return "\n".join(lines)
