"""Finds the one ``best.pt`` among a version's artifacts and fetches it, whole or not at all."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from banana_delivery.errors import MissingCheckpointError, RegistryError

CHECKPOINT_NAME = "best.pt"
MAX_FOLDERS = 500
"""Folders looked into before giving up: a source that is a whole bucket must not be listed for hours."""


class Entry(Protocol):
    """A file or folder, as MLflow lists them: ``path`` is relative to the artifacts' root, size in bytes if known."""

    path: str
    is_dir: bool
    file_size: int | None


class Artifacts(Protocol):
    """The part of MLflow's artifact repository that is used here."""

    def list_artifacts(self, path: str | None = None) -> list[Entry]:
        """What is directly under ``path``; empty for a file or for nothing."""

    def download_artifacts(self, artifact_path: str, dst_path: str | None = None) -> str:
        """Fetch one file below the existing folder ``dst_path`` and return where it is."""


def split_source(source: str) -> tuple[str, str]:
    """Split a source into the folder's URI and the path of the checkpoint in it, empty if the source is the folder.

    >>> split_source("s3://bucket/run/weights/best.pt")
    ('s3://bucket/run/weights', 'best.pt')
    >>> split_source("runs:/abc/model")
    ('runs:/abc/model', '')
    """
    bare = source.rstrip("/")
    if posixpath.basename(urlsplit(bare).path) != CHECKPOINT_NAME:
        return source, ""
    return bare.removesuffix(f"/{CHECKPOINT_NAME}"), CHECKPOINT_NAME


def find(artifacts: Artifacts, where: str) -> Entry:
    """The one ``best.pt`` below the root, at whatever depth.

    Args:
        artifacts: where to look.
        where: how messages call that place.

    Raises:
        MissingCheckpointError: if there is none, or more than one.
    """
    found = list(_checkpoints(artifacts, where))
    if not found:
        raise MissingCheckpointError(
            f"There is no {CHECKPOINT_NAME} below {where}: log the trained checkpoint under that name and register "
            "the version again."
        )
    if len(found) > 1:
        paths = ", ".join(sorted(entry.path for entry in found))
        raise MissingCheckpointError(
            f"There are {len(found)} files named {CHECKPOINT_NAME} below {where} ({paths}): register the version with "
            "the folder of the one to deliver as its source."
        )
    return found[0]


def fetch(artifacts: Artifacts, path: str, size: int | None, to: Path, where: str) -> Path:
    """Download one file to ``to/best.pt``; what is there before or after is a whole file or none.

    Args:
        artifacts: where it is.
        path: its path there.
        size: its size in bytes, if known, to notice a download that was cut short.
        to: folder, made if it is missing.
        where: how messages call the place.

    Raises:
        RegistryError: if fewer or more bytes arrived than the place announced.
    """
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=to) as scratch:
        file = Path(artifacts.download_artifacts(path, scratch))
        arrived = file.stat().st_size
        if size is not None and arrived != size:
            raise RegistryError(
                f"Only {arrived} of {size} bytes of {path} arrived from {where}: try again, and if it stays so, "
                "look at the artifact store."
            )
        return file.replace(to / CHECKPOINT_NAME)


def _checkpoints(artifacts: Artifacts, where: str) -> Iterator[Entry]:
    folders: list[str | None] = [None]
    seen = 0
    while folders:
        seen += 1
        if seen > MAX_FOLDERS:
            raise MissingCheckpointError(
                f"There are more than {MAX_FOLDERS} folders below {where}: register the version with the folder that "
                f"holds {CHECKPOINT_NAME} as its source."
            )
        for entry in artifacts.list_artifacts(folders.pop()):
            if entry.is_dir:
                folders.append(entry.path)
            elif posixpath.basename(entry.path) == CHECKPOINT_NAME:
                yield entry
