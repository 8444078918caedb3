"""The virtual environment that wheels make, as the entries of a layer.

What is in it is what pip would install, but for what pip writes of itself. Compiled files are left out: which bytes
they have depends on the very interpreter that compiles, and none is run here.
"""

from __future__ import annotations

import configparser
import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from banana_delivery.errors import ImageError
from banana_delivery.images.assembled.base_python import BasePython
from banana_delivery.images.assembled.entries import Entry
from banana_delivery.images.dockerfile import PACKAGES

_UNUSED = {"tests", "include"}
"""Folders of packages that serving never touches, as in the Dockerfile."""
_HEADERS = "headers"
"""Of C, which pip puts where they are compiled against."""
_PICKLES = (".pkl", ".pickle", ".pt")
_ANY_PYTHON = b"#!python"
_REFERENCE = re.compile(r"(?P<module>[\w.]+)\s*:\s*(?P<name>[A-Za-z_][\w.]*)\s*(?:\[.*\])?")
_SCRIPT = "#!{python}\nimport sys\nfrom {module} import {first}\nif __name__ == '__main__':\n    sys.exit({name}())\n"


@contextmanager
def environment_of(wheels: list[Path], python: BasePython) -> Iterator[dict[PurePosixPath, Entry]]:
    """The files and links of the environment, by where they are in the image; they can be read within the context.

    Args:
        wheels: what is installed. Of two files of one name the later wheel's stays.
        python: what it is for.

    Raises:
        ImageError: if a wheel is broken, reaches out of the environment or brings a pickle.
    """
    root = PurePosixPath(PACKAGES)
    found = _frame(root, python)
    with ExitStack() as stack:
        for wheel in wheels:
            try:
                opened = stack.enter_context(zipfile.ZipFile(wheel))
                found.update(_files(opened, root, python))
            except (OSError, ValueError, zipfile.BadZipFile, configparser.Error) as error:
                raise ImageError(f"{wheel.name} cannot be laid out: {error}") from error
        if both := sorted(found.keys() & {folder for path in found for folder in path.parents}):
            raise ImageError(
                f"In the packages {both[0]} is a file or link, and a folder of others; neither can be kept."
            )
        if pickles := [str(path) for path in found if path.suffix in _PICKLES]:
            raise ImageError(f"Pickles in the packages: {', '.join(sorted(pickles)[:5])}; none may be inside.")
        yield found


def _frame(root: PurePosixPath, python: BasePython) -> dict[PurePosixPath, Entry]:
    """What makes a folder a virtual environment."""
    said = f"home = {python.program.parent}\ninclude-system-site-packages = false\nversion = {python.version}\n"
    return {
        root / "pyvenv.cfg": Entry.of(said.encode()),
        root / "bin/python3": Entry.link(str(python.program)),
        root / "bin/python": Entry.link("python3"),
        root / f"bin/python{python.version}": Entry.link("python3"),
        root / "lib64": Entry.link("lib"),
    }


def _files(wheel: zipfile.ZipFile, root: PurePosixPath, python: BasePython) -> Iterator[tuple[PurePosixPath, Entry]]:
    site = root / f"lib/python{python.version}/site-packages"
    schemes = {"purelib": site, "platlib": site, "scripts": root / "bin", "data": root}
    for info in wheel.infolist():
        path = PurePosixPath(info.filename)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{info.filename!r} leads out of it")
        if info.is_dir():
            continue
        place = site / path
        is_data = path.parts[0].endswith(".data")
        if is_data:
            if len(path.parts) < 3 or path.parts[1] not in {*schemes, _HEADERS}:
                raise ValueError(f"where {info.filename!r} belongs is not known")
            if path.parts[1] == _HEADERS:
                continue
            place = schemes[path.parts[1]].joinpath(*path.parts[2:])
        if place.is_relative_to(site) and _UNUSED.intersection(place.relative_to(site).parts[:-1]):
            continue
        if is_data and path.parts[1] == "scripts":
            yield place, _program(wheel.read(info), root)
        else:
            # What may be run is noted in the upper half, as Unix does.
            runs = bool(info.external_attr >> 16 & 0o111)
            yield place, Entry.stream(info.file_size, partial(wheel.open, info), runs=runs)
        # The wheel's own; what it has copied of other packages asks for no commands.
        if len(path.parts) == 2 and path.name == "entry_points.txt" and path.parent.suffix == ".dist-info":
            yield from _scripts(wheel.read(info).decode(), root)


def _program(content: bytes, root: PurePosixPath) -> Entry:
    """A program that a wheel brings, for the environment's interpreter."""
    if content.startswith(_ANY_PYTHON):
        content = f"#!{root}/bin/python".encode() + content.removeprefix(_ANY_PYTHON)
    return Entry.of(content, runs=True)


def _scripts(entry_points: str, root: PurePosixPath) -> Iterator[tuple[PurePosixPath, Entry]]:
    """The commands that a package asks for."""
    told = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    told.optionxform = str  # type: ignore[assignment,method-assign]
    told.read_string(entry_points)
    sections = [section for section in ("console_scripts", "gui_scripts") if told.has_section(section)]
    for name, said in (item for section in sections for item in told.items(section)):
        reference = _REFERENCE.fullmatch(said.strip())
        if reference is None or "/" in name or name in {".", ".."}:
            raise ValueError(f"its command {name} is not known how to start ({said!r})")
        first = reference["name"].partition(".")[0]
        text = _SCRIPT.format(python=root / "bin/python", first=first, **reference.groupdict())
        yield root / "bin" / name, Entry.of(text.encode(), runs=True)
