"""What a registry keeps of an image under its digest: a manifest, or an index over those of several platforms."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from banana_delivery.errors import ImageError
from banana_delivery.files import bytes_digest

MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
INDEX_TYPES = (
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
"""One name for the images of several platforms."""
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
"""Plain tars: a model hardly gets smaller, and what a compressor makes of it differs between machines."""
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest:
    """A manifest exactly as the registry has it.

    Attributes:
        digest: computed from ``body``, never believed.
        media_type: Docker's or OCI's.
        body: its bytes; putting them back gives the same digest.
    """

    digest: str
    media_type: str
    body: bytes

    @classmethod
    def of(cls, body: bytes, media_type: str = "") -> Manifest:
        """The manifest that these bytes are.

        Args:
            body: the bytes.
            media_type: what the registry calls it; empty: what it calls itself.

        Raises:
            ImageError: if they are no manifest.
        """
        try:
            document = json.loads(body)
            usual = INDEX_TYPES[-1] if isinstance(document.get("manifests"), list) else MANIFEST_TYPES[-1]
            itself = str(document.get("mediaType", usual))
        except (ValueError, AttributeError, RecursionError) as error:
            raise ImageError(f"That is no manifest: {body[:80]!r}.") from error
        return cls(bytes_digest(body), media_type or itself, body)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The manifest as JSON."""
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def layers(self) -> list[tuple[str, int]]:
        """Digest and size of each layer as stored, bottom first."""
        return [(layer["digest"], layer["size"]) for layer in self.document["layers"]]

    @property
    def blobs(self) -> dict[str, int]:
        """Size of everything that the image consists of, by digest; the manifest itself included."""
        config = self.document["config"]
        return {self.digest: len(self.body), config["digest"]: config["size"], **dict(self.layers)}

    @property
    def is_index(self) -> bool:
        """Whether it is an index over images, and no image itself."""
        return isinstance(self.document.get("manifests"), list)

    def images(self, platform: str) -> list[str]:
        """The digests of an index's images for a platform, for example ``linux/amd64`` or ``linux/arm64/v8``."""
        wanted = platform.split("/")
        told = [one for one in self.document["manifests"] if isinstance(one, dict)]
        found = [one for one in told if _platform(one)[: len(wanted)] == wanted]
        return [str(one["digest"]) for one in found if DIGEST.fullmatch(str(one.get("digest")))]

    @property
    def platforms(self) -> dict[str, str]:
        """The digests of what an index names, by the platform that each is said to be for."""
        told = [one for one in self.document["manifests"] if isinstance(one, dict)]
        return {"/".join(_platform(one)[:2]): str(one.get("digest")) for one in told}

    @property
    def children(self) -> list[str]:
        """The digests of everything that an index names."""
        told = [str(one.get("digest")) for one in self.document["manifests"] if isinstance(one, dict)]
        return [digest for digest in told if DIGEST.fullmatch(digest)]


def _platform(described: dict[str, Any]) -> list[str]:
    told = described.get("platform")
    named = told if isinstance(told, dict) else {}
    return [str(named.get(part, "")) for part in ("os", "architecture", "variant")]
