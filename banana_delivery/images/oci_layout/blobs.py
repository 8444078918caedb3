"""The files of an OCI image layout: blobs named by their sha256, and the index that names the images.

Every write goes to a temporary file first and takes its place by a rename, so a crash or a full disk leaves the layout
as it was. Whoever changes it holds its lock.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from banana_delivery.errors import ImageError
from banana_delivery.files import bytes_digest, file_digest, lock, replacing, sync, temporary_file

_LOCK_SECONDS = 120.0
MOST_BYTES = 64 * 2**20
"""Of what is read into memory as a whole: manifests, configs and documents beside an image."""
_PREFIX = ".new-"
"""What a file that is still being written is called; those that a crash left are removed."""
_FULL = {errno.ENOSPC, errno.EDQUOT}


class LayoutFiles:
    """Atomic access to the files of one layout.

    Args:
        root: the layout's directory; made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs" / "sha256"

    def blob(self, digest: str) -> Path:
        """Where the blob ``sha256:<hex>`` lies, whether or not it exists."""
        return self.blobs / digest.removeprefix("sha256:")

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the layout's lock; anything the system refuses becomes one sentence.

        Raises:
            ImageError: if the disk is full, the directory cannot be written, or another process holds it too long.
        """
        try:
            self.blobs.mkdir(parents=True, exist_ok=True)
            with lock(self.root / "index.lock", _LOCK_SECONDS, str(self.root), error=ImageError):
                for orphan in [*self.root.glob(f"{_PREFIX}*"), *self.blobs.glob(f"{_PREFIX}*")]:
                    orphan.unlink()
                marker = self.root / "oci-layout"
                if not marker.exists():
                    self._replace(marker, lambda file: _write_json(file, {"imageLayoutVersion": "1.0.0"}))
                yield
        except OSError as error:
            raise ImageError(disk_sentence(self.root, error)) from error

    def write_blob(self, write: Callable[[BinaryIO], None]) -> tuple[str, int, bool]:
        """Store what ``write`` writes.

        Returns:
            Digest, size in bytes, and whether the layout did not have it (whole) before.
        """
        with temporary_file(self.blobs, _PREFIX) as temporary:
            with temporary.open("wb") as file:
                write(file)
                sync(file)
            digest, size = file_digest(temporary), temporary.stat().st_size
            if self.is_whole(digest, size):
                return digest, size, False
            temporary.replace(self.blob(digest))
            return digest, size, True

    def write_json_blob(self, value: dict[str, Any]) -> tuple[str, int, bool]:
        """Store a JSON document in its one canonical form; see ``write_blob``."""
        return self.write_blob(lambda file: _write_json(file, value))

    def read_json_blob(self, digest: str) -> dict[str, Any]:
        """Read a JSON document, verified against its digest.

        Raises:
            ImageError: if the blob is missing or altered.
        """
        try:
            document: dict[str, Any] = json.loads(self.read_blob(digest))
        except (ValueError, RecursionError) as error:
            raise ImageError(f"{self.blob(digest)} is no JSON document; build that version again.") from error
        return document

    def read_blob(self, digest: str, most: int = MOST_BYTES) -> bytes:
        """Read a small blob, verified against its digest.

        Args:
            digest: which one.
            most: bytes that it may have; no more are read.

        Raises:
            ImageError: if the blob is missing, altered or larger.
        """
        path, content = self.blob(digest), b""
        if path.is_file():
            with path.open("rb") as file:
                content = file.read(most + 1)
        if len(content) > most:
            raise ImageError(f"{path} has more than the {most:,} bytes that it is said to have; it is not read.")
        if bytes_digest(content) != digest:
            raise ImageError(f"{path} is missing or was altered; build that version again, or restore the file.")
        return content

    def is_whole(self, digest: str, size: int) -> bool:
        """Whether a blob exists and its bytes are what its name says."""
        path = self.blob(digest)
        return path.is_file() and path.stat().st_size == size and file_digest(path) == digest

    def read_index(self) -> list[dict[str, Any]]:
        """The descriptors in ``index.json``; none if nothing was ever built.

        Raises:
            ImageError: if the file is not a valid index.
        """
        path = self.root / "index.json"
        try:
            descriptors: list[dict[str, Any]] = json.loads(path.read_bytes())["manifests"]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise ImageError(f"{path} is not an OCI index ({error}); move {self.root} away and build again.") from error
        return descriptors

    def write_index(self, descriptors: list[dict[str, Any]]) -> None:
        """Replace ``index.json`` in one step."""
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": descriptors,
        }
        self._replace(self.root / "index.json", lambda file: _write_json(file, index))

    def _replace(self, path: Path, write: Callable[[BinaryIO], None]) -> None:
        with replacing(path, _PREFIX) as file:
            write(file)


def disk_sentence(root: Path, error: OSError) -> str:
    """One sentence for a person about what the file system refused."""
    if error.errno in _FULL:
        return f"The disk that holds {root} is full; free some space and try again; nothing half-done was kept."
    what = error.filename or root
    return f"{what} cannot be used ({error.strerror or error}); check the path and its permissions, then try again."


def _write_json(file: BinaryIO, value: dict[str, Any]) -> None:
    file.write(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
