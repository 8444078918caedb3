"""Layers as tar files that depend on nothing but names and contents.

The order of entries, dates, owners and modes are fixed, so that equal inputs give equal bytes on every machine.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

EPOCH = 315_532_800
"""1980-01-01, the date of everything in a layer: the oldest that zip files know, for tools that pack what they find."""

FILE_MODE = 0o644
DIRECTORY_MODE = 0o755


@dataclass(frozen=True)
class Member:
    """One file of a layer.

    Attributes:
        name: path inside the image, without a leading slash.
        source: the file on this host.
    """

    name: str
    source: Path


def write_tar(members: Iterable[Member], out: BinaryIO) -> None:
    """Write the files, and the directories that they need, as a deterministic tar.

    Raises:
        OSError: if a source cannot be read or ``out`` cannot be written.
    """
    ordered = sorted(members, key=lambda member: member.name)
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for directory in _directories(member.name for member in ordered):
            tar.addfile(_header(directory, tarfile.DIRTYPE, DIRECTORY_MODE, 0))
        for member in ordered:
            with member.source.open("rb") as source:
                size = source.seek(0, io.SEEK_END)
                source.seek(0)
                tar.addfile(_header(member.name, tarfile.REGTYPE, FILE_MODE, size), source)


def tar_members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The entries of a layer, each proven to be a plain file or directory that stays inside.

    Raises:
        ValueError: for an entry that is a link or device, or that points outside.
    """
    for member in tar:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"entry {member.name!r} points outside the release")
        if not (member.isreg() or member.isdir()):
            raise ValueError(f"entry {member.name!r} is neither a file nor a directory")
        yield member


def _directories(names: Iterable[str]) -> list[str]:
    found = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    return sorted(found - {"."})


def _header(name: str, kind: bytes, mode: int, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.mode, header.size, header.mtime = kind, mode, size, EPOCH
    return header
