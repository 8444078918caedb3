"""An image store that reads for itself, by a login that may do no more, and has everything else written by a Job."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from typing_extensions import override

from banana_delivery.errors import ImageError
from banana_delivery.images.base import BuildContext, ImageKey, Progress, PruneDecision
from banana_delivery.images.direct.compose import again_of
from banana_delivery.images.direct.store import DirectImages
from banana_delivery.images.oci_registry.auth import READING
from banana_delivery.images.oci_registry.remote import layer_names
from banana_delivery.images.release import checked_tags
from banana_delivery.images.supply_chain.attachments import Attachment, AttachmentKind
from banana_delivery.images.supply_chain.publication import Publication, Published
from banana_delivery.policy.model import ImageRef
from banana_delivery.publishing.jobs import SHORT, PublisherJobs, publisher_jobs
from banana_delivery.publishing.order import MODEL_FILES, BuildOrder, Order, PruneOrder
from banana_delivery.settings import Settings

_log = logging.getLogger(__name__)


class ApartImages(DirectImages):
    """Images that are written by somebody else.

    What a Job wrote is put together here once more, without writing it, and has to have the same digest: whoever takes
    over what writes can thereby have nothing else released.

    Args:
        repository: ``host/path`` of the releases, without a tag.
        publisher: carries orders out.
        others: see ``DirectImages``.
    """

    actions = READING

    def __init__(self, repository: str, *, publisher: PublisherJobs, **others: Any) -> None:
        super().__init__(repository, **others)
        self._publisher = publisher

    @override
    def publish_elsewhere(self, publication: Publication) -> Published:
        return self._publisher.do(Order(publish=publication), _log.info).published or Published()

    @override
    def tag(self, ref: ImageRef, tags: Collection[str]) -> None:
        """Tags that point there are left alone: what builds an image has named it."""
        missing = checked_tags(tags) - self.tags(ref)
        if missing:
            order = Order(publish=Publication(ref=ref, tags=tuple(sorted(missing))))
            self._publisher.do(order, _log.info, patience=SHORT)

    @override
    def attach(self, ref: ImageRef, kind: AttachmentKind, parts: Sequence[Attachment]) -> None:
        """Documents are made where they are signed: see ``publish_elsewhere``."""
        raise ImageError(f"{ref.pinned}: nothing is put beside images from here; BANANA_PUBLISHER_TEMPLATE is set.")

    @override
    def prune(self, keep_versions: int, in_use: Callable[[], Collection[str]], *, dry_run: bool) -> list[PruneDecision]:
        """What is in use is asked when the order is given: what is given out meanwhile is known by its lease."""
        decisions = super().prune(keep_versions, in_use, dry_run=True)
        if dry_run or all(decision.keep for decision in decisions):
            return decisions
        order = PruneOrder(keep_versions=keep_versions, in_use=tuple(sorted(in_use())))
        removed = set(self._publisher.do(Order(prune=order), _log.info).removed)
        return [
            one
            if one.keep or one.ref.digest in removed
            else replace(one, keep=True, reason="not removed", freed_bytes=0)
            for one in decisions
        ]

    @override
    def _make(self, context: BuildContext, key: ImageKey, progress: Progress) -> tuple[str, Collection[str]]:
        vouched = context.vouched(key) if context.vouched else None
        order = BuildOrder(version=context.version, labels=context.labels, vouched=vouched)
        files = [context.model_directory / name for name in MODEL_FILES]
        done = self._publisher.do(Order(build=order), progress, files)
        on_the_same = None if vouched is None else lambda _: vouched
        self._refuse_another(done.digest, replace(context, vouched=on_the_same), key)
        names = layer_names(self._read(done.digest).diff_ids)
        return done.digest, {names[name].removeprefix("sha256:")[:12] for name in done.sent if name in names}

    def _refuse_another(self, digest: str, context: BuildContext, key: ImageKey) -> None:
        """Equal inputs give equal digests. What there is to say of putting it together, the Job has said.

        Raises:
            ImageError: if what was written is another image.
        """
        manifest = self._read(digest).manifest
        with self._composed(context, key, lambda _: None) as release:
            if release.manifests(again_of(manifest))[-1].digest != manifest.digest:
                raise ImageError(
                    f"{self._repository.name}@{digest} is not what its inputs give, and is not released. Find out who "
                    "wrote it, or whether the Job that writes into the registry runs another version than this."
                )

    @property
    @override
    def _lend(self) -> Callable[[str], bool]:
        return lambda digest: bool(self._publisher.do(Order(lend=digest), _log.info).digest)


def apart_images(settings: Settings) -> ApartImages:
    """See ``RegistryStore.of``."""
    unpacked, platforms = settings.home / "runtime-images", settings.image_platforms
    return ApartImages.of(settings, unpacked=unpacked, platforms=platforms, publisher=publisher_jobs(settings))
