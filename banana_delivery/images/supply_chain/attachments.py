"""Documents beside an image, in the form that cosign keeps them in: an image of their own, named after its digest.

Registries and layouts that know nothing of it hold them as any other image, and find them by tag. Those that know OCI's
referrers list them by their ``subject`` too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from banana_delivery.errors import ImageError
from banana_delivery.files import bytes_digest

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
SBOM_TYPE = "application/vnd.cyclonedx+json"
MOST_DOCUMENTS = 500
"""Beside one image, of one kind: every redeploy may add a few."""
MOST_BYTES = 64 * 2**20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"sha256-([0-9a-f]{64})\.(?:sig|att|sbom)")


class AttachmentKind(StrEnum):
    """What documents are, as the end of their tag says."""

    SIGNATURE = "sig"
    ATTESTATION = "att"
    SBOM = "sbom"


@dataclass(frozen=True)
class Attachment:
    """One document.

    Attributes:
        content: its bytes.
        media_type: what it is.
        annotations: what is noted of it.
    """

    content: bytes
    media_type: str
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """The image that documents are about.

    Attributes:
        digest: of its manifest.
        media_type: of its manifest.
        size: of its manifest, in bytes.
    """

    digest: str
    media_type: str
    size: int


def attachment_tag(digest: str, kind: AttachmentKind) -> str:
    """The tag under which an image's documents are found."""
    return f"{digest.replace(':', '-')}.{kind}"


def attachment_tags(digest: str) -> list[str]:
    """Every tag that an image's documents may have."""
    return [attachment_tag(digest, kind) for kind in AttachmentKind]


def described_by(tag: str) -> str:
    """The digest of the image that a tag's documents are about; empty if it is no such tag."""
    match = _TAG.fullmatch(tag)
    return f"sha256:{match[1]}" if match else ""


def documents(parts: Sequence[Attachment], subject: Subject) -> tuple[bytes, bytes]:
    """Config and manifest of the image that holds documents."""
    digests = [bytes_digest(part.content) for part in parts]
    config = canonical(
        {
            "architecture": "",
            "os": "",
            "config": {},
            "created": "1980-01-01T00:00:00Z",
            "rootfs": {"type": "layers", "diff_ids": digests},
        }
    )
    manifest = canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": bytes_digest(config), "size": len(config)},
            "layers": [
                {
                    "mediaType": part.media_type,
                    "digest": digest,
                    "size": len(part.content),
                    **({"annotations": part.annotations} if part.annotations else {}),
                }
                for part, digest in zip(parts, digests, strict=True)
            ],
            "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": subject.size},
        }
    )
    return config, manifest


@dataclass(frozen=True)
class Layer:
    """Where a document lies, as a manifest says.

    Attributes:
        digest: of its content.
        size: in bytes; no more of it may be read, whatever arrives.
        media_type: what it is.
        annotations: what is noted of it.
    """

    digest: str
    size: int
    media_type: str
    annotations: dict[str, str]


def layers(manifest: object) -> list[Layer]:
    """The documents that a manifest names. What describes none is somebody's rubbish, and is passed over.

    Raises:
        ImageError: if there are more of them, or larger ones, than anybody has reason to put there.
    """
    named = manifest.get("layers") if isinstance(manifest, dict) else None
    told = named if isinstance(named, list) else []
    found = [layer for one in told[: MOST_DOCUMENTS + 1] if (layer := _layer(one))]
    size = sum(one.size for one in found)
    if len(told) > MOST_DOCUMENTS or size > MOST_BYTES:
        raise ImageError(
            f"{len(told):,} documents of {size:,} bytes lie beside an image, more than {MOST_DOCUMENTS} or "
            f"{MOST_BYTES:,} bytes; find out who put them there, and remove the tag."
        )
    return found


def _layer(told: object) -> Layer | None:
    if not isinstance(told, dict):
        return None
    digest, size, media_type = told.get("digest"), told.get("size"), told.get("mediaType")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or not isinstance(media_type, str):
        return None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        return None
    notes = told.get("annotations")
    pairs = notes.items() if isinstance(notes, dict) else ()
    return Layer(digest, size, media_type, {name: note for name, note in pairs if isinstance(note, str)})


def canonical(document: dict[str, Any]) -> bytes:
    """The one form in which a document of ours is kept."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
