"""Turns verified layers into a directory that a replica can run from, whole or not at all."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from banana_delivery.images.layers import tar_members


def unpack(layers: Iterable[Path], to: Path) -> None:
    """Make ``to`` hold exactly the files of these layers, replacing it if it holds something else.

    A release that is already there untouched stays as it is, so replicas that run from it are not disturbed.

    Raises:
        ValueError: if a layer holds an entry that is no plain file or points outside; nothing is unpacked then.
        OSError: if the disk is full or cannot be written; nothing is left behind.
    """
    tars = list(layers)
    if to.is_dir() and all(_matches(tar, to) for tar in tars):
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=to.parent) as temporary:
        fresh = Path(temporary) / "fresh"
        fresh.mkdir()
        for tar in tars:
            _extract(tar, fresh)
        if to.exists():
            to.rename(Path(temporary) / "replaced")
        fresh.rename(to)


def _extract(layer: Path, to: Path) -> None:
    with tarfile.open(layer) as tar:
        for member in tar_members(tar):
            path = to / member.name
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            elif (content := tar.extractfile(member)) is not None:
                with path.open("wb") as file:
                    shutil.copyfileobj(content, file)


def _matches(layer: Path, directory: Path) -> bool:
    with tarfile.open(layer) as tar:
        return all(_same(tar, member, directory / member.name) for member in tar_members(tar))


def _same(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bool:
    if member.isdir():
        return path.is_dir()
    content = tar.extractfile(member)
    if content is None or not path.is_file() or path.stat().st_size != member.size:
        return False
    return path.read_bytes() == content.read()
