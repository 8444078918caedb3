"""Landlock: which files a process may open, from Linux 5.13 on, without any privilege."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

from banana_delivery.export.jail import kernel

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""System calls; the same on every machine."""
_ASK_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_MAKE_DEVICE_OR_SOCKET = (1 << 6) | (1 << 9) | (1 << 11)
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""By version, how many rights there are."""
_NETWORK, _SCOPES = 3, 3
"""Bind and connect TCP (version 4); abstract sockets and signals to processes outside (version 6)."""
READ, LIST, WRITE = _EXECUTE | _READ_FILE | _READ_DIR, _READ_DIR, ~_MAKE_DEVICE_OR_SOCKET & 0xFFFF


def version() -> int:
    """The kernel's version of Landlock.

    Raises:
        OSError: if it has none, or does not let it be used.
    """
    return kernel.call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))


def restrict(rules: Iterable[tuple[Path, int]]) -> None:
    """Let this process, and all that it starts, open nothing but these; what does not exist is passed over.

    Args:
        rules: files, or folders with all below them, and one of ``READ``, ``LIST`` and ``WRITE``.

    Raises:
        OSError: if the kernel does not do it.
    """
    known = version()
    handled = (1 << max(count for since, count in _RIGHTS.items() if since <= known)) - 1
    attributes = struct.pack("<QQQ", handled, _NETWORK, _SCOPES)[: 8 if known < 4 else 16 if known < 6 else 24]
    ruleset = kernel.call(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        for path, access in rules:
            _allow(ruleset, path, access & handled)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        kernel.call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = access if path.is_dir() else access & _OF_FILES
        if rights:
            rule = struct.pack("<Qi", rights, handle)
            kernel.call(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(handle)
