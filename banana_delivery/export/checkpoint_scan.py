"""Tells what a checkpoint's pickle would import, without unpickling it, and refuses what a detector does not need.

Two independent judges look at it here: picklescan knows what attackers use, and the list below knows the little that
ultralytics' checkpoints use. Whatever neither knows is refused. A third one, ultralytics' restricted loading in
the subprocess that finally loads the file, stops what both let pass: a model class called with text that it evaluates.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from pathlib import Path, PurePosixPath

from banana_delivery.errors import UnreadableCheckpointError, UnsafeModelError
from banana_delivery.policy.model import Model

ALLOWED_IMPORTS = frozenset(
    {
        "__builtin__.set",
        "builtins.set",
        "_codecs.encode",
        "collections.OrderedDict",
        "numpy.dtype",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
        "torch.Size",
        "torch.device",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor_v2",
        "ultralytics.utils.IterableSimpleNamespace",
    }
)
"""Data that ultralytics puts beside the layers: sizes, metrics, arguments, paths."""

ALLOWED_PATTERNS = (
    re.compile(r"torch\.(?:[A-Z]\w*Storage|b?float\d+|u?int\d+|bool)"),
    # Classes only, told by their capital: these modules also hold functions that load files and evaluate text.
    re.compile(r"(?:torch\.nn\.modules|ultralytics\.nn\.modules)\.\w+\.[A-Z]\w*"),
    re.compile(r"ultralytics\.(?:nn\.tasks|utils\.loss|utils\.tal)\.[A-Z]\w*"),
)
"""Layers, models and losses."""


class ScanReport(Model):
    """What a safe checkpoint asks for.

    Attributes:
        imports: every ``module.name`` of its pickle, sorted.
        bytes: size of the file.
    """

    imports: tuple[str, ...]
    bytes: int


def is_allowed(name: str) -> bool:
    """Whether a detector's checkpoint may import ``module.name``."""
    return name in ALLOWED_IMPORTS or any(pattern.fullmatch(name) for pattern in ALLOWED_PATTERNS)


def scan(checkpoint: Path) -> ScanReport:
    """Judge a checkpoint by its bytes.

    Raises:
        UnreadableCheckpointError: if it is not one whole torch archive.
        UnsafeModelError: if its pickle imports anything a detector does not need, or cannot be followed.
    """
    content = checkpoint.read_bytes()
    _check_archive(checkpoint.name, content)
    return ScanReport(imports=_check_imports(checkpoint.name, content), bytes=len(content))


def _check_archive(name: str, content: bytes) -> None:
    if not content:
        raise UnreadableCheckpointError(f"{name} is empty: log best.pt again and register a new version.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.namelist()
            damaged = archive.testzip()
            pickles = [archive.read(member) for member in members if PurePosixPath(member).suffix == ".pkl"]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise UnreadableCheckpointError(
            f"{name} is no whole torch checkpoint ({len(content):,} bytes, {error}): it was cut short or is another "
            "kind of file, so log best.pt again and register a new version."
        ) from None
    if damaged is not None:
        raise UnreadableCheckpointError(
            f"{name} is damaged at {damaged}: log best.pt again and register a new version."
        )
    _check_members(name, members)
    _check_pickle(name, pickles[0])


def _check_members(name: str, members: list[str]) -> None:
    pickles = [member for member in members if PurePosixPath(member).suffix == ".pkl"]
    if len(members) != len(set(members)):
        raise UnsafeModelError(f"{name} holds two members of one name, which no torch.save writes: do not use it.")
    if [PurePosixPath(member).name for member in pickles] != ["data.pkl"]:
        raise UnreadableCheckpointError(
            f"{name} is not what torch.save makes of an ultralytics model (pickles: {', '.join(pickles) or 'none'}): "
            "register the best.pt of a training run."
        )


def _check_pickle(name: str, content: bytes) -> None:
    """Follow the pickle to its end; picklescan passes one that it cannot follow if it met no import before."""
    stream = io.BytesIO(content)
    try:
        for _ in pickletools.genops(stream):
            pass
    except ValueError as error:
        raise _untrusted(name, str(error)) from None
    if stream.tell() != len(content):
        raise _untrusted(name, "it goes on after its end")


def _untrusted(name: str, why: str) -> UnsafeModelError:
    return UnsafeModelError(f"The pickle in {name} cannot be followed ({why}), so it was not loaded: do not use it.")


def _check_imports(name: str, content: bytes) -> tuple[str, ...]:
    from picklescan.scanner import SafetyLevel, scan_zip_bytes  # type: ignore[import-untyped]

    result = scan_zip_bytes(io.BytesIO(content), name)
    if result.scan_err or not result.scanned_files:
        raise _untrusted(name, "picklescan gave up")
    refused = {
        f"{found.module}.{found.name}"
        for found in result.globals
        if found.safety is SafetyLevel.Dangerous or not is_allowed(f"{found.module}.{found.name}")
    }
    if refused:
        raise UnsafeModelError(
            f"The pickle in {name} imports {', '.join(sorted(refused))}, which no detector needs, so it was not "
            "loaded: find out who made this file before training it again."
        )
    return tuple(sorted({f"{found.module}.{found.name}" for found in result.globals}))
