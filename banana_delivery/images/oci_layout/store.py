"""Images as an OCI image layout on disk, for hosts without a container engine.

A release is three deterministic layers (code, model, version) without a base: the host's own interpreter and packages
stand in for it, and ``lock_difference`` says when they are not the ones that a release was built for.
"""

from __future__ import annotations

import platform
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from typing_extensions import override

from banana_delivery.errors import ImageError
from banana_delivery.images import release
from banana_delivery.images.base import BuildContext, BuiltImage, ImageKey, ImageStore, Parity, Progress, PruneDecision
from banana_delivery.images.layers import write_tar
from banana_delivery.images.oci_layout.blobs import LayoutFiles
from banana_delivery.images.oci_layout.index import MANIFEST_TYPE, Entry, LayoutIndex
from banana_delivery.images.oci_layout.manifest import blobs_of, config_of, contents_of, layer_digests, manifest_of
from banana_delivery.images.oci_layout.retention import LayoutRetention
from banana_delivery.images.oci_layout.unpack import unpack
from banana_delivery.images.release import (
    LOCK_PATH,
    Contents,
    checked_tags,
    compare,
    host_platform,
    key_of,
    labels_of,
    layer_members,
    refuse_elsewhere,
)
from banana_delivery.images.scanning import pickles_in
from banana_delivery.images.selftest import run_unpacked
from banana_delivery.images.supply_chain import attachments
from banana_delivery.images.supply_chain.attachments import Attachment, AttachmentKind
from banana_delivery.images.supply_chain.installed import Installed, asked_for
from banana_delivery.policy.model import ImageRef

LEASE_SECONDS = 3600.0


class OciLayoutImages(ImageStore):
    """An image store in a directory.

    Args:
        root: the layout; made when first built into.
        releases: where releases are unpacked; default ``releases`` beside the layout.
        base: what stands in for a base image; default names this interpreter's version.
        lease_seconds: how long an image that was built or asked for is safe from retention.
        clock: seconds since the epoch.
    """

    brings_packages = False

    def __init__(
        self,
        root: Path,
        *,
        releases: Path | None = None,
        base: str = f"host:python-{'.'.join(platform.python_version_tuple()[:2])}",
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._files = LayoutFiles(root)
        self._index = LayoutIndex(self._files)
        self._releases = releases or root.parent / "releases"
        self._retention = LayoutRetention(self._files, self._index, self._releases, lease_seconds, clock)
        self._base = base
        self._clock = clock

    @override
    def key(self, context: BuildContext) -> ImageKey:
        """The base is the host's interpreter."""
        return key_of(context, self._base, host_platform())

    @override
    def find(self, key: ImageKey) -> ImageRef | None:
        """Every blob is read and compared with its digest."""
        return self._lend(lambda entry: entry.key == key.sha256 and self._damaged(entry.digest) is None)

    @override
    def build(self, context: BuildContext, progress: Progress) -> BuiltImage:
        started = time.monotonic()
        key = self.key(context)
        with self._files.changing():
            layers = self._write_layers(context, progress)
            config = config_of(key.platform, labels_of(context, key), [layer.digest for layer in layers])
            config_digest, config_size, _ = self._files.write_json_blob(config)
            manifest = manifest_of((config_digest, config_size), [(x.name, x.digest, x.size) for x in layers])
            digest, size, _ = self._files.write_json_blob(manifest)
            entry = self._enter(context, key, digest, size)
        progress(f"image of version {context.version}: {digest}")
        return BuiltImage(
            ref=self._ref(entry),
            size_bytes=sum(layer.size for layer in layers),
            new_bytes=sum(layer.size for layer in layers if layer.new),
            layers_new=tuple(layer.name for layer in layers if layer.new),
            layers_reused=tuple(layer.name for layer in layers if not layer.new),
            seconds=time.monotonic() - started,
        )

    @override
    def rebuild(self, context: BuildContext, ref: ImageRef, progress: Progress) -> Parity:
        """Builds into a temporary layout."""
        then = self._contents(ref)
        with tempfile.TemporaryDirectory(prefix="rebuild-") as directory:
            fresh = OciLayoutImages(Path(directory) / "images", base=self._base)
            return compare(ref, then, fresh._contents(fresh.build(context, progress).ref))

    @override
    def resolve(self, reference: str) -> ImageRef | None:
        return self._lend(lambda entry: entry.is_named(reference))

    @override
    def peek(self, reference: str) -> ImageRef | None:
        entry = self._index.newest(lambda entry: entry.is_named(reference), self._clock())
        return self._ref(entry) if entry else None

    @override
    def tag(self, ref: ImageRef, tags: Collection[str]) -> None:
        wanted = checked_tags(tags)
        with self._files.changing():
            self._index.entry(ref.digest)
            self._index.move_tags(ref.digest, wanted)

    @override
    def tags(self, ref: ImageRef) -> frozenset[str]:
        return self._index.entry(ref.digest).tags

    @override
    def labels(self, ref: ImageRef) -> dict[str, str]:
        """A folder may have been moved since, so any folder's name will do; what is taken is found by its digest."""
        refuse_elsewhere(ref, here=str(self._files.root), is_here=Path(ref.repository).is_absolute())
        return dict(self._contents(ref).labels)

    @override
    def installed(self, ref: ImageRef) -> Installed:
        """An image of this kind brings no packages: its lock says what it was built for."""
        return asked_for((self.unpack(ref) / LOCK_PATH).read_text())

    @override
    def attach(self, ref: ImageRef, kind: AttachmentKind, parts: Sequence[Attachment]) -> None:
        with self._files.changing():
            entry = self._index.entry(ref.digest)
            subject = attachments.Subject(entry.digest, MANIFEST_TYPE, entry.size)
            for content in (*(part.content for part in parts), *attachments.documents(parts, subject)):
                digest, size, _ = self._files.write_blob(partial(_write, content))
            self._index.attach(ref.digest, kind, digest, size)  # The manifest is written last.

    @override
    def attached(self, ref: ImageRef, kind: AttachmentKind) -> tuple[Attachment, ...]:
        self._index.entry(ref.digest)
        digest = self._index.attachment(ref.digest, kind)
        found = attachments.layers(self._files.read_json_blob(digest)) if digest else []
        return tuple(
            Attachment(self._files.read_blob(one.digest, one.size), one.media_type, one.annotations) for one in found
        )

    @override
    def prune(self, keep_versions: int, in_use: Callable[[], Collection[str]], *, dry_run: bool) -> list[PruneDecision]:
        """Unpacked releases of removed images go too."""
        return self._retention.prune(keep_versions, in_use, dry_run=dry_run)

    def unpack(self, ref: ImageRef) -> Path:
        """The release as a directory: ``app/serving``, ``model/model.onnx``, ``model/version.json``.

        Every blob is compared with its digest first; a directory that was altered is replaced.

        Raises:
            ImageError: if the image is not here, not whole, or holds an entry that points outside.
        """
        directory = self._releases / ref.digest.removeprefix("sha256:")
        with self._files.changing():
            for orphan in self._releases.glob(".unpacking-*"):
                shutil.rmtree(orphan)
            try:
                unpack(self._layers(ref), directory)
            except (ValueError, tarfile.TarError) as error:
                raise ImageError(f"{ref.digest} is refused: {error}; build version {ref.version} again.") from error
        return directory

    @override
    def lock_difference(self, ref: ImageRef, host_lock: Path) -> str:
        """One sentence if this host's packages are not those that the release was built for; empty if they are.

        Raises:
            ImageError: if the image is not whole, or the host's lock cannot be read.
        """
        built_with = (self.unpack(ref) / LOCK_PATH).read_text()
        try:
            changes = release.difference(built_with, host_lock.read_text())
        except OSError as error:
            raise ImageError(f"The serving lock {host_lock} cannot be read ({error.strerror}).") from error
        if not changes:
            return ""
        return f"Version {ref.version} was built for other packages than this host would run it with: {changes}."

    @override
    def self_test(self, ref: ImageRef) -> dict[str, object]:
        """Runs the unpacked release in a process of its own."""
        return run_unpacked(ref, self.unpack(ref))

    @override
    def pickles_inside(self, ref: ImageRef) -> tuple[str, ...]:
        found = []
        for layer in self._layers(ref):
            with tarfile.open(layer) as tar:
                found += pickles_in(tar)
        return tuple(found)

    def _lend(self, wanted: Callable[[Entry], bool]) -> ImageRef | None:
        if not self._index.entries():
            return None
        with self._files.changing():
            entry = self._index.pin(wanted, self._clock())
        return self._ref(entry) if entry else None

    def _write_layers(self, context: BuildContext, progress: Progress) -> list[_Layer]:
        layers = []
        for name, members in layer_members(context).items():
            layer = _Layer(name, *self._files.write_blob(partial(write_tar, members)))
            progress(f"{name}: {layer.digest[:19]}, {layer.size:,} bytes, {'written' if layer.new else 'reused'}")
            layers.append(layer)
        return layers

    def _enter(self, context: BuildContext, key: ImageKey, digest: str, size: int) -> Entry:
        now = self._clock()
        known = self._index.get(digest)
        entry = Entry(
            digest=digest,
            size=size,
            version=context.version,
            key=key.sha256,
            built_at=known.built_at if known else now,
            used_at=now,
            tags=known.tags if known else frozenset(),
        )
        self._index.put(entry)
        return entry

    def _contents(self, ref: ImageRef) -> Contents:
        self._index.entry(ref.digest)
        return contents_of(self._files, ref.digest)

    def _layers(self, ref: ImageRef) -> list[Path]:
        self._index.entry(ref.digest)
        if damaged := self._damaged(ref.digest):
            raise ImageError(
                f"{damaged}, part of version {ref.version}, is missing or was altered; "
                "materialize `image` for that version again."
            )
        return [self._files.blob(digest) for digest in layer_digests(self._files, ref.digest)]

    def _damaged(self, digest: str) -> Path | None:
        try:
            parts = blobs_of(self._files, digest)
        except ImageError:
            return self._files.blob(digest)
        return next(
            (self._files.blob(part) for part, size in parts.items() if not self._files.is_whole(part, size)), None
        )

    def _ref(self, entry: Entry) -> ImageRef:
        return ImageRef(repository=str(self._files.root), digest=entry.digest, version=entry.version, key=entry.key)


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


@dataclass(frozen=True)
class _Layer:
    name: str
    digest: str
    size: int
    new: bool
