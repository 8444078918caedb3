"""Writing small files so that a reader, or a power cut, finds the old contents or the new ones and nothing between."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Replace a file's contents in one step; only this user may read it.

    Raises:
        OSError: if the disk is full or not writable; the old contents stay.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name ends in .tmp because Traefik and supervisord read everything in a directory that ends in theirs.
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
