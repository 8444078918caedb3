"""Texts kept in the Dagster instance: release policies by their digests, and what is remembered of the registry."""

from __future__ import annotations

import hashlib

import dagster as dg

from banana_delivery.names import DOMAIN
from banana_delivery.runs.code_location import CodeLocation


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


class KeptMemory:
    """What the looks at the registry learned, for a process that starts anew: it is true, only late.

    Args:
        instance: where it is kept.
        location: whose.
    """

    def __init__(self, instance: dg.DagsterInstance, location: CodeLocation) -> None:
        self._storage = instance.daemon_cursor_storage
        self._name = "/".join([DOMAIN, *location.prefix, location.model, "registry"])
        self._known = ""

    def text(self) -> str:
        """What was kept last; empty for nothing."""
        self._known = self._storage.get_cursor_values({self._name}).get(self._name, "")
        return self._known

    def keep(self, text: str) -> None:
        """Keep a text instead, if it is another one."""
        if text and text != self._known:
            self._storage.set_cursor_values({self._name: text})
            self._known = text


def digest_of(text: str) -> str:
    """By which a text is known."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _name(digest: str) -> str:
    return f"{DOMAIN}/policy/{digest}"
