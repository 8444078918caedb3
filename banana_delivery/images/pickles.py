"""Recognising files that a loader would unpickle: by their name, and by their content whatever they are called."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import PurePosixPath
from typing import IO

from banana_delivery.images.layers import tar_members

_SUFFIXES = {".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt"}
_PROTOCOLS = {b"\x80" + bytes([protocol]) for protocol in range(2, 6)}


def pickles_in(tar: tarfile.TarFile) -> list[str]:
    """The files of a layer that are pickles, or archives that hold one (as torch writes them).

    Raises:
        ValueError: if the layer holds anything but plain files and directories.
    """
    return [member.name for member in tar_members(tar) if member.isreg() and _is_pickle(tar, member)]


def _is_pickle(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bool:
    content = tar.extractfile(member)
    return content is not None and is_pickle(member.name, content)


def is_pickle(name: str, content: IO[bytes]) -> bool:
    """Whether a seekable file is a pickle, or an archive with one inside."""
    if PurePosixPath(name).suffix.lower() in _SUFFIXES:
        return True
    if content.read(2) in _PROTOCOLS:
        content.seek(-1, io.SEEK_END)
        return content.read(1) == b"."
    content.seek(0)
    if not zipfile.is_zipfile(content):
        return False
    content.seek(0)
    with zipfile.ZipFile(content) as archive:
        return any(PurePosixPath(entry).suffix.lower() in _SUFFIXES for entry in archive.namelist())
