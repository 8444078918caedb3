"""What is installed in an image, as its own databases say: Python's distributions and Debian's packages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement

from banana_delivery.errors import ImageError
from banana_delivery.policy.model import ImageRef, Model


class Package(Model):
    """A Python distribution.

    Attributes:
        name: normalised.
        version: as installed.
    """

    name: str
    version: str


class SystemPackage(Model):
    """A package of the operating system.

    Attributes:
        name: of the binary package.
        version: of the binary package.
        architecture: for example ``amd64``.
        source: the package that it was built from, by which vulnerabilities are known.
        source_version: its version.
    """

    name: str
    version: str
    architecture: str
    source: str
    source_version: str


class Installed(Model):
    """What an image runs with.

    Attributes:
        brought: whether it brings all of this along; otherwise it only asks its host for the Python packages.
        python: version of the interpreter; empty if it brings none.
        packages: Python distributions.
        system: packages of the operating system; empty without a database of them.
        distribution: ``ID`` of the operating system, for example ``debian``; empty if it says nothing.
        release: its ``VERSION_ID``, for example ``12``.
        platform: of the image that was looked into, if it is one of several.
    """

    brought: bool
    python: str = ""
    packages: tuple[Package, ...] = ()
    system: tuple[SystemPackage, ...] = ()
    distribution: str = ""
    release: str = ""
    platform: str = ""


ROOT_VARIABLE = "IMAGE_ROOT"
"""Names the folder that an image was unpacked into; not set within a container."""
READER = """
import importlib.metadata, json, os, pathlib, platform, sys

def text(path):
    return path.read_text("utf-8", "replace") if path.is_file() else ""

places = [*sys.path, *map(str, pathlib.Path(sys.base_prefix, "lib").glob("python3*/site-packages"))]
found = importlib.metadata.distributions(path=places)
root = pathlib.Path(os.environ.get("IMAGE_ROOT", "/"))
dpkg = root / "var/lib/dpkg"
files = [dpkg / "status", *sorted(dpkg.glob("status.d/*"))]
wanted = ("Package:", "Status:", "Version:", "Source:", "Architecture:")
status = [[line for line in text(file).splitlines() if not line or line.startswith(wanted)] for file in files]
print(json.dumps({
    "python": platform.python_version(),
    "packages": [[one.metadata["Name"], one.version] for one in found],
    "dpkg": "\\n\\n".join("\\n".join(lines) for lines in status),
    "os_release": text(root / "etc/os-release"),
}))
"""
"""What Python runs inside the image; distroless images have a file a package. What it says is read out here."""


def read_installed(ref: ImageRef, output: str) -> Installed:
    """What ``READER`` said.

    Raises:
        ImageError: if it said something else.
    """
    try:
        said = json.loads(output)
        release = dict(_assignments(said["os_release"]))
        return Installed(
            brought=True,
            python=said["python"],
            packages=_unique(Package(name=normal(name), version=version) for name, version in said["packages"]),
            system=debian_packages(said["dpkg"]),
            distribution=release.get("ID", ""),
            release=release.get("VERSION_ID", ""),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ImageError(
            f"What is installed in {ref.pinned} cannot be read ({error}); see whether its Python runs. It said "
            f"{output[:200]!r}."
        ) from error


def asked_for(lock: str) -> Installed:
    """What an image without packages asks its host for: those of its lock that are meant for this host."""
    return Installed(brought=False, packages=_unique(_pinned(lock)))


def debian_packages(status: str) -> tuple[SystemPackage, ...]:
    """The installed packages of a dpkg database, by name."""
    found = {}
    for paragraph in re.split(r"\n{2,}", status.strip()):
        fields = dict(line.split(":", 1) for line in paragraph.splitlines() if ":" in line)
        said = {name: value.strip() for name, value in fields.items()}
        # Where each package has a file of its own, nothing else is ever installed, and there is no status.
        if not said.get("Package") or said.get("Status", "installed").split()[-1:] != ["installed"]:
            continue
        name, version, (source, source_version) = said["Package"], said["Version"], _source(said.get("Source", ""))
        found[name, said.get("Architecture", "")] = SystemPackage(
            name=name,
            version=version,
            architecture=said.get("Architecture", ""),
            source=source or name,
            source_version=source_version or version,
        )
    return tuple(found[key] for key in sorted(found))


def normal(name: str) -> str:
    """The one form of a Python distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _source(field: str) -> tuple[str, str]:
    """A ``Source`` field: the name, and the version where that is another one than the package's."""
    name, _, version = field.partition(" (")
    return name.strip(), version.rstrip(")")


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            yield name.strip(), value.strip().strip("\"'")


def _pinned(lock: str) -> Iterator[Package]:
    for line in lock.replace("\\\n", " ").splitlines():
        try:
            one = Requirement(line.partition(" --")[0].partition(" #")[0].strip())
        except InvalidRequirement:
            continue  # A comment, an option or an empty line.
        pins = [pin.version for pin in one.specifier if pin.operator == "=="]
        if pins and (one.marker is None or one.marker.evaluate()):
            yield Package(name=normal(one.name), version=pins[0])


def _unique(packages: Iterator[Package]) -> tuple[Package, ...]:
    """Each once, by name: what comes first on Python's path is what is imported, but all of it is there."""
    return tuple(sorted(set(packages), key=lambda one: (one.name, one.version)))
