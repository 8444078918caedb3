"""What image stores in a registry do alike, whoever builds: a release is a digest there, whatever its tags say."""

from __future__ import annotations

import io
import logging
import tarfile
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from typing_extensions import override

from banana_delivery.bundle import DOCKERFILE
from banana_delivery.errors import ImageError
from banana_delivery.files import text_sha256
from banana_delivery.images.base import BuildContext, BuiltImage, ImageKey, ImageStore, Progress, PruneDecision
from banana_delivery.images.docker.credentials import Credentials, credentials_for
from banana_delivery.images.dockerfile import instructions
from banana_delivery.images.oci_registry.auth import EVERYTHING
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.images import RegistryImages
from banana_delivery.images.oci_registry.kept import KeptContent
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.images.oci_registry.remote import RemoteImage, layer_names
from banana_delivery.images.oci_registry.runtime import RuntimeRepository
from banana_delivery.images.release import LAYERS, checked_tags, key_of, refuse_elsewhere
from banana_delivery.images.scanning import pickles_in
from banana_delivery.images.supply_chain.attachments import Attachment, AttachmentKind
from banana_delivery.names import RUNTIME_LABEL
from banana_delivery.policy.model import ImageRef
from banana_delivery.settings import Settings
from banana_delivery.waiting import Retries

LEASE_SECONDS = 3600.0
_log = logging.getLogger(__name__)


class RegistryStore(ImageStore):
    """An image store in a registry.

    Args:
        repository: ``host/path`` of the releases, without a tag.
        dockerfile: with the stages ``runtime`` and ``release``.
        base_image: what the runtime image is built on.
        runtime_repository: where runtime images live; default ``<repository>-runtime``. A repository named here may be
            shared, so retention leaves it alone.
        username: login at the registry; empty: what `docker login` or a credential helper left.
        password: its password or access token.
        retries: for pushes, pulls and calls of the registry's API.
        lease_seconds: how long an image that was built or asked for is safe from retention; at least half of it holds.
        clock: seconds since the epoch; default the registry's own, which is everybody's.
        kept: folder for what was read from the registry before and cannot change; None keeps it in memory only.
        token_hosts: hosts that may issue the registry's tokens beside its own.
    """

    brings_packages = True
    actions: ClassVar[str] = EVERYTHING
    """What its login is asked for."""

    def __init__(
        self,
        repository: str,
        *,
        dockerfile: Path,
        base_image: str,
        runtime_repository: str = "",
        username: str = "",
        password: str = "",
        retries: Retries = Retries(),  # noqa: B008 -- an immutable value
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] | None = None,
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
        self._retries = retries
        self._lease_seconds = lease_seconds
        self._own_clock = clock
        self._kept = kept
        self._token_hosts = tuple(token_hosts)

    @classmethod
    def of(cls, settings: Settings, **others: Any) -> Self:
        """The store in the registry that the settings name; nothing is contacted before it is used.

        Args:
            settings: name the repository, the base and the login.
            others: what this kind of store needs besides.

        Raises:
            ImageError: if no repository is named, or its name cannot be one.
        """
        if not settings.registry_repository:
            raise ImageError(
                "BANANA_REGISTRY_REPOSITORY is empty; set it to host/path, where the images of releases go."
            )
        return cls(
            settings.registry_repository,
            dockerfile=DOCKERFILE,
            base_image=settings.base_image,
            username=settings.registry_username,
            password=settings.registry_password.get_secret_value(),
            kept=settings.home / "registry-content",
            token_hosts=settings.registry_token_hosts,
            **others,
        )

    @property
    @abstractmethod
    def _platform(self) -> str:
        """What images are built for, for example ``linux/amd64``; several with commas between."""

    @abstractmethod
    def _find_base(self, image: str) -> str:
        """The base image by digest."""

    @abstractmethod
    def _make(self, context: BuildContext, key: ImageKey, progress: Progress) -> tuple[str, Collection[str]]:
        """Build an image that is not there yet, and put it under its key's tag.

        Returns:
            Its digest, and what had to be sent: the first twelve characters of the diff id of each such layer.
        """

    def _forget(self, refs: Collection[ImageRef], used: Callable[[], Collection[str]]) -> None:  # noqa: ARG002
        """Tidy up once images were removed; ``used`` says which runtime images some release still stands on."""
        if self._owns_runtimes:
            self._runtimes.prune(used, self._clock())

    @override
    def key(self, context: BuildContext) -> ImageKey:
        """The Dockerfile counts as a part of the base."""
        return key_of(context, self._base_identity, self._platform)

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
        digest, sent = self._make(context, key, progress)
        built = _built(self._read(digest), sent, started)
        progress(
            f"image of version {context.version}: {digest}, {built.new_bytes:,} of {built.size_bytes:,} bytes pushed"
        )
        return built

    @override
    def resolve(self, reference: str) -> ImageRef | None:
        image = self._images.resolve(reference)
        return image.ref if image else None

    @override
    def peek(self, reference: str) -> ImageRef | None:
        image = self._images.peek(reference)
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
        """Runtime images that no release stands on any more go with the images."""
        decisions = self._images.prune(keep_versions, in_use, dry_run=dry_run)
        gone = [] if dry_run else [decision.ref for decision in decisions if not decision.keep]
        if gone:
            self._forget(gone, lambda: self._images.labels(RUNTIME_LABEL))
        return decisions

    @override
    def pickles_inside(self, ref: ImageRef) -> tuple[str, ...]:
        """The packages below were searched when the runtime image was built."""
        found = []
        images = self._read(ref.digest).images
        for digest, size in {layer: None for image in images for layer in image.manifest.layers[-len(LAYERS) :]}:
            try:
                with tarfile.open(fileobj=io.BytesIO(self._client.blob(digest, size))) as tar:
                    found += pickles_in(tar)
            except (ValueError, tarfile.TarError) as error:
                raise ImageError(f"{ref.pinned} is refused: {error}; build version {ref.version} again.") from error
        return tuple(found)

    @override
    def attach(self, ref: ImageRef, kind: AttachmentKind, parts: Sequence[Attachment]) -> None:
        self._images.attach(ref.digest, kind, parts)

    @override
    def attached(self, ref: ImageRef, kind: AttachmentKind) -> tuple[Attachment, ...]:
        return self._images.attached(ref.digest, kind)

    def close(self) -> None:
        """Give the connections to the registry back."""
        for client in ("_client", "_runtime_client"):
            if client in self.__dict__:
                self.__dict__[client].close()

    @cached_property
    def _credentials(self) -> Credentials:
        return credentials_for(self._repository.host, *self._login)

    def _credentials_at(self, host: str) -> Credentials:
        """Our login at a registry: the one that is set is for the releases' registry alone."""
        if host == self._repository.host:
            return self._credentials
        try:
            return credentials_for(host)
        except ImageError as error:
            # Most bases are anybody's to read; one that is not says so itself.
            _log.warning("%s is asked without a login: %s", host, error)
            return Credentials()

    @property
    def _linked_from(self) -> tuple[str, ...]:
        """Paths of the repositories that layers are taken over from; an engine does that by itself."""
        return ()

    @property
    def _clock(self) -> Callable[[], float]:
        return self._own_clock or self._client.time

    @cached_property
    def _client(self) -> RegistryClient:
        return self._client_of(self._repository, *self._linked_from)

    def _client_of(self, repository: Repository, *reads: str) -> RegistryClient:
        return RegistryClient(
            repository,
            self._credentials_at(repository.host),
            self._retries,
            _log.warning,
            token_hosts=self._token_hosts,
            reads=reads,
            actions=self.actions,
        )

    @property
    def _lend(self) -> Callable[[str], bool] | None:
        """Who leases images, by their digest, and says whether they may be had; None: this store does."""
        return None

    @cached_property
    def _images(self) -> RegistryImages:
        kept = KeptContent(self._kept / self._repository.name.replace("/", "_") if self._kept else None)
        return RegistryImages(self._client, self._repository, self._lease_seconds, self._clock, kept, self._lend)

    @cached_property
    def _runtime_client(self) -> RegistryClient:
        return self._client_of(self._runtime_repository)

    @cached_property
    def _runtimes(self) -> RuntimeRepository:
        return RuntimeRepository(self._runtime_client)

    @cached_property
    def _base(self) -> str:
        return self._base_image if "@sha256:" in self._base_image else self._find_base(self._base_image)

    @cached_property
    def _instructions(self) -> str:
        try:
            return self._dockerfile.read_text()
        except OSError as error:
            raise ImageError(f"{self._dockerfile} cannot be read ({error.strerror}); restore it.") from error

    @property
    def _base_identity(self) -> str:
        return f"{self._base} with {text_sha256(instructions(self._instructions))}"

    def _read(self, digest: str) -> RemoteImage:
        if image := self._images.read(digest):
            return image
        raise ImageError(f"{self._repository.name} holds no image {digest}; materialize `image` again.")


def _built(image: RemoteImage, sent: Collection[str], started: float) -> BuiltImage:
    stored = dict(_stored_layers(image))
    new = [name for name, (diff_id, _) in stored.items() if diff_id.removeprefix("sha256:")[:12] in sent]
    return BuiltImage(
        ref=image.ref,
        size_bytes=sum(size for _, size in stored.values()),
        new_bytes=sum(stored[name][1] for name in new),
        layers_new=tuple(new),
        layers_reused=tuple(name for name in stored if name not in new),
        seconds=time.monotonic() - started,
    )


def _stored_layers(release: RemoteImage) -> Iterator[tuple[str, tuple[str, int]]]:
    """The diff id and stored size of each layer, by its name; those of one platform alone are named after it."""
    for image in release.images:
        sizes = (size for _, size in image.manifest.layers)
        for (name, diff_id), size in zip(layer_names(image.diff_ids).items(), sizes, strict=False):
            yield name if name in LAYERS or not release.parts else f"{image.platform} {name}", (diff_id, size)
