"""Layers of files, programs and links, with the same bytes on every machine."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import IO, BinaryIO, Self

from banana_delivery.images.layers import DIRECTORY_MODE, EPOCH, FILE_MODE

_PROGRAM_MODE = 0o755
_LINK_MODE = 0o777


@dataclass(frozen=True)
class Entry:
    """One file or link of a layer.

    Attributes:
        size: of a file, in bytes.
        mode: its rights.
        content: opens a file's content.
        target: where a link leads; empty: it is a file.
    """

    size: int
    mode: int
    content: Callable[[], IO[bytes]]
    target: str = ""

    @classmethod
    def of(cls, content: bytes, *, runs: bool = False) -> Self:
        """A small file, which can be run or not."""
        return cls.stream(len(content), partial(io.BytesIO, content), runs=runs)

    @classmethod
    def stream(cls, size: int, content: Callable[[], IO[bytes]], *, runs: bool = False) -> Self:
        """A file of any size, read when it is written."""
        return cls(size, _PROGRAM_MODE if runs else FILE_MODE, content)

    @classmethod
    def link(cls, target: str) -> Self:
        """A symbolic link."""
        return cls(0, _LINK_MODE, io.BytesIO, target)


def write_entries(entries: Mapping[PurePosixPath, Entry], folders: Collection[PurePosixPath], out: BinaryIO) -> None:
    """Write a layer: everything is root's, has one date, and comes in the order in which a directory is walked.

    Args:
        entries: by where they are in the image.
        folders: that are there too, even empty.
        out: takes the tar.

    Raises:
        OSError: if it cannot be written.
    """
    parents = {parent for path in (*entries, *folders) for parent in path.parents if parent.name}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted({*entries, *folders, *parents}, key=lambda path: path.parts):
            header = tarfile.TarInfo(str(path).lstrip("/"))
            header.mtime, header.mode, header.type = EPOCH, DIRECTORY_MODE, tarfile.DIRTYPE
            if (entry := entries.get(path)) is None:
                tar.addfile(header)
                continue
            header.type = tarfile.SYMTYPE if entry.target else tarfile.REGTYPE
            header.mode, header.size, header.linkname = entry.mode, entry.size, entry.target
            with entry.content() as content:
                tar.addfile(header, content)
