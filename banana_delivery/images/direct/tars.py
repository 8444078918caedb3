"""Layers byte for byte as Docker's classic builder writes them, so that they have the same digests whoever builds."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import BinaryIO

from banana_delivery.images.layers import DIRECTORY_MODE, EPOCH, FILE_MODE, Member

_KINDS = {tarfile.DIRTYPE: 0o040000, tarfile.REGTYPE: 0o100000}
"""Go's tars repeat in the mode what an entry is."""
_MODE, _CHECKSUM, _DEVICE = slice(100, 108), slice(148, 156), slice(329, 345)
_PIECE = 2**20


def write_layer(members: Iterable[Member], out: BinaryIO) -> None:
    """Write files, and the directories that they need, in the order in which a directory is walked.

    Names beyond 100 characters come out readable, and in another form than an engine's.

    Raises:
        OSError: if a source cannot be read or ``out`` cannot be written.
    """
    files = {PurePosixPath(member.name): member.source for member in members}
    folders = {parent for path in files for parent in path.parents if parent.parts}
    for path in sorted((*files, *folders), key=lambda path: path.parts):
        if path not in files:
            out.write(_header(str(path), tarfile.DIRTYPE, DIRECTORY_MODE, 0))
            continue
        size = files[path].stat().st_size
        out.write(_header(str(path), tarfile.REGTYPE, FILE_MODE, size))
        with files[path].open("rb") as source:
            left = size
            while left and (piece := source.read(min(left, _PIECE))):
                out.write(piece)
                left -= len(piece)
        if left:
            raise OSError(f"{files[path]} was cut short while it was read")
        out.write(bytes(-size % tarfile.BLOCKSIZE))
    out.write(bytes(2 * tarfile.BLOCKSIZE))


def _header(name: str, kind: bytes, mode: int, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.mtime = kind, mode, size, EPOCH
    entry.uname = entry.gname = "root"
    header = bytearray(entry.tobuf(tarfile.PAX_FORMAT))
    last = header[-tarfile.BLOCKSIZE :]
    last[_MODE] = b"%07o\0" % (mode | _KINDS[kind])
    last[_DEVICE] = b"0000000\0" * 2
    last[_CHECKSUM] = b" " * 8
    last[_CHECKSUM] = b"%06o\0 " % sum(last)
    header[-tarfile.BLOCKSIZE :] = last
    return bytes(header)
