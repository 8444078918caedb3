"""What a base image can run: its Python and its C library, read from its files and never started."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from banana_delivery.errors import ImageError
from banana_delivery.images.dockerfile import USUAL_PATH

_PYTHON = re.compile(r"python3\.(\d+)")
_GLIBC = re.compile(rb"GNU C Library [^\n]{0,200}release version 2\.(\d+)")
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Python's and the wheels' names of architectures, by those of images."""
_OLDEST_GLIBC = 17
"""Of 2: below it no wheel of today is built."""


@dataclass(frozen=True)
class BasePython:
    """The interpreter that packages are laid out for.

    Attributes:
        program: where it is in the image, for example ``/usr/local/bin/python3``.
        minor: of its version 3.
        glibc: of the C library's version 2.
        machine: for example ``x86_64``.
    """

    program: PurePosixPath
    minor: int
    glibc: int
    machine: str

    @classmethod
    def of(cls, root: Path, config: Mapping[str, object], architecture: str, name: str) -> BasePython:
        """The Python on the PATH of an image.

        Args:
            root: its files.
            config: its ``config``.
            architecture: as images name it.
            name: the image, for messages.

        Raises:
            ImageError: if it has none, none that wheels are built for, or no GNU C library.
        """
        if architecture not in _MACHINES:
            raise ImageError(f"{name} is for {architecture}; the packages are laid out for {' and '.join(_MACHINES)}.")
        environment = config.get("Env")
        told = dict(one.split("=", 1) for one in (environment if isinstance(environment, list) else ()) if "=" in one)
        root = root.resolve()
        program, minor = _python(root, told.get("PATH", USUAL_PATH), name)
        return cls(program, minor, _glibc(root, name), _MACHINES[architecture])

    @property
    def version(self) -> str:
        """As folders and wheels have it, for example ``3.11``."""
        return f"3.{self.minor}"

    @property
    def wheel_platforms(self) -> list[str]:
        """What its wheels may be built for, the newest first."""
        newest_first = range(self.glibc, _OLDEST_GLIBC - 1, -1)
        # 2014 is what 2_17 was called.
        return [f"manylinux_2_{minor}_{self.machine}" for minor in newest_first] + [f"manylinux2014_{self.machine}"]

    @property
    def markers(self) -> dict[str, str]:
        """What a lock's conditions are asked about."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.version}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.version}.0",
            "python_version": self.version,
            "sys_platform": "linux",
        }


def _python(root: Path, path: str, name: str) -> tuple[PurePosixPath, int]:
    for entry in path.split(":"):
        program = root / entry.lstrip("/") / "python3"
        leads = program.resolve()
        if leads.is_file() and leads.is_relative_to(root):
            if version := _PYTHON.fullmatch(leads.name):
                return PurePosixPath("/", program.relative_to(root)), int(version[1])
            raise ImageError(f"{name} does not say of which version its {entry}/python3 is; name a python:3.x image.")
    raise ImageError(f"{name} has no python3 on its PATH; name an image that has, for example python:3.11-slim.")


def _glibc(root: Path, name: str) -> int:
    for library in sorted(
        (*root.glob("lib/*/libc.so.6"), *root.glob("usr/lib/*/libc.so.6"), *root.glob("lib64/libc.so.6"))
    ):
        leads = library.resolve()
        if leads.is_relative_to(root) and leads.is_file() and (found := _GLIBC.search(leads.read_bytes())):
            return int(found[1])
    raise ImageError(f"{name} has no GNU C library, which the wheels of the lock are built for; name one that has.")
