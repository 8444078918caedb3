"""What the engine is sent for a build: one of the Dockerfile's stages and its normalised files."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from banana_delivery.errors import ImageError
from banana_delivery.images.base import BuildContext
from banana_delivery.images.layers import Member, write_tar
from banana_delivery.images.release import layer_members

_FROM = re.compile(r"^FROM\s+\S+\s+AS\s+(\S+)\s*$", re.IGNORECASE | re.MULTILINE)


def runtime_context(dockerfile: str, lock: Path) -> AbstractContextManager[BinaryIO]:
    """The context of the runtime image: the lock alone decides what is in it."""
    return _context(runtime_stages(dockerfile), [Member("requirements/serving.txt", lock)])


def release_context(dockerfile: str, context: BuildContext, labels: dict[str, str]) -> AbstractContextManager[BinaryIO]:
    """The context of a release: each layer's files in a directory of their own, laid out like the image.

    The labels come last and as one instruction: they differ each time, and each instruction starts a container.
    """
    members = [
        Member(f"{layer}/{member.name}", member.source)
        for layer, files in layer_members(context).items()
        for member in files
    ]
    return _context(f"{release_stage(dockerfile)}\n{label_instruction(labels)}\n", members)


def label_instruction(labels: dict[str, str]) -> str:
    """One ``LABEL`` instruction that says exactly this, whatever characters are in it."""
    return "LABEL " + " ".join(f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(labels.items()))


def runtime_stages(dockerfile: str) -> str:
    """The Dockerfile up to the stage ``release``: what a runtime image is made of.

    Raises:
        ImageError: if there is no such stage.
    """
    return dockerfile[: _release_start(dockerfile)]


def release_stage(dockerfile: str) -> str:
    """The Dockerfile's arguments and its stage ``release`` alone.

    The classic builder runs every stage before the one that is wanted, even those that nothing needs; on an engine
    that has never seen the runtime's packages it would install them all again.

    Raises:
        ImageError: if there is no such stage.
    """
    first = _FROM.search(dockerfile)
    start = _release_start(dockerfile)
    return dockerfile[: first.start() if first else 0] + dockerfile[start:]


def _release_start(dockerfile: str) -> int:
    for stage in _FROM.finditer(dockerfile):
        if stage[1] == "release":
            return stage.start()
    raise ImageError("The Dockerfile has no stage named release; restore it from the repository.")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", " ")
    return f'"{escaped}"'


@contextmanager
def _context(dockerfile: str, members: list[Member]) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as out, tempfile.NamedTemporaryFile("w") as file:
        file.write(dockerfile)
        file.flush()
        write_tar([*members, Member("Dockerfile", Path(file.name))], cast(BinaryIO, out))
        out.seek(0)
        yield cast(BinaryIO, out)
