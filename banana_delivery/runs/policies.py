"""The texts of release policies, kept in the Dagster instance by their digests: what an attempt was judged by."""

from __future__ import annotations

import hashlib

import dagster as dg

from banana_delivery.names import DOMAIN


class KeptPolicies:
    """Keeps each text once. A text that does not have the digest is nobody's.

    Args:
        instance: where they are kept.
    """

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._storage = instance.daemon_cursor_storage

    def keep(self, text: str) -> str:
        """Keep a text, unless it is there; its digest is returned."""
        digest = digest_of(text)
        if not self.text(digest):
            self._storage.set_cursor_values({_name(digest): text})
        return digest

    def text(self, digest: str) -> str:
        """The text of a digest; empty if it was never kept."""
        text = self._storage.get_cursor_values({_name(digest)}).get(_name(digest), "")
        return text if digest_of(text) == digest else ""


def digest_of(text: str) -> str:
    """By which a text is known."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _name(digest: str) -> str:
    return f"{DOMAIN}/policy/{digest}"
