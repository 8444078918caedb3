"""Notes: images without files, on which lie the tags that say something of an image without lying on it."""

from __future__ import annotations

from dataclasses import dataclass

from banana_delivery.errors import ImageError
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.pins import NOTE_CONTENTS, note_of


@dataclass(frozen=True)
class Notes:
    """Those of one repository.

    Attributes:
        client: the repository.
    """

    client: RegistryClient

    def put(self, tag: str) -> None:
        """Let a tag lie on its note.

        Raises:
            ImageError: if the registry refuses or cannot be reached.
        """
        try:
            self.client.put_manifest(tag, note_of(tag))
        except ImageError:  # What it consists of is not there: yet, or since the registry tidied up.
            for content in NOTE_CONTENTS:
                self.client.put_blob(content)
            self.client.put_manifest(tag, note_of(tag))

    def has(self, tag: str) -> bool:
        """Whether a tag that is listed lies on its note.

        Raises:
            ImageError: if the registry refuses or cannot be reached.
        """
        return self.client.digest_of(tag) == note_of(tag).digest

    def delete(self, tag: str) -> None:
        """Remove a tag's note, and it with that; removing what is gone is fine.

        Raises:
            ImageError: if the registry refuses or cannot be reached.
        """
        self.client.delete_manifest(note_of(tag).digest)
