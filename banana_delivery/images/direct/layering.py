"""Laying the layers of any image on top of each other in a folder, so that nothing of it leads out of the folder.

Absolute links are written as relative ones: within the folder they then lead where they lead within the image.
"""

from __future__ import annotations

import importlib
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

MOST_BYTES = 16 * 2**30
"""Of one layer, unpacked: a runtime with every library for a GPU is half as large."""
_REMOVED = ".wh."
_EMPTIED = ".wh..wh..opq"
_ZSTD = b"\x28\xb5\x2f\xfd"


def apply_layer(layer: BinaryIO, root: Path) -> None:
    """Lay one layer on what a folder holds already.

    Owners, devices and the bits that give rights away are left out.

    Raises:
        ValueError: if an entry leads out of the folder, the layer is too large, or is packed in an unknown way.
        tarfile.TarError: if it is no tar.
        OSError: if the disk is full or cannot be written.
    """
    root, size = root.resolve(), 0
    with _stream(layer) as stream, tarfile.open(fileobj=stream, mode="r|*") as tar:
        for member in tar:
            size += member.size
            if size > MOST_BYTES:
                raise ValueError(f"it holds more than {MOST_BYTES:,} bytes")
            if place := _place(root, member.name):
                _lay(tar, member, place, root)


@contextmanager
def _stream(layer: BinaryIO) -> Iterator[BinaryIO]:
    layer.seek(0)
    packed = layer.read(len(_ZSTD)) == _ZSTD
    layer.seek(0)
    if not packed:
        yield layer  # tarfile tells gzip from none by itself.
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
    parent.mkdir(parents=True, exist_ok=True)
    return parent / path.name


def _lay(tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path, root: Path) -> None:
    if place.name == _EMPTIED:
        for entry in list(place.parent.iterdir()):
            _remove(entry)
    elif place.name.startswith(_REMOVED):
        _remove(place.with_name(place.name.removeprefix(_REMOVED)))
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
