"""Finds the one ``best.pt`` among a version's artifacts and fetches it, whole or not at all.

That something is missing is believed from a listing alone, and only from one that shows other files: a store that is
away, a volume that is not mounted and an answer that was cut short look like nothing at all. That a file is whole is
believed if it has the size that was listed, or, where nothing lists it, if it arrives twice the same.
"""

from __future__ import annotations

import hashlib
import logging
import posixpath
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from banana_delivery.errors import MissingCheckpointError, RegistryError

LOG = logging.getLogger(__name__)
CHECKPOINT_NAME = "best.pt"
SIGNATURE_NAME = "model.sig"
"""As the tools of OpenSSF's model signing call it."""
MAX_FOLDERS = 500
"""Folders looked into before giving up: a source that is a whole bucket must not be listed for hours."""
PAUSES_SECONDS = (1.0, 4.0)
"""Between tries to fetch a file: a connection that broke is mostly there again at once."""


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


@dataclass(frozen=True)
class Listing:
    """What was found below an address.

    Attributes:
        checkpoints: every ``best.pt``.
        others: paths of all other files.
    """

    checkpoints: tuple[Entry, ...]
    others: frozenset[str]

    @property
    def files(self) -> frozenset[str]:
        """Paths of all files."""
        return self.others | {entry.path for entry in self.checkpoints}


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


def list_below(artifacts: Artifacts, where: str) -> Listing:
    """Every file below the root, at whatever depth.

    Args:
        artifacts: where to look.
        where: how messages call that place.

    Raises:
        MissingCheckpointError: if there are too many folders to look into.
    """
    files = list(_files(artifacts, where))
    checkpoints = tuple(entry for entry in files if posixpath.basename(entry.path) == CHECKPOINT_NAME)
    return Listing(checkpoints, frozenset(entry.path for entry in files if entry not in checkpoints))


def find(ask: Callable[[], Listing], where: str) -> Entry | None:
    """The one ``best.pt`` that an address lists, or None if it lists no files at all, which proves nothing.

    Args:
        ask: lists what is below it.
        where: how messages call it.

    Raises:
        MissingCheckpointError: if other files are listed twice the same, but no ``best.pt``, or more than one.
        RegistryError: if the store lists one thing now and another thing then.
    """
    found = ask()
    if len(found.checkpoints) == 1:
        return found.checkpoints[0]
    if not found.files:
        return None
    if ask().files != found.files:
        raise RegistryError(f"The artifacts of {where} are listed differently each time: try again in a minute.")
    if not found.checkpoints:
        raise MissingCheckpointError(
            f"There is no {CHECKPOINT_NAME} below {where}: log the trained checkpoint under that name and register "
            "the version again."
        )
    paths = ", ".join(sorted(entry.path for entry in found.checkpoints))
    raise MissingCheckpointError(
        f"There are {len(found.checkpoints)} files named {CHECKPOINT_NAME} below {where} ({paths}): register the "
        "version with the folder of the one to deliver as its source."
    )


def signature_path(listing: Listing) -> str:
    """Where the signature of the one ``best.pt`` lies that a listing shows: nearest to it; empty if there is none."""
    [checkpoint] = listing.checkpoints
    folder = posixpath.dirname(checkpoint.path)
    while True:
        path = posixpath.join(folder, SIGNATURE_NAME)
        if path in listing.others or not folder:
            return path if path in listing.others else ""
        folder = posixpath.dirname(folder)


def fetch(
    artifacts: Artifacts,
    path: str,
    size: int | None,
    to: Path,
    where: str,
    passing: tuple[type[Exception], ...] = (OSError,),
) -> Path:
    """Download one file into ``to``, under its own name; what is there before or after is a whole file or none.

    Args:
        artifacts: where it is.
        path: its path there.
        size: its size in bytes as it was listed; None if nothing lists it, and then it has to arrive twice the same.
        to: folder, made if it is missing.
        where: how messages call the store.
        passing: what the store raises when it fails; it is tried again after ``PAUSES_SECONDS``.

    Raises:
        RegistryError: if fewer or more bytes arrived than the store announced.
    """
    to.mkdir(parents=True, exist_ok=True)
    expected: tuple[type[Exception], ...] = (RegistryError, *passing)
    for pause in PAUSES_SECONDS:
        try:
            return _fetch_once(artifacts, path, size, to, where)
        except expected as error:
            LOG.info("%s did not arrive from %s and is asked for again: %s", path, where, error)
            time.sleep(pause)
    return _fetch_once(artifacts, path, size, to, where)


def _fetch_once(artifacts: Artifacts, path: str, size: int | None, to: Path, where: str) -> Path:
    with tempfile.TemporaryDirectory(prefix=".download-", dir=to) as scratch:
        file = Path(artifacts.download_artifacts(path, scratch))
        arrived = file.stat().st_size
        if size is None:
            with tempfile.TemporaryDirectory(prefix=".download-", dir=to) as again:
                same = _digest(Path(artifacts.download_artifacts(path, again))) == _digest(file)
            if not same:
                raise RegistryError(
                    f"{path} arrived differently each time from {where}, which does not say its size: try again, and "
                    "if it stays so, look at the artifact store."
                )
        elif arrived != size:
            raise RegistryError(
                f"Only {arrived} of {size} bytes of {path} arrived from {where}: try again, and if it stays so, "
                "look at the artifact store."
            )
        return file.replace(to / posixpath.basename(path))


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _files(artifacts: Artifacts, where: str) -> Iterator[Entry]:
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
            else:
                yield entry
