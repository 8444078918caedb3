"""The folder that a hold-out lies in: whatever its files name is looked for inside of it, and nowhere else.

Labels are written by strangers and by programs. A name in them may lead out of the folder, to a pipe or to a file
without end; a fault is one sentence with file and line.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from banana_delivery.errors import LabelledImagesError
from banana_delivery.quoting import cited, one_line

MEBIBYTE = 1024**2
MOST_JSON = 512 * MEBIBYTE
"""COCO's own annotations of 118,000 training images are 450 MB."""
MOST_TEXT = 16 * MEBIBYTE
"""Of a data.yaml, a list of images or the labels of one image."""
MOST_OBJECTS = 10_000
"""In one image; whoever counts more labelled a whole film, or a program went round in circles."""


def fault(file: Path, what: str, line: int | None = None) -> LabelledImagesError:
    """One sentence that says where, what, and what to do, which is the end of ``what``."""
    where = f"{file}, line {line}" if line else str(file)
    return LabelledImagesError(f"{one_line(where)}: {what.rstrip('.')}.")


def spellings(name: str) -> tuple[str, ...]:
    r"""A path as it is written, and as it was meant if Windows wrote it.

    >>> spellings("train\\a.jpg")
    ('train\\a.jpg', 'train/a.jpg')
    """
    return (name, name.replace("\\", "/")) if "\\" in name else (name,)


@dataclass(frozen=True)
class Folder:
    """Where a hold-out lies.

    Attributes:
        root: the folder, with links followed.
    """

    root: Path

    @classmethod
    def at(cls, path: Path) -> Folder:
        """The folder at a path."""
        return cls(path.resolve())

    def inside(self, path: Path, named_in: Path, line: int | None = None) -> Path:
        """A path with its links followed.

        Raises:
            LabelledImagesError: if it leads out of the folder.
        """
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise fault(named_in, f"{cited(str(path))} is no path ({error}); correct it", line) from error
        if not real.is_relative_to(self.root):
            raise fault(
                named_in,
                f"{cited(str(path))} leads out of {self.root}; put all images and labels of the hold-out into that "
                "folder, as files and not as links to elsewhere",
                line,
            )
        return real

    def holds(self, path: Path) -> bool:
        """Whether something is there, inside of the folder."""
        try:
            return path.exists() and path.resolve().is_relative_to(self.root)
        except (OSError, RuntimeError, ValueError):
            return False

    def content(self, path: Path, most: int, named_in: Path | None = None, line: int | None = None) -> bytes:
        """The bytes of a plain file.

        Args:
            path: of the file.
            most: bytes it may have.
            named_in: the file that names it, where a fault is told; without one it is the file itself.
            line: of that file.

        Raises:
            LabelledImagesError: if it cannot be read, is no plain file, too large or outside.
        """
        teller = named_in or path
        real = self.inside(path, teller, line)
        try:
            found = real.stat()
            if not stat.S_ISREG(found.st_mode):
                raise fault(teller, f"{cited(str(path))} is no plain file; put the file itself there", line)
            if found.st_size > most:
                size = f"{found.st_size / MEBIBYTE:,.0f} MiB"
                raise fault(teller, f"{path.name} has {size}, more than {most // MEBIBYTE} MiB; make it smaller", line)
            return real.read_bytes()
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or str(error)
            raise fault(
                teller, f"{cited(str(path))} cannot be read ({said}); put it there, or take it from the labels", line
            ) from error

    def text(self, path: Path, most: int = MOST_TEXT) -> str:
        """The text of a file, whatever system wrote its lines and whether or not it begins with a mark of its order.

        Raises:
            LabelledImagesError: as for ``content``, or if it is not UTF-8.
        """
        data = self.content(path, most)
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise fault(path, "is not UTF-8 text; save it as UTF-8", line) from error
