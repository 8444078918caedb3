"""An image store in memory, which passes the same contract suite as the real ones: for tests of what uses a store."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from typing_extensions import override

from banana_delivery.errors import ImageError, SelfTestFailedError
from banana_delivery.files import bytes_digest
from banana_delivery.images.base import BuildContext, BuiltImage, ImageKey, ImageStore, Parity, Progress, PruneDecision
from banana_delivery.images.layers import write_tar
from banana_delivery.images.release import (
    Contents,
    checked_tags,
    compare,
    key_of,
    labels_of,
    layer_members,
    refuse_elsewhere,
)
from banana_delivery.images.retention import Stored, decide, keep_reason
from banana_delivery.images.scanning import pickles_in
from banana_delivery.images.supply_chain.attachments import Attachment, AttachmentKind
from banana_delivery.images.supply_chain.installed import Installed, asked_for
from banana_delivery.policy.model import ImageRef


@dataclass
class _Image:
    ref: ImageRef
    layers: dict[str, bytes]
    labels: dict[str, str]
    lock: str
    built_at: float
    used_at: float
    tags: frozenset[str] = frozenset()
    doomed: bool = False
    attached: dict[AttachmentKind, tuple[Attachment, ...]] = field(default_factory=dict)


@dataclass
class FakeImages(ImageStore):
    """An image store in memory.

    Attributes:
        self_test_report: what the self-test answers for every image.
        self_test_failure: if set, the self-test fails with this sentence.
        removal_failure: if set, no image can be removed, for which this sentence is the reason.
        lease_seconds: how long an image that was built or asked for is safe from retention.
        clock: seconds since the epoch.
        repository: what its images are called; another name moves all of them.
    """

    brings_packages = False

    self_test_report: dict[str, object] = field(default_factory=lambda: {"ok": True})
    self_test_failure: str = ""
    removal_failure: str = ""
    lease_seconds: float = 3600.0
    clock: Callable[[], float] = time.time
    repository: str = "memory"
    _images: dict[str, _Image] = field(default_factory=dict, init=False)

    @override
    def key(self, context: BuildContext) -> ImageKey:
        return key_of(context, "memory", "linux/amd64")

    @override
    def find(self, key: ImageKey) -> ImageRef | None:
        return self._lend(lambda image: image.ref.key == key.sha256)

    @override
    def build(self, context: BuildContext, progress: Progress) -> BuiltImage:
        key = self.key(context)
        layers = {name: _tar(context, name) for name in layer_members(context)}
        labels = labels_of(context, key)
        identity = json.dumps([labels, _digests(layers)])
        ref = ImageRef(
            repository=self.repository, digest=bytes_digest(identity.encode()), version=context.version, key=key.sha256
        )
        kept = {tar for image in self._images.values() for tar in image.layers.values()}
        new = {name: tar for name, tar in layers.items() if tar not in kept}
        known = self._images.get(ref.digest)
        lock = context.lock_file.read_text()
        image = replace(known) if known else _Image(ref, layers, labels, lock, self.clock(), 0.0)
        image.used_at = self.clock()
        self._images[ref.digest] = image
        progress(f"image of version {context.version}: {ref.digest}")
        return BuiltImage(
            ref=ref,
            size_bytes=sum(map(len, layers.values())),
            new_bytes=sum(map(len, new.values())),
            layers_new=tuple(new),
            layers_reused=tuple(name for name in layers if name not in new),
            seconds=0.0,
        )

    @override
    def rebuild(self, context: BuildContext, ref: ImageRef, progress: Progress) -> Parity:
        then = self._image(ref)
        fresh = FakeImages()
        now = fresh._image(fresh.build(context, progress).ref)
        return compare(ref, *(Contents(_digests(image.layers), image.labels) for image in (then, now)))

    @override
    def resolve(self, reference: str) -> ImageRef | None:
        return self._lend(lambda image: reference == image.ref.digest or reference in image.tags)

    @override
    def peek(self, reference: str) -> ImageRef | None:
        image = self._newest(lambda image: reference == image.ref.digest or reference in image.tags)
        return image.ref.replace(repository=self.repository) if image else None

    @override
    def tag(self, ref: ImageRef, tags: Collection[str]) -> None:
        wanted = checked_tags(tags)
        self._image(ref)
        for image in self._images.values():
            image.tags = image.tags | wanted if image.ref.digest == ref.digest else image.tags - wanted

    @override
    def tags(self, ref: ImageRef) -> frozenset[str]:
        return self._image(ref).tags

    @override
    def labels(self, ref: ImageRef) -> dict[str, str]:
        refuse_elsewhere(ref, here=self.repository, is_here=ref.repository == self.repository)
        return dict(self._image(ref).labels)

    @override
    def installed(self, ref: ImageRef) -> Installed:
        return asked_for(self._image(ref).lock)

    @override
    def attach(self, ref: ImageRef, kind: AttachmentKind, parts: Sequence[Attachment]) -> None:
        self._image(ref).attached[kind] = tuple(parts)

    @override
    def attached(self, ref: ImageRef, kind: AttachmentKind) -> tuple[Attachment, ...]:
        return self._image(ref).attached.get(kind, ())

    @override
    def prune(self, keep_versions: int, in_use: Callable[[], Collection[str]], *, dry_run: bool) -> list[PruneDecision]:
        images = [_stored(image) for image in self._images.values()]
        decisions = decide(images, keep_versions, in_use(), self.clock(), self.lease_seconds)
        if dry_run:
            return decisions
        return [decision if decision.keep else self._remove(decision, in_use) for decision in decisions]

    @override
    def self_test(self, ref: ImageRef) -> dict[str, object]:
        """Answers what it was told to."""
        self._image(ref)
        if self.self_test_failure:
            raise SelfTestFailedError(self.self_test_failure)
        return self.self_test_report

    @override
    def pickles_inside(self, ref: ImageRef) -> tuple[str, ...]:
        found = []
        for layer in self._image(ref).layers.values():
            with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
                found += pickles_in(tar)
        return tuple(found)

    def _newest(self, wanted: Callable[[_Image], bool]) -> _Image | None:
        newest_first = sorted(self._images.values(), key=lambda image: -image.built_at)
        return next((image for image in newest_first if not image.doomed and wanted(image)), None)

    def _lend(self, wanted: Callable[[_Image], bool]) -> ImageRef | None:
        image = self._newest(wanted)
        if image is None:
            return None
        image.used_at = self.clock()
        return image.ref.replace(repository=self.repository)

    def _remove(self, decision: PruneDecision, in_use: Callable[[], Collection[str]]) -> PruneDecision:
        image = self._image(decision.ref)
        image.doomed = True
        try:
            reason = keep_reason(_stored(image), in_use(), self.clock(), self.lease_seconds)
        finally:
            image.doomed = False
        if reason:
            return replace(decision, keep=True, reason=reason, freed_bytes=0)
        if self.removal_failure:
            raise ImageError(self.removal_failure)
        del self._images[decision.ref.digest]
        return decision

    def _image(self, ref: ImageRef) -> _Image:
        if ref.digest not in self._images:
            raise ImageError(f"Memory holds no image {ref.digest}; build it again.")
        return self._images[ref.digest]


def _stored(image: _Image) -> Stored:
    blobs = {bytes_digest(tar): len(tar) for tar in image.layers.values()}
    return Stored(image.ref, image.built_at, image.used_at, image.tags, blobs)


def _tar(context: BuildContext, name: str) -> bytes:
    out = io.BytesIO()
    write_tar(layer_members(context)[name], out)
    return out.getvalue()


def _digests(layers: dict[str, bytes]) -> dict[str, str]:
    return {name: bytes_digest(tar) for name, tar in layers.items()}
