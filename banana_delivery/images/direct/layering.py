"""Laying the layers of any image on top of each other in a folder, so that nothing of it leads out of the folder.

Absolute links are written as relative ones: within the folder they then lead where they lead within the image.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import importlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

MOST_BYTES = 16 * 2**30
"""Of one layer, unpacked: a runtime with every library for a GPU is half as large."""
_REMOVED = ".wh."
_EMPTIED = ".wh..wh..opq"
_ZSTD = b"\x28\xb5\x2f\xfd"
_GZIP = b"\x1f\x8b"
_PIECE = 2**20


class _Content:
    """What a layer holds once it is unpacked, counted and hashed as it is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._size, self._hash = stream, 0, hashlib.sha256()

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self._size += len(piece)
        if self._size > MOST_BYTES:
            raise ValueError(f"it holds more than {MOST_BYTES:,} bytes")
        self._hash.update(piece)
        return piece

    def digest(self) -> str:
        """Of all of it; what was not read yet is read."""
        while self.read(_PIECE):
            pass
        return f"sha256:{self._hash.hexdigest()}"


def apply_layer(layer: BinaryIO, root: Path, diff_id: str = "") -> None:
    """Lay one layer on what a folder holds already.

    Owners, devices and the bits that give rights away are left out.

    Args:
        layer: as it is stored, packed or not.
        root: the folder.
        diff_id: what the image's config says that it holds, as a digest; empty: nobody says. The folder is of no use if
            it holds something else.

    Raises:
        ValueError: if an entry leads out of the folder, the layer is too large, is packed in an unknown way, or is
            another one than the config says.
        tarfile.TarError: if it is no tar.
        OSError: if the disk is full or cannot be written.
    """
    root, size = root.resolve(), 0
    with _content(layer) as content:
        with tarfile.open(fileobj=cast(BinaryIO, content), mode="r|") as tar:
            for member in tar:
                size += member.size
                if size > MOST_BYTES:
                    raise ValueError(f"it holds more than {MOST_BYTES:,} bytes")
                if place := _place(root, member.name):
                    _lay(tar, member, place, root)
        if diff_id and content.digest() != diff_id:
            raise ValueError("a layer holds something else than the image's config says")


def content_digest(layer: BinaryIO) -> str:
    """The digest of what a layer holds once it is unpacked, by which an image's config calls it.

    Raises:
        ValueError: if it is too large or packed in an unknown way.
        OSError: if it cannot be read.
    """
    with _content(layer) as content:
        return content.digest()


@contextmanager
def _content(layer: BinaryIO) -> Iterator[_Content]:
    try:
        with _stream(layer) as stream:
            yield _Content(stream)
    except (zlib.error, EOFError, RuntimeError) as error:  # The last one: of links that lead round in circles.
        raise ValueError(f"it cannot be unpacked: {error}") from error


@contextmanager
def _stream(layer: BinaryIO) -> Iterator[BinaryIO]:
    layer.seek(0)
    start = layer.read(len(_ZSTD))
    layer.seek(0)
    if start.startswith(_GZIP):
        with gzip.GzipFile(fileobj=layer, mode="rb") as unpacked:
            yield cast(BinaryIO, unpacked)
        return
    if start != _ZSTD:
        yield layer
        return
    try:
        pa = importlib.import_module("pyarrow")  # It is there for MLflow's sake, and takes half a second to load.
    except ImportError:
        raise ValueError("it is packed with zstd, which needs pyarrow here; pack it with gzip") from None
    with pa.CompressedInputStream(pa.PythonFile(layer, mode="r"), "zstd") as stream:
        yield cast(BinaryIO, stream)


def _place(root: Path, name: str) -> Path | None:
    """Where an entry goes, with its folder made; None for the root itself."""
    path = PurePosixPath("/", name)
    if ".." in path.parts:
        raise ValueError(f"entry {name!r} points outside")
    if len(path.parts) == 1:
        return None
    parent = root.joinpath(*path.parts[1:-1])
    # Asked before it is made: a link on the way may lead anywhere.
    if not parent.resolve().is_relative_to(root):
        raise ValueError(f"entry {name!r} points outside")
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # From Python 3.13 on it is first met here that links lead round in circles.
        if error.errno not in {errno.EEXIST, errno.ENOTDIR, errno.ELOOP}:
            raise
        raise ValueError(f"it cannot be unpacked: entry {name!r} lies below what is no folder") from error
    return parent / path.name


def _lay(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path, root: Path) -> None:
    if place.name == _EMPTIED:
        for entry in list(place.parent.iterdir()):
            _remove(entry)
    elif place.name.startswith(_REMOVED):
        _remove(_removed(place))
    elif member.isdir():
        if place.is_symlink() or not place.is_dir():
            _remove(place)
            place.mkdir()
        place.chmod(0o755)
    elif member.issym():
        _remove(place)
        place.symlink_to(_within(member.linkname, place, root))
    elif member.islnk():
        _link(member, place, root)
    elif (content := tar.extractfile(member)) is not None:
        _remove(place)
        with place.open("wb") as file:
            shutil.copyfileobj(content, file)
        place.chmod(0o755 if member.mode & 0o100 else 0o644)


def _removed(mark: Path) -> Path:
    """What the mark of a removal names, which is beside it."""
    name = mark.name.removeprefix(_REMOVED)
    if name in ("", ".", ".."):
        raise ValueError(f"entry {mark.name!r} points outside")
    return mark.with_name(name)


def _link(member: tarfile.TarInfo, place: Path, root: Path) -> None:
    source = _place(root, member.linkname)
    if source is None or source == place:
        return
    _remove(place)
    os.link(source, place, follow_symlinks=False)


def _within(target: str, place: Path, root: Path) -> str:
    """A link's target; an absolute one so that it stays within the root."""
    if not target.startswith("/"):
        return target
    inside = root.joinpath(*PurePosixPath(os.path.normpath(target)).parts[1:])
    return os.path.relpath(inside, place.parent.resolve())


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
