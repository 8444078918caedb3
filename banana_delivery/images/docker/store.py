"""Images built by a Docker engine and kept in a registry."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import cached_property
from typing import Any

from typing_extensions import override

from banana_delivery.errors import ImageError
from banana_delivery.images.base import BuildContext, ImageKey, Parity, Progress
from banana_delivery.images.docker.build_context import release_context
from banana_delivery.images.docker.engine import Engine, PushProgress
from banana_delivery.images.docker.runtime_image import RuntimeImages
from banana_delivery.images.docker.transfer import Transfer
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.images.oci_registry.remote import key_tag, layer_names
from banana_delivery.images.oci_registry.store import RegistryStore
from banana_delivery.images.release import Contents, compare, labels_of, start_of
from banana_delivery.images.selftest import TIMEOUT_SECONDS, read_result
from banana_delivery.images.supply_chain.installed import READER, Installed, read_installed
from banana_delivery.names import KEY_LABEL, RUNTIME_LABEL
from banana_delivery.policy.model import ImageRef
from banana_delivery.settings import Settings

_log = logging.getLogger(__name__)


class DockerImages(RegistryStore):
    """An image store in a registry whose images an engine builds.

    Args:
        repository: ``host/path`` of the releases, without a tag.
        engine: builds, pushes and runs; default the one that DOCKER_HOST names.
        others: see ``RegistryStore``.
    """

    def __init__(self, repository: str, *, engine: Engine | None = None, **others: Any) -> None:
        super().__init__(repository, **others)
        self._engine = engine or Engine()

    @override
    def rebuild(self, context: BuildContext, ref: ImageRef, progress: Progress) -> Parity:
        """Nothing of the engine's cache is used, and nothing is pushed."""
        then = self._read(ref.digest)
        image_id = self._build_release(context, self.key(context), progress, no_cache=True)
        try:
            now = self._engine.inspect(image_id)
            if now is None:
                raise ImageError(f"The rebuilt image of version {ref.version} vanished from the engine; try again.")
            its = now["Config"]
            rebuilt = Contents(layer_names(now["RootFS"]["Layers"]), its["Labels"], start_of(its))
        finally:
            self._engine.remove(image_id)
        return compare(ref, then.on(self._platform).contents, rebuilt)

    @override
    def self_test(self, ref: ImageRef) -> dict[str, object]:
        """Runs without a network, as an ordinary user, on a read-only root."""
        self._transfer.pull(ref.pinned, _log.info)
        command = ["python", "-m", "serving.selftest"]
        done = self._engine.run(ref.pinned, command, {"IMAGE_DIGEST": ref.digest}, TIMEOUT_SECONDS)
        return read_result(ref, done.exit_code, done.output, done.errors)

    @override
    def installed(self, ref: ImageRef) -> Installed:
        """Asked of the image's own Python, as confined as the self-test."""
        self._transfer.pull(ref.pinned, _log.info)
        done = self._engine.run(ref.pinned, ["python", "-c", READER], {}, TIMEOUT_SECONDS)
        if done.exit_code:
            raise ImageError(f"What is installed in {ref.pinned} cannot be read: {done.errors.strip()[-200:]}")
        return read_installed(ref, done.output)

    @property
    @override
    def _platform(self) -> str:
        return self._engine.platform

    @override
    def _find_base(self, image: str) -> str:
        return self._engine.base_digest(image, self._credentials_at(Repository.of_image(image).host))

    @override
    def _make(self, context: BuildContext, key: ImageKey, progress: Progress) -> tuple[str, Collection[str]]:
        seen = PushProgress()
        for no_cache in (False, True):
            image_id = self._build_release(context, key, progress, no_cache=no_cache)
            digest = self._transfer.push(image_id, key_tag(key.sha256), progress, seen)
            if self._images.publish(key.sha256, digest):
                return digest, seen.pushed
            progress(f"{digest[:19]} is what retention removes just now; it is built anew, which gives another digest")
        raise ImageError(
            f"Retention removes {digest} of {self._repository.name}, which was built just now; see whose, then "
            "materialize `image` again."
        )

    @override
    def _forget(self, refs: Collection[ImageRef], used: Callable[[], Collection[str]]) -> None:
        """They go from the engine too, unless a container there still uses them."""
        for ref in refs:
            self._forget_locally(ref)
        if self._owns_runtimes:
            self._runtime.prune(used, self._clock())

    @cached_property
    def _transfer(self) -> Transfer:
        return Transfer(self._engine, self._repository.name, self._credentials, self._retries)

    @cached_property
    def _runtime(self) -> RuntimeImages:
        transfer = Transfer(self._engine, self._runtime_repository.name, self._credentials, self._retries)
        return RuntimeImages(self._runtime_client, self._engine, transfer)

    def _build_release(
        self, context: BuildContext, key: ImageKey, progress: Progress, *, no_cache: bool = False
    ) -> str:
        runtime = self._runtime.ensure(
            self._instructions,
            context.lock_file,
            self._base,
            key.platform,
            progress,
            vouched=context.vouched(key) if context.vouched else None,
        )
        labels = {**labels_of(context, key), RUNTIME_LABEL: runtime}
        with release_context(self._instructions, context, labels) as files:
            return self._engine.build(
                files,
                progress,
                what=f"version {context.version}",
                arguments={"RUNTIME_IMAGE": runtime},
                no_cache=no_cache,
            )

    def _forget_locally(self, ref: ImageRef) -> None:
        for image in self._engine.labelled(KEY_LABEL, ref.key):
            for name in [*(image["RepoTags"] or ()), *(image["RepoDigests"] or ()), image["Id"]]:
                self._engine.remove(name)


def docker_images(settings: Settings) -> DockerImages:
    """See ``RegistryStore.of``."""
    return DockerImages.of(settings, engine=Engine(network_mode=settings.build_network or None))
