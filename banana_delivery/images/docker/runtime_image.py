"""Building runtime images with an engine, once for each lock and base."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from banana_delivery.images.base import Progress
from banana_delivery.images.docker.build_context import runtime_context
from banana_delivery.images.docker.engine import Engine, PushProgress
from banana_delivery.images.docker.transfer import Transfer
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.runtime import RuntimeRepository, runtime_tag


@dataclass(frozen=True)
class RuntimeImages:
    """Builds runtime images and keeps them in a repository of their own.

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

    @property
    def repository(self) -> RuntimeRepository:
        """Where they are kept."""
        return RuntimeRepository(self.client)

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
        tag = runtime_tag(dockerfile, lock, base, platform)
        manifest = self.repository.find(tag, platform, strict=vouched is None)
        if vouched is not None:
            ours = self.made.get(tag) or vouched.rpartition("@")[2]
            manifest = self.repository.believed(tag, manifest, ours, platform, progress)
        digest = manifest.digest if manifest else self._build(dockerfile, lock, base, tag, progress)
        pinned = self.repository.pinned(digest)
        progress(f"runtime image {pinned} {'reused' if manifest else 'built'}")
        self.transfer.pull(pinned, progress)
        return pinned

    def prune(self, used: Callable[[], Collection[str]], now: float) -> list[str]:
        """Remove the runtime images that nothing speaks for any more from the registry, and from the engine."""
        gone = self.repository.prune(used, now)
        for pinned in gone:
            self._forget_locally(pinned)
        return gone

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
