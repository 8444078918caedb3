"""Which installation of this package runs, and which one started a process."""

from __future__ import annotations

import configparser
import json
import shlex
from functools import cache
from importlib import metadata
from pathlib import Path

from banana_delivery.bundle import PACKAGE
from banana_delivery.files import file_sha256, text_sha256

MARK = "STACK_INSTALLATION"
"""The variable by which a process that another version started is told from one of ours, so that `up` replaces it."""
_PACKAGE = "banana-delivery"


@cache
def mark() -> str:
    """What tells this installation from any other in the same folder; empty where the package is not installed.

    It follows what is installed beside the package, and the code itself where that is used from a checkout.
    """
    try:
        ours = metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError:
        return ""
    beside = sorted(each.name for each in Path(str(ours.locate_file(""))).glob("*.dist-info"))
    code = sorted(PACKAGE.rglob("*.py")) if _is_checkout(ours) else []
    parts = [ours.read_text("RECORD") or "", *beside, *(f"{file} {file_sha256(file)}" for file in code)]
    return text_sha256("\n".join(parts))[:12]


def _is_checkout(ours: metadata.Distribution) -> bool:
    """Whether the installation points at a folder that a pull changes."""
    try:
        said = json.loads(ours.read_text("direct_url.json") or "{}")
    except ValueError:
        return False
    return bool(said.get("dir_info", {}).get("editable"))


def started_by(program: Path, name: str) -> Path | None:
    """The folder of the installation that a program's file of supervisord starts it from; None if it does not say."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(program.read_text())
        first = Path(shlex.split(parser.get(f"program:{name}", "command"))[0])
    except (OSError, ValueError, IndexError, configparser.Error):
        return None
    return first.parent.parent if first.is_absolute() and first.parent.name == "bin" else None
