"""Images put together here and written into a registry by its API: the runtime's layers are linked, three are sent."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from typing_extensions import override

from banana_delivery.errors import ImageError
from banana_delivery.files import file_digest
from banana_delivery.images.assembled.image import RuntimeAssembly
from banana_delivery.images.base import BuildContext, ImageKey, Parity, Progress
from banana_delivery.images.direct.compose import Runtime, config_of, index_of, manifest_of
from banana_delivery.images.direct.layering import content_digest
from banana_delivery.images.direct.tars import write_layer
from banana_delivery.images.direct.unpacked import UnpackedImages
from banana_delivery.images.dockerfile import release_start
from banana_delivery.images.oci_registry import blobs
from banana_delivery.images.oci_registry.blobs import Blob
from banana_delivery.images.oci_registry.manifest import Manifest
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.images.oci_registry.remote import RemoteImage, layer_names
from banana_delivery.images.oci_registry.runtime import runtime_tag
from banana_delivery.images.oci_registry.store import RegistryStore
from banana_delivery.images.release import Contents, compare_each, host_platform, labels_of, layer_members, start_of
from banana_delivery.images.selftest import TIMEOUT_SECONDS, read_result
from banana_delivery.images.supply_chain.installed import READER, Installed, read_installed
from banana_delivery.names import RUNTIME_LABEL
from banana_delivery.policy import commands
from banana_delivery.policy.model import ImageRef
from banana_delivery.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """A release for one platform that was put together and is nowhere yet.

    Attributes:
        runtime: what it stands on.
        config: its config.
        layers: its own layers: where each lies and what it is, by name, bottom first.
    """

    runtime: Runtime
    config: bytes
    layers: dict[str, tuple[Path, Blob]]

    @property
    def known(self) -> dict[str, str]:
        """What its layers hold, by the digest under which each is stored."""
        stored = [*self.runtime.layers, *(blob for _, blob in self.layers.values())]
        diff_ids = json.loads(self.config)["rootfs"]["diff_ids"]
        return {blob.digest: diff_id for blob, diff_id in zip(stored, diff_ids, strict=True)}

    def manifest(self, again: str = "") -> Manifest:
        """Its manifest; see ``manifest_of``."""
        layers = [blob for _, blob in self.layers.values()]
        return manifest_of(self.runtime, blobs.described(self.config), layers, again)

    @property
    def contents(self) -> Contents:
        """What it is made of, for a comparison."""
        document = json.loads(self.config)
        config = document["config"]
        return Contents(layer_names(document["rootfs"]["diff_ids"]), config["Labels"], start_of(config))


@dataclass(frozen=True)
class Composed:
    """A release that was put together and is nowhere yet, for one platform or several.

    Attributes:
        parts: the one for each platform, by its name. They have the same layers, on another runtime.
    """

    parts: dict[str, Release]

    @property
    def known(self) -> dict[str, str]:
        """See ``Release.known``."""
        return {digest: diff_id for part in self.parts.values() for digest, diff_id in part.known.items()}

    @property
    def runtime_layers(self) -> list[Blob]:
        """What it stands on, each layer once."""
        return list(dict.fromkeys(layer for part in self.parts.values() for layer in part.runtime.layers))

    @property
    def own_layers(self) -> dict[str, tuple[Path, Blob]]:
        """See ``Release.layers``."""
        return next(iter(self.parts.values())).layers

    def manifests(self, again: str = "") -> list[Manifest]:
        """What is written, the release last: its manifest, or those for all platforms and the index over them.

        Args:
            again: a text that gives each of them another digest.
        """
        made = [part.manifest(again) for part in self.parts.values()]
        if len(made) == 1:
            return made
        configs = [json.loads(part.config) for part in self.parts.values()]
        return [*made, index_of(list(zip(made, configs, strict=True)), again)]


class DirectImages(RegistryStore):
    """An image store in a registry that needs no engine; only the runtime image must be there.

    Args:
        repository: ``host/path`` of the releases, without a tag.
        unpacked: folder in which runtime images are unpacked for the self-test; None: one for each test.
        platform: this host's, if it is to be taken for another.
        platforms: what images are for; default that one. Several are one release, whose digest is an index's.
        others: see ``RegistryStore``.
    """

    def __init__(
        self,
        repository: str,
        *,
        unpacked: Path | None = None,
        platform: str = "",
        platforms: Collection[str] = (),
        **others: Any,
    ) -> None:
        super().__init__(repository, **others)
        self._host_platform = platform or host_platform()
        self._platforms = tuple(sorted(set(platforms))) or (self._host_platform,)
        self._folder = unpacked

    def assemble_runtime(self, lock: Path, platforms: Sequence[str], progress: Progress) -> str:
        """Put the runtime image for a lock together, unless it is there; returns its full name, by digest.

        Raises:
            ImageError: if it cannot be put together, or the registry refuses.
        """
        with closing(self._client_of(Repository.of_image(self._base))) as base:
            assembly = RuntimeAssembly(self._base, base, self._runtime_client, self._instructions, lock, self._clock)
            return self._runtimes.pinned(assembly.put(platforms or self._platforms, progress))

    @override
    def rebuild(self, context: BuildContext, ref: ImageRef, progress: Progress) -> Parity:
        """Nothing is sent. An image is compared by its layers themselves, whatever its config says of them."""
        then = self._read(ref.digest)
        with self._composed(context, self.key(context), progress) as release:
            for image in then.images:
                self._refuse_other_content(image, release.known)
            theirs = {image.platform: image.contents for image in then.images}
            return compare_each(ref, theirs, {name: part.contents for name, part in release.parts.items()})

    def _refuse_other_content(self, image: RemoteImage, known: Mapping[str, str]) -> None:
        """What starts containers compares the layers with the config; the self-test starts none.

        Args:
            image: somebody's.
            known: what layers hold, by the digest under which they are stored.

        Raises:
            ImageError: if a layer is another one than the config says.
        """
        held = [known.get(digest) or self._held(image, Blob(digest, size)) for digest, size in image.manifest.layers]
        if held != image.diff_ids:
            raise ImageError(
                f"{image.ref.pinned} is refused: its layers hold something else than its config says. Find out who put "
                "it there, and remove it."
            )

    def _held(self, image: RemoteImage, layer: Blob) -> str:
        try:
            with tempfile.TemporaryFile() as file:
                content = cast(BinaryIO, file)
                blobs.fetch(self._client, layer, content)
                return content_digest(content)
        except (OSError, ValueError) as error:
            raise ImageError(f"{layer.digest} of {image.ref.pinned} cannot be looked into ({error}).") from error

    @override
    def self_test(self, ref: ImageRef) -> dict[str, object]:
        """Runs with the image's own interpreter, libraries and packages, in a process of this host."""
        image = self._read(ref.digest).on(self._host_platform)
        done = self._unpacked.run(image, ["-m", "serving.selftest"], {"IMAGE_DIGEST": ref.digest}, TIMEOUT_SECONDS)
        return read_result(ref, done.returncode, done.stdout, done.stderr)

    @override
    def installed(self, ref: ImageRef) -> Installed:
        """Asked of the image's own Python, as the self-test is; of several, of the one for this host."""
        whole = self._read(ref.digest)
        image = whole.on(self._host_platform)
        done = self._unpacked.run(image, ["-c", READER], {}, TIMEOUT_SECONDS)
        if done.returncode:
            raise ImageError(f"What is installed in {ref.pinned} cannot be read: {done.stderr.strip()[-200:]}")
        return read_installed(ref, done.stdout).replace(platform=image.platform if whole.parts else "")

    @property
    @override
    def _platform(self) -> str:
        return ",".join(self._platforms)

    @property
    @override
    def _linked_from(self) -> tuple[str, ...]:
        return (self._runtime_repository.path,)

    @property
    def _unpacked(self) -> UnpackedImages:
        return UnpackedImages(self._client, self._folder, self._host_platform)

    @override
    def _find_base(self, image: str) -> str:
        """Asked of its own registry."""
        repository, name = Repository.of_image(image), image.partition("@")[0]
        before, colon, tag = name.rpartition(":")
        tagged = bool(colon) and "/" not in tag
        with closing(self._client_of(repository)) as client:
            digest = client.digest_of(tag if tagged else "latest")
        if digest is None:
            raise ImageError(f"{repository.host} holds no image {image}; correct BANANA_BASE_IMAGE.")
        return f"{before if tagged else name}@{digest}"

    @override
    def _make(self, context: BuildContext, key: ImageKey, progress: Progress) -> tuple[str, Collection[str]]:
        sent = set()
        with self._composed(context, key, progress) as release:
            for blob in release.runtime_layers:
                self._take_over(blob, progress)
            for name, (path, blob) in release.own_layers.items():
                with path.open("rb") as content:
                    new = blobs.send(self._client, blob, content)
                progress(f"{name}: {blob.digest[:19]}, {blob.size:,} bytes, {'sent' if new else 'there already'}")
                sent |= {blob.digest.removeprefix("sha256:")[:12]} if new else set()
            for platform, part in release.parts.items():
                blobs.send(self._client, blobs.described(part.config), BytesIO(part.config))
                if platform != self._host_platform and len(release.parts) > 1:
                    progress(f"{platform}: written, and run by nobody yet: this host is {self._host_platform}")
            manifest = self._images.put(key.sha256, release.manifests)
        return manifest.digest, sent

    def _take_over(self, blob: Blob, progress: Progress) -> None:
        """Bring a layer of the runtime into the releases' repository, through here only if the registry will not."""
        if blobs.link(self._client, blob, self._runtime_repository.path):
            return
        progress(f"{blob.digest[:19]}: {blob.size:,} bytes copied, since the registry links no layers")
        with tempfile.TemporaryFile() as file:
            content = cast(BinaryIO, file)
            blobs.fetch(self._runtime_client, blob, content)
            blobs.send(self._client, blob, content)

    @contextmanager
    def _composed(self, context: BuildContext, key: ImageKey, progress: Progress) -> Iterator[Composed]:
        members, start = layer_members(context), release_start(self._instructions)
        stands_on, runtimes = self._runtimes_for(context, key, progress)
        progress(f"runtime image {stands_on} reused")
        with tempfile.TemporaryDirectory(prefix="release-") as folder:
            layers = {}
            for name, files in members.items():
                path = Path(folder) / f"{name}.tar"
                with path.open("wb") as out:
                    write_layer(files, out)
                layers[name] = (path, Blob(file_digest(path), path.stat().st_size))
            labels = {**labels_of(context, key), RUNTIME_LABEL: stands_on}
            diff_ids = [blob.digest for _, blob in layers.values()]
            parts = {
                platform: Release(runtime, config_of(runtime, start, labels, diff_ids, platform), layers)
                for platform, runtime in runtimes.items()
            }
            yield Composed(parts)

    def _runtimes_for(self, context: BuildContext, key: ImageKey, progress: Progress) -> tuple[str, dict[str, Runtime]]:
        """The runtime image that a record vouches for; where none does, or it is gone, what people put there.

        Returns:
            Its full name, by digest, and the image of each platform, which for one alone is itself.
        """
        tags = [runtime_tag(self._instructions, context.lock_file, self._base, one) for one in self._platforms]
        vouched = context.vouched(key).rpartition("@")[2] if context.vouched else None
        nobody = "it is taken, since nothing is built here"
        if len(tags) > 1:
            manifest = self._runtimes.index(tags, self._platforms, vouched, progress, nobody)
        else:
            (platform,) = self._platforms
            manifest = self._runtimes.find(tags[0], platform, strict=not vouched)
            if vouched is not None:
                ours = self._runtimes.believed(tags[0], manifest, vouched, platform, progress, nobody)
                manifest = ours or manifest
        if manifest is None:
            raise ImageError(self._how_to_build(context.lock_file.name, tags))
        images = self._runtimes.images(manifest, self._platforms) if manifest.is_index else [manifest]
        read = {platform: self._runtime(image) for platform, image in zip(self._platforms, images, strict=True)}
        return self._runtimes.pinned(manifest.digest), read

    def _how_to_build(self, lock: str, tags: Sequence[str]) -> str:
        names = [f"{self._runtime_repository.name}:{tag}" for tag in tags]
        several = f", as one index for {' and '.join(self._platforms)}" if len(tags) > 1 else ""
        return (
            f"The runtime image {' and '.join(names)} is not there{several}; put it together once, wherever "
            f"pip reaches an index: `{commands.assemble_runtime()}`. Or build it, in a checkout of this version "
            f"and wherever there is an engine: tar -c Dockerfile requirements/{lock} | docker buildx build --push "
            f"--platform {self._platform} --target runtime --build-arg BASE_IMAGE={self._base} "
            f"--tag {' --tag '.join(names)} --build-arg LOCK={lock} -"
        )

    def _runtime(self, manifest: Manifest) -> Runtime:
        try:
            config = json.loads(self._runtime_client.blob(manifest.document["config"]["digest"]))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ImageError(f"{self._runtimes.pinned(manifest.digest)} is no image; build it again.") from error
        return Runtime(self._runtimes.pinned(manifest.digest), manifest, config)


def direct_images(settings: Settings) -> DirectImages:
    """See ``RegistryStore.of``."""
    return DirectImages.of(settings, unpacked=settings.home / "runtime-images", platforms=settings.image_platforms)
