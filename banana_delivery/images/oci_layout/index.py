"""What the index of an OCI image layout says of each image: its tags as the OCI annotation, the rest as our own.

An image with several tags has a descriptor for each, as the OCI specification wants it; an image without tags has one.
Documents beside an image have one descriptor a kind, which bears their tag alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from banana_delivery.errors import ImageError
from banana_delivery.images.oci_layout.blobs import LayoutFiles
from banana_delivery.images.retention import void_before
from banana_delivery.images.supply_chain.attachments import AttachmentKind, attachment_tag, described_by
from banana_delivery.names import BUILT_AT_LABEL, DOOMED_AT_LABEL, KEY_LABEL, USED_AT_LABEL, VERSION_LABEL
from banana_delivery.policy.model import Model

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
TAG = "org.opencontainers.image.ref.name"


class Entry(Model):
    """One image of the layout.

    Attributes:
        digest: of its manifest.
        size: of its manifest, in bytes.
        version: MLflow model version.
        key: sha256 of its identity key.
        built_at: seconds since the epoch.
        used_at: when it was last built, found or resolved, seconds since the epoch.
        tags: tags that point at it.
        doomed_at: when retention last chose it, seconds since the epoch; nobody is given it for a while. None: never.
    """

    digest: str
    size: int
    version: str
    key: str
    built_at: float
    used_at: float
    tags: frozenset[str] = frozenset()
    doomed_at: float | None = None

    def is_named(self, reference: str) -> bool:
        """Whether a tag or digest is this image's."""
        return reference == self.digest or reference in self.tags

    def is_doomed(self, now: float) -> bool:
        """Whether it is about to be removed, so that nobody may be given it."""
        return self.doomed_at is not None and self.doomed_at >= void_before(now)


def to_descriptors(entries: list[Entry]) -> list[dict[str, Any]]:
    """The index's descriptors for these images, in a stable order."""
    return [
        _descriptor(entry, {TAG: tag} if tag else {})
        for entry in sorted(entries, key=lambda entry: (entry.built_at, entry.digest))
        for tag in sorted(entry.tags) or [""]
    ]


def from_descriptors(descriptors: list[dict[str, Any]]) -> list[Entry]:
    """The images that these descriptors name.

    Raises:
        KeyError: if a descriptor is not one of ours.
        ValueError: if one of its values is not what it should be.
    """
    entries: dict[str, Entry] = {}
    for descriptor in descriptors:
        if _subject(descriptor):
            continue
        notes, digest = descriptor["annotations"], descriptor["digest"]
        entry = entries.get(digest) or Entry(
            digest=digest,
            size=descriptor["size"],
            version=notes[VERSION_LABEL],
            key=notes[KEY_LABEL],
            built_at=float(notes[BUILT_AT_LABEL]),
            used_at=float(notes[USED_AT_LABEL]),
            doomed_at=float(notes[DOOMED_AT_LABEL]) if DOOMED_AT_LABEL in notes else None,
        )
        entries[digest] = entry.replace(tags=entry.tags | {notes[TAG]}) if TAG in notes else entry
    return list(entries.values())


def _descriptor(entry: Entry, tag: dict[str, str]) -> dict[str, Any]:
    notes = {
        VERSION_LABEL: entry.version,
        KEY_LABEL: entry.key,
        BUILT_AT_LABEL: repr(entry.built_at),
        USED_AT_LABEL: repr(entry.used_at),
        **({} if entry.doomed_at is None else {DOOMED_AT_LABEL: repr(entry.doomed_at)}),
        **tag,
    }
    return {"mediaType": MANIFEST_TYPE, "digest": entry.digest, "size": entry.size, "annotations": notes}


def _subject(descriptor: dict[str, Any]) -> str:
    """The digest of the image that a descriptor's documents are about; empty if it names an image itself."""
    return described_by(descriptor["annotations"].get(TAG, ""))


class LayoutIndex:
    """The images of a layout; whoever changes them holds the layout's lock.

    Args:
        files: the layout.
    """

    def __init__(self, files: LayoutFiles) -> None:
        self._files = files

    def entries(self) -> list[Entry]:
        """All images, newest first.

        Raises:
            ImageError: if the index cannot be read, or is somebody else's.
        """
        descriptors = self._files.read_index()
        try:
            found = from_descriptors(descriptors)
        except (KeyError, ValueError) as error:
            raise ImageError(
                f"{self._files.root / 'index.json'} names images that were not built here ({error}); "
                "point BANANA_HOME elsewhere or move that directory away."
            ) from error
        return sorted(found, key=lambda entry: (-entry.built_at, entry.digest))

    def entry(self, digest: str) -> Entry:
        """One image.

        Raises:
            ImageError: if it is not here.
        """
        if entry := self.get(digest):
            return entry
        raise ImageError(f"{self._files.root} holds no image {digest}; materialize `image` for its version again.")

    def get(self, digest: str) -> Entry | None:
        """One image; None if it is not here."""
        return next((entry for entry in self.entries() if entry.digest == digest), None)

    def put(self, entry: Entry) -> None:
        """Add an image, or replace what is known of it."""
        self._write([*(other for other in self.entries() if other.digest != entry.digest), entry])

    def drop(self, digest: str) -> None:
        """Forget an image and the documents beside it; their blobs stay until they are swept."""
        self._write([entry for entry in self.entries() if entry.digest != digest])

    def move_tags(self, digest: str, tags: frozenset[str]) -> None:
        """Make tags point at one image and at no other."""
        moved = [
            entry.replace(tags=entry.tags | tags if entry.digest == digest else entry.tags - tags)
            for entry in self.entries()
        ]
        self._write(moved)

    def pin(self, wanted: Callable[[Entry], bool], now: float) -> Entry | None:
        """The newest image that is wanted, marked as used now; None if there is none."""
        if entry := self.newest(wanted, now):
            self.put(entry.replace(used_at=now))
        return entry

    def newest(self, wanted: Callable[[Entry], bool], now: float) -> Entry | None:
        """The newest image that is wanted and not about to be removed; None if there is none."""
        return next((entry for entry in self.entries() if not entry.is_doomed(now) and wanted(entry)), None)

    def attachments(self) -> list[str]:
        """The manifests of all documents beside images."""
        return [str(one["digest"]) for one in self._files.read_index() if _subject(one)]

    def attachment(self, digest: str, kind: AttachmentKind) -> str:
        """The manifest of an image's documents of a kind; empty if it has none."""
        tag = attachment_tag(digest, kind)
        found = (one["digest"] for one in self._files.read_index() if one["annotations"].get(TAG) == tag)
        return str(next(found, ""))

    def attach(self, digest: str, kind: AttachmentKind, manifest: str, size: int) -> None:
        """Put documents beside an image, in place of those of the kind that it had."""
        tag = attachment_tag(digest, kind)
        rest = [one for one in self._files.read_index() if one["annotations"].get(TAG) != tag]
        new = {"mediaType": MANIFEST_TYPE, "digest": manifest, "size": size, "annotations": {TAG: tag}}
        self._files.write_index([*rest, new])

    def _write(self, entries: list[Entry]) -> None:
        """Replace what is known of images; the documents of those that are left stay."""
        left = {entry.digest for entry in entries}
        documents = [one for one in self._files.read_index() if _subject(one) in left]
        self._files.write_index([*to_descriptors(entries), *documents])
