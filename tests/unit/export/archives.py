"""Torch archives put together by hand, so that hostile pickles need neither torch nor an unpickler to be made."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

PROTOCOL = b"\x80\x02"


def call(module: str, name: str, *arguments: object) -> bytes:
    """A pickle that calls ``module.name(*arguments)`` when it is loaded, whether or not that exists here."""
    packed = pickle.dumps(arguments, 2).removeprefix(PROTOCOL).removesuffix(b".")
    return PROTOCOL + f"c{module}\n{name}\n".encode() + packed + b"R."


def archive(path: Path, content: bytes, extra: dict[str, bytes] | None = None) -> Path:
    """A file in the layout of ``torch.save`` around a pickle."""
    with zipfile.ZipFile(path, "w") as file:
        for name, data in {"data.pkl": content, "version": b"3\n", "byteorder": b"little", **(extra or {})}.items():
            file.writestr(f"best/{name}", data)
    return path
