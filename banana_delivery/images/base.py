"""What the pipeline needs from whatever builds and keeps images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from banana_delivery.files import text_sha256
from banana_delivery.images.supply_chain.attachments import Attachment, AttachmentKind
from banana_delivery.images.supply_chain.installed import Installed
from banana_delivery.images.supply_chain.publication import Publication, Published
from banana_delivery.policy.model import ImageRef, Model

Progress = Callable[[str], None]
"""Called with one line of text as a build or push moves on."""


class ImageKey(Model):
    """Everything that decides what an image is; two equal keys are the same image.

    Attributes:
        model: sha256 hex of ``model.onnx``.
        version_file: sha256 hex of ``version.json``.
        code: sha256 hex of the serving code (see ``banana_delivery.images.release``).
        lock: sha256 hex of the serving lock file.
        base: digest of the base image, or a name of what stands in for it.
        platform: for example ``linux/amd64``.
    """

    model: str
    version_file: str
    code: str
    lock: str
    base: str
    platform: str

    @property
    def sha256(self) -> str:
        """One sha256 hex over all of them, the form in which the key is stored with an image."""
        return text_sha256(self.model_dump_json())


@dataclass(frozen=True)
class BuildContext:
    """What goes into a release image.

    Attributes:
        model_directory: holds ``model.onnx`` and ``version.json``.
        code_directory: the ``serving`` package.
        lock_file: the serving lock with hashes.
        version: the MLflow model version.
        labels: OCI labels (``org.opencontainers.image.*`` and ``banana.*``), all of them deterministic.
        vouched: names the image of packages to build on, pinned, that somebody vouches for, by the identity of what is
            built; empty if nobody does for any, and then one is made. None: whatever its tag leads to is taken.
        anew: build it although there is one of the same identity, which loses its place to the new one.
    """

    model_directory: Path
    code_directory: Path
    lock_file: Path
    version: str
    labels: dict[str, str] = field(default_factory=dict)
    vouched: Callable[[ImageKey], str] | None = None
    anew: bool = False


@dataclass(frozen=True)
class BuiltImage:
    """A build's result.

    Attributes:
        ref: the image, pinned.
        size_bytes: sum of its layers as stored.
        new_bytes: of these, what the store did not have before.
        layers_new: names of layers that were written.
        layers_reused: names of layers that were there already.
        seconds: wall-clock time.
    """

    ref: ImageRef
    size_bytes: int
    new_bytes: int
    layers_new: tuple[str, ...]
    layers_reused: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class PruneDecision:
    """What retention says of one image, and why.

    Attributes:
        ref: the image.
        keep: whether it stays.
        reason: one clause, for example ``runs in production``.
        freed_bytes: what removing it frees; 0 if it stays.
        refused: whether it stays only because it could not be removed.
    """

    ref: ImageRef
    keep: bool
    reason: str
    freed_bytes: int = 0
    refused: bool = False


@dataclass(frozen=True)
class Parity:
    """How a rebuild compares with the image it should equal.

    Attributes:
        ref: the image.
        differences: one clause for each thing that differs; empty proves parity.
        only_below: whether nothing differs but the image of packages that each of them stands on.
    """

    ref: ImageRef
    differences: tuple[str, ...]
    only_below: bool = False

    @property
    def proven(self) -> bool:
        """Whether the rebuild is the same in every layer and label."""
        return not self.differences


class ImageStore(ABC):
    """Builds and keeps images. Every implementation passes ``tests/contract/test_image_store.py``.

    Attributes:
        brings_packages: whether its images carry the packages of the serving lock; otherwise they run on their host's.
    """

    brings_packages: ClassVar[bool]

    @abstractmethod
    def key(self, context: BuildContext) -> ImageKey:
        """The identity of what ``build`` would make of this context, on this store's base and platform."""

    @abstractmethod
    def find(self, key: ImageKey) -> ImageRef | None:
        """The image that already is exactly this, verified to be whole; None if there is none.

        Raises:
            ImageError: if the store cannot be reached.
        """

    @abstractmethod
    def build(self, context: BuildContext, progress: Progress) -> BuiltImage:
        """Build and store the image; equal contexts give equal digests, and nothing half-done is ever visible.

        Raises:
            ImageError: if it cannot be built or stored; the next try starts clean.
        """

    @abstractmethod
    def rebuild(self, context: BuildContext, ref: ImageRef, progress: Progress) -> Parity:
        """Build a context again from nothing and compare it with the image it should equal; keeps nothing of it.

        Raises:
            ImageError: if it cannot be built, or the image is not here.
        """

    @abstractmethod
    def resolve(self, reference: str) -> ImageRef | None:
        """The image behind a tag or a digest, kept from retention for a while; None if there is none."""

    @abstractmethod
    def peek(self, reference: str) -> ImageRef | None:
        """The same for who only looks: nothing is written, and retention may take it at any moment."""

    @abstractmethod
    def tag(self, ref: ImageRef, tags: Collection[str]) -> None:
        """Make each tag point at the image, moving it if it pointed elsewhere.

        Raises:
            ImageError: if the image is not here, or a tag is not a valid one.
        """

    def lock_difference(self, ref: ImageRef, host_lock: Path) -> str:  # noqa: ARG002
        """How the libraries it will run with differ from those it was built with; empty for one that brings its own."""
        return ""

    @abstractmethod
    def tags(self, ref: ImageRef) -> frozenset[str]:
        """Every tag that points at the image now.

        Raises:
            ImageError: if the store keeps images itself and this one is not here.
        """

    @abstractmethod
    def labels(self, ref: ImageRef) -> dict[str, str]:
        """The labels of an image as the store itself has them, whatever was recorded of it elsewhere.

        Raises:
            ImageError: if the image is not here, names another repository than this store's, or cannot be read.
        """

    @abstractmethod
    def installed(self, ref: ImageRef) -> Installed:
        """What an image runs with, as its own databases say, or as its lock asks its host for.

        Raises:
            ImageError: if the image is not here, or cannot be looked into.
        """

    @abstractmethod
    def attach(self, ref: ImageRef, kind: AttachmentKind, parts: Sequence[Attachment]) -> None:
        """Keep documents beside an image, in place of those of the same kind; they go when the image goes.

        Raises:
            ImageError: if the image is not here, or they cannot be kept.
        """

    @abstractmethod
    def attached(self, ref: ImageRef, kind: AttachmentKind) -> tuple[Attachment, ...]:
        """The documents of a kind beside an image, whoever put them there; none if there are none.

        Raises:
            ImageError: if they cannot be read, or are not what their digests say.
        """

    def publish_elsewhere(self, publication: Publication) -> Published | None:  # noqa: ARG002
        """Have somebody put something beside an image who alone may; None: whoever asks does it by ``attach``.

        Raises:
            ImageError: if it cannot be done.
        """
        return None

    @abstractmethod
    def prune(self, keep_versions: int, in_use: Callable[[], Collection[str]], *, dry_run: bool) -> list[PruneDecision]:
        """Forget all but the newest versions, what is in use and what is tagged ``stable``.

        Args:
            keep_versions: how many of the newest images stay in any case.
            in_use: digests that an environment runs, ran within its rollback window or is about to run; asked again
                right before each removal, so that a concurrent release is never cut off.
            dry_run: decide and say, but remove nothing.

        Returns:
            A decision for each image, newest first.

        Raises:
            ImageError: if one cannot be removed; that one is given to whoever asks for it, as before, and the rest
                waits for the next time.
        """

    @abstractmethod
    def self_test(self, ref: ImageRef) -> dict[str, object]:
        """Run ``python -m serving.selftest`` inside the image: exactly what will serve, nothing of this host's.

        Returns:
            What the self-test reported.

        Raises:
            SelfTestFailedError: if it failed; one sentence with its reason.
            ImageError: if it could not run, which says nothing of the image.
        """

    @abstractmethod
    def pickles_inside(self, ref: ImageRef) -> tuple[str, ...]:
        """Paths inside the image's own layers that would be unpickled if loaded; none in a good release.

        Raises:
            ImageError: if the image cannot be read.
        """
