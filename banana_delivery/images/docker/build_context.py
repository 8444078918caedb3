"""What the engine is sent for a build: one of the Dockerfile's stages and its normalised files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from banana_delivery.images.base import BuildContext
from banana_delivery.images.dockerfile import release_stage, runtime_stages
from banana_delivery.images.layers import Member, write_tar
from banana_delivery.images.release import layer_members


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
