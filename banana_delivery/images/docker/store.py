"""Images built by a Docker engine and kept in a registry: a release is a digest there, whatever its tags say."""

from __future__ import annotations

import io
import logging
import tarfile
import time
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path

from typing_extensions import override

from banana_delivery.bundle import DOCKERFILE
from banana_delivery.errors import ImageError
from banana_delivery.files import text_sha256
from banana_delivery.images.base import BuildContext, BuiltImage, ImageKey, ImageStore, Parity, Progress, PruneDecision
from banana_delivery.images.docker.build_context import release_context
from banana_delivery.images.docker.credentials import Credentials, credentials_for
from banana_delivery.images.docker.engine import Engine, PushProgress
from banana_delivery.images.docker.runtime_image import RuntimeImages, instructions
from banana_delivery.images.docker.transfer import Transfer
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.images import RegistryImages, RemoteImage, key_tag
from banana_delivery.images.oci_registry.kept import KeptContent
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.images.release import (
    LAYERS,
    Contents,
    checked_tags,
    compare,
    key_of,
    labels_of,
    refuse_elsewhere,
    start_of,
)
from banana_delivery.images.scanning import pickles_in
from banana_delivery.images.selftest import TIMEOUT_SECONDS, read_result
from banana_delivery.images.supply_chain.attachments import Attachment, AttachmentKind
from banana_delivery.images.supply_chain.installed import READER, Installed, read_installed
from banana_delivery.names import KEY_LABEL, RUNTIME_LABEL
from banana_delivery.policy.model import ImageRef
from banana_delivery.settings import Settings
from banana_delivery.waiting import Retries

LEASE_SECONDS = 3600.0
_log = logging.getLogger(__name__)


class DockerImages(ImageStore):
    """An image store in a registry.

    Args:
        repository: ``host/path`` of the releases, without a tag.
        dockerfile: with the stages ``runtime`` and ``release``.
        base_image: what the runtime image is built on.
        runtime_repository: where runtime images live; default ``<repository>-runtime``. A repository named here may be
            shared, so retention leaves it alone.
        username: login at the registry; empty: what `docker login` or a credential helper left.
        password: its password or access token.
        engine: builds, pushes and runs; default the one that DOCKER_HOST names.
        retries: for pushes, pulls and calls of the registry's API.
        lease_seconds: how long an image that was built or asked for is safe from retention; at least half of it holds.
        clock: seconds since the epoch.
        kept: folder for what was read from the registry before and cannot change; None keeps it in memory only.
        token_hosts: hosts that may issue the registry's tokens beside its own.
    """

    brings_packages = True

    def __init__(
        self,
        repository: str,
        *,
        dockerfile: Path,
        base_image: str,
        runtime_repository: str = "",
        username: str = "",
        password: str = "",
        engine: Engine | None = None,
        retries: Retries = Retries(),  # noqa: B008 -- an immutable value
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.time,
        kept: Path | None = None,
        token_hosts: Collection[str] = (),
    ) -> None:
        self._repository = Repository.parse(repository)
        self._runtime_repository = Repository.parse(runtime_repository or f"{repository}-runtime")
        if self._runtime_repository.host != self._repository.host:
            raise ImageError(f"{repository} and {runtime_repository} must be in one registry, which has one login.")
        self._owns_runtimes = not runtime_repository
        self._dockerfile = dockerfile
        self._base_image = base_image
        self._login = (username, password)
        self._engine = engine or Engine()
        self._retries = retries
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._kept = kept
        self._token_hosts = tuple(token_hosts)

    @override
    def key(self, context: BuildContext) -> ImageKey:
        """The Dockerfile counts as a part of the base."""
        return key_of(context, self._base_identity, self._engine.platform)

    @override
    def find(self, key: ImageKey) -> ImageRef | None:
        """Every blob is looked up in the registry."""
        image = self._images.find(key.sha256)
        return image.ref if image else None

    @override
    def build(self, context: BuildContext, progress: Progress) -> BuiltImage:
        """What the registry has already is not built again."""
        started = time.monotonic()
        key = self.key(context)
        if found := None if context.anew else self._images.find(key.sha256):
            progress(f"image of version {context.version}: {found.ref.digest}, there already")
            return _built(found, set(), started)
        image_id = self._build_release(context, key, progress)
        seen = PushProgress()
        digest = self._transfer.push(image_id, key_tag(key.sha256), progress, seen)
        image = self._read(digest)
        self._images.publish(image)
        built = _built(image, seen.pushed, started)
        progress(
            f"image of version {context.version}: {digest}, {built.new_bytes:,} of {built.size_bytes:,} bytes pushed"
        )
        return built

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
            rebuilt = Contents(_named(now["RootFS"]["Layers"]), its["Labels"], start_of(its))
        finally:
            self._engine.remove(image_id)
        return compare(ref, Contents(_named(then.diff_ids), then.labels, start_of(then.config["config"])), rebuilt)

    @override
    def resolve(self, reference: str) -> ImageRef | None:
        image = self._images.resolve(reference)
        return image.ref if image else None

    @override
    def tag(self, ref: ImageRef, tags: Collection[str]) -> None:
        """Nothing is pulled or pushed for it."""
        self._images.tag(ref.digest, checked_tags(tags))

    @override
    def tags(self, ref: ImageRef) -> frozenset[str]:
        return self._images.tags(ref.digest)

    @override
    def labels(self, ref: ImageRef) -> dict[str, str]:
        name = self._repository.name
        refuse_elsewhere(ref, here=name, is_here=ref.repository == name)
        return dict(self._read(ref.digest).labels)

    @override
    def prune(self, keep_versions: int, in_use: Callable[[], Collection[str]], *, dry_run: bool) -> list[PruneDecision]:
        """Removed images go from the engine too, unless a container there still uses them.

        Runtime images that no release stands on any more go with them.
        """
        decisions = self._images.prune(keep_versions, in_use, dry_run=dry_run)
        gone = [] if dry_run else [decision.ref for decision in decisions if not decision.keep]
        for ref in gone:
            self._forget_locally(ref)
        if gone and self._owns_runtimes:
            self._runtime.prune(self._images.labels(RUNTIME_LABEL))
        return decisions

    @override
    def self_test(self, ref: ImageRef) -> dict[str, object]:
        """Runs without a network, as an ordinary user, on a read-only root."""
        self._transfer.pull(ref.pinned, _log.info)
        command = ["python", "-m", "serving.selftest"]
        done = self._engine.run(ref.pinned, command, {"IMAGE_DIGEST": ref.digest}, TIMEOUT_SECONDS)
        return read_result(ref, done.exit_code, done.output, done.errors)

    @override
    def pickles_inside(self, ref: ImageRef) -> tuple[str, ...]:
        """The packages below were searched when the runtime image was built."""
        found = []
        for digest, size in self._read(ref.digest).manifest.layers[-len(LAYERS) :]:
            try:
                with tarfile.open(fileobj=io.BytesIO(self._client.blob(digest, size))) as tar:
                    found += pickles_in(tar)
            except (ValueError, tarfile.TarError) as error:
                raise ImageError(f"{ref.pinned} is refused: {error}; build version {ref.version} again.") from error
        return tuple(found)

    @override
    def installed(self, ref: ImageRef) -> Installed:
        """Asked of the image's own Python, as confined as the self-test."""
        self._transfer.pull(ref.pinned, _log.info)
        done = self._engine.run(ref.pinned, ["python", "-c", READER], {}, TIMEOUT_SECONDS)
        if done.exit_code:
            raise ImageError(f"What is installed in {ref.pinned} cannot be read: {done.errors.strip()[-200:]}")
        return read_installed(ref, done.output)

    @override
    def attach(self, ref: ImageRef, kind: AttachmentKind, parts: Sequence[Attachment]) -> None:
        self._images.attach(ref.digest, kind, parts)

    @override
    def attached(self, ref: ImageRef, kind: AttachmentKind) -> tuple[Attachment, ...]:
        return self._images.attached(ref.digest, kind)

    def close(self) -> None:
        """Give the connections to the registry back; the engine is the caller's if the caller gave it."""
        for client in ("_client", "_runtime_client"):
            if client in self.__dict__:
                self.__dict__[client].close()

    @cached_property
    def _credentials(self) -> Credentials:
        return credentials_for(self._repository.host, *self._login)

    @cached_property
    def _client(self) -> RegistryClient:
        return self._client_of(self._repository)

    def _client_of(self, repository: Repository) -> RegistryClient:
        return RegistryClient(repository, self._credentials, self._retries, _log.warning, token_hosts=self._token_hosts)

    @cached_property
    def _transfer(self) -> Transfer:
        return Transfer(self._engine, self._repository.name, self._credentials, self._retries)

    @cached_property
    def _images(self) -> RegistryImages:
        kept = KeptContent(self._kept / self._repository.name.replace("/", "_") if self._kept else None)
        return RegistryImages(self._client, self._repository, self._lease_seconds, self._clock, kept)

    @cached_property
    def _runtime_client(self) -> RegistryClient:
        return self._client_of(self._runtime_repository)

    @cached_property
    def _runtime(self) -> RuntimeImages:
        transfer = Transfer(self._engine, self._runtime_repository.name, self._credentials, self._retries)
        return RuntimeImages(self._runtime_client, self._engine, transfer)

    @cached_property
    def _base(self) -> str:
        return self._engine.base_digest(self._base_image, self._credentials)

    @cached_property
    def _instructions(self) -> str:
        try:
            return self._dockerfile.read_text()
        except OSError as error:
            raise ImageError(f"{self._dockerfile} cannot be read ({error.strerror}); restore it.") from error

    @property
    def _base_identity(self) -> str:
        return f"{self._base} with {text_sha256(instructions(self._instructions))}"

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

    def _read(self, digest: str) -> RemoteImage:
        if image := self._images.read(digest):
            return image
        raise ImageError(f"{self._repository.name} holds no image {digest}; materialize `image` again.")

    def _forget_locally(self, ref: ImageRef) -> None:
        for image in self._engine.labelled(KEY_LABEL, ref.key):
            for name in [*(image["RepoTags"] or ()), *(image["RepoDigests"] or ()), image["Id"]]:
                self._engine.remove(name)


def _named(diff_ids: list[str]) -> dict[str, str]:
    below = len(diff_ids) - len(LAYERS)
    names = [*(f"runtime {number}" for number in range(1, below + 1)), *LAYERS]
    return dict(zip(names, diff_ids, strict=False))  # A stranger's image may have fewer than ours.


def _built(image: RemoteImage, pushed: Collection[str], started: float) -> BuiltImage:
    names = _named(image.diff_ids)
    sizes = dict(zip(names, (size for _, size in image.manifest.layers), strict=False))
    new = [name for name, diff_id in names.items() if name in sizes and diff_id.removeprefix("sha256:")[:12] in pushed]
    return BuiltImage(
        ref=image.ref,
        size_bytes=sum(sizes.values()),
        new_bytes=sum(sizes[name] for name in new),
        layers_new=tuple(new),
        layers_reused=tuple(name for name in sizes if name not in new),
        seconds=time.monotonic() - started,
    )


def docker_images(settings: Settings) -> DockerImages:
    """The store in the registry that the settings name; nothing is contacted before it is used.

    Raises:
        ImageError: if no repository is named, or its name cannot be one.
    """
    if not settings.registry_repository:
        raise ImageError("BANANA_TARGET is kubernetes but BANANA_REGISTRY_REPOSITORY is empty; set it to host/path.")
    return DockerImages(
        settings.registry_repository,
        dockerfile=DOCKERFILE,
        base_image=settings.base_image,
        username=settings.registry_username,
        password=settings.registry_password.get_secret_value(),
        kept=settings.home / "registry-content",
        token_hosts=settings.registry_token_hosts,
        engine=Engine(network_mode=settings.build_network or None),
    )
