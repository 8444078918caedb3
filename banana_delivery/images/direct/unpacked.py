"""Running an image's own Python where nothing runs containers: unpacked, by the image's own loader and libraries.

All that the process loads is the image's; the kernel, the network and the user are this host's. So it proves that the
image's packages, code and model work together; that the image starts in a container, staging proves.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from banana_delivery.errors import ImageError
from banana_delivery.files import text_sha256
from banana_delivery.images.direct.layering import apply_layer, content_digest
from banana_delivery.images.oci_layout.unpack import unpack
from banana_delivery.images.oci_registry import blobs
from banana_delivery.images.oci_registry.blobs import Blob
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.remote import RemoteImage
from banana_delivery.images.release import LAYERS, MODEL_PATH
from banana_delivery.images.supply_chain.installed import ROOT_VARIABLE

_LOADERS = {"linux/amd64": "lib64/ld-linux-x86-64.so.2", "linux/arm64": "lib/ld-linux-aarch64.so.1"}
"""The GNU C library's, which the wheels of the serving lock are built for."""
_TRIPLETS = {"linux/amd64": "x86_64-linux-gnu", "linux/arm64": "aarch64-linux-gnu"}
_UNUSED_SECONDS = 7 * 86_400.0
"""A runtime that nobody asked for so long is unpacked again if it is."""
_UNPACKING = ".unpacking-"


@dataclass(frozen=True)
class UnpackedImages:
    """The images of one repository, as folders.

    Attributes:
        client: the repository.
        folder: where runtimes stay unpacked; None: they are unpacked each time.
        platform: this host's.
    """

    client: RegistryClient
    folder: Path | None
    platform: str

    def run(
        self, image: RemoteImage, arguments: list[str], environment: dict[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run the image's Python beside its code, without this process's environment.

        Raises:
            ImageError: if the image cannot be unpacked or run here, or does not end in time.
        """
        try:
            with self._root(image) as root, self._release(image) as release:
                python = _Python.of(root, image, self.platform)
                return subprocess.run(
                    [*python.command, *arguments],
                    cwd=release / "app",
                    env={
                        **python.environment,
                        "MODEL_PATH": str(release / MODEL_PATH),
                        "HOME": str(release),
                        "TMPDIR": str(release),
                        **environment,
                    },
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=seconds,
                    check=False,
                )
        except subprocess.TimeoutExpired as error:
            raise ImageError(
                f"Not done after {seconds:.0f} s: running {' '.join(arguments[:2])} of {image.ref.pinned}; look for a "
                "host that is overloaded."
            ) from error
        except (OSError, ValueError, tarfile.TarError, EOFError, RuntimeError) as error:
            raise ImageError(
                f"{image.ref.pinned} cannot be run on this host ({error}); see whether there is room for it, and "
                "whether it was built for this platform, or set BANANA_BUILDER=docker."
            ) from error

    @contextmanager
    def _root(self, image: RemoteImage) -> Iterator[Path]:
        """What lies below the release's own layers, as a folder that nobody may change."""
        layers = _layers(image)[: -len(LAYERS)]
        if self.folder is None:
            with tempfile.TemporaryDirectory(prefix="runtime-") as folder:
                self._lay(layers, Path(folder))
                yield Path(folder)
            return
        # What was unpacked for one image was compared with what that image says of it, and no other.
        root = self.folder / text_sha256("\n".join(f"{layer.digest} {diff_id}" for layer, diff_id in layers))
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            os.utime(root)  # First: whoever tidies up lets it be from now on.
        self._tidy(root)
        if not root.is_dir():
            with tempfile.TemporaryDirectory(prefix=_UNPACKING, dir=self.folder, ignore_cleanup_errors=True) as folder:
                fresh = Path(folder) / "root"
                fresh.mkdir()
                self._lay(layers, fresh)
                with contextlib.suppress(OSError):  # Somebody else was faster, with the same.
                    fresh.rename(root)
        yield root

    def _lay(self, layers: list[tuple[Blob, str]], root: Path) -> None:
        for layer, diff_id in layers:
            with tempfile.TemporaryFile() as file:
                blobs.fetch(self.client, layer, cast(BinaryIO, file))
                apply_layer(cast(BinaryIO, file), root, diff_id)

    def _tidy(self, needed: Path) -> None:
        """Remove runtimes that nobody asks for any more, and what somebody left half unpacked."""
        old = time.time() - _UNUSED_SECONDS
        for entry in self.folder.iterdir() if self.folder else ():
            with contextlib.suppress(OSError):
                if entry != needed and entry.stat().st_mtime < old:
                    # Somebody may be interrupted here, and half of a runtime must not be taken for a whole one.
                    named = entry.name.startswith(_UNPACKING)
                    shutil.rmtree(entry if named else entry.rename(entry.with_name(f"{_UNPACKING}{entry.name}")))

    @contextmanager
    def _release(self, image: RemoteImage) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="release-", ignore_cleanup_errors=True) as folder:
            layers = []
            for number, (layer, diff_id) in enumerate(_layers(image)[-len(LAYERS) :]):
                layers.append(Path(folder) / f"{number}.tar")
                with layers[-1].open("w+b") as file:
                    blobs.fetch(self.client, layer, cast(BinaryIO, file))
                    if content_digest(cast(BinaryIO, file)) != diff_id:
                        raise ValueError("a layer holds something else than the image's config says")
            unpack(layers, Path(folder) / "release")
            yield Path(folder) / "release"


def _layers(image: RemoteImage) -> list[tuple[Blob, str]]:
    """The layers of an image, bottom first, each with the digest of what its config says that it holds.

    Raises:
        ValueError: if it says so of more or fewer.
    """
    stored = [Blob(digest, size) for digest, size in image.manifest.layers]
    return list(zip(stored, image.diff_ids, strict=True))


@dataclass(frozen=True)
class _Python:
    """How to start the Python of an unpacked image.

    Attributes:
        command: what to type.
        environment: its variables.
    """

    command: list[str]
    environment: dict[str, str]

    @classmethod
    def of(cls, root: Path, image: RemoteImage, platform: str) -> _Python:
        """The Python that the image's PATH leads to.

        Raises:
            ValueError: if there is none, or none that this host can start.
        """
        root = root.resolve()
        told = dict(one.split("=", 1) for one in image.config["config"].get("Env") or () if "=" in one)
        folder, python = _interpreter(root, told.get("PATH", "/usr/local/bin:/usr/bin:/bin"))
        its = f"{image.config.get('os')}/{image.config.get('architecture')}"
        loader = root / _LOADERS.get(platform, "nowhere")
        if its != platform or not loader.is_file():
            raise ValueError(f"it is for {its} and this host is {platform}, or it has no GNU C library")
        # Outside of its container it cannot see that it is in a virtual environment: it is told the packages of that,
        # and, since they are all that counts there, not to look for others.
        venv = (folder.parent / "pyvenv.cfg").is_file()
        packages = folder.parent.glob("lib/python3*/site-packages") if venv else ()
        paths = [str(root / path.lstrip("/")) for path in told.get("PYTHONPATH", "").split(":") if path]
        environment = {
            **told,
            "PATH": os.defpath,
            "PYTHONHOME": str(python.parent.parent),
            "PYTHONPATH": os.pathsep.join([*paths, *map(str, packages)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            ROOT_VARIABLE: str(root),
        }
        libraries = os.pathsep.join(_libraries(root, told.pop("LD_LIBRARY_PATH", ""), platform))
        environment.pop("LD_LIBRARY_PATH", None)
        alone = ["-S"] if venv else []
        return cls([str(loader), "--library-path", libraries, str(python), *alone], environment)


def _interpreter(root: Path, path: str) -> tuple[Path, Path]:
    """The folder on the path that leads to a Python, and where it leads."""
    for entry in path.split(":"):
        folder = root / entry.lstrip("/")
        python = (folder / "python").resolve()
        if python.is_file() and python.is_relative_to(root):
            return folder, python
    raise ValueError("it has no Python on its PATH")


def _libraries(root: Path, told: str, platform: str) -> list[str]:
    """Where the image's loader looks for libraries."""
    triplet = _TRIPLETS[platform]
    configured = [
        line.strip()
        for file in sorted(root.glob("etc/ld.so.conf.d/*.conf"))
        for line in file.read_text(errors="replace").splitlines()
        if line.startswith("/")
    ]
    usual = [f"/lib/{triplet}", f"/usr/lib/{triplet}", "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"]
    wanted = [*filter(None, told.split(":")), *configured, *usual]
    found = [root / path.lstrip("/") for path in dict.fromkeys(wanted)]
    return [str(path) for path in found if path.is_dir()]
