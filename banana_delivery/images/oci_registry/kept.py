"""What was read from a registry before and cannot change: manifests and image configs, by digest.

Retention looks at every image with every delivery, each of which is a process of its own. Content by digest is the same
for ever, so it is fetched once and kept in files. Nothing is believed because it lies there: the name is the content's
hash. Losing it costs a few requests, so nothing here ever fails.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection
from pathlib import Path

from banana_delivery.files import write_atomically


class KeptContent:
    """Small contents by digest.

    Args:
        folder: where they lie; None keeps them in memory only.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._memory: dict[str, bytes] = {}

    def get(self, digest: str) -> bytes | None:
        """A content; None if it is not here."""
        if digest not in self._memory and self._folder:
            with contextlib.suppress(OSError):
                content = (self._folder / _file(digest)).read_bytes()
                if _digest(content) == digest:
                    self._memory[digest] = content
        return self._memory.get(digest)

    def keep(self, content: bytes) -> None:
        """Keep a content under its digest."""
        digest = _digest(content)
        if self.get(digest):
            return
        self._memory[digest] = content
        if self._folder:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                write_atomically(self._folder / _file(digest), content.decode())

    def beginning_with(self, start: str) -> list[str]:
        """The digests whose hex begins so."""
        return sorted(digest for digest in self._digests() if _hex(digest).startswith(start))

    def forget(self, digest: str) -> None:
        """Let one content go."""
        self._memory.pop(digest, None)
        if self._folder:
            with contextlib.suppress(OSError):
                (self._folder / _file(digest)).unlink(missing_ok=True)

    def forget_all_but(self, digests: Collection[str]) -> None:
        """Let everything else go, so that no more lies here than in the registry."""
        for digest in self._digests() - set(digests):
            self.forget(digest)

    def _digests(self) -> set[str]:
        with contextlib.suppress(OSError):
            files = list(self._folder.glob("*.json")) if self._folder else []
            return {*self._memory, *(f"sha256:{file.stem}" for file in files)}
        return set(self._memory)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _file(digest: str) -> str:
    return f"{_hex(digest)}.json"
